"""UDP through SSH, which has none: a small program inside the machine, run over SSH.

`helpers/udp.py` or `helpers/udp.pl` (the first of python3 and perl that starts)
carries all flows of a share in one process, as frames over its standard input and output:

    length:u32 type:u8 flow:u32 payload

    type  name       payload              from
    1     FLOW_OPEN  port:u16 host        us
    2     DGRAM      bytes                both
    3     REFUSED    code:u8 (tunnel.codes)  helper
    4     CLOSE      empty                us
    5     READY      empty                helper, first frame

Where there is only socat, each flow is a socat of its own, which knows no frames: a datagram
is what arrives at once. Right for questions and answers (DNS, NTP); bursts may run together,
and what is larger than SOCAT_MAX_DATAGRAM is dropped.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, cast

import asyncssh

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.fair_queue import FairQueue
from tunnel.flows import CountingFlow, FlowReceiver
from vshare.reach import MAX_DATAGRAM

_FLOW_OPEN, _DGRAM, _REFUSED, _CLOSE, _READY = 1, 2, 3, 4, 5
_HEAD = struct.Struct("!IBI")

# python or perl that does not answer by then does not work (an emulated machine takes 2 s).
READY_TIMEOUT_SECONDS = 10.0
# What waits for the SSH channel, per helper or socat; beyond, the oldest datagrams go.
QUEUE_BYTES = 256 * 1024
# What asyncssh may hold before it says so.
WRITE_HIGH_WATER = 128 * 1024
# An SSH server hands a channel's data on in pieces of about this size.
SOCAT_MAX_DATAGRAM = 8 * 1024
SOCAT_IDLE_SECONDS = 90  # longer than a lane's flow lives in silence (docs/protocol.md 9)

PROGRAMS = ("python3", "perl", "socat")  # the order in which they are tried
PROBE = "sh -c 'for x in python3 perl socat; do command -v $x; done'"
_HELPERS = {
    # {size} bytes of source come first; READY says that it has them all.
    "python3": ("udp.py", 'python3 -c "import sys;exec(sys.stdin.buffer.read({size}))"'),
    "perl": ("udp.pl", "perl -e 'read(STDIN,my $s,{size});eval $s;die $@ if $@'"),
}

if TYPE_CHECKING:
    _Session = asyncssh.SSHClientSession[bytes]
else:
    _Session = asyncssh.SSHClientSession


class FrameReader:
    """Takes frames out of the helper's output. Sans-I/O."""

    def __init__(self) -> None:
        self._pending = b""

    def receive_data(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The (type, flow, payload) that are complete now. Raises RemoteProtocolError."""
        pending = self._pending + data if self._pending else data
        frames = []
        start = 0
        while len(pending) - start >= _HEAD.size:
            size, kind, flow = _HEAD.unpack_from(pending, start)
            if size > MAX_DATAGRAM:
                raise RemoteProtocolError(f"a frame of {size} bytes from the machine's UDP helper")
            end = start + _HEAD.size + size
            if len(pending) < end:
                break
            frames.append((kind, flow, pending[start + _HEAD.size : end]))
            start = end
        self._pending = pending[start:]
        return frames


class DroppingWriter:
    """Writes whole messages to a channel; while it is full, keeps the newest QUEUE_BYTES.

    `on_drop(flow)` is told of each datagram that had no room.
    """

    def __init__(
        self, channel: asyncssh.SSHClientChannel[bytes], on_drop: Callable[[int], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._queue = FairQueue(QUEUE_BYTES, on_drop)
        self._paused = False
        channel.set_write_buffer_limits(WRITE_HIGH_WATER)

    def write(self, message: bytes, flow: int, *, droppable: bool = True) -> None:
        """Never waits. What is not `droppable` is written at once, whatever waits."""
        if self._channel.is_closing():
            return
        if not self._paused or not droppable:
            self._channel.write(message)
        else:
            self._queue.push(flow, message, self._loop.time())

    def pause(self) -> None:
        """The channel is full."""
        self._paused = True

    def resume(self) -> None:
        """The channel has room."""
        self._paused = False
        now = self._loop.time()
        while not self._paused and (message := self._queue.pop(now)) is not None:
            self._channel.write(message)


class UdpHelper(_Session):
    """One helper process and its flows. Made by `start`; ends with its SSH channel."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.alive = True
        self._reader = FrameReader()
        self._receivers: dict[int, FlowReceiver] = {}
        self._flows: dict[int, _HelperFlow] = {}
        self._next_flow = 1

    def open(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """A new flow; what comes of it is told to `receiver`."""
        flow = self._next_flow
        self._next_flow += 1
        self._receivers[flow] = receiver
        self._tell(_FLOW_OPEN, flow, struct.pack("!H", port) + host.encode(), droppable=False)
        self._flows[flow] = _HelperFlow(self, flow)
        return self._flows[flow]

    def send(self, flow: int, data: bytes) -> None:
        """One datagram of `flow`."""
        if flow in self._receivers:
            self._tell(_DGRAM, flow, data)

    def close_flow(self, flow: int) -> None:
        """Forget `flow`, here and there."""
        self._flows.pop(flow, None)
        if self._receivers.pop(flow, None) is not None:
            self._tell(_CLOSE, flow, b"", droppable=False)

    def close(self) -> None:
        """End the process."""
        self.channel.close()

    def _tell(self, kind: int, flow: int, payload: bytes, *, droppable: bool = True) -> None:
        if self.alive and len(payload) <= MAX_DATAGRAM:
            message = _HEAD.pack(len(payload), kind, flow) + payload
            self._writer.write(message, flow, droppable=droppable)

    def _dropped(self, flow: int) -> None:
        if flow in self._flows:
            self._flows[flow].dropped += 1

    # What the channel tells us (asyncssh).

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        self.channel = chan
        self._writer = DroppingWriter(chan, self._dropped)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Output of the helper."""
        if datatype is not None:
            return  # standard error: a warning of perl's, a banner of the shell's
        try:
            frames = self._reader.receive_data(data)
        except RemoteProtocolError:
            self.channel.abort()
            return
        for kind, flow, payload in frames:
            self._received(kind, flow, payload)

    def pause_writing(self) -> None:
        """The channel is full."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """The channel has room."""
        self._writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended, or SSH did."""
        self.alive = False
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the helper ended at once"))
        receivers, self._receivers = self._receivers, {}
        self._flows.clear()
        for receiver in receivers.values():
            receiver.flow_closed()

    def _received(self, kind: int, flow: int, payload: bytes) -> None:
        if kind == _DGRAM and flow in self._receivers:
            self._receivers[flow].datagram_received(payload)
        elif kind == _REFUSED and flow in self._receivers and payload:
            self._flows.pop(flow, None)
            self._receivers.pop(flow).flow_refused(Code.from_wire(payload[0]))
        elif kind == _READY and not self.ready.done():
            self.ready.set_result(None)


class _HelperFlow:
    """See Flow."""

    def __init__(self, helper: UdpHelper, flow: int) -> None:
        self._helper = helper
        self._flow = flow
        self.dropped = 0

    def send(self, data: bytes) -> None:
        """See Flow.send."""
        self._helper.send(self._flow, data)

    def close(self) -> None:
        """See Flow.close."""
        self._helper.close_flow(self._flow)


async def start(connection: asyncssh.SSHClientConnection, program: str) -> UdpHelper:
    """Run the helper written for `program` (python3 or perl). Raises RefusedError."""
    file, command = _HELPERS[program]
    source = resources.files("vshare.helpers").joinpath(file).read_bytes()
    helper: UdpHelper | None = None
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            channel, session = await connection.create_session(
                UdpHelper, command.format(size=len(source)), encoding=None
            )
            helper = cast(UdpHelper, session)
            channel.write(source)
            await asyncio.shield(helper.ready)
            return helper
    except (TimeoutError, OSError, asyncssh.Error) as error:
        raise RefusedError(
            Code.UNSUPPORTED, f"UDP unavailable: {program} on the machine did not start: {error}"
        ) from error
    finally:
        if helper is not None and not helper.ready.done():
            helper.ready.cancel()
            helper.close()


class SocatFlow(_Session):
    """One flow through a socat of its own."""

    def __init__(self, receiver: FlowReceiver) -> None:
        self._receiver: FlowReceiver | None = receiver
        self.alive = True
        self.dropped = 0

    def send(self, data: bytes) -> None:
        """See Flow.send; an empty datagram, which a stream cannot say, is dropped."""
        if self._receiver is None:
            return
        if 0 < len(data) <= SOCAT_MAX_DATAGRAM:
            self._writer.write(data, 0)
        else:
            self.dropped += 1

    def close(self) -> None:
        """See Flow.close."""
        self._receiver = None
        self.channel.close()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        self.channel = chan
        self._writer = DroppingWriter(chan, self._dropped)

    def _dropped(self, flow: int) -> None:
        self.dropped += 1

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """An answer; or what socat complains about, when the port is closed."""
        if self._receiver is None:
            return
        if datatype is None:
            self._receiver.datagram_received(data)
        elif b"refused" in data:
            receiver, self._receiver = self._receiver, None
            receiver.flow_refused(Code.CONNECTION_REFUSED)

    def pause_writing(self) -> None:
        """The channel is full."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """The channel has room."""
        self._writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socat ended."""
        self.alive = False
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.flow_closed()


async def open_socat(
    connection: asyncssh.SSHClientConnection, host: str, port: int, receiver: FlowReceiver
) -> SocatFlow:
    """A flow through socat. `host` is an address. Raises RefusedError."""
    place = f"UDP6:[{host}]:{port}" if ":" in host else f"UDP4:{host}:{port}"
    command = f"socat -T {SOCAT_IDLE_SECONDS} -b {MAX_DATAGRAM} - {place}"

    def make() -> SocatFlow:
        return SocatFlow(receiver)

    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            _, session = await connection.create_session(make, command, encoding=None)
    except (TimeoutError, OSError, asyncssh.Error) as error:
        raise RefusedError(Code.UNSUPPORTED, f"UDP unavailable: socat: {error}") from error
    return cast(SocatFlow, session)
