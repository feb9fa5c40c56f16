"""Browsers' visits, again and again, from inside the lab: of every share by way of every relay.

`python -m tests.e2e.relay_visits JSON` prints a line of JSON for each visit. Each share's site says
at `/32` 32 bytes that no other one says (`tests.e2e.relay_cluster.site_bytes`).
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import sys
import threading
import time

from tests.e2e.relay_cluster import site_bytes

WITHIN = 3.0  # seconds for a visit: longer than a share may take to be back
EVERY = 0.1  # seconds from one visit by way of a relay to the next
SIZE = 32


def visit(address: str, pin: str, host: str, port: int) -> str:
    """What came of it: "right", "wrong" (another share's bytes), else why there was no answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is compared in place of it
    request = f"GET /{SIZE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        with (
            socket.create_connection((address, 443), WITHIN) as tcp,
            context.wrap_socket(tcp, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True) or b""
            if not hashlib.sha256(certificate).hexdigest().startswith(pin):
                return "wrong"
            tls.sendall(request.encode())
            answer = b"".join(iter(lambda: tls.recv(65_536), b""))
    except OSError as error:
        return str(error) or type(error).__name__
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode("latin-1")
    if " 200 " not in f"{status} ":
        return status or "nothing"
    if len(body) < SIZE:
        return "cut"  # it says so itself, by its Content-Length
    return "right" if body == site_bytes(port, SIZE) else "wrong"


def by_way_of(node: str, address: str, pin: str, shares: dict[str, int]) -> None:
    """Visit each share in turn, until the process is ended."""
    while True:
        for name, port in shares.items():
            began = time.monotonic()
            outcome = visit(address, pin, f"{name}.share.test", port)
            ended = time.monotonic()
            line = {"node": node, "name": name, "began": began, "ended": ended, "what": outcome}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            time.sleep(max(0.0, began + EVERY - ended))


def main() -> None:
    plan = json.loads(sys.argv[1])
    for node, address in plan["nodes"].items():
        threading.Thread(
            target=by_way_of, args=(node, address, plan["pin"], plan["shares"])
        ).start()


if __name__ == "__main__":
    main()
