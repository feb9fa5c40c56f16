"""A relay's settings, and how its work goes to another process."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LEAVING = (
    Mutation(
        "what a relay's file says and nobody knows is passed over",
        "relay/settings_file.py",
        "        if name not in BY_NAME:\n            problems.append(",
        "        if name not in BY_NAME:\n            0 and problems.append(",
        ("tests/relay/test_settings_file.py::test_every_problem_is_told",),
    ),
    Mutation(
        "a relay's private key may be read by everybody",
        "relay/config_check.py",
        "if path.stat().st_mode & stat.S_IRWXO:",
        "if False:",
        ("tests/relay/test_config_check.py::test_files_that_others_can_read_or_write",),
    ),
    Mutation(
        "a relay's settings are written over unasked",
        "relay/cli_config.py",
        "    if not is_free:\n",
        "    if False:\n",
        ("tests/relay/test_cli_config.py::test_init_writes_what_is_said_and_makes_a_token",),
    ),
    Mutation(
        "a relay that was left writes over names that its successor has given",
        "relay/names.py",
        "        if self._disk is None or self._is_handed_over:\n",
        "        if self._disk is None:\n",
        ("tests/relay/test_names.py::test_a_book_that_was_handed_over_is_written_no_more",),
    ),
    Mutation(
        "a relay stands back for a process that is not ready",
        "relay/handover.py",
        '                raise ConnectionResetError("it ended before it was ready")\n',
        "                pass\n",
        (
            "tests/relay/test_handover.py"
            "::test_who_says_something_else_than_that_it_is_ready_changes_nothing",
        ),
    ),
    Mutation(
        "a visitor of a share that is on its way back is sent away",
        "relay/expected.py",
        "                await event.wait()\n",
        "                pass\n",
        ("tests/relay/test_expected.py::test_a_visitor_waits_for_a_share_that_is_to_come_back",),
    ),
)
