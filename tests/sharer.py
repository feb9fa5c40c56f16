"""A share in a thread of its own whose terminals are shells of a real SSH server, with a control
socket for the sharer's commands."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.loops import do_in
from tests.share_pair import CODE, NAME, Pair, share_pair
from vshare.machine import SshAccess
from vshare.news import Newsroom
from vshare.running import share_socket
from vshare.ssh_link import SshLink
from vshare.terminals.handlers import TerminalHandlers
from vshare.terminals.terminal import SharedTerminal

COMMAND_WITHIN = 20.0  # seconds for something to be done in the share's loop


@dataclass
class SharersShare:
    """`do` runs something in the share's loop."""

    pair: Pair
    folder: Path
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def guests_command(self) -> str:
        """What a guest types."""
        code = self.folder / "code"
        code.write_text(CODE)
        return f"vconnect terminal {NAME}@127.0.0.1:{self.pair.port} --code-file {code}"

    def do(self, work: Callable[[], None]) -> None:
        """Wait until `work` was done there."""
        do_in(self.loop, work, COMMAND_WITHIN)

    def terminal(self, name: str = "") -> SharedTerminal:
        """One that the sharer opened."""
        return self.pair.streams.terminals.find(name)


@contextlib.contextmanager
def sharers_share(folder: Path, access: SshAccess) -> Iterator[SharersShare]:
    """XDG_RUNTIME_DIR has to be the test's own. It ends with the block."""
    started: list[SharersShare] = []
    ready, end = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with share_pair() as pair, SshLink(access) as link:
            handlers = TerminalHandlers(pair.streams.terminals, link)
            socket = share_socket(NAME, handlers.table(), Newsroom(), handlers.sessions())
            async with socket:
                started.append(SharersShare(pair, folder, asyncio.get_running_loop()))
                ready.set()
                await end.wait()
                pair.streams.end_all()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            finally:
                ready.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(COMMAND_WITHIN)
        yield started[0]
    finally:
        if started:
            started[0].loop.call_soon_threadsafe(end.set)
        thread.join()
