"""What guests reach: the policy, streams, SSH's guard, neighbours."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_POLICY = "vshare/policy.py"
_STREAMS = "vshare/streams.py"
_GUARD = "vshare/ssh_guard.py"
_EXPOSED = "vshare/exposed.py"
_NEIGHBOURS = "vshare/neighbours.py"
_OWN = "vshare/own_addresses.py"
_HAS_NO_KEY = "        if not has_ssh_key and role is Role.GUEST:\n"
_FLOWS_OF = """        flows = self._flows.get({0})
        if flows is None:
            flows = GuestFlows(lambda *told: self._flow_ended(guest, *told))
            self._flows[{0}] = flows
"""
_TEST_POLICY = "tests/vshare/test_policy.py"
_TEST_SERVER = "tests/vshare/test_server.py"
_TEST_EXPOSED = "tests/vshare/test_exposed.py"
_ATTACKS = "tests/malicious_relay/test_certificates.py"
_TEST_NEIGHBOURS = "tests/vshare/test_neighbours.py"

REACHING = (
    Mutation(
        "any host is the machine",
        _POLICY,
        'return host == MACHINE or host.lower().rstrip(".") in self.names',
        "return True",
        (f"{_TEST_POLICY}::test_nothing_but_the_machine",),
    ),
    Mutation(
        "neighbours need not be exposed",
        _POLICY,
        '        if closed:\n            raise _refused(f"{_shown(host)} {closed};',
        '        if False:\n            raise _refused(f"{_shown(host)} {closed};',
        (f"{_TEST_POLICY}::test_what_is_no_neighbour",),
    ),
    Mutation(
        "the gateway reaches neighbours",
        _POLICY,
        "if not self.exposed or role is Role.GATEWAY:",
        "if not self.exposed:",
        (f"{_TEST_POLICY}::test_the_gateway_has_no_neighbours",),
    ),
    Mutation(
        "the gateway opens every port",
        _POLICY,
        'if role is Role.GATEWAY and (protocol != "tcp" or port not in self.http_ports):',
        "if False:",
        (f"{_TEST_POLICY}::test_the_gateway_opens_the_http_ports_alone",),
    ),
    Mutation(
        "the gateway opens UDP",
        _POLICY,
        '(protocol != "tcp" or port not in self.http_ports)',
        "(port not in self.http_ports)",
        (f"{_TEST_POLICY}::test_the_gateway_opens_the_http_ports_alone",),
    ),
    Mutation(
        "an invite's ports restrict nothing",
        _POLICY,
        "if role is not Role.GATEWAY and rights.ports is not None and port not in rights.ports:",
        "if False:",
        (f"{_TEST_POLICY}::test_an_invite_restricts_further",),
    ),
    Mutation(
        "SSH is open although it is not shared",
        _POLICY,
        "        if not self.ssh_shared:\n            raise",
        "        if False:\n            raise",
        (f"{_TEST_POLICY}::test_ssh_is_refused_wherever_it_listens",),
        (("        if not has_ssh_key:\n", "        if False:\n"),),
    ),
    Mutation(
        "SSH is open to guests who were not handed the key",
        _POLICY,
        "        if not has_ssh_key:\n",
        "        if False:\n",
        (f"{_TEST_POLICY}::test_ssh_is_open_to_those_who_have_the_key",),
    ),
    Mutation(
        "the neighbours' SSH is open",
        _POLICY,
        "port in self.ssh_ports or (neighbour and port == SSH_PORT)",
        "port in self.ssh_ports and not neighbour",
        (f"{_TEST_POLICY}::test_ssh_of_neighbours_is_never_open",),
    ),
    Mutation(
        "the gateway has SSH where that is the website's port",
        _POLICY,
        "        if neighbour or role is Role.GATEWAY:\n",
        "        if neighbour:\n",
        (f"{_ATTACKS}::test_the_gateway_has_no_ssh_where_that_is_the_website",),
        (
            (
                "        if not has_ssh_key:\n",
                "        if not has_ssh_key and role is Role.GUEST:\n",
            ),
        ),
    ),
    Mutation(
        "what was found dangerous is not fenced off",
        "vshare/exposure.py",
        'for each in report.dangers if danger_state(each, policy) != "closed"',
        "for each in report.dangers if False",
        ("tests/vshare/test_exposure.py::test_the_report_in_words",),
    ),
    Mutation(
        "a fence is open",
        _POLICY,
        'if protocol == "tcp" and port in self.fenced:',
        "if False:",
        (f"{_TEST_POLICY}::test_a_fenced_port_is_refused_and_the_way_out_named",),
    ),
    Mutation(
        "what listens on the machine's loopback alone is open",
        _POLICY,
        "        if port in self.hidden_ports:\n",
        "        if False:\n",
        (f"{_TEST_POLICY}::test_a_hidden_port_is_refused_and_its_option_named",),
    ),
    Mutation(
        "--port restricts nothing",
        _POLICY,
        "if self.only_ports is not None and port not in self.only_ports and not public:",
        "if False:",
        (f"{_TEST_POLICY}::test_only_these_ports",),
    ),
    Mutation(
        "--port does not hold for neighbours",
        _POLICY,
        "            self._check_port(port, rights, public=False)\n            return target\n",
        "            return target\n",
        (f"{_TEST_POLICY}::test_ports_hold_for_neighbours_as_for_the_machine",),
    ),
    Mutation(
        "the policy is not asked for streams",
        _STREAMS,
        '        target = self._decide(guest, "tcp", message.host, message.port)\n',
        "        target = Target(MACHINE, message.port)\n",
        (f"{_TEST_SERVER}::test_guests_are_refused_with_words",),
    ),
    Mutation(
        "the policy is not asked for flows",
        _STREAMS,
        '                target = self._decide(guest, "udp", host, port)\n',
        "                target = Target(MACHINE, port)\n",
        (f"{_TEST_SERVER}::test_flows_are_held_to_the_same_policy",),
    ),
    Mutation(
        "a flow goes on with whoever knows its id",
        _STREAMS,
        _FLOWS_OF.format("guest.fingerprint"),
        _FLOWS_OF.format('""'),
        ("tests/vshare/test_streams.py::test_a_flows_id_is_worth_nothing_to_another_guest",),
    ),
    Mutation(
        "the gateway opens ports, past the rules of their sites",
        _STREAMS,
        'is not Role.GUEST:\n            raise RefusedError(Code.NOT_ALLOWED, "the gateway opens',
        'is None:\n            raise RefusedError(Code.NOT_ALLOWED, "the gateway opens',
        (f"{_TEST_SERVER}::test_the_gateway_opens_the_http_port_and_nothing_else",),
    ),
    Mutation(
        "the gateway may call",
        _STREAMS,
        "        if call is None or guest.role is not Role.GUEST:\n",
        "        if call is None:\n",
        (f"{_TEST_SERVER}::test_the_gateway_opens_the_http_port_and_nothing_else",),
    ),
    Mutation(
        "the gateway has a lane",
        _STREAMS,
        "        if guest.role is not Role.GUEST:\n            connection.refuse(",
        "        if False:\n            connection.refuse(",
        (f"{_TEST_SERVER}::test_the_gateway_opens_the_http_port_and_nothing_else",),
    ),
    Mutation(
        "nobody listens for SSH on other ports",
        _STREAMS,
        "                await bridge(SshGuard(visitor, machine), machine)\n",
        "                await bridge(visitor, machine)\n",
        ("tests/vshare/test_ssh_guard.py::test_no_byte_of_an_ssh_server_reaches_the_guest",),
    ),
    Mutation(
        "SSH's guard looks at the first piece alone",
        _GUARD,
        "        elif not GREETING.startswith(head):\n",
        "        else:\n",
        ("tests/vshare/test_ssh_guard.py::test_no_byte_of_an_ssh_server_reaches_the_guest",),
    ),
    Mutation(
        "SSH's guard lets the greeting through",
        _GUARD,
        'GREETING = b"SSH-"',
        'GREETING = b"SSH-1"',
        ("tests/vshare/test_ssh_guard.py::test_no_byte_of_an_ssh_server_reaches_the_guest",),
    ),
    Mutation(
        "what a name leads to is not looked at",
        _EXPOSED,
        "if address is not None and not self._why_closed(address, also_own):",
        "if address is not None:",
        (f"{_TEST_EXPOSED}::test_unknown_and_not_exposed_are_refused_alike",),
    ),
    Mutation(
        "the name is dialled and not the address that was looked at",
        _EXPOSED,
        "                return str(address)\n        raise",
        "                return host\n        raise",
        (f"{_TEST_EXPOSED}::test_a_resolver_that_answers_otherwise_the_second_time",),
    ),
    Mutation(
        "the sharer's own host is a neighbour",
        _EXPOSED,
        "            own = address in also_own or self._is_own(address)\n",
        "            own = False\n",
        (f"{_TEST_EXPOSED}::test_whatever_it_is_written_as",),
    ),
    Mutation(
        "a kernel that does not tell opens",
        _EXPOSED,
        '            return f"cannot be told from the sharer\'s own host: {error}"\n',
        '            return ""\n',
        (f"{_TEST_EXPOSED}::test_a_kernel_that_does_not_tell_closes",),
    ),
    Mutation(
        "an IPv4 address inside an IPv6 one is not seen",
        _NEIGHBOURS,
        "    inside = address.ipv4_mapped or address.sixtofour\n",
        "    inside = None\n",
        (f"{_TEST_NEIGHBOURS}::test_an_address_is_what_it_leads_to",),
    ),
    Mutation(
        "loopback addresses may be exposed",
        _NEIGHBOURS,
        "    if address.is_loopback:\n",
        "    if False:\n",
        (f"{_TEST_NEIGHBOURS}::test_what_is_never_exposed",),
    ),
    Mutation(
        "a cloud's metadata service is a part of a network",
        _NEIGHBOURS,
        "    if address in METADATA:\n",
        "    if False:\n",
        (f"{_TEST_NEIGHBOURS}::test_what_is_exposed_by_name_only",),
    ),
    Mutation(
        "the whole Internet is a neighbourhood",
        _NEIGHBOURS,
        "    if network.prefixlen < minimum:\n",
        "    if False:\n",
        (f"{_TEST_NEIGHBOURS}::test_what_cannot_be_exposed",),
    ),
    Mutation(
        "the kernel is not asked which addresses are this host's",
        _OWN,
        "in (_LOCAL, _ANYCAST)",
        "in ()",
        ("tests/vshare/test_own_addresses.py::test_the_address_that_others_reach_this_host_by",),
    ),
)
