"""Joining: what keeps out who does not know the code, or is in the middle."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_JOIN = "tunnel/join.py"
_SERVER = "tunnel/join_server.py"
_ATTEMPTS = "tunnel/attempts.py"
_GUEST = "connect_vm/join_share.py"
_TEST_JOIN = "tests/tunnel/test_join.py"
_TEST_SERVER = "tests/tunnel/test_join_server.py"
_TEST_ATTEMPTS = "tests/tunnel/test_attempts.py"
_RELAY = "tests/test_malicious_relay.py"

JOINING = (
    Mutation(
        "the share's certificate, as the guest sees it, is not bound",
        _JOIN,
        "idB=hashlib.sha256(certificate).digest(),",
        'idB=b"",',
        (f"{_RELAY}::test_it_swaps_certificates_in_a_join[unchanged]",),
        ((("idB=hashlib.sha256(self._certificate).digest(),"), 'idB=b"",'),),
    ),
    Mutation(
        "the guest's request is not bound",
        _JOIN,
        "idA=hashlib.sha256(request).digest(),",
        'idA=b"",',
        (f"{_TEST_JOIN}::test_a_swapped_request_is_not_confirmed",),
        (
            ("idA=hashlib.sha256(first.request).digest(),", 'idA=b"",'),
            ("name.encode() + transcript(first, second)", "name.encode()"),
        ),
    ),
    Mutation(
        "the confirmations do not cover messages 1 and 2",
        _JOIN,
        "name.encode() + transcript(first, second)",
        "name.encode()",
        (f"{_TEST_JOIN}::test_a_changed_guest_name_is_not_confirmed",),
    ),
    Mutation(
        "the share does not look at the guest's confirmation",
        _JOIN,
        "if self._keys is None or not hmac.compare_digest(self._keys.confirm_guest(), confirm):",
        "if self._keys is None:",
        (f"{_RELAY}::test_it_guesses_in_the_guests_place",),
    ),
    Mutation(
        "the guest does not look at the share's confirmation",
        _JOIN,
        "if not hmac.compare_digest(expected, issued.confirm):",
        "if not expected:",
        (f"{_RELAY}::test_it_guesses_in_the_shares_place",),
    ),
    Mutation(
        "the confirmation does not cover the certificate",
        _JOIN,
        "for each in (certificate, ca, route.encode())",
        "for each in (ca, route.encode())",
        (f"{_TEST_JOIN}::test_what_is_issued_cannot_be_changed",),
    ),
    Mutation(
        "the confirmation does not cover the CA",
        _JOIN,
        "for each in (certificate, ca, route.encode())",
        "for each in (certificate, route.encode())",
        (f"{_TEST_JOIN}::test_what_is_issued_cannot_be_changed",),
    ),
    Mutation(
        "the confirmation does not cover the route",
        _JOIN,
        "for each in (certificate, ca, route.encode())",
        "for each in (certificate, ca)",
        (f"{_TEST_JOIN}::test_what_is_issued_cannot_be_changed",),
    ),
    Mutation(
        "anybody may say that the sharer is asked",
        _JOIN,
        "if not hmac.compare_digest(self._keys.confirm_waiting(waiting.text), waiting.confirm):",
        "if not waiting.confirm:",
        (f"{_TEST_JOIN}::test_waiting_is_the_shares_word",),
    ),
    Mutation(
        "both confirmations are made with one key, so that one can be sent back as the other",
        _JOIN,
        'share=expand(key, b"vshare-join/1 share"),',
        'share=expand(key, b"vshare-join/1 guest"),',
        (f"{_TEST_JOIN}::test_a_guest_written_from_the_protocols_text",),
    ),
    Mutation(
        "a join for another share is taken",
        _JOIN,
        "if first.version != VERSION or first.share != name:",
        "if first.version != VERSION:",
        (f"{_TEST_JOIN}::test_message_1_is_checked",),
    ),
    Mutation(
        "the guest takes a certificate for somebody else's key",
        _GUEST,
        "        require_issued(identity)\n",
        "",
        (f"{_RELAY}::test_what_is_issued_has_to_be_for_the_guests_key",),
    ),
    Mutation(
        "hanging up after message 2 is free",
        _SERVER,
        "        self._attempts.failed(source, loop.time())"
        "  # hanging up is a guess as well: not free\n",
        "",
        (f"{_TEST_SERVER}::test_hanging_up_after_message_2_is_a_guess",),
    ),
    Mutation(
        "attempts are not limited",
        _SERVER,
        "        self._attempts.take(source, loop.time())\n",
        "",
        (f"{_TEST_SERVER}::test_the_limit_is_answered_before_any_arithmetic",),
    ),
    Mutation(
        "a failed join is not told to the sharer",
        _SERVER,
        "        exchange.guessed = True\n",
        "",
        (f"{_TEST_SERVER}::test_hanging_up_after_message_2_is_a_guess",),
    ),
    Mutation(
        "a join may take for ever",
        _SERVER,
        "async with asyncio.timeout(join.JOIN_TIMEOUT):",
        "async with asyncio.timeout(None):",
        ("tests/malicious_relay/test_delays.py::test_a_join_is_held_back[message 3]",),
    ),
    Mutation(
        "nobody who waits for the sharer is ever sent away",
        _SERVER,
        "async with asyncio.timeout(join.APPROVAL_WITHIN), asyncio.TaskGroup() as group:",
        "async with asyncio.TaskGroup() as group:",
        (f"{_TEST_SERVER}::test_nobody_decides",),
    ),
    Mutation(
        "the share's bucket is bottomless",
        _ATTEMPTS,
        "        self._tokens -= 1\n",
        "",
        (f"{_TEST_ATTEMPTS}::test_many_strangers_who_failed_leave_the_reserve_alone",),
    ),
    Mutation(
        "nothing is kept back for newcomers",
        _ATTEMPTS,
        "floor = 0 if self._is_newcomer(source, now) else RESERVED",
        "floor = 0",
        (f"{_TEST_ATTEMPTS}::test_many_strangers_who_failed_leave_the_reserve_alone",),
    ),
    Mutation(
        "a source has no bucket of its own",
        _ATTEMPTS,
        "        known.tokens -= 1\n",
        "",
        (f"{_TEST_ATTEMPTS}::test_a_source_has_a_bucket_of_its_own",),
    ),
    Mutation(
        "every network of a site is a newcomer",
        _ATTEMPTS,
        "(self._sources.get(each) for each in (source, site_of(source)))",
        "(self._sources.get(each) for each in (source,))",
        (f"{_TEST_ATTEMPTS}::test_a_site_with_many_networks_is_one_stranger",),
    ),
    Mutation(
        "a thousand failures slow nothing down",
        _ATTEMPTS,
        "SLOW_REFILL_SECONDS if self.is_slowed else REFILL_SECONDS",
        "REFILL_SECONDS",
        (f"{_TEST_ATTEMPTS}::test_after_a_thousand_failures_it_is_slow_until_the_code_is_rotated",),
    ),
    Mutation(
        "a right code forgives every failure of its source",
        _ATTEMPTS,
        "known.unproven = max(0, known.unproven - 1)",
        "known.unproven = 0",
        (f"{_TEST_ATTEMPTS}::test_success_does_not_pardon_other_failures",),
    ),
)
