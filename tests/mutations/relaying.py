"""The relay: what it does not tell strangers, and what it forgets in time."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_DECOY = "relay/decoy.py"
_REGISTRY = "relay/registry.py"
_NAMES = "relay/names.py"
_QUICK = "relay/quick_path.py"
_TEST_DECOY = "tests/relay/test_decoy.py"
_TEST_REGISTRY = "tests/relay/test_registry.py"
_TEST_QUICK = "tests/relay/test_quick_path.py"
_TEST_RELAY = "tests/relay/test_relay.py"

RELAYING = (
    Mutation(
        "a decoy's attempts are not limited as a share's are",
        _DECOY,
        "        attempts = Attempts(asyncio.get_running_loop().time())\n"
        "        certificate = self._identity.certificate\n"
        "        return JoinServer(",
        "        certificate = self._identity.certificate\n"
        "        attempts = type('Endless', (Attempts,), {'take': lambda *_: None})(0.0)\n"
        "        return JoinServer(",
        (f"{_TEST_DECOY}::test_its_attempts_are_limited_as_a_shares",),
    ),
    Mutation(
        "a decoy's certificate is another each time",
        _DECOY,
        "        decoy = self._decoys.get(name)\n",
        "        decoy = None\n",
        (f"{_TEST_DECOY}::test_its_certificate_stays_and_looks_like_one_of_some_age",),
    ),
    Mutation(
        "a name that is not shared is refused at once",
        "relay/server.py",
        "                    await self._decoys.serve(visitor.sock, name, visitor.address)\n",
        "                    refuse(visitor, UNRECOGNIZED_NAME)\n",
        (f"{_TEST_DECOY}::test_a_guest_is_told_that_it_may_be_either",),
    ),
    Mutation(
        "joins are not limited",
        "relay/join_limits.py",
        " or not self._take(source, now):\n",
        ":\n",
        (
            "tests/relay/test_join_limits.py::test_one_source_has_so_many_joins_at_all_names_together",
        ),
    ),
    Mutation(
        "guests are led by name, if the name looks like a route",
        _REGISTRY,
        "return self._unless_over(self._by_route.get(route))",
        "return self._unless_over(self._by_route.get(route) or self.get(ShareName(route)))",
        (f"{_TEST_REGISTRY}::test_no_name_is_a_route",),
    ),
    Mutation(
        "joins at one name are not spaced",
        "relay/join_limits.py",
        "        self._next[name] = begins + SPACING\n",
        "        self._next[name] = begins\n",
        ("tests/relay/test_join_limits.py::test_joins_at_one_name_begin_one_after_another",),
    ),
    Mutation(
        "a share is reached after its expiry",
        _REGISTRY,
        "return share if share is not None and share.ends_at > self._clock() else None",
        "return share",
        (f"{_TEST_REGISTRY}::test_at_its_expiry_a_connected_share_is_ended",),
    ),
    Mutation(
        "a ticket is good for ever",
        _REGISTRY,
        "share, until = self._tickets.pop(ticket, (None, 0.0))",
        "share, until = self._tickets.get(ticket, (None, 0.0))",
        (f"{_TEST_REGISTRY}::test_a_ticket_is_its_shares_and_good_once",),
    ),
    Mutation(
        "a ticket of a session that is over still parks",
        _REGISTRY,
        "if share is None or self._shares.get(share.name) is not share:",
        "if share is None:",
        (f"{_TEST_REGISTRY}::test_a_ticket_ends_with_its_session",),
    ),
    Mutation(
        "strangers who try codes use up what guests need",
        "relay/lot.py",
        "reserved = -(-self._target // 4) if join else 0",
        "reserved = 0",
        (f"{_TEST_RELAY}::test_strangers_who_try_codes_leave_some_parked_for_guests",),
    ),
    Mutation(
        "a share's HTTP turned off is told from no share",
        _REGISTRY,
        "return self.is_away(name) and self._names.has_http(name)",
        "return self.is_away(name)",
        ("tests/relay/test_gateway.py::test_an_away_share_without_a_website_is_unknown_too",),
    ),
    Mutation(
        "a share without a URL is told by the end of the one that had the name before",
        _NAMES,
        " public_until = max(?8, min(public_until, ?9)),",
        " public_until = max(?8, min(0, ?9)),",
        ("tests/relay/test_names.py::test_what_comes_after_a_site_without_one_is_not_told_by_it",),
    ),
    Mutation(
        "a share's HTTP turned off is told from no share, until it has published",
        "relay/upstreams.py",
        "    if share.passthrough or not share.http:\n",
        "    if share.passthrough:\n",
        (
            "tests/relay/test_gateway.py"
            "::test_a_share_without_a_website_is_as_unknown_as_any_name[http off, not published]",
        ),
    ),
    Mutation(
        "the relay's pages are where shares' sites can put cookies, too",
        "relay/app.py",
        "    if pages_host:\n",
        "    if False:\n",
        ("tests/relay/test_app.py::test_pages_at_a_name_of_their_own",),
    ),
    Mutation(
        "the relay's pages may be above the shares' domain",
        "relay/settings_rules.py",
        'elif domain.endswith(f".{host}"):',
        "elif False:",
        ("tests/relay/test_settings_rules.py::test_where_the_pages_may_not_be",),
    ),
    Mutation(
        "a request may be for another share than the connection's TLS",
        "relay/http_rules.py",
        'if site is None or (origin.tls and host != (origin.server_name or "")):',
        "if site is None:",
        ("tests/relay/test_gateway.py::test_host_must_agree_with_sni",),
    ),
    Mutation(
        "a site sets cookies for all shares",
        "relay/cookies.py",
        '    return domain.strip(b" \\t").removeprefix(b".").lower() != host\n',
        '    return not host.endswith(domain.strip(b" \\t").removeprefix(b".").lower())\n',
        (
            "tests/relay/test_cookies.py::test_other_domains_are_left_out",
            "tests/relay/test_gateway.py::test_cookies_are_for_their_site_alone",
        ),
    ),
    Mutation(
        "a site sets cookies for all shares, in an answer that is plain otherwise",
        "relay/plain_heads.py",
        "            if may_name_domain(line[2]):\n",
        "            if False:\n",
        (
            "tests/relay/test_plain_heads.py::test_answers_that_are_not_plain",
            "tests/relay/test_gateway.py::test_cookies_are_for_their_site_alone",
        ),
    ),
    Mutation(
        "a certificate that has expired takes the place of one that is good",
        "relay/certificate_files.py",
        "        if fault := fault_of_dates(identity):\n",
        "        if fault := fault_of_dates(identity)[:0]:\n",
        ("tests/relay/test_certificate_files.py::test_what_cannot_be_used_changes_nothing",),
    ),
    Mutation(
        "whatever an authority sends is used",
        "relay/acme.py",
        "        if fault:\n",
        "        if fault is None:\n",
        ("tests/relay/test_acme.py::test_what_is_no_use_is_not_used[other-names]",),
    ),
    Mutation(
        "an authority is asked again at once",
        "relay/acme.py",
        "                await asyncio.sleep(pause)\n",
        "                await asyncio.sleep(0.01)\n",
        ("tests/relay/test_acme.py::test_failures_are_told_and_tried_again_less_and_less_often",),
    ),
    Mutation(
        "a name is whoever's comes next",
        _NAMES,
        '" WHERE (key_hash = ?2 AND (account = ?10 OR account = 0 OR ?10 = 0))"\n'
        '            " OR lease_until < ?4 OR ?11",',
        '"",',
        ("tests/relay/test_names.py::test_a_name_belongs_to_its_key_until_a_week_after_its_lease",),
    ),
    Mutation(
        "a guest may register the route that it was told",
        _NAMES,
        "WHERE route = ? AND route <> '' AND key_hash <> ?",
        "WHERE route = ? AND route = '' AND key_hash <> ?",
        ("tests/relay/test_names.py::test_a_route_is_its_keys_alone",),
    ),
    Mutation(
        "a request's body is taken for the next request",
        "relay/plain_heads.py",
        '_WEIGHTY = frozenset((b"transfer-encoding", ',
        "_WEIGHTY = frozenset((",
        ("tests/relay/test_plain_heads.py::test_requests_that_are_not_plain",),
    ),
    Mutation(
        "a request is sent before its body has come",
        _QUICK,
        "        if end > len(data):",
        "        if False:",
        (f"{_TEST_QUICK}::test_a_body_that_is_still_to_come_is_the_coroutines",),
    ),
    Mutation(
        "a request has two hosts",
        "relay/plain_heads.py",
        "            if host is not None:\n                return None\n",
        "",
        ("tests/relay/test_plain_heads.py::test_requests_that_are_not_plain",),
    ),
    Mutation(
        "a request has the fields of the one before",
        "relay/plain_heads.py",
        "    if before is not None and fields == before.fields:\n",
        "    if before is not None:\n",
        (f"{_TEST_QUICK}::test_each_request_has_its_own_fields_and_no_others",),
    ),
    Mutation(
        "what the share gets for a request is what it got for the one before",
        _QUICK,
        "        if self._known is not None and request.kept is self._known.kept:\n",
        "        if self._known is not None:\n",
        (f"{_TEST_QUICK}::test_each_request_has_its_own_fields_and_no_others",),
    ),
    Mutation(
        "a request that must not be sent twice may be",
        _QUICK,
        "request.method in SAFE and not request.length and self._open(door, request, message)",
        "self._open(door, request, message)",
        (f"{_TEST_QUICK}::test_a_first_request_that_must_not_be_sent_twice_waits_for_its_stream",),
    ),
    Mutation(
        "a body counts as sent before it was",
        "relay/uploads.py",
        "            size = self._body.take(data)\n            if size:\n",
        "            size = self._body.take(data)\n"
        "            self.is_whole = self._body.is_whole\n"
        "            if size:\n",
        ("tests/relay/test_uploads.py::test_a_body_is_not_whole_before_the_share_was_sent_it",),
    ),
    Mutation(
        "what is odd in a body in chunks is passed on",
        "relay/uploads.py",
        "            if not _BEGIN.fullmatch(data):\n",
        "            if False:\n",
        ("tests/relay/test_uploads.py::test_an_odd_body_is_made_plain",),
    ),
    Mutation(
        "an answer has two lengths",
        "relay/plain_heads.py",
        "    elif chunked == (length is not None):",
        "    elif not chunked and length is None:",
        ("tests/relay/test_plain_heads.py::test_answers_that_are_not_plain",),
    ),
    Mutation(
        "a chunk ends where the next seems to begin",
        "relay/plain_bodies.py",
        "                if data[at : at + size] != _CRLF[-left:][:size]:\n",
        "                if False:\n",
        (f"{_TEST_QUICK}::test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one",),
    ),
    Mutation(
        "what follows an answer answers the next request",
        _QUICK,
        "        if surplus and self._way is not None:\n",
        "        if False and self._way is not None:\n",
        (f"{_TEST_QUICK}::test_what_follows_an_answer_is_nobodys",),
    ),
    Mutation(
        "what comes unasked answers the next request",
        _QUICK,
        "not (way.stream.is_quiet and way.stream.is_writable)",
        "not way.stream.is_writable",
        (f"{_TEST_QUICK}::test_what_comes_unasked_is_no_answer_to_the_next_request",),
    ),
    Mutation(
        "a request goes to the share of the one before",
        _QUICK,
        "if door != way.door or not (way.stream.is_quiet",
        "if not (way.stream.is_quiet",
        (f"{_TEST_QUICK}::test_another_hosts_request_goes_to_another_share",),
    ),
    Mutation(
        "part of an answer is taken for the whole",
        _QUICK,
        "        self._visitor.abort()  # so that a part is not taken for the whole\n",
        "",
        (f"{_TEST_QUICK}::test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one",),
    ),
)
