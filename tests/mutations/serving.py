"""Servers that are shared by name, and what a share says of itself: both sides."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_POLICY = "vshare/policy.py"
_STREAMS = "vshare/streams.py"
_SERVERS = "vshare/together/servers.py"
_FOLLOWERS = "vshare/together/followers.py"
_FOLLOW = "tunnel/follow.py"
_PORT = "connect_vm/local_port.py"
_PORTS = "connect_vm/local_ports.py"
_TEST_SERVERS = "tests/vshare/together/test_servers.py"
_TEST_TOGETHER = "tests/vshare/together/test_together.py"
_TEST_FOLLOWERS = "tests/vshare/together/test_followers.py"
_TEST_FOLLOW = "tests/tunnel/test_follow.py"
_TEST_PORTS = "tests/connect_vm/test_local_ports.py"

SERVING = (
    Mutation(
        "what is shared by name is open over UDP, too",
        _POLICY,
        '        public = protocol == "tcp" and port in self.http_ports | self.served_ports\n',
        "        public = port in self.http_ports | self.served_ports\n",
        (f"{_TEST_SERVERS}::test_a_served_port_is_open_over_tcp_to_guests_alone",),
    ),
    Mutation(
        "what is shared by name is open at neighbours, too",
        _POLICY,
        "            self._check_port(port, rights, public=False)\n",
        "            self._check_port(port, rights, public=port in self.served_ports)\n",
        (f"{_TEST_SERVERS}::test_a_neighbours_port_is_not_the_served_one",),
    ),
    Mutation(
        "a server that is taken back stays open",
        _SERVERS,
        "            served_ports=policy.served_ports - port,\n",
        "            served_ports=policy.served_ports,\n",
        (f"{_TEST_TOGETHER}::test_only_what_is_served_is_open_and_unserve_cuts",),
    ),
    Mutation(
        "what is open to a server that is taken back stays so",
        _SERVERS,
        "        cut = self._streams.cut(server.port)\n",
        "        cut = 1\n",
        (f"{_TEST_TOGETHER}::test_only_what_is_served_is_open_and_unserve_cuts",),
    ),
    Mutation(
        "who was connecting when a server was taken back is in",
        _STREAMS,
        '            self._decide(guest, "tcp", message.host, message.port)'
        "  # as it is by now: see `cut`\n",
        "            pass\n",
        (f"{_TEST_SERVERS}::test_taken_back_while_it_is_opened",),
    ),
    Mutation(
        "what is fenced can be shared by name",
        _SERVERS,
        '        served.decide(Role.GUEST, "tcp", MACHINE, port)\n',
        "        pass\n",
        (f"{_TEST_SERVERS}::test_fenced_ports_stay_closed",),
    ),
    Mutation(
        "guests are told of servers that are not for them",
        "vshare/together/board.py",
        "        items = [item for item in card.items if card.shown(item, guest)]\n",
        "        items = list(card.items)\n",
        (
            f"{_TEST_FOLLOWERS}::test_guests_see_what_is_for_them",
            f"{_TEST_TOGETHER}::test_an_invite_for_some_ports_sees_those",
        ),
    ),
    Mutation(
        "the gateway follows the share's news",
        _FOLLOWERS,
        "        if guest.role is not Role.GUEST:\n",
        "        if False:\n",
        (f"{_TEST_FOLLOWERS}::test_the_gateway_and_floods_are_refused",),
    ),
    Mutation(
        "a guest follows as often as it likes",
        _FOLLOWERS,
        "        if self._count[guest.fingerprint] >= MAX_FOLLOWS:\n",
        "        if False:\n",
        (f"{_TEST_FOLLOWERS}::test_the_gateway_and_floods_are_refused",),
    ),
    Mutation(
        "news are sent to guests who do not read",
        _FOLLOWERS,
        "        while not self._paused and not self.is_done:\n",
        "        while not self.is_done:\n",
        (f"{_TEST_FOLLOWERS}::test_one_who_does_not_read_is_owed_the_present_alone",),
        (
            (
                "        if self._timer is None and not self._paused:\n",
                "        if self._timer is None:\n",
            ),
        ),
    ),
    Mutation(
        "a share's line has no end",
        _FOLLOW,
        "        if len(self._rest) >= MAX_LINE or any(len(line) >= MAX_LINE for line in lines):\n",
        "        if False:\n",
        (f"{_TEST_FOLLOW}::test_lines_are_short",),
    ),
    Mutation(
        "a server's name may be anything",
        _FOLLOW,
        "Label: TypeAlias = Annotated[str, msgspec.Meta(pattern=LABEL)]\n",
        "Label: TypeAlias = str\n",
        (f"{_TEST_FOLLOW}::test_items_that_are_none",),
    ),
    Mutation(
        "a link has the scheme that the share says",
        _PORTS,
        '        scheme = "https" if server.scheme == "https" else "http"'
        "  # nothing else of the share's\n",
        '        scheme = server.scheme or "http"\n',
        (f"{_TEST_PORTS}::test_a_link_is_a_website",),
    ),
    Mutation(
        "a share takes as many local ports as it likes",
        _PORTS,
        "            if port in self._locals or port in self._dropped"
        " or by_itself >= MAX_BY_THEMSELVES:\n",
        "            if port in self._locals or port in self._dropped:\n",
        (f"{_TEST_PORTS}::test_a_share_does_not_take_all_ports",),
    ),
    Mutation(
        "others on the network use what is shared by name",
        _PORT,
        '    listeners = [_listen(socket.AF_INET, "127.0.0.1", port)]\n',
        '    listeners = [_listen(socket.AF_INET, "0.0.0.0", port)]\n',
        (f"{_TEST_PORTS}::test_both_families_or_another_port",),
    ),
    Mutation(
        "localhost is half somebody else's",
        _PORT,
        "        if error.errno not in _NO_IPV6:\n",
        "        if False:\n",
        (f"{_TEST_PORTS}::test_both_families_or_another_port",),
    ),
)
