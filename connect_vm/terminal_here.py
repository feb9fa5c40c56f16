"""`vconnect terminal`: join a share, and sit before one of its terminals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from connect_vm import requests
from connect_vm.notices import Notices
from connect_vm.requests import TRY_AGAIN
from connect_vm.running import parse_label
from connect_vm.session import Options, join, until_the_end
from connect_vm.terminal_link import StreamLink
from connect_vm.terminal_stream import open_terminal
from connect_vm.ways import Guest, Ways, guest_client, networks_for
from tunnel.address import parse_connect_line
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.console import Console, Interrupt
from tunnel.errors import RefusedError, VshareError
from tunnel.running import Running
from tunnel.terminal_messages import End, MessageType, State, serialize
from tunnel.vt.seat import Escape, Link, Seat
from tunnel.vt.socket_link import SocketLink
from tunnel.vt.tty import require_terminal

RETRY = 0.3  # seconds between tries to open the terminal again; the pool finds the way meanwhile
_SILENT = logging.CRITICAL + 1


class SeatConsole(Console):
    """Sentences go over the terminal's screen while somebody sits there."""

    seat: Seat | None = None

    def step(self, text: str) -> None:
        """See Console."""
        if self.seat is not None:
            self.seat.tell(text)
        else:
            super().step(text)

    def detail(self, text: str) -> None:
        """See Console."""
        if self.seat is None:
            super().detail(text)


async def connect_terminal(
    options: Options, terminal: str, console: SeatConsole, interrupt: Interrupt
) -> None:
    """Join, and stay before the terminal until it ends or the person leaves. Raises VshareError."""
    require_terminal()
    line = parse_connect_line(options.line)
    console.step(f"Loading share '{line.name}'...")
    dial, identity = await join(options, line, console)
    notices = Notices(console, line.relay)
    guest = Guest(identity, line.name)
    ways = Ways(  # of which nothing is told: the screen is the machine's
        dial, guest, lambda place, why: None, networks_for(relay_only=options.relay_only)
    )
    async with guest_client(ways, guest, lambda error: None, notices) as client:
        seat = Seat(lambda state: title(line.name, state), ESCAPES)
        first = StreamLink(await open_terminal(client, terminal))

        async def watch() -> None:
            await until_the_end(client, interrupt, notices)

        end = await sit(seat, links(client, terminal, first), watch, console)
        if notices.error is not None:
            raise notices.error
    tell_end(end, console)


async def sit_beside(
    running: Running, terminal: str, console: SeatConsole, interrupt: Interrupt
) -> None:
    """The same through a `vconnect` that runs, as the guest that it is. Raises VshareError."""
    require_terminal()
    name = parse_label(running.name).partition(".")[0]
    async with contextlib.AsyncExitStack() as stack:
        first = await _session(running, terminal, stack)
        ready = [first]

        async def connect() -> Link:
            while True:
                if ready:
                    return ready.pop()
                try:
                    return await _session(running, terminal, stack)
                except VshareError as error:
                    if error.exit_code != TRY_AGAIN:
                        raise
                await asyncio.sleep(RETRY)

        async def watch() -> None:
            await interrupt.stopped.wait()

        interrupt.serving = True
        seat = Seat(lambda state: title(name, state), ESCAPES)
        end = await sit(seat, connect, watch, console)
    tell_end(end, console)


async def _session(running: Running, terminal: str, stack: contextlib.AsyncExitStack) -> SocketLink:
    """One more, closed with `stack` at the latest."""
    begun = running.session(requests.Terminal(terminal), requests.Joined)
    _, reader, writer = await stack.enter_async_context(begun)
    return SocketLink(reader, writer, "connection")


async def sit(
    seat: Seat,
    connect: Callable[[], Awaitable[Link]],
    watch: Callable[[], Awaitable[None]],
    console: SeatConsole,
) -> End | None:
    """Until the terminal ends, or the person leaves, or `watch` returns or raises."""
    console.seat = seat
    try:
        with _silent_log():
            async with asyncio.TaskGroup() as group:
                work = group.create_task(seat.run(connect), name="seat")
                watching = group.create_task(_call(watch), name="end")
                await asyncio.wait([work, watching], return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
                watching.cancel()
    finally:
        console.seat = None
    return work.result() if not work.cancelled() else None


async def _call(watch: Callable[[], Awaitable[None]]) -> None:
    await watch()


def tell_end(end: End | None, console: Console) -> None:
    """Say how it ended. Raises RefusedError where the share closed it to this guest."""
    if end is None:
        console.step("You have left; the terminal goes on without you.")
        return
    text = end.text or "the terminal has ended"
    if end.code == Code.CLOSED:
        console.step(text[0].upper() + text[1:] + ".")
        return
    known = end.code in set(Code)
    raise RefusedError(Code(end.code) if known else Code.INTERNAL, text, "ask the sharer")


def links(client: Client, terminal: str, first: Link) -> Callable[[], Awaitable[Link]]:
    """What gives `first`, and later, when one was lost, another. Raises VshareError when the share
    says that there is none to be had."""
    ready = [first]

    async def connect() -> Link:
        if ready:
            return ready.pop()
        while True:
            try:
                return StreamLink(await open_terminal(client, terminal))
            except (RefusedError, AccessLostError):
                raise
            except VshareError:  # `until_the_end` knows when that is for good
                await asyncio.sleep(RETRY)

    return connect


def title(name: str, state: State) -> str:
    """What the window is called."""
    rights = "you may type" if state.write else "locked" if state.locked else "look on"
    others = f", {state.viewers} here" if state.viewers > 1 else ""
    typing = f", {state.typing} types" if state.typing else ""
    return f"{state.name} of {name} ({rights}{others}{typing})"


def _ask(seat: Seat) -> None:
    state = seat.state
    if state is None:
        return
    if state.write:
        seat.tell("You may type already.")
    elif not state.may_ask:
        seat.tell("You have asked, or may not ask: the sharer decides.")
    else:
        seat.say(serialize(MessageType.ASK))
        seat.tell("The sharer is asked whether you may type.")


ESCAPES = {"a": Escape("ask for the right to type", _ask)}


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    """Log lines would be written across the screen."""
    handlers = [(each, each.level) for each in logging.getLogger().handlers]
    for handler, _ in handlers:
        handler.setLevel(_SILENT)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)
