"""QUIC (RFC 9000) by aioquic: a server that sends what it is asked for, a client that checks it.

`python -m tests.quic serve HOST PORT` prints `ready`; `python -m tests.quic fetch HOST PORT SIZE`
prints what `fetch` found, as JSON.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import ssl
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import QuicServer, serve
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ALPN = "bytes"
NAME = "machine.test"


def configuration() -> QuicConfiguration:
    """A server's, with a certificate of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    made = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    made.certificate, made.private_key = certificate, key
    return made


def content(size: int) -> bytes:
    return (hashlib.sha256(b"quic").digest() * (size // 32 + 1))[:size]


async def _serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = int(await reader.read(-1))
    writer.write(content(size))
    writer.write_eof()


def port_of(running: QuicServer) -> int:
    """Where it listens."""
    assert running._transport is not None
    port: int = running._transport.get_extra_info("sockname")[1]
    return port


def _on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    task = asyncio.get_running_loop().create_task(_serve_stream(reader, writer))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[None]] = set()


async def server(host: str, port: int) -> QuicServer:
    """A server that is up."""
    return await serve(host, port, configuration=configuration(), stream_handler=_on_stream)


async def fetch(host: str, port: int, size: int) -> dict[str, float]:
    """Shake hands and download `size` bytes, which are compared. Seconds for each."""
    made = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], server_name=NAME)
    made.verify_mode = ssl.CERT_NONE  # what is tested is the way; the certificate was made here
    began = time.perf_counter()
    async with connect(host, port, configuration=made) as client:
        await client.wait_connected()
        shaken = time.perf_counter()
        reader, writer = await client.create_stream()
        writer.write(b"%d" % size)
        writer.write_eof()
        data = await reader.read(-1)
    assert data == content(size)
    return {"handshake_s": shaken - began, "download_s": time.perf_counter() - shaken}


async def main(command: str, host: str, port: str, size: str = "1000000") -> None:
    if command == "serve":
        await server(host, int(port))
        print("ready", flush=True)
        await asyncio.Event().wait()
    else:
        print(json.dumps(await fetch(host, int(port), int(size))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
