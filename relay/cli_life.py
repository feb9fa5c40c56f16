"""What `vrelay serve` does from the moment that it serves: signals, and how it ends.

SIGHUP reads the certificate again. SIGINT ends it at once, SIGTERM after a drain (relay/drain.py),
as does another process that takes over (relay/handover.py); SIGUSR2 starts that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from relay.config import RelayConfig
from relay.handover import Predecessor, Successors, predecessor
from relay.operation.events import Event, tell
from relay.server import Relay
from relay.service_notify import keep_watchdog, tell_manager
from tunnel.console import Console, Interrupt
from tunnel.errors import VshareError

TAKE_OVER = "--take-over"
LOOK_EVERY = 0.5  # seconds between looks at the process that is to take over, until it has

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def relay_of(
    config: RelayConfig, console: Console, *, take_over: bool
) -> AsyncIterator[Relay]:
    """The relay, in the place of the one that runs if it is to `take_over` from one. Raises
    VshareError: then that one goes on."""
    async with contextlib.AsyncExitStack() as stack:
        before: Predecessor | None = None
        if take_over and config.state_dir is not None:
            before = await stack.enter_async_context(predecessor(config.state_dir))
        if before is None:
            relay = Relay(config)
        else:
            relay = Relay(config, before.listening, before.stand_back)
        await stack.enter_async_context(relay)
        if before is not None:
            await before.serving()
            console.step("The relay that ran here serves those who are there, and no others.")
        yield relay


async def live(
    relay: Relay, folder: Path, seconds: float, console: Console, interrupt: Interrupt
) -> None:
    """Serve until told otherwise, and then for `seconds` at most those who are here."""
    ending = _Ending(relay, folder, console, interrupt)
    with ending.signals():
        async with ending.successors.waiting(), asyncio.TaskGroup() as group:
            watchdog = group.create_task(keep_watchdog(), name="watchdog")
            interrupt.serving = True
            tell_manager("READY=1")
            await ending.told()
            watchdog.cancel()
        if not interrupt.stopped.is_set():
            await ending.drain(seconds)


class _Ending:
    """Why and how a relay ends."""

    def __init__(self, relay: Relay, folder: Path, console: Console, interrupt: Interrupt) -> None:
        self._relay, self._console, self._interrupt = relay, console, interrupt
        self._terminated = asyncio.Event()
        self._upgrade: subprocess.Popen[bytes] | None = None
        self.successors = Successors(folder, relay.listening, relay.stand_back)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Hear them while the block runs."""
        loop = asyncio.get_running_loop()
        _reload_on_hangup(self._relay, self._console, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGUSR2, self._start_upgrade)
        yield

    async def told(self) -> None:
        """Wait for whatever ends it."""
        await _first(self._interrupt.stopped, self._terminated, self.successors.taken)

    async def drain(self, seconds: float) -> None:
        """Let everybody leave."""
        succeeded = self.successors.taken.is_set()
        if succeeded:
            tell_manager(f"MAINPID={self.successors.pid}")
            self._console.step(f"Another process ({self.successors.pid}) has taken over.")
        else:
            tell_manager("STOPPING=1")
        text = "it takes nobody new, and serves who is here for a while"
        tell(log, logging.INFO, Event.DRAINING, text)
        self._console.event(event="draining", taken_over=succeeded, seconds=seconds)
        self._console.step(f"Who is here is served for {seconds:g} s more, and nobody else.")
        async with asyncio.TaskGroup() as group:
            leaving = self._relay.leaving.run(succeeded=succeeded)
            tasks = [
                group.create_task(leaving, name="drain"),
                group.create_task(self._interrupt.stopped.wait(), name="interrupt"),
            ]
            _, left = await asyncio.wait(
                tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in left:
                task.cancel()
        count = self._relay.leaving.visitors
        self._console.event(event="drained", cut=count)
        if count:
            self._console.step(f"Connections that were cut at the end: {count}.")

    def _terminate(self) -> None:
        """The second time it ends at once."""
        if self._terminated.is_set() or self.successors.taken.is_set():
            self._interrupt.stopped.set()
        self._terminated.set()

    def _start_upgrade(self) -> None:
        """Start what is installed by now, to take over."""
        if self._upgrade is not None or self.successors.taken.is_set():
            return
        words = [word for word in sys.argv[1:] if word != TAKE_OVER]
        command = [sys.executable, "-P", "-m", "relay.cli", *words, TAKE_OVER]
        try:
            self._upgrade = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        except OSError as error:
            self._console.warn(f"no other process could be started: {error}")
            return
        self._console.step(f"Started process {self._upgrade.pid}, which is to take over.")
        self._look_at_upgrade()

    def _look_at_upgrade(self) -> None:
        if self._upgrade is None or self.successors.taken.is_set():
            return
        code = self._upgrade.poll()
        if code is None:
            asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_at_upgrade)
            return
        self._upgrade = None
        self._console.warn(f"the process that was to take over ended ({code}); this one goes on")


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.wait(), name="event") for each in events]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def _reload_on_hangup(relay: Relay, console: Console, interrupt: Interrupt) -> None:
    """SIGHUP reads the certificate again, but for that of a terminal that was closed."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup(1)
        return
    had_terminal = _has_terminal()

    def hung_up() -> None:
        if had_terminal and not _has_terminal():
            interrupt.stopped.set()
            return
        try:
            console.step(relay.reload())
        except VshareError as error:
            console.warn(f"{error.text}; the relay goes on with the certificate that it has")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal: the kernel takes it away with a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
