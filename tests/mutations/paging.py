"""The relay's pages: who is let in, what forms from elsewhere can do, and who owns what."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_DOOR = "relay/website/door.py"
_SESSIONS = "relay/website/sessions.py"
_TEST_DOOR = "tests/relay/website/test_door.py"
_TEST_HISTORIES = "tests/relay/cluster/test_histories.py"
_TEST_OWNERS = "tests/relay/website/test_owners.py"
_TEST_SESSIONS = "tests/relay/website/test_sessions.py"
_TEST_TOGETHER = "tests/relay/cluster/test_pages.py"
_TEST_TOKENS = "tests/relay/website/test_tokens.py"

PAGING = (
    Mutation(
        "a form of the pages' may come from anywhere",
        _DOOR,
        '    site = request.headers.get("sec-fetch-site")\n',
        "    return True\n",
        (f"{_TEST_DOOR}::test_forms_of_other_pages_do_nothing",),
    ),
    Mutation(
        "a form of the pages' needs no word of the session's",
        _DOOR,
        'if not _equal(form.get("csrf", ""), viewer.session.csrf):',
        "if False:",
        (f"{_TEST_DOOR}::test_a_form_has_the_sessions_own_word_in_it",),
    ),
    Mutation(
        "a browser is signed in by a form that another was given",
        _DOOR,
        'if not cookie or not _equal(form.get("csrf", ""), self._proof(cookie)):',
        "if False:",
        (f"{_TEST_DOOR}::test_a_form_has_the_sessions_own_word_in_it",),
    ),
    Mutation(
        "a token for sharing alone signs in at the pages",
        _DOOR,
        "return PAGES in permit.scopes or ADMIN in permit.scopes",
        "return True",
        (f"{_TEST_DOOR}::test_a_token_that_is_not_good_lets_nobody_in",),
    ),
    Mutation(
        "wrong tokens at the pages fill the log",
        _DOOR,
        "            if not self._failures.take(source, now):\n",
        "            if False:\n",
        (f"{_TEST_DOOR}::test_wrong_tokens_fill_no_log_and_lock_nobody_out",),
    ),
    Mutation(
        "who signs in at the pages is sent wherever it is said",
        _DOOR,
        "return text if text in WAYS else FIRST",
        "return text",
        (f"{_TEST_DOOR}::test_nobody_is_sent_elsewhere",),
        also=(("response = _go(WAYS[way])", "response = _go(way)"),),
    ),
    Mutation(
        "the pages are had without TLS",
        "relay/website/hardened.py",
        'if scope["scheme"] == "https"',
        "if True",
        (f"{_TEST_DOOR}::test_without_tls_there_is_nothing",),
    ),
    Mutation(
        "a session at the pages outlasts its token",
        _SESSIONS,
        "if session.is_over(self._clock()) or not is_good(session.token):",
        "if session.is_over(self._clock()):",
        (f"{_TEST_SESSIONS}::test_a_session_ends_with_its_token",),
    ),
    Mutation(
        "a session at the pages is kept open by the page's own looks",
        "relay/website/door.py",
        "        if LIVE in request.headers:\n            return response\n",
        "",
        (f"{_TEST_DOOR}::test_a_cookie_of_before_is_nobodys",),
    ),
    Mutation(
        "who has signed out is still signed in with the cookie",
        _SESSIONS,
        "        return None if self.has_ended(session) else session\n",
        "        return session\n",
        (f"{_TEST_SESSIONS}::test_a_session_is_found_by_its_cookie_and_ends",),
    ),
    Mutation(
        "one who clicks has a session for ever",
        _SESSIONS,
        "return now >= self.ends_at or now - self.seen_at >= IDLE",
        "return now - self.seen_at >= IDLE",
        (f"{_TEST_SESSIONS}::test_who_does_nothing_is_out_and_so_is_everybody_in_the_end",),
    ),
    Mutation(
        "what is shown once is shown to any session",
        _SESSIONS,
        "if said.id == session.id and ",
        "if ",
        (f"{_TEST_SESSIONS}::test_what_is_shown_once_is_the_next_pages_of_that_session",),
    ),
    Mutation(
        "anybody's share is ended from the pages",
        "relay/website/holdings.py",
        "return viewer.is_admin or self._is_own(viewer, token)",
        "return True",
        (f"{_TEST_OWNERS}::test_each_thing_is_its_owners_alone",),
    ),
    Mutation(
        "anybody's token is shown and revoked at the pages",
        "relay/website/records.py",
        "return [each for each in reversed(book.tokens()) if each.user == user]",
        "return list(reversed(book.tokens()))",
        (f"{_TEST_OWNERS}::test_each_thing_is_its_owners_alone",),
    ),
    Mutation(
        "anybody's history is shown at the pages",
        "relay/website/records.py",
        "history_reader(self._folder, tokens)",
        "history_reader(self._folder, None)",
        (f"{_TEST_OWNERS}::test_each_thing_is_its_owners_alone",),
    ),
    Mutation(
        "a token that is made at the pages may do more than its maker's",
        "relay/website/token_desk.py",
        "        wanted = _within(wanted, own.limits, defaults)\n",
        "",
        (f"{_TEST_TOKENS}::test_nobody_makes_himself_more_than_he_has",),
    ),
    Mutation(
        "a token that was revoked elsewhere is good as long as its relay says so",
        "relay/accounts/watch.py",
        "            permits.pop(token, None)\n",
        "            pass\n",
        (
            "tests/relay/accounts/test_watch.py::test_what_another_relay_has_revoked_is_void_and_stays_so",
        ),
    ),
    Mutation(
        "what another relay has revoked is forgotten with it",
        "relay/accounts/watch.py",
        "            keep_revocations(self._db, new, now)\n",
        "            pass\n",
        (
            "tests/relay/accounts/test_watch.py::test_what_another_relay_has_revoked_is_void_and_stays_so",
        ),
    ),
    Mutation(
        "who signs out often enough is signed in again",
        "relay/website/sign_outs.py",
        "        self._ended = {**rest, (token, _ALL): latest}\n",
        "        self._ended = rest\n",
        (
            "tests/relay/website/test_sign_outs.py::test_where_there_are_too_many_more_is_ended_and_never_less",
        ),
    ),
    Mutation(
        "anybody's token of another relay is revoked at the pages",
        "relay/website/token_desk.py",
        "found is not None and (asker.is_admin or found.account == asker.account)",
        "found is not None",
        (f"{_TEST_TOGETHER}::test_tokens_are_listed_made_and_revoked_at_another_node",),
    ),
    Mutation(
        "a token for sharing alone has another relay make tokens",
        "relay/website/token_desk.py",
        "if permit is None or not permit.scopes & {PAGES, ADMIN}:",
        "if permit is None:",
        (f"{_TEST_TOGETHER}::test_who_asks_about_tokens_is_told_no_more_than_the_token_is_for",),
    ),
    Mutation(
        "anybody's history at another relay is listed at the pages",
        "relay/website/histories.py",
        "asked = ListAsked(asked.of, tokens,",
        "asked = ListAsked(asked.of, None,",
        (f"{_TEST_HISTORIES}::test_nobody_sees_what_is_anothers_at_another_relay",),
    ),
    Mutation(
        "anybody's session at another relay is told at the pages",
        "relay/website/histories.py",
        "StoryAsked(tokens, asked.session, asked.name)",
        "StoryAsked(None, asked.session, asked.name)",
        (f"{_TEST_HISTORIES}::test_nobody_sees_what_is_anothers_at_another_relay",),
    ),
    Mutation(
        "a relay shows everybody's history to the pages of another",
        "relay/cluster/histories.py",
        'history_reader(self._folder or Path("/nowhere"), tokens)',
        'history_reader(self._folder or Path("/nowhere"), None)',
        (f"{_TEST_HISTORIES}::test_nobody_sees_what_is_anothers_at_another_relay",),
    ),
)
