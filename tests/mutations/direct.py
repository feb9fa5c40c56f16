"""The direct way: the share's own door, and who a guest believes to be behind it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_DOOR = "vshare/direct.py"
_LAN = "tunnel/lan.py"
_WAYS = "connect_vm/ways.py"
_SHARE = "vshare/share.py"
_TEST_DOOR = "tests/vshare/test_direct.py"
_TEST_LAN = "tests/tunnel/test_lan.py"
_TEST_WAYS = "tests/connect_vm/test_ways.py"
_TEST_SESSION = "tests/connect_vm/test_direct_session.py"

DIRECT = (
    Mutation(
        "the share's door answers who does not know the route",
        _DOOR,
        "knows = hmac.compare_digest(label.encode(), self._route)",
        "knows = True",
        (f"{_TEST_DOOR}::test_who_is_no_guest_gets_no_answer",),
    ),
    Mutation(
        "codes can be tried at the share's door",
        _DOOR,
        " and join.ALPN.encode() not in hello.alpn",
        "",
        (f"{_TEST_DOOR}::test_joining_hidden_behind_streams_is_joining",),
    ),
    Mutation(
        "the share's door answers any protocol",
        _DOOR,
        "knows and ALPN.encode() in hello.alpn and",
        "knows and",
        (f"{_TEST_DOOR}::test_who_is_no_guest_gets_no_answer",),
    ),
    Mutation(
        "one stranger takes all the places at the share's door",
        _DOOR,
        ">= MAX_WAITING_OF_ONE:",
        "< 0:",
        (f"{_TEST_DOOR}::test_a_crowd_of_silent_ones_leaves_room",),
    ),
    Mutation(
        "silent strangers pile up at the share's door",
        _DOOR,
        "if len(self._waiting) >= MAX_WAITING:",
        "if False:",
        (f"{_TEST_DOOR}::test_a_crowd_of_silent_ones_leaves_room",),
    ),
    Mutation(
        "routers pass on what goes directly, IPv4",
        _LAN,
        "sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ON_LINK)",
        "pass",
        (f"{_TEST_LAN}::test_the_packets_of_a_direct_socket_stay_on_the_link",),
    ),
    Mutation(
        "routers pass on what goes directly, IPv6",
        _LAN,
        "sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ON_LINK)",
        "pass",
        (f"{_TEST_LAN}::test_the_packets_of_a_direct_socket_stay_on_the_link",),
    ),
    Mutation(
        "the share listens on public addresses",
        _LAN,
        "private = any(interface.ip in network for network in PRIVATE)",
        "private = True",
        (f"{_TEST_LAN}::test_in_a_network_of_its_own",),
    ),
    Mutation(
        "the share listens where its host's VMs are",
        _LAN,
        " and not _is_of_vms(index)",
        "",
        (f"{_TEST_LAN}::test_in_a_network_of_its_own",),
    ),
    Mutation(
        "a guest dials whatever address the share names",
        _WAYS,
        "            if not is_near(place, networks):\n                continue\n",
        "",
        (f"{_TEST_WAYS}::test_only_neighbours_are_dialled",),
    ),
    Mutation(
        "a guest dials whatever port the share names",
        _WAYS,
        "if port < LOWEST_PORT or (",
        "if (",
        (f"{_TEST_WAYS}::test_what_is_a_place",),
    ),
    Mutation(
        "a guest dials as many places as the share names",
        _WAYS,
        "answer.direct[:MAX_ADDRESSES]",
        "answer.direct",
        (f"{_TEST_WAYS}::test_at_most_eight_places_are_looked_at",),
    ),
    Mutation(
        "a place is taken for the share's before it has proven that",
        _WAYS,
        "there = answered.is_set() and scout.state is None",
        "there = answered.is_set()",
        (f"{_TEST_WAYS}::test_another_server_at_that_place_is_not_believed",),
    ),
    Mutation(
        "a neighbour who plays the share ends the session",
        _WAYS,
        "                self._ways.failed(error)\n        return",
        "                self._ways.failed(error)\n                raise\n        return",
        (f"{_TEST_WAYS}::test_who_takes_over_the_place_ends_the_direct_way_alone",),
    ),
    Mutation(
        "the share listens though the relay alone is wanted",
        _SHARE,
        "if options.direct and not is_loopback(relay.host):",
        "if not is_loopback(relay.host):",
        (f"{_TEST_SESSION}::test_when_the_share_listens",),
    ),
    Mutation(
        "a share for this host alone listens in the network",
        _SHARE,
        "if options.direct and not is_loopback(relay.host):",
        "if options.direct:",
        (f"{_TEST_SESSION}::test_when_the_share_listens",),
    ),
    Mutation(
        "a guest goes directly though the relay alone is wanted",
        _WAYS,
        "return no_networks if relay_only else lan_interfaces",
        "return lan_interfaces",
        (f"{_TEST_SESSION}::test_the_guest_wants_the_relay",),
    ),
)
