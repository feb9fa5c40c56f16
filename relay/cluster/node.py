"""A relay's place in its cluster: made from its configuration, run beside what it always does."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from relay.accounts.holders import SOURCE, TOKEN, too_many_shares
from relay.accounts.watch import AccountWatch
from relay.certificate import kept
from relay.cluster.accounts import SharedAccounts
from relay.cluster.config import ClusterConfig
from relay.cluster.directory import Directory
from relay.cluster.elsewhere import Elsewhere
from relay.cluster.member import Member
from relay.cluster.node_port import NodeDialler, NodePort
from relay.cluster.pages import PagesTogether
from relay.cluster.records import Lease, NodeInfo, Wish
from relay.cluster.seals import Seals
from relay.cluster.store import NotGrantedError, StoreError, open_store, read_secret
from relay.cluster.trust import ClusterTrust
from relay.cluster.usage import SharedUsage
from relay.control import Control, RejectionError, ShareSession
from relay.front import Answer
from relay.limits import Admission
from relay.names import NameBook
from relay.registry import LocalRegistry, Share
from relay.routes import Answerer, Sites
from tunnel.control import Register

HOME = 8  # random bytes by which a node is known again after it was started again
MAX_NODES_TOLD = 8  # addresses of other nodes that a share is told
AWAY = "the relays' Redis cannot be reached now, so no share can register"

log = logging.getLogger(__name__)


class ClusterNode:
    """Raises VshareError for a configuration that cannot be used. `run` does the work."""

    def __init__(
        self,
        config: ClusterConfig,
        registry: LocalRegistry,
        names: NameBook,
        admission: Admission,
        state_dir: Path | None,
    ) -> None:
        secret = read_secret(config.secret_file)
        home = kept(state_dir and state_dir / "node.id", secrets.token_hex(HOME).encode()).decode()
        self.id = f"{home}-{secrets.token_hex(HOME)}"
        self._trust = ClusterTrust(secret, self.id, datetime.datetime.now(datetime.UTC))
        self._store = open_store(config)
        key = hmac.digest(secret.encode(), b"vshare cluster: who answers", hashlib.sha256)
        directory, dialler = Directory(self.id, key), NodeDialler(self._trust)
        self.member = Member(
            self._store,
            registry,
            names,
            directory,
            dialler,
            timing=config.timing,
            seals=Seals(secret),
        )
        self.member.info = NodeInfo(self.id, home, config.host, config.port, config.public_address)
        self._usage = SharedUsage(self.member, registry.quotas)
        self.pages = PagesTogether(self.member, secret)
        self._admission = admission
        self.place = (config.host, config.port)  # where other nodes are to come
        self._elsewhere = Elsewhere(registry, directory, dialler, admission)
        self._group: asyncio.TaskGroup | None = None

    @property
    def is_ready(self) -> bool:
        """Whether shares can register here, and visitors find those at other nodes."""
        return self.member.is_ready

    def share_accounts(self, watch: AccountWatch) -> None:
        """What `watch` reads is good at all nodes, and what they have is good here."""
        SharedAccounts(self.member, watch)

    def around(self, answers: Mapping[Answerer, Answer]) -> dict[Answerer, Answer]:
        """See Elsewhere."""
        return self._elsewhere.around(answers)

    def places(self) -> tuple[str, list[str]]:
        """Where clients find this node alone, and the others; empty where that is not known."""
        others = [node.public for node in self.member.directory.others() if node.public]
        return self.member.info.public, others[:MAX_NODES_TOLD]

    def front(
        self,
        listener: socket.socket,
        sites: Sites,
        answers: Mapping[Answerer, Answer],
        is_banned: Callable[[str], bool],
    ) -> NodePort:
        """Where other nodes bring visitors; `listener` is what they dial."""
        port = listener.getsockname()[1]
        self.member.info = msgspec.structs.replace(self.member.info, port=port)
        return NodePort(
            listener,
            self._admission,
            sites,
            answers,
            is_banned,
            trust=self._trust,
            asked=self.member.questions,
        )

    async def run(self, public: str) -> None:
        """Until cancelled; then the node leaves. Clients reach it at `public`, unless another place
        is configured."""
        member = self.member
        if not member.info.public:
            member.info = msgspec.structs.replace(member.info, public=public)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._usage.run(), name="usage")
                await member.run()
        finally:
            self._group = None
            await self._store.aclose()

    def register(
        self, desk: Control, request: Register, signed: bytes, session: ShareSession
    ) -> None:
        """See relay.control.Cluster."""
        if self._group is None or self.member.is_unheard:
            raise RejectionError("unavailable", AWAY)
        wish = desk.wish(request, signed, session)
        work = self._register(desk, wish, (request, signed), session)
        self._group.create_task(work, name="registration")

    async def _register(
        self, desk: Control, wish: Wish, asked: tuple[Register, bytes], session: ShareSession
    ) -> None:
        request, signed = asked
        try:
            lease = await self._claim(wish)
            try:
                if session.is_lost:
                    raise RejectionError("closed", "the share has gone meanwhile")
                named = msgspec.structs.replace(request, name=lease.name)
                share = desk.register(named, signed, session)
            except RejectionError:
                await self.member.give_back(lease)
                raise
        except RejectionError as rejection:
            session.rejected(rejection)
            return
        except Exception:
            log.exception("a share could not be registered: this is a bug")
            session.rejected(RejectionError("unavailable", "this relay met a fault: try again"))
            return
        session.admitted(share)
        self.member.holds(share, lease)

    async def _claim(self, wish: Wish) -> Lease:
        try:
            return await self.member.claim(self._usage.hide(wish))
        except StoreError as error:
            log.info("a share was not registered: %s", error.text)
            raise RejectionError("unavailable", AWAY) from error
        except NotGrantedError as error:
            raise _rejection(error.code, wish) from error

    def extended(self, share: Share) -> None:
        """See relay.control.Cluster."""
        self.member.extended(share)

    def ended(self, share: Share) -> None:
        """See relay.control.Cluster."""
        self.member.ended(share)

    def left(self, share: Share) -> None:
        """See relay.control.Cluster."""
        self.member.left(share)


def _rejection(code: str, wish: Wish) -> RejectionError:
    """In the words that a single relay has for it."""
    match code:
        case "name-taken":
            text = f"the name {wish.names[0]} belongs to somebody else"
        case "route-taken":
            text = "that route belongs to somebody else"
        case "quota":
            holder = wish.token if wish.token.startswith(SOURCE) else f"{TOKEN}{wish.token}"
            text = too_many_shares(holder, wish.shares or 0)
        case "full":
            text = "no free name was found"
        case _:  # grace, stale
            code, text = "unavailable", "the relays have just lost sight of each other: try again"
    return RejectionError(code, text)
