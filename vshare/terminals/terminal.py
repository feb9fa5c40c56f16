"""One shared terminal: a program, its screen, and who looks at it (docs/protocol.md 8.9)."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.errors import UsageError
from tunnel.terminal_messages import (
    MAX_PEOPLE,
    MAX_TITLE,
    Do,
    End,
    MessageType,
    Person,
    Size,
    State,
    serialize_long,
    serialize_payload,
)
from tunnel.vt.screen import MAX_COLUMNS, MAX_ROWS
from vshare.terminals.fan_out import FanOut
from vshare.terminals.identity import Identity
from vshare.terminals.program import Program
from vshare.terminals.recording import Recording
from vshare.terminals.rights import Rights
from vshare.terminals.screen import SharedScreen
from vshare.terminals.viewer import Sink, Viewer

TYPING_LASTS = 2.0  # seconds after the last key
# Two who type at once are named in turn: everybody is told each time.
TYPING_LEAST = 0.5  # seconds
# The program waits so long for the sharer's own terminal, then goes on without it.
SHARER_PATIENCE = 1.0  # seconds
# A guest's window that becomes larger and smaller without end resizes the machine's this often.
RESIZE_EVERY = 0.1  # seconds
MIN_SIDE = 2  # columns or rows; a window that is being folded away says less
GUESTS_LEAST = (20, 5)  # columns, rows: no guest makes it so small that nobody can use it


@dataclass(frozen=True, slots=True)
class Terms:
    """How a terminal is shared. `follow_smallest`: its size is that of the smallest viewer, not
    the sharer's; `hold`: a guest's line waits for the sharer."""

    read_write: bool = False
    hold: bool = False
    follow_smallest: bool = False


class SharedTerminal:
    """`start(terminal)` gives the program. `tell(kind, text, **fields)` hears what happens;
    `on_end` is called once, when it is over."""

    def __init__(self, name: str, terms: Terms, columns: int = 80, rows: int = 24) -> None:
        self.name = name
        self.terms = terms
        self.rights = Rights(read_write=terms.read_write)
        self.screen = SharedScreen(*_within(columns, rows))
        self.recording: Recording | None = None
        self.tell: Callable[..., None] = lambda kind, text="", **fields: None
        self.on_end: Callable[[], None] = lambda: None
        self.on_change: Callable[[], None] = lambda: None
        self.is_over = False
        self.goes_on = False  # when the sharer leaves
        self.version = 0  # of what `state_for` gives
        self._program: Program | None = None
        self._viewers: list[Viewer] = []  # the sharer's first
        self._typing = ""
        self._typing_until = 0.0  # loop time; before, no other is named
        self._typing_ends: asyncio.TimerHandle | None = None
        self._resizing: asyncio.TimerHandle | None = None
        self._fan_out = FanOut(lambda: self.viewers, self._drawn)
        self._patience: asyncio.TimerHandle | None = None
        self._telling: asyncio.Handle | None = None

    @property
    def viewers(self) -> list[Viewer]:
        """Who looks, the sharer's own terminals first."""
        return list(self._viewers)

    def run(self, program: Program) -> None:
        """`program` runs in it, in the size that it has now."""
        self._program = program
        program.resize(self.screen.columns, self.screen.rows)

    # -- from the program

    def output(self, data: bytes) -> None:
        """What the program wrote."""
        if self.is_over:
            return
        shown, answers = self.screen.feed(data)
        if answers and self._program is not None:
            self._program.write(answers)
        if not shown:
            return
        if self.recording is not None:
            self.recording.output(shown)
        messages = list(serialize_long(MessageType.OUTPUT, shown))
        sharers = self._sharers()
        for viewer in sharers:
            viewer.output(messages)
            if viewer.is_full and not viewer.is_stale:
                self._wait_for_sharer()
        self._fan_out.catch_up_soon(sharers)
        self._fan_out.add(shown)

    def ended(self, text: str, code: Code = Code.CLOSED) -> None:
        """The program has ended, or nobody is to see it any more: `text` says which. Idempotent."""
        if self.is_over:
            return
        self.is_over = True
        self._fan_out.finish()
        message = serialize_payload(End(int(code), text[:MAX_TITLE]))
        for viewer in self.viewers:
            viewer.end(message)
        for timer in (self._typing_ends, self._resizing, self._patience, self._telling):
            if timer is not None:
                timer.cancel()
        if self._program is not None:
            self._program.close()
        if self.recording is not None:
            self.recording.close()
            if self.recording.failed:
                text = f"{self.recording.path} has not all of it: {self.recording.failed}"
                self.tell("notice", text, warning=True)
        self.tell(
            "terminal-ended",
            f"the terminal {self.name!r} has ended: {text}",
            terminal=self.name,
            reason=text,
        )
        self.on_end()

    # -- viewers

    def view(self, identity: Identity, sink: Sink) -> Viewer:
        """STATE and SCREEN go to `sink` from within."""
        viewer = Viewer(self, identity, sink)
        viewer.present(self._drawn(scrollback=True), self._fan_out.at)
        if identity.is_sharer:
            self.goes_on = False
            self._viewers.insert(0, viewer)
        else:
            self._viewers.append(viewer)
            self.tell(
                "terminal-viewer",
                f"{identity.name} looks at the terminal {self.name!r}",
                terminal=self.name,
                guest=identity.name,
            )
        self._changed()
        return viewer

    def left(self, viewer: Viewer) -> None:
        """`viewer` has closed."""
        self._viewers.remove(viewer)
        if not any(each.identity.key == viewer.identity.key for each in self._viewers):
            self.rights.forget_question(viewer.identity)
        if viewer.identity.is_sharer:
            self._go_on()
        if not self.is_over:
            self.sizes_changed(viewer)
            self._changed()

    def state_for(self, viewer: Viewer) -> State:
        """See State."""
        who = viewer.identity
        return State(
            name=self.name,
            columns=self.screen.columns,
            rows=self.screen.rows,
            write=self.rights.may_type(who),
            may_ask=self.rights.may_ask(who),
            locked=self.rights.locked,
            hold=self.terms.hold,
            held=viewer.held.waits,
            line=viewer.held.text[:MAX_TITLE],
            typing=self._typing,
            viewers=len(self._viewers),
            people=self.people() if who.is_sharer else [],
        )

    def has_room(self, viewer: Viewer) -> None:
        """`viewer` has shown what it got, or can take more again."""
        if viewer.identity.is_sharer and not viewer.is_full:
            self._go_on()
        self._fan_out.catch_up_soon([viewer])

    def sizes_changed(self, viewer: Viewer) -> None:
        """`viewer` has another size, or is gone: whose counts decides. A guest may have to wait."""
        if viewer.identity.is_sharer:
            self._fit()
        elif self.terms.follow_smallest and self._resizing is None:
            self._fit()
            loop = asyncio.get_running_loop()
            self._resizing = loop.call_later(RESIZE_EVERY, self._fit_again)

    def _fit_again(self) -> None:
        self._resizing = None
        self._fit()

    def _fit(self) -> None:
        sizes = [_sides(each.size) for each in self._sharers() if each.size][:1]
        if self.terms.follow_smallest:
            sizes = [_counted(each) for each in self._viewers if each.size]
        if sizes:
            columns, rows = (min(side) for side in zip(*sizes, strict=True))
            self._resize(*_within(columns, rows))

    # -- typing

    def type(self, viewer: Viewer, data: bytes) -> None:
        """`viewer` may, and typed `data`."""
        self._is_typing(viewer.identity.name)
        self._fan_out.first = viewer
        if self.terms.hold and not viewer.identity.is_sharer:
            before = viewer.held.waits
            viewer.held.receive_data(data)
            if viewer.held.waits and not before:
                self.tell(
                    "terminal-held",
                    f"{viewer.identity.name} wants to run a line in the terminal {self.name!r}",
                    terminal=self.name,
                    guest=viewer.identity.name,
                )
            self._changed()
        elif self._program is not None:
            self._program.write(data)

    def asked(self, viewer: Viewer) -> None:
        """A viewer asks for the right to type."""
        if self.rights.ask(viewer.identity):
            name = viewer.identity.name
            self.tell(
                "terminal-asked",
                f"{name} asks to type in the terminal {self.name!r}"
                f" (vshare terminal grant {shlex.quote(name)})",  # people paste it
                terminal=self.name,
                guest=name,
            )
            self._changed()

    # -- the sharer's word

    def do(self, word: Do, sharer: Viewer) -> None:
        """One of the verbs from the sharer's own terminal; unknown ones do nothing."""
        verbs: dict[str, Callable[[], object]] = {
            "lock": lambda: self.lock(locked=True),
            "unlock": lambda: self.lock(locked=False),
            "release": lambda: self.judge(word.guest, word.line, release=True),
            "drop": lambda: self.judge(word.guest, word.line, release=False),
            "grant": lambda: self.grant(word.guest, write=True),
            "revoke": lambda: self.grant(word.guest, write=False),
            "end": lambda: self.ended("the sharer has ended it"),
            "detach": lambda: self._detach(sharer),
        }
        act = verbs.get(word.verb)
        if act is None:
            return
        try:
            act()
        except UsageError:
            self._changed()  # whom it is about is gone meanwhile

    def _detach(self, sharer: Viewer) -> None:
        self.goes_on = True
        text = f"it goes on; vshare terminal {self.name} comes back to it"
        sharer.end(serialize_payload(End(int(Code.CLOSED), text)))

    def lock(self, *, locked: bool) -> None:
        """Take typing away from all guests, or give back what they had."""
        if self.rights.locked == locked:
            return
        self.rights.locked = locked
        self._rights_changed()
        if locked:
            text = f"guests cannot type in the terminal {self.name!r}"
            self.tell("terminal-locked", text, terminal=self.name)
        else:
            text = f"guests type as before in the terminal {self.name!r}"
            self.tell("terminal-unlocked", text, terminal=self.name)

    def grant(self, guest: str, *, write: bool) -> None:
        """Let the viewers called `guest` type, or not any more. Raises UsageError."""
        chosen = self._guests(guest)
        for viewer in chosen:
            self.rights.decide(viewer.identity, write=write)
        self._rights_changed()
        name = chosen[0].identity.name
        if write:
            text = f"{name} may type in the terminal {self.name!r}"
            self.tell("terminal-granted", text, guest=name, terminal=self.name)
        else:
            text = f"{name} may not type any more in the terminal {self.name!r}"
            self.tell("terminal-revoked", text, guest=name, terminal=self.name)

    def judge(self, guest: str, line: str | None = None, *, release: bool) -> None:
        """Run the line of `guest` that waits, or throw it away; "" is the first that waits. With
        `line` only that one: another may have come since the sharer looked."""
        for viewer in self._viewers:
            is_it = guest in ("", viewer.identity.name) and line in (None, viewer.held.shown)
            if viewer.held.waits and is_it:
                may = self.rights.may_type(viewer.identity)
                if release and may and self._program is not None:
                    self._program.write(viewer.held.release())
                else:
                    viewer.held.drop()
                break
        self._changed()

    def _guests(self, name: str) -> list[Viewer]:
        guests = [each for each in self._viewers if not each.identity.is_sharer]
        found = [each for each in guests if each.identity.name == name]
        if not found:
            known = ", ".join(sorted({each.identity.name for each in guests})) or "nobody"
            raise UsageError(
                f"no guest {name!r} looks at the terminal {self.name!r}", f"who does: {known}"
            )
        return found

    def _rights_changed(self) -> None:
        for viewer in self._viewers:
            if not self.rights.may_type(viewer.identity):
                viewer.bucket.clear()
                viewer.held = type(viewer.held)()
        self._changed()

    # -- inside

    def _sharers(self) -> list[Viewer]:
        return [each for each in self._viewers if each.identity.is_sharer]

    def people(self) -> list[Person]:
        """The guests who look, as the sharer is told."""
        return [
            Person(
                each.identity.name[:MAX_TITLE],
                self.rights.may_type(each.identity),
                self.rights.has_asked(each.identity),
                each.held.shown,
            )
            for each in self._viewers[:MAX_PEOPLE]
            if not each.identity.is_sharer
        ]

    def _resize(self, columns: int, rows: int) -> None:
        if (columns, rows) == (self.screen.columns, self.screen.rows):
            return
        self.screen.resize(columns, rows)
        if self._program is not None:
            self._program.resize(columns, rows)
        if self.recording is not None:
            self.recording.resized(columns, rows)
        self._fan_out.redraw()
        self._changed()

    def _drawn(self, *, scrollback: bool = False) -> list[bytes]:
        drawn = self.screen.draw(scrollback=scrollback)
        return list(serialize_long(MessageType.SCREEN, drawn))

    def _wait_for_sharer(self) -> None:
        if self._patience is None and self._program is not None:
            self._program.pause()
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(SHARER_PATIENCE, self._go_on)

    def _go_on(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            if self._program is not None:
                self._program.resume()

    def _is_typing(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        if self._typing_ends is not None:
            self._typing_ends.cancel()
        self._typing_ends = loop.call_later(TYPING_LASTS, self._stopped_typing)
        now = loop.time()
        if name != self._typing and (not self._typing or now >= self._typing_until):
            self._typing, self._typing_until = name, now + TYPING_LEAST
            self._changed()

    def _stopped_typing(self) -> None:
        self._typing_ends = None
        self._typing = ""
        self._changed()

    def _changed(self) -> None:
        """Tell everybody, once, when what happens now is done."""
        self.version += 1
        if self._telling is None and not self.is_over:
            self._telling = asyncio.get_running_loop().call_soon(self._tell_all)

    def _tell_all(self) -> None:
        self._telling = None
        for viewer in self._sharers():
            viewer.state()
        self._fan_out.soon()
        self.on_change()


def _sides(size: Size) -> tuple[int, int]:
    return size.columns, size.rows


def _counted(viewer: Viewer) -> tuple[int, int]:
    """The size of one of several whose smallest counts."""
    columns, rows = _sides(viewer.size) if viewer.size else (MAX_COLUMNS, MAX_ROWS)
    if viewer.identity.is_sharer:
        return columns, rows
    return max(columns, GUESTS_LEAST[0]), max(rows, GUESTS_LEAST[1])


def _within(columns: int, rows: int) -> tuple[int, int]:
    return min(max(columns, MIN_SIDE), MAX_COLUMNS), min(max(rows, MIN_SIDE), MAX_ROWS)
