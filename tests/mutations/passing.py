"""Browsers' TLS that ends at the share: what the relay keeps out of, and what the door refuses."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_BLIND, _CONTROL, _LINK = "relay/blind_sites.py", "relay/control.py", "vshare/relay_link.py"
_DOOR, _END = "vshare/web/tls_door.py", "vshare/web/browser_end.py"
_FORWARDING = "tunnel/http_forwarding.py"
_REQUESTS = "vshare/web/browser_requests.py"
_TEST_BLIND = "tests/relay/test_blind_sites.py"
_TEST_DOOR, _TEST_END = "tests/vshare/web/test_tls_door.py", "tests/vshare/web/test_browser_end.py"
_TEST_REQUESTS = "tests/vshare/web/test_browser_requests.py"

PASSING = (
    Mutation(
        "the relay answers in an away share's place",
        "relay/registry.py",
        "        return self.is_site_away(name) and self._names.has_passthrough(name)",
        "        return False",
        (f"{_TEST_BLIND}::test_while_it_is_away_nobody_answers_in_its_place",),
    ),
    Mutation(
        "ClientHellos may try names without end",
        _BLIND,
        "            self._misses.take(source, now)\n",
        "            pass\n",
        (f"{_TEST_BLIND}::test_names_cannot_be_tried_without_end",),
    ),
    Mutation(
        "browsers have no limit of their own",
        _BLIND,
        "        if over or share.browsers >= min(MAX_BROWSERS, self._admission.budget.per_share):",
        "        if False:",
        (f"{_TEST_BLIND}::test_browsers_have_a_limit_of_their_own",),
    ),
    Mutation(
        "the relay takes a gateway's certificate where it is to be blind",
        _CONTROL,
        "                if share.passthrough:",
        "                if False:",
        (f"{_TEST_BLIND}::test_the_gateway_gets_nothing",),
    ),
    Mutation(
        "the share gives the gateway a certificate all the same",
        _LINK,
        "        if self._passthrough:\n            raise LocalProtocolError",
        "        if False:\n            raise LocalProtocolError",
        (f"{_TEST_BLIND}::test_the_gateway_gets_nothing",),
    ),
    Mutation(
        "a relay that ends browsers' TLS itself is good enough",
        _LINK,
        "        if self._passthrough and not answer.passthrough:",
        "        if False:",
        (f"{_TEST_BLIND}::test_a_relay_that_cannot_is_not_used",),
    ),
    Mutation(
        "an address is what the relay says, whatever that is",
        _DOOR,
        "            ip = ipaddress.ip_address(address.partition(\"%\")[0])",
        "            ip = address",
        (f"{_TEST_DOOR}::test_an_address_that_is_none_goes_nowhere",),
    ),
    Mutation(
        "silent browsers make no room",
        _DOOR,
        "            oldest.cancel()",
        "            pass",
        (f"{_TEST_DOOR}::test_a_crowd_of_silent_ones_makes_room",),
    ),
    Mutation(
        "a browser says itself where it comes from",
        _FORWARDING,
        'return name in (b"forwarded", b"x-real-ip") or name.startswith(b"x-forwarded-")',
        'return name == b"forwarded"',
        (f"{_TEST_REQUESTS}::test_where_it_comes_from_is_what_the_relay_says",),
    ),
    Mutation(
        "underscores say it, too",
        _FORWARDING,
        '    name = name.translate(_AS_DASHES)\n',
        "",
        (f"{_TEST_REQUESTS}::test_where_it_comes_from_is_what_the_relay_says",),
    ),
    Mutation(
        "a connection leads to any host",
        _REQUESTS,
        '    if host.partition(b":")[0].rstrip(b".") != browser.host.encode():',
        "    if False:",
        (f"{_TEST_REQUESTS}::test_another_host",),
    ),
    Mutation(
        "HTTP/2 passes behind the rules' back",
        _REQUESTS,
        '_NOT_UPGRADED = frozenset((b"h2c", b"http/2.0"))',
        "_NOT_UPGRADED = frozenset[bytes]()",
        (f"{_TEST_REQUESTS}::test_another_protocol_is_asked_for_but_not_http_2",),
    ),
    Mutation(
        "requests do not wait for their turn",
        _END,
        "                elif self._request is not None:\n                    self._hold(data)",
        "                elif False:\n                    self._hold(data)",
        (f"{_TEST_END}::test_what_comes_too_early_waits",),
    ),
    Mutation(
        "a broken answer ends as if it were whole",
        _END,
        "        else:\n            self._tls.abort()\n\n    def _finish",
        "        else:\n            self._finish()\n\n    def _finish",
        (f"{_TEST_END}::test_a_broken_answer_is_not_taken_for_a_whole_one",),
    ),
    Mutation(
        "a machine changes the protocol although nobody asked for it",
        _END,
        '            if not request.is_upgrade or self._body is not None:',
        "            if False:",
        (f"{_TEST_END}::test_an_answer_that_is_none",),
    ),
)  # fmt: skip
