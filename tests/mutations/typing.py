"""Shared terminals: who types, whose right it is, what reaches other people's terminals."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_RIGHTS, _VIEWER = "vshare/terminals/rights.py", "vshare/terminals/viewer.py"
_TERMINAL, _SCREEN = "vshare/terminals/terminal.py", "vshare/terminals/screen.py"
_HUB_TESTS = "tests/vshare/terminals/test_hub.py"
_SEAT_TESTS = "tests/vshare/terminals/test_sharers_seat.py"
_SCREEN_TESTS = "tests/vshare/terminals/test_screen.py"
_FAN_OUT = "vshare/terminals/fan_out.py"
_FAN_OUT_TESTS = "tests/vshare/terminals/test_fan_out.py"
_END_TESTS = "tests/vshare/terminals/test_viewer_end.py"

TYPING = (
    Mutation(
        "a read-only guest types",
        _VIEWER,
        "    def _input(self, data: bytes) -> None:\n"
        "        if not self._terminal.rights.may_type(self.identity):\n"
        "            return\n",
        "    def _input(self, data: bytes) -> None:\n",
        (f"{_HUB_TESTS}::test_a_read_only_guest_types_in_vain",),
        (
            (
                "        self._typing = None\n"
                "        if not self._terminal.rights.may_type(self.identity):",
                "        self._typing = None\n        if False:",
            ),
        ),
    ),
    Mutation(
        "a lock is ignored",
        _RIGHTS,
        "        if who.read_only or self.locked:",
        "        if who.read_only:",
        (f"{_HUB_TESTS}::test_a_lock_takes_typing_away_at_once_and_gives_back_what_was",),
    ),
    Mutation(
        "what waited for its turn is typed after the lock",
        _TERMINAL,
        "                viewer.bucket.clear()\n",
        "",
        (f"{_HUB_TESTS}::test_a_lock_throws_away_what_waited_for_its_turn",),
    ),
    Mutation(
        "a line runs that should be held",
        _TERMINAL,
        "        if self.terms.hold and not viewer.identity.is_sharer:",
        "        if False:",
        (f"{_HUB_TESTS}::test_with_hold_enter_nothing_runs_before_the_sharer_says_so",),
    ),
    Mutation(
        "a line that is held has letters that the sharer does not see",
        "vshare/terminals/held_line.py",
        "    if is_seen(char):\n",
        "    if char.isprintable():\n",
        ("tests/vshare/terminals/test_held_line.py::test_what_a_line_is",),
    ),
    Mutation(
        "a line that is held is not shown to its end",
        "tunnel/vt/painter.py",
        "            rows.append(Row(columns, _NOTE))\n",
        "            break\n",
        ("tests/tunnel/vt/test_painter.py::test_notes_are_shown_to_their_ends",),
    ),
    Mutation(
        "the sharer's key lets another line through than was shown",
        _TERMINAL,
        " and line in (None, viewer.held.shown)",
        "",
        (f"{_HUB_TESTS}::test_the_line_that_runs_is_the_one_that_the_sharer_was_shown",),
    ),
    Mutation(
        "the sharer's key is for a line that has just come",
        "vshare/terminals/sharers_seat.py",
        "        elif self._held.is_fresh:",
        "        elif False:",
        (f"{_SEAT_TESTS}::test_a_key_is_for_the_line_that_is_shown_and_was_looked_at",),
    ),
    Mutation(
        "one guest takes all places before a terminal",
        "vshare/terminals/hub.py",
        "for each in viewers) >= MAX_OF_ONE:",
        "for each in viewers) < 0:",
        (f"{_HUB_TESTS}::test_one_guest_does_not_take_all_places",),
    ),
    Mutation(
        "a line that is held runs although its guest may not type any more",
        _TERMINAL,
        "                viewer.held = type(viewer.held)()\n",
        "",
        (f"{_HUB_TESTS}::test_what_is_held_is_gone_with_the_right",),
        (("may = self.rights.may_type(viewer.identity)", "may = True"),),
    ),
    Mutation(
        "a guest whose right was revoked types on",
        _RIGHTS,
        "            self._said[who.key] = write",
        "            self._said[who.key] = write or self._said.get(who.key, False)",
        (f"{_HUB_TESTS}::test_rights_are_asked_for_given_and_taken_per_guest",),
    ),
    Mutation(
        "another guest has the right of one with its name",
        _RIGHTS,
        "        return self._said.get(who.key, self.read_write)",
        "        return self._said.get(who.name, self.read_write)",
        (f"{_HUB_TESTS}::test_rights_hang_on_the_key_not_on_the_name",),
        (("            self._said[who.key] = write", "            self._said[who.name] = write"),),
    ),
    Mutation(
        "who is to look on alone can be let type",
        _RIGHTS,
        "        if who.read_only or self.locked:",
        "        if self.locked:",
        (f"{_HUB_TESTS}::test_rights_hang_on_the_key_not_on_the_name",),
        (("        if not (who.is_sharer or who.read_only):", "        if not who.is_sharer:"),),
    ),
    Mutation(
        "guests have the sharer's verbs",
        _VIEWER,
        "        elif kind is MessageType.DO and self.identity.is_sharer:",
        "        elif kind is MessageType.DO:",
        (f"{_HUB_TESTS}::test_a_guest_says_only_what_guests_say",),
    ),
    Mutation(
        "the program waits for guests",
        _TERMINAL,
        "        sharers = self._sharers()\n",
        "        sharers = self._viewers\n",
        (f"{_HUB_TESTS}::test_nobody_waits_for_a_guest",),
    ),
    Mutation(
        "the sharer's keys wait for a crowd",
        _FAN_OUT,
        "        for _ in range(min(guests, len(self._waiting))):",
        "        for _ in range(len(self._waiting)):",
        (f"{_FAN_OUT_TESTS}::test_the_sharer_at_once_and_guests_a_few_in_a_turn",),
    ),
    Mutation(
        "a guest who floods is listened to all the time",
        "vshare/terminals/viewer_end.py",
        "            self.peer.pause_reading()\n",
        "",
        (f"{_END_TESTS}::test_a_flood_is_listened_to_now_and_then",),
    ),
    Mutation(
        "a viewer that shows nothing is sent everything",
        _VIEWER,
        "        return self._blocked or self._sent - self._seen >= WINDOW",
        "        return self._blocked",
        (f"{_END_TESTS}::test_a_guest_that_shows_nothing_is_sent_no_more_than_a_window",),
    ),
    Mutation(
        "the machine writes guests' clipboards, and asks their terminals",
        _SCREEN,
        '        if number in ("0", "2"):',
        "        if number:",
        (f"{_SCREEN_TESTS}::test_what_asks_a_terminal_or_reaches_beyond_it_is_not_passed_on",),
        (("""            self._shown.append(f"\\x1b]2;{self.title}\\x07")""",
          """            self._shown.append(f"\\x1b]{text}\\x07")"""),),
    ),
    Mutation(
        "questions to a terminal reach everybody's",
        _SCREEN,
        "        elif word in _QUESTIONS:\n            self.screen.csi(word, parameters)\n"
        "            return\n",
        "        elif word in _QUESTIONS:\n            pass\n",
        (f"{_SCREEN_TESTS}::test_what_asks_a_terminal_or_reaches_beyond_it_is_not_passed_on",),
    ),
    Mutation(
        "a guest limited to some ports sees terminals",
        "vshare/policy.py",
        "        if not rights.sees_terminals:",
        "        if False:",
        (f"{_END_TESTS}::test_who_may_look",),
    ),
)  # fmt: skip
