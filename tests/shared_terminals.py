"""A shared terminal without a machine: a program that is told what to write, viewers that keep
what they are shown."""

from __future__ import annotations

from tests.loops import until
from tunnel.terminal_messages import (
    FROM_SHARE,
    HEADER_SIZE,
    End,
    MessageType,
    Seen,
    Size,
    State,
    parse_one,
    parse_payload,
    serialize_payload,
)
from vshare.terminals.hub import Hub, Viewer
from vshare.terminals.identity import SHARER, Identity
from vshare.terminals.terminal import SharedTerminal

ADA, BOB = Identity("aa", "Ada"), Identity("bb", "Bob")


class MemoryProgram:
    """Keeps what is typed; `echo` writes it back, as a terminal's line discipline does."""

    def __init__(self, terminal: SharedTerminal, *, echo: bool = False) -> None:
        self.terminal = terminal
        self.echo = echo
        self.typed = b""
        self.size = (0, 0)
        self.is_paused = False
        self.is_closed = False
        terminal.run(self)

    def write(self, data: bytes) -> None:
        """See Program."""
        self.typed += data
        if self.echo:
            self.terminal.output(data.replace(b"\r", b"\r\n"))

    def resize(self, columns: int, rows: int) -> None:
        """See Program."""
        self.size = columns, rows

    def pause(self) -> None:
        """See Program."""
        self.is_paused = True

    def resume(self) -> None:
        """See Program."""
        self.is_paused = False

    def close(self) -> None:
        """See Program."""
        self.is_closed = True


class Watcher:
    """A viewer at a hub. It says SEEN at once, unless `sees` is false, and takes all, unless
    `takes` is."""

    def __init__(self, hub: Hub, identity: Identity = SHARER, name: str = "") -> None:
        self.takes = self.sees = True
        self.messages: list[tuple[MessageType, bytes]] = []
        self.state = State("", 1, 1)
        self.end: End | None = None
        self.shown = b""  # since the last SCREEN
        self.count = 0
        self.viewer: Viewer | None = None
        self.viewer = hub.view(name, identity, self.sink)
        self.say_seen()

    def sink(self, message: bytes) -> bool:
        """See Sink."""
        parsed = parse_one(message, FROM_SHARE)
        assert parsed is not None
        kind, payload = parsed
        self.messages.append(parsed)
        if kind is MessageType.STATE:
            self.state = parse_payload(State, payload)
        elif kind is MessageType.END:
            self.end = parse_payload(End, payload)
        else:
            self.shown = payload if kind is MessageType.SCREEN else self.shown + payload
            self.count += len(payload)
            if self.sees:
                self.say_seen()
        return self.takes

    async def shown_more(self, data: bytes, terminal: SharedTerminal) -> None:
        """The program writes `data`; until it is shown here."""
        before = self.count
        terminal.output(data)
        await until(lambda: self.count > before)

    def say_seen(self) -> None:
        """All that came was shown."""
        self.say(Seen(self.count))

    def say(self, payload: Seen | Size) -> None:
        """Send a message of MessagePack."""
        parsed = serialize_payload(payload)
        if self.viewer is not None:
            self.viewer.receive(MessageType(parsed[0]), parsed[HEADER_SIZE:])

    def type(self, data: bytes) -> None:
        """Keys are pressed."""
        assert self.viewer is not None
        self.viewer.receive(MessageType.INPUT, data)

    def ask(self) -> None:
        """For the right to type."""
        assert self.viewer is not None
        self.viewer.receive(MessageType.ASK, b"")
