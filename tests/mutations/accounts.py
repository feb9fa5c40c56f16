"""The relay's accounts: who may share there, how much, and what is kept of that."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PERMITS = "relay/accounts/permits.py"
_CONTROL = "relay/control.py"
_TEST_PERMITS = "tests/relay/accounts/test_permits.py"
_TEST_WATCH = "tests/relay/accounts/test_watch.py"
_TEST_BOOK = "tests/relay/accounts/test_book.py"
_TEST_SHARES = "tests/relay/accounts/test_registering.py"

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
        "relay/server.py",
        "            await accounts.run(self.registry.end_without)\n",
        "            await accounts.run(lambda is_good: None)\n",
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
        _CONTROL,
        "        if permit.shares is not None and len(others) - renames >= permit.shares:\n",
        "        if False:\n",
        (f"{_TEST_SHARES}::test_a_quota_refuses_and_touches_nobody",),
    ),
    Mutation(
        "shares with one key count once, however many they are",
        _CONTROL,
        "        renames = any(share.key_hash == key_hash for share in others)",
        "        renames = sum(share.key_hash == key_hash for share in others)",
        (f"{_TEST_SHARES}::test_a_share_that_changes_its_name_is_one_and_no_more",),
    ),
    Mutation(
        "names are leased without end",
        _CONTROL,
        "        if not self._new_names.take(source, account, time.monotonic()):\n",
        "        if False:\n",
        (f"{_TEST_SHARES}::test_nobody_leases_names_without_end",),
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
)
