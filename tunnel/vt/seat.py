"""A person's terminal before a shared one: shows it, whatever the size of each, and sends keys.

The counterpart is the share's hub (docs/protocol.md 8.9). `vconnect terminal` and `vshare terminal`
are this, with escapes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tunnel.console import printable
from tunnel.errors import LostError
from tunnel.terminal_messages import (
    FROM_SHARE,
    MAX_INPUT,
    SEEN_EVERY,
    End,
    MessageType,
    Seen,
    Size,
    State,
    TerminalParser,
    parse_payload,
    serialize,
    serialize_payload,
)
from tunnel.vt.kept_keys import KeptKeys
from tunnel.vt.keys import EscapeKeys
from tunnel.vt.mouse import moved
from tunnel.vt.painter import Painter
from tunnel.vt.screen import Screen
from tunnel.vt.slices import first_slice
from tunnel.vt.tty import Tty

SEEN_LATER = 0.1  # seconds: a word for all that came within, where it was little
SLOW_LOOK = 0.02  # seconds between looks at a terminal that has not taken the last picture
NOTE_LASTS = 6.0  # seconds that a sentence stays over the screen
NOTE_LEAST = 1.5  # seconds of them, also where somebody types on
PAINT_SHARE = 4  # at most a fifth of the time goes into painting: the rest is for what comes
LONG_PICTURE = 0.1  # seconds of CPU time: what takes longer may be seen half done
LEAVE, HELP = ".", "?"
LOST = "The connection is lost; what you type is sent when it is back (Enter ~ . leaves)"


class Link(Protocol):
    """A stream of messages, both ways."""

    def write(self, data: bytes) -> None:
        """Whole messages; `drain` after more than a few. Nothing, when it is lost."""

    async def drain(self) -> None:
        """Wait while the other side takes nothing. Raises LostError."""

    async def receive(self) -> bytes:
        """What came, never nothing. Raises LostError at the end, however it came."""

    def close(self) -> None:
        """Give it up. Idempotent."""


@dataclass(frozen=True, slots=True)
class Escape:
    """What a letter behind Enter and ~ does."""

    text: str  # for the help
    act: Callable[[Seat], None]


class Seat:
    """`title(state)` is what the window is called, `told(before, state)` what is said of a change
    for a while, `standing(state)` what is said as long as it is so. `run` may be called once."""

    def __init__(
        self,
        title: Callable[[State], str],
        escapes: Mapping[str, Escape] | None = None,
        *,
        told: Callable[[State | None, State], list[str]] | None = None,
        standing: Callable[[State], list[str]] | None = None,
    ) -> None:
        self._title = title
        self._told = told or changes
        self._standing_of = standing or own_line
        self._escapes = dict(escapes or {})
        self._keys = EscapeKeys({LEAVE, HELP, *self._escapes})
        self._kept = KeptKeys()
        self._tty = Tty(self._window_changed)
        self._screen = Screen(80, 24)
        self._link: Link | None = None
        self._note: list[str] = []
        self._note_until = 0.0  # no key takes it away before
        self._standing = ""  # a sentence that stays
        self._note_ends: asyncio.TimerHandle | None = None
        self._painting: asyncio.TimerHandle | None = None
        self._may_paint_at = 0.0
        self._seen = self._said = 0  # bytes of SCREEN and OUTPUT: shown, and told so
        self._read_only_told = False
        self._seen_later: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._titled = self._shown_title = ""
        self.state: State | None = None

    async def run(self, connect: Callable[[], Awaitable[Link]]) -> End | None:
        """Sit there until the share says END, or until the person leaves (None).

        `connect` gives a link, again when one was lost, and raises what makes that hopeless.
        """
        async with self._tty:
            self._loop = asyncio.get_running_loop()
            self._painter = Painter(*self._tty.size)
            self._tty.write(self._painter.begin())
            try:
                async with asyncio.TaskGroup() as group:
                    work = [
                        group.create_task(self._watch(connect), name="shared terminal"),
                        group.create_task(self._type(), name="keys"),
                    ]
                    await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
                    for task in work:
                        task.cancel()
                return work[0].result() if not work[0].cancelled() else None
            finally:
                self._leave()

    def say(self, message: bytes) -> None:
        """A message for the share, if there is a way to it."""
        if self._link is not None:
            self._link.write(message)

    def tell(self, *lines: str) -> None:
        """Sentences over the last rows, for a while or until a key is pressed."""
        self._forget_note()
        self._note = [printable(line) for line in lines]
        self._note_ends = self._loop.call_later(NOTE_LASTS, self._forget_note)
        self._note_until = time.monotonic() + NOTE_LEAST
        self._paint_soon()

    # -- from the share

    async def _watch(self, connect: Callable[[], Awaitable[Link]]) -> End:
        while True:
            link = await connect()
            try:
                self._seen = self._said = 0
                self._link = link
                link.write(self._size())
                return await self._follow(link)
            except LostError:
                self._standing = LOST
                self._paint_soon()
            finally:
                self._kept.lost()
                self._link = None
                link.close()

    async def _follow(self, link: Link) -> End:
        parser = TerminalParser(FROM_SHARE)
        while True:
            parser.receive_data(await link.receive())
            self._kept.heard()
            while (message := parser.maybe_message()) is not None:
                kind, payload = message
                if kind is MessageType.END:
                    return parse_payload(End, payload)
                await self._received(kind, payload)
            self._paint_soon()
            await self._tty.written()  # what a slow terminal does not take is not said to be seen
            if self._seen - self._said >= SEEN_EVERY:
                self._tell_seen()
            elif self._seen_later is None:
                self._seen_later = self._loop.call_later(SEEN_LATER, self._tell_seen)

    def _tell_seen(self) -> None:
        if self._seen_later is not None:
            self._seen_later.cancel()
            self._seen_later = None
        if self._seen != self._said:
            self._said = self._seen
            self.say(serialize_payload(Seen(self._seen)))

    async def _received(self, kind: MessageType, payload: bytes) -> None:
        if kind is MessageType.STATE:
            state, is_first = parse_payload(State, payload), self.state is None
            self._state_changed(state)
            if not self._kept.is_up:
                self._is_back(state, is_first=is_first)
            return
        self._seen += len(payload)
        if kind is MessageType.SCREEN:
            self._standing = ""
            self._screen = Screen(self._screen.columns, self._screen.rows)
            if not self._has_begun:
                self._has_begun = True
                self._painter.begin_with(self._screen)
        await self._feed(payload)

    async def _feed(self, payload: bytes) -> None:
        """At once, unless that takes long: whoever wants to leave is heard meanwhile."""
        began = time.thread_time()
        while payload:
            size = first_slice(payload)
            self._screen.feed(payload[:size])
            payload = payload[size:]
            if time.thread_time() - began > LONG_PICTURE:
                await asyncio.sleep(0)
                began = time.thread_time()

    def _state_changed(self, state: State) -> None:
        before, self.state = self.state, state
        self._screen.resize(state.columns, state.rows)
        if sentences := self._told(before, state):
            self.tell(*sentences)
        title = printable(self._title(state))
        if title != self._titled:
            self._titled = title
            self._paint_soon()

    def _is_back(self, state: State, *, is_first: bool) -> None:
        """What was typed meanwhile is sent, now that the share has said who may type."""
        kept, told = self._kept.back(may_type=state.write)
        self._say_input(kept)
        if told and not is_first:
            self.tell(*told)

    # -- from the person

    async def _type(self) -> None:
        while True:
            for what in self._keys.receive_data(await self._tty.read()):
                if time.monotonic() > self._note_until:
                    self._forget_note()
                if what == LEAVE:
                    return
                if isinstance(what, bytes):
                    await self._typed(what)
                elif what == HELP:
                    self._help()
                else:
                    self._escapes[what].act(self)

    async def _typed(self, data: bytes) -> None:
        if self.state is not None and not self.state.write:
            if not self._read_only_told:
                self._read_only_told = True
                self.tell(read_only(self.state))
            return
        self._say_input(self._kept.typed(moved(data, *self._painter.corner)))
        if self._link is not None:
            with contextlib.suppress(LostError):
                await self._link.drain()

    def _say_input(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_INPUT):
            self.say(serialize(MessageType.INPUT, data[at : at + MAX_INPUT]))

    def _help(self) -> None:
        lines = ["Enter ~ .  leave", "Enter ~ ~  a tilde"]
        lines += [f"Enter ~ {letter}  {each.text}" for letter, each in self._escapes.items()]
        self.tell(*lines)

    def _size(self) -> bytes:
        columns, rows = self._tty.size
        return serialize_payload(Size(columns, rows))

    def _window_changed(self) -> None:
        self._painter.resized(*self._tty.size)
        self.say(self._size())
        self._paint_soon()

    # -- the picture

    def _forget_note(self) -> None:
        if self._note_ends is not None:
            self._note_ends.cancel()
            self._note_ends = None
        if self._note:
            self._note = []
            self._paint_soon()

    def _paint_soon(self) -> None:
        """At once, unless it was just done: then a little later, and once for all that came."""
        if self._painting is not None:
            return
        wait = self._may_paint_at - time.perf_counter()
        if wait <= 0 and not self._tty.is_writing:
            self._paint()
        else:
            self._painting = self._loop.call_later(max(wait, 0.0), self._paint_now)

    def _paint_now(self) -> None:
        self._painting = None
        if self._tty.is_writing:  # it is slow: what it shows next is what will be the present then
            self._painting = self._loop.call_later(SLOW_LOOK, self._paint_now)
        else:
            self._paint()

    def _paint(self) -> None:
        began = time.perf_counter()
        talks = self.state is not None and self.state.write
        data = self._painter.paint(self._screen, talks=talks, notes=self._notes())
        if self._titled != self._shown_title:
            self._shown_title = self._titled
            data += self._painter.title(self._titled)
        self._tty.write(data)
        now = time.perf_counter()
        self._may_paint_at = now + PAINT_SHARE * (now - began)

    def _notes(self) -> list[str]:
        standing = [self._standing] if self._standing else []
        if self.state is not None:
            standing += [printable(line) for line in self._standing_of(self.state)]
        return [*self._note, *standing]

    def _leave(self) -> None:
        for timer in (self._note_ends, self._painting, self._seen_later):
            if timer is not None:
                timer.cancel()
        if not self._tty.is_writing:
            self._note, self._standing = [], ""
            self._paint()
        self._tty.finish(self._painter.finish())


def own_line(state: State) -> list[str]:
    """What this person typed and nothing else shows, because it is held."""
    if not (state.hold and (state.line or state.held)):
        return []
    waits = " (waits for the sharer's key)" if state.held else ""
    return [f"> {state.line}{waits}"]


def changes(before: State | None, state: State) -> list[str]:
    """What a person is told of how a terminal has become, in sentences."""
    said = []
    if before is None:
        said += [] if state.write else [read_only(state)]
    elif state.locked != before.locked:
        what = "has locked the terminal: nobody else types" if state.locked else "has unlocked it"
        said.append(f"The sharer {what}.")
    elif state.write != before.write:
        said.append("You may type now." if state.write else "You may not type any more.")
    if state.hold and state.write and not (before and before.hold):
        said.append("The sharer looks at each line that you type before it runs.")
    return said


def read_only(state: State) -> str:
    """Why nothing can be typed, and what to do about it."""
    if state.locked:
        return "The sharer has locked this terminal: you can look on."
    asks = " Enter ~ a asks for it." if state.may_ask else ""
    return f"You can look on, but not type, unless the sharer lets you.{asks}"
