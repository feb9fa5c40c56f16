"""The control channel's WebSocket, over a transport that only notes what is done with it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from relay import channel
from relay.channel import Channel
from tests.loops import run, until
from tunnel.control import MAX_MESSAGE, PATH, SILENCE_ENDS


class Transport(asyncio.Transport):
    """Takes what is written; an abort is the end of the connection, as with a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended: str = ""
        self.is_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@dataclass
class Told:
    """What a session was told."""

    channel: Channel
    events: list[str] = field(default_factory=list)

    def opened(self) -> None:
        self.events.append("opened")
        self.channel.send("hello")

    def received(self, text: bytes) -> None:
        self.events.append(text.decode())

    def lost(self) -> None:
        self.events.append("lost")


class Scene:
    """A channel, a client that speaks with it, and who is told."""

    def __init__(self, path: str = PATH, *, encrypted: bool = True) -> None:
        self.transport = Transport()
        self.sessions: list[Told] = []
        self.status = 0
        self.over: list[Channel] = []
        self.channel = Channel(self._open, self.over.append, b"DER" if encrypted else b"")
        self.channel.connection_made(self.transport)
        self.client = ClientProtocol(parse_uri(f"ws://relay{path}"))
        self.client.send_request(self.client.connect())
        self.frames = self.exchange()  # what the session said when it was opened

    def _open(self, opened: Channel) -> Told:
        self.sessions.append(Told(opened))
        return self.sessions[-1]

    @property
    def events(self) -> list[str]:
        return self.sessions[0].events

    def exchange(self) -> list[Frame]:
        """Bring both sides what the other has said; the frames that the client got."""
        for data in self.client.data_to_send():
            self.channel.data_received(data)
        written, self.transport.written = self.transport.written, b""
        self.client.receive_data(written)
        frames = []
        for event in self.client.events_received():
            if isinstance(event, Response):
                self.status = event.status_code
            elif isinstance(event, Frame):
                frames.append(event)
        return frames

    @property
    def close_code(self) -> int:
        assert self.client.close_rcvd is not None
        return self.client.close_rcvd.code


def with_scene(test: Callable[[Scene], None]) -> None:
    async def main() -> None:
        test(Scene())

    run(main)


def test_messages_both_ways() -> None:
    def test(scene: Scene) -> None:
        assert scene.status == 101
        assert [frame.data for frame in scene.frames] == [b"hello"]
        scene.client.send_text(b"one")
        scene.client.send_text(b"t", fin=False)
        scene.client.send_continuation(b"wo", fin=True)
        scene.exchange()
        assert scene.events == ["opened", "one", "two"]
        scene.channel.send("three")
        assert [frame.data for frame in scene.exchange()] == [b"three"]

    with_scene(test)


@pytest.mark.parametrize(
    ("path", "encrypted", "status"), [("/v1/other", True, 404), (PATH, False, 403)]
)
def test_what_is_refused(path: str, encrypted: bool, status: int) -> None:
    async def main() -> None:
        scene = Scene(path, encrypted=encrypted)
        assert scene.status == status
        assert not scene.sessions
        assert scene.transport.ended == "closed"
        scene.channel.connection_lost(None)
        assert scene.over == [scene.channel]

    run(main)


def test_a_ping_is_answered_and_counts_as_life() -> None:
    def test(scene: Scene) -> None:
        now = scene.channel.heard_at
        scene.channel.check(now + SILENCE_ENDS - 1)
        assert scene.transport.ended == ""
        scene.channel.heard_at -= 10
        scene.client.send_ping(b"x")
        assert Opcode.PONG in [frame.opcode for frame in scene.exchange()]
        assert scene.channel.heard_at >= now
        scene.channel.check(scene.channel.heard_at + SILENCE_ENDS + 1)
        assert scene.transport.ended == "aborted"

    with_scene(test)


def test_the_last_word_and_the_end_in_one_piece() -> None:
    def test(scene: Scene) -> None:
        scene.client.send_text(b"bye")
        scene.client.send_close(1000)
        scene.channel.data_received(b"".join(scene.client.data_to_send()))
        assert scene.events == ["opened", "bye"]
        assert scene.transport.ended == "closed"
        scene.channel.connection_lost(None)
        assert scene.events == ["opened", "bye", "lost"]
        scene.channel.send("nobody hears")
        scene.channel.close(1000)

    with_scene(test)


def test_after_our_close_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "CLOSE_WITHIN", 0.01)

    async def main() -> None:
        scene = Scene()
        scene.channel.send("last")
        scene.channel.close(1012)
        scene.client.send_text(b"more")
        for data in scene.client.data_to_send():
            scene.channel.data_received(data)
        assert scene.events == ["opened"]
        assert scene.channel._part == b""  # nor kept, however much comes
        await until(lambda: scene.transport.ended == "aborted")  # it does not answer the close

    run(main)


def test_who_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SEND_WITHIN", 0.01)

    async def main() -> None:
        scene = Scene()
        scene.channel.pause_writing()
        was_paused = scene.transport.is_paused  # or pings would pile up as pongs
        scene.channel.resume_writing()
        assert (was_paused, scene.transport.is_paused) == (True, False)
        await asyncio.sleep(0.02)
        assert scene.transport.ended == ""
        scene.channel.pause_writing()
        await until(lambda: scene.transport.ended == "aborted")

    run(main)


@pytest.mark.parametrize("pieces", [1, 3])
def test_too_long_a_message(pieces: int) -> None:
    def test(scene: Scene) -> None:
        part = bytes(MAX_MESSAGE // pieces + 1)
        scene.client.send_text(part, fin=pieces == 1)
        for number in range(1, pieces):
            scene.client.send_continuation(part, fin=number == pieces - 1)
        scene.exchange()
        assert scene.events == ["opened"]
        assert scene.close_code == 1009

    with_scene(test)


def test_binary_is_refused() -> None:
    def test(scene: Scene) -> None:
        scene.client.send_binary(b"x")
        scene.exchange()
        assert scene.events == ["opened"]
        assert scene.close_code == 1008

    with_scene(test)
