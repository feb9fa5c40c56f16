"""TLS towards the machine's own server, whatever its age."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from typing import TypeAlias

import pytest

from relay.certificate import make_certificate, make_key
from tests.loops import run
from tests.vshare.peers import tcp_server
from tunnel.browser_tls import browser_context
from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare.reach_direct import DirectReach
from vshare.web.tls_end import TlsEnd, machine_context

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


def server_context() -> ssl.SSLContext:
    """Its certificate is for another name, and nobody's."""
    key = make_key()
    certificate = make_certificate(key, "web.test", datetime.datetime.now(datetime.UTC))
    return browser_context(certificate, key, ["http/1.1"])


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_what_machines_speak_is_spoken(version: str) -> None:
    context = server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    async def serve(_: Reader, writer: Writer) -> None:
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server, DirectReach("127.0.0.1") as reach:
            tls = TlsEnd(await reach.open_tcp("", port), "localhost")
            await tls.handshake()
            spoken = tls._tls.version()
            tls.reset(Code.CLOSED)
        assert spoken == version.replace("_", ".")

    run(main)


def test_what_is_no_tls_is_told() -> None:
    async def serve(_: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with tcp_server(serve) as port, DirectReach("127.0.0.1") as reach:
            end = await reach.open_tcp("", port)
            with pytest.raises(RefusedError, match="TLS with the machine failed: wrong version"):
                await TlsEnd(end, "localhost").handshake()

    run(main)


def test_one_context_for_all() -> None:
    assert machine_context() is machine_context()
