"""`vshare terminal`: the sharer's own terminal before a shared one, over the control socket."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tunnel.codes import Code
from tunnel.console import Console, Interrupt
from tunnel.errors import VshareError
from tunnel.running import Running
from tunnel.terminal_messages import Do, End, Person, State, serialize_payload
from tunnel.vt.seat import Escape, Link, Seat
from tunnel.vt.socket_link import SocketLink
from tunnel.vt.tty import require_terminal
from vshare.terminals import requests

PIECE = 60  # characters of a line that waits: nothing of it is left out
# Seconds in which an answer may have been meant for what was shown before: people are that slow.
TAKEN_IN = 0.7
T = TypeVar("T")
_NOTHING_WAITS = "No line waits."
_NOBODY_ASKS = "Nobody asks; `vshare terminal grant GUEST` lets a guest type."
_HELP = "Enter ~ ? tells what you can do; when you leave with Enter ~ . it ends."


async def sit_at(
    share: Running, request: requests.Terminal, console: Console, interrupt: Interrupt
) -> None:
    """Until the terminal ends, or the sharer leaves it. Raises VshareError."""
    require_terminal()
    async with share.session(request, requests.Showing) as (showing, reader, writer):
        words = _Words(showing.name, made=showing.made)
        seat = Seat(words.title, words.escapes, told=words.told, standing=words.standing)
        interrupt.serving = True
        async with asyncio.TaskGroup() as group:
            sitting = group.create_task(
                seat.run(_once(SocketLink(reader, writer, "share"), share.name)), name="seat"
            )
            stopped = group.create_task(interrupt.stopped.wait(), name="signal")
            await asyncio.wait([sitting, stopped], return_when=asyncio.FIRST_COMPLETED)
            sitting.cancel()
            stopped.cancel()
    end = sitting.result() if not sitting.cancelled() else None
    _tell_end(end, showing.name, console)


def _once(link: Link, share: str) -> Callable[[], Awaitable[Link]]:
    """What gives `link`, which is not to be had again: with its share the terminal is gone."""
    left = [link]

    async def connect() -> Link:
        if not left:
            raise VshareError(f"the share {share!r} has ended", "start it again with `vshare up`")
        return left.pop()

    return connect


class _Words:
    """What is said of the terminal to the sharer."""

    def __init__(
        self, name: str, *, made: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._made = made
        self._held: First[tuple[str, str]] = First(clock)
        self._asking: First[str] = First(clock)
        self.escapes = {
            **_ESCAPES,
            "g": Escape("let who asks type", self._grant),
            "y": Escape("let the line through that waits", self._release),
            "n": Escape("throw it away", self._drop),
        }

    def title(self, state: State) -> str:
        """What the window is called."""
        notes = [f"{len(state.people)} look on"] if state.people else []
        notes += ["locked"] if state.locked else []
        notes += [f"{state.typing} types"] if _is_guest(state, state.typing) else []
        return f"{state.name} (shared{''.join(f', {note}' for note in notes)})"

    def told(self, before: State | None, state: State) -> list[str]:
        """Sentences for what has changed."""
        if before is None:
            if not self._made:
                return [_HELP]
            return [f"Guests see this: vconnect terminal, {self._name!r} is its name.", _HELP]
        said = []
        had, has = _names(before), _names(state)
        said += [f"{name} looks on." for name in sorted(has - had)]
        said += [f"{name} looks on no more." for name in sorted(had - has)]
        if before.locked != state.locked:
            said.append("Guests cannot type." if state.locked else "Guests can type as before.")
        return said

    def standing(self, state: State) -> list[str]:
        """What waits for the sharer."""
        held = [each for each in state.people if each.held]
        asking = [each for each in state.people if each.asks]
        self._held.is_now((held[0].name, held[0].held) if held else None)
        self._asking.is_now(asking[0].name if asking else None)
        lines = []
        if held:
            line = held[0].held
            lines.append(f"{held[0].name} wants to run:")
            lines += [f"> {line[at : at + PIECE]}" for at in range(0, max(1, len(line)), PIECE)]
            lines.append("Enter ~ y lets it through, Enter ~ n throws it away" + _more(held))
        if asking:
            lines.append(f"{asking[0].name} asks to type: Enter ~ g allows it" + _more(asking))
        return lines

    def _release(self, seat: Seat) -> None:
        waits = self._held.value
        if waits is None:
            seat.tell(_NOTHING_WAITS)
        elif self._held.is_fresh:
            seat.tell(f"This line of {waits[0]}'s has just come: look at it first.")
        else:
            seat.say(serialize_payload(Do("release", *waits)))

    def _drop(self, seat: Seat) -> None:
        if self._held.value is not None:
            seat.say(serialize_payload(Do("drop", *self._held.value)))

    def _grant(self, seat: Seat) -> None:
        name = self._asking.value
        if name is None:
            seat.tell(_NOBODY_ASKS)
        elif self._asking.is_fresh:
            seat.tell(f"Now it is {name} who asks: look at the name first.")
        else:
            seat.say(serialize_payload(Do("grant", name)))


class First(Generic[T]):
    """Which of those that wait for the sharer is shown. What it is may change in the moment before
    a key is pressed, and a guest can see to that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.value: T | None = None
        self._clock = clock
        self._other_until = -math.inf

    def is_now(self, value: T | None) -> None:
        """This is shown from now on."""
        if value != self.value:
            if self.value is not None:
                self._other_until = self._clock() + TAKEN_IN
            self.value = value

    @property
    def is_fresh(self) -> bool:
        """Whether another one was shown just now."""
        return self._clock() < self._other_until


def _more(people: list[Person]) -> str:
    return f" ({len(people) - 1} more wait)" if len(people) > 1 else ""


def _names(state: State) -> set[str]:
    return {each.name for each in state.people}


def _is_guest(state: State, name: str) -> bool:
    return name in _names(state)


def _verb(verb: str) -> Callable[[Seat], None]:
    return lambda seat: seat.say(serialize_payload(Do(verb)))


def _lock(seat: Seat) -> None:
    is_locked = seat.state is not None and seat.state.locked
    seat.say(serialize_payload(Do("unlock" if is_locked else "lock")))


def _who(seat: Seat) -> None:
    people = seat.state.people if seat.state is not None else []
    seat.tell(*[_described(each) for each in people] or ["Nobody looks on."])


def _described(person: Person) -> str:
    may = "may type" if person.write else "asks to type" if person.asks else "looks on"
    return f"{person.name}: {may}" + (", a line waits" if person.held else "")


_ESCAPES = {
    "d": Escape("leave, and let the terminal go on", _verb("detach")),
    "l": Escape("take typing away from all guests, or give it back", _lock),
    "w": Escape("who is here", _who),
}


def _tell_end(end: End | None, name: str, console: Console) -> None:
    """Raises VshareError where it did not end as it should."""
    if end is None:
        console.step(f"The terminal {name!r} has ended, for everybody.")
    elif end.code in (Code.CLOSED, Code.EXPIRED):
        console.step(f"The terminal {name!r}: {end.text}.")
    else:
        raise VshareError(f"the terminal {name!r} has ended: {end.text}", "start another one")
