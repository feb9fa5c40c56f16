"""Defences of streams that go on, and of what finds out that they have to."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_END = "tunnel/resumable_end.py"
_CONNECTION = "tunnel/connection.py"
_HELD = "vshare/resumables.py"
_POOL = "tunnel/pool.py"
_LIVENESS = "tunnel/liveness.py"
_TEST = "tests/tunnel/test_resumable_end.py"
_TEST_SETTLED = "tests/tunnel/test_resuming_settled.py"
_TEST_POOL = "tests/tunnel/test_pool.py"
_TEST_LIVENESS = "tests/tunnel/test_liveness.py"

RESUMING = (
    Mutation(
        "anybody resumes anybody's stream",
        _HELD,
        "        stream = self._streams.get((guest.fingerprint, message.id))\n",
        "        stream = {key[1]: each for key, each in self._streams.items()}.get(message.id)\n",
        (f"{_TEST}::test_nobody_resumes_what_is_not_his",),
        (
            (
                "        self._timers.pop((guest.fingerprint, message.id)).cancel()\n",
                "        next(iter(self._timers.values())).cancel()\n",
            ),
        ),
    ),
    Mutation(
        "an old attempt to resume takes the stream back",
        _HELD,
        "        if message.generation <= stream.generation:\n",
        "        if False:\n",
        (f"{_TEST}::test_resumptions_that_cannot_be",),
    ),
    Mutation(
        "a stream goes on from an offset that cannot be",
        _END,
        "        if not self._replay.start <= offset <= self.total:\n",
        "        if False:\n",
        (f"{_TEST}::test_resumptions_that_cannot_be",),
    ),
    Mutation(
        "what was never sent can be acknowledged",
        _END,
        "        if offset > self.total:\n",
        "        if False:\n",
        (f"{_TEST}::test_what_was_never_sent_cannot_be_acknowledged",),
    ),
    Mutation(
        "the connection that carried a resumed stream goes on",
        _HELD,
        "        if before is not connection:\n",
        "        if False:\n",
        (f"{_TEST}::test_the_later_attempt_wins",),
    ),
    Mutation(
        "a removed guest's streams wait for it",
        _HELD,
        "            if guest is None or key[0] == guest.fingerprint:\n",
        "            if False:\n",
        (f"{_TEST}::test_a_removed_guests_streams_do_not_wait",),
    ),
    Mutation(
        "a share holds a stream for ever",
        _HELD,
        "            self._timers[key] = loop.call_later(HELD_FOR, stream.give_up, Code.LOST)\n",
        "            self._timers[key] = loop.call_later(3600, stream.give_up, Code.LOST)\n",
        (f"{_TEST}::test_a_share_gives_up_as_well",),
    ),
    Mutation(
        "a stream that does not go on ends as if all had come",
        _END,
        "        self.peer.reset(code)\n",
        "        self.peer.send_eof()\n",
        (f"{_TEST}::test_not_in_time_is_an_error_and_no_end_of_stream",),
    ),
    Mutation(
        "what is sent is kept without a limit",
        _END,
        "        if self._replay.held < window:\n            return False\n",
        "        return False\n",
        (f"{_TEST}::test_a_reader_that_stops_bounds_what_is_kept",),
    ),
    Mutation(
        "a stream that gets nowhere is resumed for ever",
        _END,
        "        return self._fruitless >= MAX_FRUITLESS\n",
        "        return False\n",
        (f"{_TEST}::test_resuming_that_leads_nowhere_is_given_up",),
    ),
    Mutation(
        "what was sent before the end is not kept until it has arrived",
        _CONNECTION,
        "            self._settled = end\n",
        "            self._settled = None\n",
        (
            f"{_TEST}::test_bytes_that_were_sent_and_ended_before_the_cut_still_arrive",
            f"{_TEST}::test_settled_streams_are_forgotten_by_both_sides",
        ),
    ),
    Mutation(
        "what the other side has reset is kept, and asked for",
        _CONNECTION,
        "            if self._settled is not None and self._settled.number == number:\n",
        "            if False:\n",
        (f"{_TEST_SETTLED}::test_a_late_reset_ends_what_is_kept",),
    ),
    Mutation(
        "a late reset of an earlier stream ends the one that is kept",
        _CONNECTION,
        "            if self._settled is not None and self._settled.number == number:\n",
        "            if self._settled is not None:\n",
        (f"{_TEST_SETTLED}::test_a_late_reset_of_an_earlier_stream_means_nothing",),
    ),
    Mutation(
        "a stream that was reset is told to have ended well",
        _END,
        "            self.reason = code\n        self._finish(None)\n",
        "            self.reason = None\n        self._finish(None)\n",
        (f"{_TEST_SETTLED}::test_what_came_before_a_late_reset_is_delivered_to_its_end",),
    ),
    Mutation(
        "what is kept for a slow program is acknowledged twice",
        _END,
        "            if not self._has_settled:  # else it was resumed: the inbox is counted\n",
        "            if True:\n",
        (f"{_TEST_SETTLED}::test_what_is_in_the_inbox_is_counted_once",),
    ),
    Mutation(
        "dial attempts have no limit while the way is down",
        _POOL,
        "MAX_DIALLING + MAX_STALLED)",
        "10**6)",
        (f"{_TEST_POOL}::test_attempts_are_bounded",),
    ),
    Mutation(
        "a slow connection is ended although it answered",
        _LIVENESS,
        "            if asked.fine_until <= began and not self._answered(connection):\n",
        "            if asked.fine_until <= began:\n",
        (f"{_TEST_LIVENESS}::test_one_that_answers_late_is_not_ended",),
    ),
)
