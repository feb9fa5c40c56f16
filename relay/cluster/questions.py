"""What nodes ask each other, in place of bringing a visitor (docs/protocol.md 4.3).

A question has a topic and some bytes, whose form is the topic's; so has the answer. Both are
bounded before they are read.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Awaitable, Callable

from tunnel.bio_tls import BioTls
from tunnel.errors import RemoteProtocolError

ASK = b"vshare-question\n"  # as long as a PROXY header, which it stands in place of
MAX_QUESTION = 64 * 1024  # bytes
MAX_ANSWER = 2 * 1024 * 1024  # bytes: some thousand rows of a history
AT_ONCE = 16  # that this node answers: who asks more is told so, and may ask again
_HEAD = struct.Struct("!BI")  # length of the topic (in a question), or a code (in an answer); bytes
_ANSWERED, _NOT_ANSWERED = 0, 1

Answer = Callable[[bytes], Awaitable[bytes]]
log = logging.getLogger(__name__)


class Questions:
    """What this node answers, by topic."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._now = 0

    def answer(self, topic: str, answer: Answer) -> None:
        """`answer(question)` is asked from now on; what it raises is logged, and is no answer."""
        self._answers[topic] = answer

    async def serve(self, tls: BioTls) -> None:
        """Answer the question that follows ASK. Raises VshareError, OSError."""
        length, size = _HEAD.unpack(await tls.receive_exactly(_HEAD.size))
        if size > MAX_QUESTION:
            raise RemoteProtocolError(f"a question of {size} bytes, more than {MAX_QUESTION}")
        topic = (await tls.receive_exactly(length)).decode("ascii", "replace")
        answered = await self._answered(topic, await tls.receive_exactly(size))
        code = _NOT_ANSWERED if answered is None else _ANSWERED
        await tls.send_all(_HEAD.pack(code, len(answered or b"")) + (answered or b""))

    async def _answered(self, topic: str, question: bytes) -> bytes | None:
        answer = self._answers.get(topic)
        if answer is None or self._now >= AT_ONCE:
            log.info("a node's question about %r is not answered", topic)
            return None
        self._now += 1
        try:
            answered = await answer(question)
        except Exception as error:  # whatever it is, it is this node's own matter
            log.warning("a node's question about %s could not be answered: %r", topic, error)
            return None
        finally:
            self._now -= 1
        if len(answered) > MAX_ANSWER:
            log.warning("the answer about %s has %d bytes, too many", topic, len(answered))
            return None
        return answered


async def ask(tls: BioTls, topic: str, question: bytes) -> bytes:
    """The other node's answer. Raises VshareError, OSError; RemoteProtocolError for none."""
    name = topic.encode("ascii")
    await tls.send_all(ASK + _HEAD.pack(len(name), len(question)) + name + question)
    code, size = _HEAD.unpack(await tls.receive_exactly(_HEAD.size))
    if code != _ANSWERED:
        raise RemoteProtocolError(f"the node does not answer about {topic}")
    if size > MAX_ANSWER:
        raise RemoteProtocolError(f"an answer of {size} bytes, more than {MAX_ANSWER}")
    return await tls.receive_exactly(size)
