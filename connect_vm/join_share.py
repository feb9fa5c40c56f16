"""Joining a share: from name and code to a certificate (docs/protocol.md 7)."""

from __future__ import annotations

import asyncio
import os
import ssl

from tunnel import join
from tunnel.alerts import explain
from tunnel.client import SNI_SUFFIX, Dial
from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.identity import Identity, join_client_context, make_key, make_request, require_issued
from tunnel.names import JoinCode, ShareName
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake


async def join_share(dial: Dial, name: ShareName, code: JoinCode, guest: str) -> Identity:
    """Prove the code to the share that `dial` leads to; its CA then signs a key made here.

    One attempt: it never tries again by itself, since each is a guess in somebody's eyes.
    Raises RefusedError(wrong-code), or another VshareError that says what was in the way.
    """
    key = make_key()
    request = make_request(key, guest)
    try:
        async with asyncio.timeout(join.JOIN_TIMEOUT):
            sock = await dial()
            context = join_client_context(join.ALPN)
            tls = await handshake(sock, context, server_hostname=f"{name}.{SNI_SUFFIX}")
            if tls.alpn != join.ALPN or tls.peer_certificate is None:
                tls.abort()
                raise LostError(f"the share {name!r} does not let anybody join")
            attempt = join.GuestJoin(name, guest, request, code, tls.peer_certificate, os.urandom)
            issued = await _exchange(TlsMessages(tls), attempt)
        identity = Identity(key, issued.certificate, issued.ca)
        require_issued(identity)
    except TimeoutError:
        raise LostError(f"no answer from the share {name!r} in time", "try again later") from None
    except RefusedError as error:
        raise _in_words(error) from error
    except (VshareError, OSError, ssl.SSLError) as error:
        raise explain(error, name) from error
    return identity


async def _exchange(messages: TlsMessages, attempt: join.GuestJoin) -> join.JoinIssued:
    try:
        messages.send(await asyncio.to_thread(attempt.first))
        answer = await messages.receive()
        messages.send(await asyncio.to_thread(attempt.second, answer))
        return attempt.finish(await messages.receive())
    finally:
        messages.close()


def _in_words(error: RefusedError) -> RefusedError:
    if error.code is Code.WRONG_CODE:
        return RefusedError(
            error.code,
            "the code is not the one of this share",
            "ask the sharer for it again; a new share has a new code",
        )
    return error
