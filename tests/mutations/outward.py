"""The way out: proxies, what they may do and see, and what doctor finds out about it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PROXY = "tunnel/proxy.py"
_CONNECT = "tunnel/proxy_connect.py"
_DIAL = "tunnel/proxy_dial.py"
_WAY = "tunnel/doctor/way.py"
_TEST_PROXY = "tests/tunnel/test_proxy.py"
_TEST_CONNECT = "tests/tunnel/test_proxy_connect.py"
_TEST_DIAL = "tests/tunnel/test_proxy_dial.py"
_TEST_WAY = "tests/tunnel/doctor/test_way.py"

OUTWARD = (
    Mutation(
        "a proxy may speak in the relay's place",
        _CONNECT,
        "        if self._http.trailing_data[0]:\n",
        "        if False:\n",
        (f"{_TEST_CONNECT}::test_what_follows_the_head_is_not_the_relays",),
    ),
    Mutation(
        "a proxy's 1xx answers never end",
        _CONNECT,
        "                if self._interim > MAX_INTERIM:\n",
        "                if False:\n",
        (f"{_TEST_CONNECT}::test_nonsense",),
    ),
    Mutation(
        "a proxy's password is shown",
        _PROXY,
        ":***@",
        ":{self.password}@",
        (f"{_TEST_PROXY}::test_urls", f"{_TEST_CONNECT}::test_407"),
    ),
    Mutation(
        "a variable that names no proxy is shown, password and all",
        _PROXY,
        "    except UsageError:  # it may show what is part of a password with a / or @ in it\n"
        "        raise UsageError(",
        "    except ZeroDivisionError:\n        raise UsageError(",
        (f"{_TEST_PROXY}::test_what_names_no_proxy_is_refused_without_showing_it",),
    ),
    Mutation(
        "loopback is reached through a proxy",
        _PROXY,
        "        return True\n    listed",
        "        pass\n    listed",
        (f"{_TEST_PROXY}::test_exemptions",),
    ),
    Mutation(
        "this host's own relay is reached through a proxy",
        "tunnel/proxy_way.py",
        "    return None if _is_own(without_zone(host)) else proxy_for(host, environ)\n",
        "    return proxy_for(host, environ)\n",
        (f"{_TEST_DIAL}::test_this_hosts_own_addresses_are_dialled_directly",),
    ),
    Mutation(
        "a SOCKS5 negotiation goes on when nobody waits for it any more",
        _DIAL,
        "            sock.shutdown(socket.SHUT_RDWR)\n",
        "            pass\n",
        (f"{_TEST_DIAL}::test_cancelled_leaves_nothing_open",),
    ),
    Mutation(
        "doctor takes any certificate for the pinned one",
        _WAY,
        "        if pin is not None and not matches(certificate, pin):\n",
        "        if False:\n",
        (f"{_TEST_WAY}::test_a_wrong_pin",),
    ),
    Mutation(
        "doctor trusts whoever shows a certificate",
        _WAY,
        'context_for(certificate if pin else None, "http/1.1")',
        'context_for(certificate, "http/1.1")',
        (f"{_TEST_WAY}::test_a_middle_box_before_a_public_relay",),
    ),
    Mutation(
        "doctor finds nothing wrong with somebody who ends the TLS of guests",
        _WAY,
        '        raise FailedError(\n            f"somebody in between ends TLS',
        '        return Finding(name, State.OK, "")\n        raise FailedError(\n            f"TLS',
        (f"{_TEST_WAY}::test_a_middle_box_before_a_public_relay",),
    ),
)
