"""What is shared in the bench: one program that answers every load, the same for every tool.

`python -m bench.target` prints its TCP and its UDP port. The first byte of a TCP connection
says what it is for:

* `E`: whatever follows comes back;
* `U`: whatever follows is thrown away, one byte comes back for each BLOCK;
* `D`: for each byte that follows, a BLOCK comes back;
* `G`, that is, HTTP: `/` is a small page, `/big` one of BIG bytes.

Small things are answered by one epoll loop, bulk by a thread each: its system calls, which do all
the work, run beside the loop. UDP datagrams come back as they are.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading

BLOCK = 4 << 20  # bytes; at 1 GB/s an acknowledgement each 4 ms
BIG = 64 << 20  # bytes
PAGE = b"<!doctype html><title>a small page</title><p>Hello from the shared machine.</p>\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (
    len(PAGE),
    PAGE,
)
BIG_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % BIG
)
END_OF_HEAD = b"\r\n\r\n"
BACKLOG = 4096
PIECE = 256 << 10  # bytes per system call of a bulk stream
UDP_BUFFER = 4 << 20  # bytes


class Target:
    """The TCP side. `run` does not return."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytes]] = {}  # with its kind, b"" at first

    def run(self) -> None:
        """Serve until killed."""
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        listening = self._listener.fileno()
        while True:
            for number, _ in self._epoll.poll():
                if number == listening:
                    self._accept()
                else:
                    try:
                        self._serve(number)
                    except BlockingIOError:
                        pass  # the number was another connection's when the kernel said this
                    except OSError:
                        self._close(number)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open[sock.fileno()] = sock, b""
                self._epoll.register(sock, select.EPOLLIN)

    def _serve(self, number: int) -> None:
        if number not in self._open:
            return
        sock, kind = self._open[number]
        data = sock.recv(65536)
        if not data:
            self._close(number)
        elif kind == b"E":
            sock.send(data)
        elif kind == b"G":
            self._http(sock, data)
        elif (kind := data[:1]) == b"E":
            self._open[number] = sock, kind
            if data[1:]:
                sock.send(data[1:])
        elif kind == b"G":
            self._open[number] = sock, kind
            self._http(sock, data)
        elif kind in (b"U", b"D"):
            self._bulk(sock, _sink if kind == b"U" else _source, len(data) - 1)
        else:
            self._close(number)

    def _http(self, sock: socket.socket, data: bytes) -> None:
        if data.startswith(b"GET /big"):
            self._bulk(sock, _big, 1)
        else:
            sock.send(ANSWER * data.count(END_OF_HEAD))

    def _bulk(self, sock: socket.socket, work: object, seen: int) -> None:
        """Hand a connection over to a thread of its own."""
        self._epoll.unregister(sock)
        del self._open[sock.fileno()]
        sock.setblocking(True)
        threading.Thread(target=_until_closed, args=(work, sock, seen), daemon=True).start()

    def _close(self, number: int) -> None:
        sock, _ = self._open.pop(number)
        sock.close()


def _until_closed(work: object, sock: socket.socket, seen: int) -> None:
    assert callable(work)
    with contextlib.suppress(OSError), sock:
        work(sock, seen)


def _sink(sock: socket.socket, seen: int) -> None:
    buffer = bytearray(PIECE)
    while count := sock.recv_into(buffer):
        before, seen = seen, seen + count
        if blocks := seen // BLOCK - before // BLOCK:
            sock.sendall(bytes(blocks))


def _source(sock: socket.socket, wanted: int) -> None:
    block = memoryview(os.urandom(PIECE))
    while True:
        for _ in range(wanted * BLOCK // PIECE):
            sock.sendall(block)
        wanted = len(sock.recv(4096))
        if not wanted:
            return


def _big(sock: socket.socket, _: int) -> None:
    block = memoryview(os.urandom(PIECE))
    while True:
        sock.sendall(BIG_HEAD)
        for _ in range(BIG // PIECE):
            sock.sendall(block)
        if not sock.recv(65536):
            return


def _echo_datagrams(sock: socket.socket) -> None:
    buffer = bytearray(65536)
    view = memoryview(buffer)
    while True:
        with contextlib.suppress(OSError):
            count, source = sock.recvfrom_into(buffer)
            sock.sendto(view[:count], source)


def main() -> None:
    """Listen, say where, serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        datagrams.setsockopt(socket.SOL_SOCKET, option, UDP_BUFFER)
    datagrams.bind(("127.0.0.1", 0))
    threading.Thread(target=_echo_datagrams, args=(datagrams,), daemon=True).start()
    print(listener.getsockname()[1], datagrams.getsockname()[1])
    sys.stdout.flush()
    Target(listener).run()


if __name__ == "__main__":
    main()
