"""What a running share does about terminals when another terminal asks (terminals/requests.py)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tunnel.control_socket import Handler, Session, Talk, on, session
from tunnel.errors import RemoteProtocolError, UsageError
from tunnel.requests import Request
from tunnel.terminal_messages import FROM_SHARER, MessageType, TerminalParser
from vshare.ssh_link import SshLink
from vshare.terminals import requests
from vshare.terminals.hub import Hub, Viewer
from vshare.terminals.identity import SHARER
from vshare.terminals.recording import Recording
from vshare.terminals.shell import open_shell
from vshare.terminals.terminal import SharedTerminal, Terms

READ = 64 * 1024  # bytes at once
MAX_UNSENT = 64 * 1024  # bytes that the sharer's own terminal has not taken
LEFT = "the sharer has left it"


class TerminalHandlers:
    """`link` is the SSH way into the machine, None where there is none."""

    def __init__(self, hub: Hub, link: SshLink | None) -> None:
        self._hub = hub
        self._link = link
        self._opening = asyncio.Lock()

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return dict(
            [
                on(requests.Terminals, self.terminals),
                on(requests.LockTerminal, self.lock),
                on(requests.GrantTerminal, self.grant),
                on(requests.EndTerminal, self.end),
            ]
        )

    def sessions(self) -> Mapping[type[Request], Session]:
        """For the control socket."""
        return dict([session(requests.Terminal, self.terminal)])

    async def terminals(self, request: requests.Terminals) -> requests.TerminalList:
        """See requests.Terminals."""
        return requests.TerminalList([_row(each) for each in self._hub.all()])

    async def lock(self, request: requests.LockTerminal) -> requests.OneTerminal:
        """See requests.LockTerminal."""
        terminal = self._hub.find(request.name)
        terminal.lock(locked=request.locked)
        return requests.OneTerminal(terminal.name)

    async def grant(self, request: requests.GrantTerminal) -> requests.OneTerminal:
        """See requests.GrantTerminal."""
        terminal = self._hub.find(request.name)
        terminal.grant(request.guest, write=request.write)
        return requests.OneTerminal(terminal.name)

    async def end(self, request: requests.EndTerminal) -> requests.OneTerminal:
        """See requests.EndTerminal."""
        terminal = self._hub.find(request.name)
        terminal.ended("the sharer has ended it")
        return requests.OneTerminal(terminal.name)

    async def terminal(self, request: requests.Terminal, talk: Talk) -> None:
        """See requests.Terminal."""
        async with self._opening:
            terminal = self._there(request)
            made = terminal is None
            if terminal is None:
                terminal = await self._open(request)
        try:
            await talk.answer(requests.Showing(terminal.name, made))
            await _Sharer(talk, terminal).run()
        finally:
            is_watched = any(each.identity.is_sharer for each in terminal.viewers)
            if not (is_watched or terminal.goes_on):
                terminal.ended(LEFT)

    def _there(self, request: requests.Terminal) -> SharedTerminal | None:
        if request.name not in self._hub.names():
            return None
        given = request.read_write or request.hold or request.smallest or request.record
        if request.new or given:
            raise UsageError(
                f"there is a terminal {request.name!r} already",
                f"without options `vshare terminal {request.name}` shows it; another name makes"
                " another",
            )
        return self._hub.find(request.name)

    async def _open(self, request: requests.Terminal) -> SharedTerminal:
        """Raises VshareError, and then nothing is left behind."""
        self._hub.check_free(request.name)
        with _recording(request) as recording:
            shell = await open_shell(self._link, request.columns, request.rows)
            terms = Terms(request.read_write, request.hold, request.smallest)
            terminal = self._hub.open(request.name, terms, request.columns, request.rows)
        terminal.recording = recording
        shell.run_in(terminal)
        return terminal


class _Sharer:
    """The sharer's own terminal, at the other end of a control connection."""

    def __init__(self, talk: Talk, terminal: SharedTerminal) -> None:
        self._talk = talk
        self._terminal = terminal
        self._is_full = asyncio.Event()
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Until it hangs up, leaves, or the terminal ends. Raises OSError."""
        viewer = self._terminal.view(SHARER, self._sink)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._receive(viewer), name="sharer's keys"),
                    group.create_task(self._over(), name="terminal's end"),
                ]
                helper = group.create_task(self._drain(viewer), name="sharer's screen")
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in (*tasks, helper):
                    task.cancel()
        finally:
            viewer.close()

    def _sink(self, message: bytes) -> bool:
        writer = self._talk.writer
        if writer.is_closing():
            return False
        writer.write(message)
        if message[0] == MessageType.END:
            self._is_over.set()
        if writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self._is_full.set()
            return False
        return True

    async def _drain(self, viewer: Viewer) -> None:
        while True:
            await self._is_full.wait()
            await _drained(self._talk)
            self._is_full.clear()
            viewer.ready()

    async def _over(self) -> None:
        await self._is_over.wait()
        await _drained(self._talk)

    async def _receive(self, viewer: Viewer) -> None:
        parser = TerminalParser(FROM_SHARER)
        try:
            while data := await self._talk.reader.read(READ):
                parser.receive_data(data)
                while (message := parser.maybe_message()) is not None:
                    viewer.receive(*message)
        except (OSError, RemoteProtocolError):
            return  # it is gone, or of another version


async def _drained(talk: Talk) -> None:
    try:
        await talk.writer.drain()
    except OSError:
        return  # which `_receive` hears of, too


@contextlib.contextmanager
def _recording(request: requests.Terminal) -> Iterator[Recording | None]:
    """What is recorded to, gone again if the terminal does not come to be."""
    if not request.record:
        yield None
        return
    recording = Recording(Path(request.record), request.columns, request.rows, request.name)
    try:
        yield recording
    except BaseException:
        recording.close()
        recording.path.unlink(missing_ok=True)
        raise


def _row(terminal: SharedTerminal) -> requests.TerminalRow:
    recording = terminal.recording
    return requests.TerminalRow(
        name=terminal.name,
        columns=terminal.screen.columns,
        rows=terminal.screen.rows,
        read_write=terminal.terms.read_write,
        locked=terminal.rights.locked,
        hold=terminal.terms.hold,
        record=str(recording.path) if recording is not None else "",
        viewers=[
            requests.ViewerRow(each.name, each.write, each.asks, each.held)
            for each in terminal.people()
        ],
    )
