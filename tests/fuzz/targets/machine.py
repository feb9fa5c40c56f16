"""What the shared machine, or Vagrant, says: helpers over SSH, listeners, an HTTP probe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

import asyncssh

from tests.fuzz.target import Target, choose, cuts_of, require, same_however_cut
from tests.fuzz.targets import loop
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError, VshareError
from vshare import find_vagrant, http_probe, listening, udp_helper
from vshare.http_probe import Candidate, Origin
from vshare.reach import MAX_DATAGRAM, Reach

FRAME = udp_helper._HEAD.pack
HELPER = (
    FRAME(0, 5, 0),
    FRAME(4, 2, 1) + b"data",
    FRAME(1, 3, 1) + b"\x02",
    FRAME(0, 3, 1),
    FRAME(0, 4, 1),
    FRAME(65_507, 2, 1),
    FRAME(65_508, 2, 1),
)


def run_helper_frames(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        reader, found = udp_helper.FrameReader(), []
        try:
            for piece in pieces:
                found += reader.receive_data(piece)
                kept = len(reader._pending)
                require(kept < 9 + MAX_DATAGRAM, "what is kept is below one frame")
        except RemoteProtocolError:
            return "error"
        return found, reader._pending

    same_however_cut(data, feed)


class _Channel:
    def __init__(self) -> None:
        self.aborted = False

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing is buffered."""

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes) -> None:
        """Taken."""

    def abort(self) -> None:
        self.aborted = True


class _Receiver:
    def __init__(self) -> None:
        self.over = False

    def datagram_received(self, data: bytes) -> None:
        require(not self.over, "nothing is told after the end")

    def flow_refused(self, code: Code) -> None:
        require(not self.over, "nothing is told after the end")
        self.over = True

    def flow_closed(self) -> None:
        require(not self.over, "nothing is told after the end")
        self.over = True


async def _help(pieces: Iterable[bytes]) -> None:
    helper, channel = udp_helper.UdpHelper(), _Channel()
    helper.connection_made(cast("asyncssh.SSHClientChannel[bytes]", channel))
    receivers = [_Receiver(), _Receiver()]
    for receiver in receivers:
        helper.open("192.0.2.1", 53, receiver)
    for piece in pieces:
        if not channel.aborted:
            helper.data_received(piece, None)
    helper.connection_lost(None)
    require(all(receiver.over for receiver in receivers), "every flow ends")
    if helper.ready.done() and not helper.ready.cancelled():
        helper.ready.exception()


def run_helper(data: bytes) -> None:
    for pieces in [[data], *cuts_of(data)]:
        loop.run(_help(pieces))


LISTENING = (
    b'== ss\ntcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'
    b"udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*\ntcp LISTEN 0 5 *:80 *:*\n"
    b"tcp LISTEN 0 5 [::1]:8080 [::]:*\n",
    b"== fd\n12345 nginx: master\n== tcp\n"
    b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0"
    b" 12345 1 0 100 0 0 10 0\n== tcp6\n"
    b"   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A"
    b" 00000000:00000000 00:00000000 00000000     0        0 12346 1\n== udp\n"
    b"   0: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 12347 2\n",
)
VAGRANT = (
    b"Host default\n  HostName 127.0.0.1\n  User vagrant\n  Port 2222\n"
    b'  StrictHostKeyChecking no\n  IdentityFile "/a b/key"\n  ProxyCommand none\n',
    b"1700000000,default,forwarded_port,22,2222\n1700000000,default,metadata,provider,x\n",
    b"1700000000,,error-exit,Vagrant::Errors::NoEnv,A Vagrant%!(VAGRANT_COMMA) so\\n\\nmore\n",
)
WORDS = (
    b"tcp ", b"udp ", b" LISTEN ", b"users:((\"", b"== tcp6\n", b"== fd\n", b"== ss\n", b"0.0.0.0:",
    b"[::]:", b"*:", b"%lo", b"0A", b"FFFFFFFF", b"\n", b"Port ", b"HostName ", b"forwarded_port,",
    b"99999", b",error-exit,", b"1,", b",", b"\x1b[2J", "\u2028".encode(), "\u0663".encode(),
    b"9" * 5000, b'"', b" ", b"\0",
)  # fmt: skip


def run_listening(data: bytes) -> None:
    """Never an exception: what does not fit is left out."""
    found = listening.parse_listeners(data.decode("utf-8", "replace"))
    require(len(found) <= listening.MAX_LISTENERS, "listeners have a limit")
    for each in found:
        require(0 < each.port < 65_536, "a port is one", each)
        require(len(each.process) <= listening.MAX_PROCESS_NAME, "a name has its length")
        require(each.process.isprintable(), "a name can be shown", each)
        require(isinstance(each.loopback_only, bool), "an address is one")


def _ssh_config(text: str) -> None:
    access = find_vagrant.parse_ssh_config(text)
    require(0 < access.port < 65_536, "a port is one", access.port)


def _ports(text: str) -> None:
    for each in find_vagrant.parse_ports(text):
        require(0 < each.guest < 65_536 and 0 < each.host < 65_536, "a forwarded port is one", each)


def _error(text: str) -> None:
    require("\n" not in find_vagrant.error_text(text), "an error is one line")


_VAGRANT: tuple[Callable[[str], None], ...] = (_ssh_config, _ports, _error)


def run_vagrant(data: bytes) -> None:
    which, data = choose(data)
    _VAGRANT[which % 3](data.decode("utf-8", "replace"))


class _Port(End):
    """A port of the machine that says `pieces` once it was asked, then ends."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = pieces

    def send(self, data: Bytes) -> None:
        if self._pieces:
            asyncio.get_running_loop().call_soon(self.peer.send, self._pieces.pop(0))
        else:
            asyncio.get_running_loop().call_soon(self.peer.send_eof)

    def send_eof(self) -> None:
        """Nobody minds."""

    def reset(self, code: Code) -> None:
        self.closed(code)

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


class _Reach:
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def open_tcp(self, host: str, port: int) -> End:
        return _Port(self._pieces)


async def _probe(data: bytes, *, tls: bool) -> int | None:
    pieces = next(iter(cuts_of(data))) if tls else [data]
    candidate = Candidate(80, tls, Origin.LISTENING)
    async with asyncio.timeout(5):
        # One answer, then the end: a piece for each time that the port is written to.
        reach = _Reach([piece for piece in pieces if piece])
        return await http_probe._status(cast(Reach, reach), candidate)


def run_probe(data: bytes) -> None:
    which, data = choose(data)
    if not which & 1 and b"\n" not in data[: http_probe.MAX_ANSWER]:
        data += b"\n"  # or it would be waited for, PROBE_TIMEOUT_SECONDS long
    status = loop.run(_probe(data, tls=bool(which & 1)))
    require(status is None or 0 <= status <= 999, "a status has three digits", status)


TARGETS = (
    Target(
        "udp-helper-frames", run_helper_frames, (), HELPER, ("vshare.udp_helper",), HELPER, None,
        70_000,
    ),
    Target(
        "udp-helper", run_helper, (), (b"".join(HELPER[:5]),), ("vshare.udp_helper",), HELPER,
        share=0.5, slow="several event loops' runs each",
    ),
    Target("listening", run_listening, (), LISTENING, ("vshare.listening",), WORDS, None, 8192),
    Target(
        "vagrant", run_vagrant, (VshareError,),
        tuple(bytes([at]) + each for at, each in enumerate(VAGRANT)), ("vshare.find_vagrant",),
        WORDS, None, 8192,
    ),
    Target(
        "http-probe", run_probe, (),
        (b"\0HTTP/1.1 200 OK\r\n\r\n", b"\0HTTP/1.0 404\n", b"\x01\x15\x03\x03\0\x02\x02\x28",
         b"\x01\x16\x03\x03\0\x2e\x02\0\0\x2a\x03\x03" + bytes(32) + b"\0\x13\x01\0\0\0"),
        ("vshare.http_probe",), (b"HTTP/1.1 ", b"\x16\x03\x03"), None, 20_000, 0.1,
        "each input is an event loop's run, half of them with a TLS client",
    ),
)  # fmt: skip
