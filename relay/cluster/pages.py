"""The pages of a cluster's relays as one: who is signed in at one is signed in at all.

Sessions are in browsers, sealed with a key that all nodes have. What became of those that were
ended by a click each node says, with what it has heard of others' (relay/cluster/seals.py): so it
is known as long as any node goes on. A node that has not heard the others yet takes no session that
began before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.cluster.member import Member
from relay.cluster.records import LOCAL_BITS, at
from relay.website.sealed import KEY_SIZE
from relay.website.sign_outs import MOST, SignOuts
from tunnel.errors import RemoteProtocolError

TOPIC = "sign-outs"
MAX_NOTICE = 2 * 1024 * 1024  # bytes of one node's; MOST of them have half of that
TOKENS = "tokens"  # the topic of questions about them
ANSWER_WITHIN = 2.0  # seconds: a page waits
_INFO = b"vshare-cluster-pages/1"

_Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,32}\Z")]
_Rows: TypeAlias = Annotated[list[tuple[_Id, _Id, float]], msgspec.Meta(max_length=MOST)]

log = logging.getLogger(__name__)
_rows = msgspec.json.Decoder(_Rows)


class PagesTogether:
    """See relay.website.together. `secret` is the cluster's."""

    def __init__(self, member: Member, secret: str) -> None:
        self._member = member
        self.key = HKDF(hashes.SHA256(), KEY_SIZE, salt=None, info=_INFO).derive(secret.encode())
        self._sign_outs: SignOuts

    def share_sign_outs(self, sign_outs: SignOuts) -> None:
        """See Together."""
        self._sign_outs = sign_outs
        sign_outs.not_before = time.time()
        sign_outs.on_change = self._say
        self._member.listen(TOPIC, self._heard)

    # -- tokens

    def answer_tokens(self, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """See Together."""
        self._member.questions.answer(TOKENS, answer)

    def is_elsewhere(self, account: int) -> bool:
        """See Together."""
        return bool(at(account, self._member.info.home) >> LOCAL_BITS)

    async def ask_home(self, account: int, question: bytes) -> bytes | None:
        """See Together. A node that was started again is known twice for a while."""
        others = self._member.directory.others()
        nodes = [node for node in others if not at(account, node.home) >> LOCAL_BITS]
        answers = await self._member.ask_all(nodes, TOKENS, question, ANSWER_WITHIN)
        return next((answer for _, answer in answers if answer is not None), None)

    async def ask_others(self, question: bytes) -> list[bytes | None]:
        """See Together."""
        others, home = self._member.directory.others(), self._member.info.home
        nodes = {node.home: node for node in others if node.home != home}
        asked = await self._member.ask_all(nodes.values(), TOKENS, question, ANSWER_WITHIN)
        return [answer for _, answer in asked]

    # -- sign-outs

    def _say(self) -> None:
        text, home = msgspec.json.encode(self._sign_outs.rows()), self._member.info.home
        # That of two the later counts is of no use here: none takes anything back.
        self._member.post(TOPIC, self._member.seals.seal(TOPIC, home, time.time_ns(), text))

    def _heard(self, notices: dict[str, bytes]) -> None:
        for home, sealed in notices.items():
            self._sign_outs.hear(self._parse(home, sealed))
        self._sign_outs.not_before = 0.0

    def _parse(self, home: str, sealed: bytes) -> list[tuple[str, str, float]]:
        try:
            if len(sealed) > MAX_NOTICE:
                raise RemoteProtocolError("it is too long")
            return _rows.decode(self._member.seals.open(TOPIC, home, sealed)[1])
        except (RemoteProtocolError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("who signed out at node %s cannot be read: %s", home, error)
            return []
