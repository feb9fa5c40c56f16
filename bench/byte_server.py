"""What streams are measured against: one byte from the client says what it wants.

`u`: take all until its end, then say so with a byte. `d`: send until the client closes.
`e`: echo. Runs on the host and, as the agent's replacement, in a bare connect VM; so it
imports the few modules that are there.
"""

import _thread
import os
import socket

CHUNK = 256 * 1024  # bytes for each read and write
CONFIG = "/etc/vshare/agent.conf"
BACKLOG = 512


def serve(sock: socket.socket) -> None:
    """One connection, to its end."""
    try:
        with sock:
            what = sock.recv(1)
            buffer = bytearray(CHUNK)
            if what == b"u":
                while sock.recv_into(buffer):
                    pass
                sock.sendall(b".")
            while what == b"d":
                sock.sendall(buffer)
            while what == b"e" and (size := sock.recv_into(buffer)):
                sock.sendall(memoryview(buffer)[:size])
    except OSError:
        return  # the client has enough


def listen(listener: socket.socket) -> None:
    """Serve each connection in a thread of its own."""
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _thread.start_new_thread(serve, (sock,))


def main() -> None:
    """Inside the VM: listen where the agent would."""
    with open(CONFIG, encoding="utf-8") as file:
        config = {name: values for name, *values in map(str.split, file)}
    address = config["control"][0], int(config["port"][0])
    listen(socket.create_server(address, backlog=BACKLOG))


if __name__ == "__main__" and os.getpid() != 1:
    main()
