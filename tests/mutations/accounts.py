"""The relay's accounts: who may share there, how much, and what is kept of that."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PERMITS = "relay/accounts/permits.py"
_CONTROL = "relay/control.py"
_QUOTAS = "relay/accounts/quotas.py"
_HOLDERS = "relay/accounts/holders.py"
_ELSEWHERE = "relay/accounts/elsewhere.py"
_USAGE = "relay/cluster/usage.py"
_RULES = "relay/accounts/rules.py"
_FRONT = "relay/front.py"
_TEST_PERMITS = "tests/relay/accounts/test_permits.py"
_TEST_WATCH = "tests/relay/accounts/test_watch.py"
_TEST_BOOK = "tests/relay/accounts/test_book.py"
_TEST_SHARES = "tests/relay/accounts/test_registering.py"
_TEST_QUOTAS = "tests/relay/accounts/test_quotas.py"
_TEST_THERE = "tests/relay/accounts/test_quotas_elsewhere.py"
_TEST_USAGE = "tests/relay/cluster/test_usage.py"
_TEST_RULES = "tests/relay/accounts/test_rules.py"
_TEST_LIMITS = "tests/relay/accounts/test_enforcing.py"

ACCOUNTS = (
    Mutation(
        "a token's ID is as good as the token",
        _PERMITS,
        "        if permit is None or not matches:\n",
        "        if permit is None:\n",
        (f"{_TEST_PERMITS}::test_its_id_alone_is_worth_nothing",),
    ),
    Mutation(
        "a token is good for ever",
        _PERMITS,
        "if permit is not None and not permit.is_over(now)",
        "if permit is not None",
        (f"{_TEST_PERMITS}::test_a_token_ends_by_the_clock",),
    ),
    Mutation(
        "a token for something else is for shares, too",
        _PERMITS,
        "permit is not None and SHARE in permit.scopes",
        "permit is not None",
        (f"{_TEST_PERMITS}::test_a_token_for_something_else_is_not_for_shares",),
    ),
    Mutation(
        "a token that was revoked is read as any",
        "relay/accounts/watch.py",
        '    " WHERE revoked_at IS NULL"\n',
        "",
        (f"{_TEST_WATCH}::test_what_is_made_and_revoked_meanwhile_counts",),
    ),
    Mutation(
        "shares go on without their token",
        "relay/house.py",
        "            await self._accounts.run(self._registry.end_without, self._look)\n",
        "            await self._accounts.run(lambda is_good: None, self._look)\n",
        (f"{_TEST_SHARES}::test_a_token_that_is_revoked_ends_its_shares_and_no_others",),
    ),
    Mutation(
        "streams go on without the share's token",
        "relay/registry.py",
        "            if now - since >= CUT_AFTER:\n",
        "            if False:\n",
        (f"{_TEST_SHARES}::test_a_share_that_does_not_end_loses_its_streams",),
    ),
    Mutation(
        "a relay with accounts takes who has none",
        _CONTROL,
        '            raise RejectionError("token",',
        '            return None\n            raise RejectionError("token",',
        (f"{_TEST_SHARES}::test_a_share_needs_a_token_that_is_good",),
    ),
    Mutation(
        "one token is for any number of shares",
        _QUOTAS,
        "            if is_reached(limit, len(others) - renames + there):\n",
        "            if False:\n",
        (f"{_TEST_SHARES}::test_a_quota_refuses_and_touches_nobody",),
    ),
    Mutation(
        "shares with one key count once, however many they are",
        _QUOTAS,
        "            renames = any(share.key_hash == key_hash for share in others)",
        "            renames = sum(share.key_hash == key_hash for share in others)",
        (f"{_TEST_SHARES}::test_a_share_that_changes_its_name_is_one_and_no_more",),
    ),
    Mutation(
        "guests come whatever the token's limit",
        "relay/server.py",
        "        over = self._registry.quotas.refusal(share, is_guest=True)\n",
        "        over = None\n",
        (f"{_TEST_LIMITS}::test_one_guest_too_many_is_told_so_and_nobody_else",),
    ),
    Mutation(
        "browsers come whatever the token's limit",
        "relay/upstreams.py",
        "        over = self._registry.quotas.refusal(share)\n",
        "        over = None\n",
        (f"{_TEST_LIMITS}::test_browsers_get_a_page_and_know_when_to_come_again",),
        (
            (
                "        if self._registry.quotas.refusal(share) is not None:\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutation(
        "a limit is of one share, and not of all with its token",
        _HOLDERS,
        '        return f"{TOKEN}{token}", f"{USER}{account}"\n',
        '        return f"{TOKEN}{source}", f"{USER}{account}"\n',
        (f"{_TEST_RULES}::test_without_tokens_sources_count_but_not_loopback",),
    ),
    Mutation(
        "another token of the same user gives as much again",
        _QUOTAS,
        "        return self._permits.limits_of_account(int(holder.removeprefix(USER)))\n",
        "        return Limits()\n",
        (f"{_TEST_QUOTAS}::test_a_user_has_no_more_with_two_tokens",),
    ),
    Mutation(
        "what is under way goes on when the day's bytes are used up",
        _QUOTAS,
        "                flow.cut()\n",
        "                pass\n",
        (f"{_TEST_LIMITS}::test_bytes_of_a_day_end_streams_of_that_token_alone",),
    ),
    Mutation(
        "another start of the relay is another day",
        "relay/accounts/watch.py",
        "        quotas.load(rows)\n",
        "",
        (f"{_TEST_LIMITS}::test_bytes_of_a_day_end_streams_of_that_token_alone",),
    ),
    Mutation(
        "who had more than is due owes nothing",
        "relay/accounts/pacing.py",
        "due - self._owed / PAY_BACK_WITHIN",
        "due",
        ("tests/relay/accounts/test_pacing.py::test_who_had_too_much_pays_it_back",),
    ),
    Mutation(
        "a connection is as fast as it can be",
        _QUOTAS,
        "            flow.pace(rates.get(flow, 0.0))\n",
        "            pass\n",
        (f"{_TEST_QUOTAS}::test_a_bandwidth_is_divided_among_sockets_as_they_come_and_go",),
    ),
    Mutation(
        "who is banned may register",
        _RULES,
        "        if ban is not None:\n",
        "        if False:\n",
        (f"{_TEST_RULES}::test_who_is_banned_is_told_so_whatever_it_is_for",),
    ),
    Mutation(
        "what is banned goes on",
        "relay/house.py",
        "        self._registry.end_banned(self._ban_of)\n",
        "",
        (f"{_TEST_LIMITS}::test_who_is_banned_is_told_why_and_nobody_else",),
    ),
    Mutation(
        "who comes from a banned address is listened to",
        _FRONT,
        "            if self._is_banned(address):\n",
        "            if False:\n",
        (f"{_TEST_LIMITS}::test_who_comes_from_a_banned_address_is_cut_and_not_listened_to",),
    ),
    Mutation(
        "a ban of an IPv4 address is not one of the same address in IPv6's form",
        "relay/accounts/bans.py",
        "(0xFFFF << 32 if address.version == 4 else 0)",
        "0",
        (
            "tests/relay/accounts/test_bans.py::test_networks_of_both_families_are_found_by_their_addresses",
        ),
    ),
    Mutation(
        "a reserved name is anybody's",
        _RULES,
        "        return self._reserved.account_of(name) in (0, account)\n",
        "        return True\n",
        (f"{_TEST_RULES}::test_reserved_names_are_for_one_account",),
    ),
    Mutation(
        "a token for some names is for all",
        _RULES,
        "        if permit is not None and not permit.may_take(name):\n",
        "        if False:\n",
        (f"{_TEST_RULES}::test_a_token_may_be_for_names_that_begin_with_something",),
    ),
    Mutation(
        "names are leased without end",
        _CONTROL,
        "        if not self._new_names.take(source, account, time.monotonic(), chosen=chosen):\n",
        "        if False:\n",
        (f"{_TEST_SHARES}::test_nobody_leases_names_without_end",),
    ),
    Mutation(
        "one key holds names without end",
        "relay/names.py",
        "of_key >= MAX_OF_KEY or ",
        "",
        (
            "tests/relay/test_names.py::test_one_key_and_one_account_hold_so_many_names_until_they_lapse",
        ),
    ),
    Mutation(
        "names are chosen as freely as they are drawn",
        "relay/new_names.py",
        "        if chosen and not",
        "        if False and not",
        ("tests/relay/test_new_names.py::test_names_that_were_chosen_are_fewer_in_the_long_run",),
    ),
    Mutation(
        "who says nothing leaves no room for others",
        "relay/limits.py",
        " or self._undecided_by[each] >= undecided",
        "",
        ("tests/relay/test_limits.py::test_who_says_nothing_leaves_room_for_others",),
    ),
    Mutation(
        "an IPv6 network has as many sources as it likes",
        "relay/limits.py",
        "return (source,) if site == source else (source, site)",
        "return (source,)",
        ("tests/relay/test_limits.py::test_a_network_that_has_many_sources_is_one",),
    ),
    Mutation(
        "a slow request to the relay itself is waited for",
        "relay/asgi.py",
        "self._slow = self.loop.call_later(REQUEST_WITHIN, self.transport.abort)",
        "self._slow = self.loop.call_later(9_999, self.transport.abort)",
        (
            "tests/relay/test_asgi.py::test_a_request_that_does_not_come_to_its_end_is_not_waited_for",
        ),
    ),
    Mutation(
        "a name goes with its key to another account",
        "relay/names.py",
        "(account = ?10 OR account = 0 OR ?10 = 0)",
        "TRUE",
        (f"{_TEST_SHARES}::test_a_name_is_its_accounts",),
    ),
    Mutation(
        "tokens are kept",
        "relay/accounts/book.py",
        "                token.hash,\n",
        "                token.text.encode(),\n",
        (f"{_TEST_BOOK}::test_a_token_is_not_kept",),
    ),
    Mutation(
        "an account that is gone has a successor",
        "relay/accounts/database.py",
        " id INTEGER PRIMARY KEY AUTOINCREMENT,",
        " id INTEGER PRIMARY KEY,",
        (f"{_TEST_BOOK}::test_users_come_and_go_with_their_tokens",),
    ),
    Mutation(
        "the accounts are for everybody on the host to read",
        "relay/database.py",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)",
        ("tests/relay/accounts/test_database.py::test_the_files_are_their_owners_alone",),
    ),
    Mutation(
        "a relay for the world is open by itself",
        "relay/settings_rules.py",
        '    return all(_is_loopback(parse_listen(each)[0]) for each in values["listen"])\n',
        "    return True\n",
        (
            "tests/relay/test_settings_rules.py"
            "::test_a_relay_for_more_than_this_host_is_not_open_by_itself",
        ),
    ),
    Mutation(
        "a token is shown to relays that do not ask",
        "vshare/relay_link.py",
        "            self._token.text if self._token and challenge.token else",
        "            self._token.text if self._token else",
        (f"{_TEST_SHARES}::test_an_open_relay_is_shown_no_token",),
    ),
    Mutation(
        "a token is shown to a relay that is called as the one that it is for",
        "vshare/relay_tokens.py",
        "    return str(relay).lower()\n",
        '    return f"{relay.host}:{relay.port}".lower()\n',
        ("tests/vshare/test_relay_tokens.py::test_a_token_is_for_its_relay_alone",),
    ),
    Mutation(
        "who mistypes a token is shown it",
        "tunnel/relay_token.py",
        'raise UsageError("a character of that relay token is wrong", HINT)',
        'raise UsageError(f"a character of that relay token is wrong: {text}", HINT)',
        (
            "tests/tunnel/test_relay_token.py"
            "::test_a_slip_of_the_hand_is_noticed_and_nothing_is_shown",
        ),
    ),
    Mutation(
        "guests at other relays do not count",
        _QUOTAS,
        "meter.guests + there.guests",
        "meter.guests",
        (f"{_TEST_THERE}::test_guests_and_streams_elsewhere_count",),
    ),
    Mutation(
        "bytes at other relays do not end what is under way",
        _QUOTAS,
        "        moved = meter.moved + self._there(meter).moved\n",
        "        moved = meter.moved\n",
        (f"{_TEST_THERE}::test_bytes_elsewhere_end_what_uses_them_here",),
    ),
    Mutation(
        "shares of a user at other relays do not count",
        _QUOTAS,
        "            there = self.elsewhere.shares(meter.holder, name, key_hash, room)\n",
        "            there = 0\n",
        (f"{_TEST_THERE}::test_a_users_shares_elsewhere_count",),
    ),
    Mutation(
        "each relay of a cluster gives the whole of a bandwidth",
        _ELSEWHERE,
        "left * here / (here + there.wanting)",
        "left",
        (f"{_TEST_THERE}::test_relays_have_the_bandwidth_together_and_each_its_part",),
    ),
    Mutation(
        "what a relay had counts when it lives no more",
        _USAGE,
        "if lives else ()",
        "if True else ()",
        (f"{_TEST_USAGE}::test_what_is_said_is_counted_as_long_as_it_is_so",),
    ),
    Mutation(
        "what a relay said is heard again after it said something else",
        _USAGE,
        "        if stamp < self._stamps.get(home, 0):\n",
        "        if False:\n",
        (f"{_TEST_USAGE}::test_what_is_said_is_counted_as_long_as_it_is_so",),
    ),
    Mutation(
        "Redis is told where shares come from",
        _USAGE,
        "            return SOURCE + self._member.seals.hide(holder.removeprefix(SOURCE))\n",
        "            return holder\n",
        (f"{_TEST_USAGE}::test_what_is_said_has_no_addresses_and_is_said_once",),
    ),
)
