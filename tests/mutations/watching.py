"""What the relay's operator sees: on an address of its own, and nobody's name or secret in it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_LINES = "relay/operation/log_lines.py"
_LOGS = "relay/operation/logs.py"
_BACKUP = "relay/operation/backup.py"
_HEALTH = "relay/operation/health.py"
_TEST_LOGS = "tests/relay/operation/test_logs.py"
_TEST_PANEL = "tests/relay/operation/test_panel.py"
_TEST_BACKUP = "tests/relay/operation/test_backup.py"

WATCHING = (
    Mutation(
        "a token that somebody logs is in the log",
        _LINES,
        '_TOKEN.sub("vsr_...", text[:most])',
        "text[:most]",
        (f"{_TEST_LOGS}::test_each_event_is_one_object",),
    ),
    Mutation(
        "what a stranger says moves the cursor of who reads the log",
        _LINES,
        '        line = printable(f"',
        '        line = str(f"',
        (f"{_TEST_LOGS}::test_text_for_people_has_no_control_characters",),
    ),
    Mutation(
        "addresses are in the log that are to be left out",
        _LINES,
        'return _ADDRESS.sub("[address]", text) if self._hides else text',
        "return text",
        (f"{_TEST_LOGS}::test_addresses_are_left_out_where_that_is_asked",),
    ),
    Mutation(
        "strangers fill the log without end",
        _LOGS,
        "        if tokens < 1:\n",
        "        if tokens < -1e9:\n",
        (f"{_TEST_LOGS}::test_what_strangers_cause_without_end_is_cut_short_and_counted",),
    ),
    Mutation(
        "a relay that drains says that it is ready",
        _HEALTH,
        '"it drains" if self._sources.is_leaving() else ""',
        '""',
        (f"{_TEST_PANEL}::test_a_relay_that_drains_is_not_ready_and_says_so",),
    ),
    Mutation(
        "each look at a disk that hangs takes a thread for good",
        _HEALTH,
        "        if self._writing is None:\n",
        "        if True:\n",
        (f"{_TEST_PANEL}::test_a_disk_that_hangs_is_told_and_asked_no_more",),
    ),
    Mutation(
        "a backup takes the place of an earlier one",
        _BACKUP,
        "    if target.exists():\n        raise FileExistsError\n",
        "    target.unlink(missing_ok=True)\n",
        (f"{_TEST_BACKUP}::test_nothing_is_overwritten_and_failing_leaves_nothing",),
    ),
)
