"""Joining a share: from name and code to a certificate (docs/protocol.md 7)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable

from tunnel import join
from tunnel.alerts import explain
from tunnel.client import SNI_SUFFIX, Dial
from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.identity import (
    Identity,
    PrivateKey,
    join_client_context,
    make_key,
    make_request,
    require_issued,
)
from tunnel.names import JoinCode, ShareName, plate_of
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake

ANSWER_MARGIN = 5.0  # seconds that the share's own "nobody let you in" may take to arrive


async def join_share(
    dial: Dial,
    name: ShareName,
    code: JoinCode,
    guest: str,
    on_waiting: Callable[[str], None] = lambda text: None,
    *,
    key: PrivateKey | None = None,
) -> Identity:
    """Prove the code to the share that `dial` leads to; its CA then signs `key`, or one made here.

    One attempt: it never tries again by itself, since each is a guess in somebody's eyes.
    `on_waiting(text)` is told, in the share's words, when the sharer has to be asked first.
    Raises RefusedError(wrong-code), or another VshareError that says what was in the way.
    """
    key = key or make_key()
    request = make_request(key, guest)
    try:
        async with asyncio.timeout(join.JOIN_TIMEOUT) as deadline:
            sock = await dial()
            context = join_client_context(join.ALPN)
            tls = await handshake(sock, context, server_hostname=f"{name}.{SNI_SUFFIX}")
            if tls.alpn != join.ALPN or tls.peer_certificate is None:
                tls.abort()
                raise LostError(f"the share {name!r} does not let anybody join")
            attempt = join.GuestJoin(
                name, guest, request, code, tls.peer_certificate, os.urandom, plate_of(code)
            )
            issued = await _exchange(TlsMessages(tls), attempt, deadline, on_waiting)
        identity = Identity(key, issued.certificate, issued.ca, issued.route)
        require_issued(identity)
    except TimeoutError:
        raise LostError(f"no answer from the share {name!r} in time", "try again later") from None
    except RefusedError as error:
        raise _in_words(error, name) from error
    except (VshareError, OSError, ssl.SSLError) as error:
        raise explain(error, name) from error
    return identity


async def _exchange(
    messages: TlsMessages,
    attempt: join.GuestJoin,
    deadline: asyncio.Timeout,
    on_waiting: Callable[[str], None],
) -> join.JoinIssued:
    try:
        messages.send(await asyncio.to_thread(attempt.first))
        answer = await messages.receive()
        messages.send(await asyncio.to_thread(attempt.second, answer))
        answer = await messages.receive()
        for said in range(join.MAX_WAITINGS + 1):
            text = attempt.maybe_waiting(answer)
            if text is None:
                return attempt.finish(answer)
            if not said:  # the sharer is asked: that takes as long as a person does
                now = asyncio.get_running_loop().time()
                deadline.reschedule(now + join.APPROVAL_WITHIN + ANSWER_MARGIN)
            on_waiting(text)
            answer = await messages.receive()
        raise RemoteProtocolError("the share went on and on about having to wait")
    finally:
        messages.close()


def _in_words(error: RefusedError, name: ShareName) -> RefusedError:
    if error.code is Code.WRONG_CODE:  # a relay answers so for what it does not know, too
        return RefusedError(
            error.code,
            f"the code is not right, or no share named {name!r} is there now",
            "ask the sharer: the code may have changed, the share may have ended, expired or be"
            " asleep, or name or code are mistyped; every try counts as a guess",
        )
    return error
