"""A share as the dashboard sees it: handlers, figures, a machine that answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from tests.vshare.web.test_stage import Keeper
from tunnel.control_socket import Handler, on
from tunnel.ends import Bytes, End, bridge
from tunnel.errors import UsageError
from tunnel.http_heads import AnswerHead, RequestHead
from vshare import requests
from vshare.dashboard.exchange import Exchange
from vshare.dashboard.figures import StreamRow, Totals
from vshare.dashboard.request_log import RequestLog
from vshare.dashboard.server import Share
from vshare.news import Newsroom
from vshare.policy import Target
from vshare.web.rules import Gallery
from vshare.web.sites import MAIN, Site, Sites
from vshare.web.stage import Stage
from vshare.web.visits import Visits

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
URL = "https://frosty-weasel-0857.relay.example"


def head(target: str = "/", method: str = "GET", **fields: str) -> RequestHead:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in fields.items()]
    host = (b"Host", b"frosty-weasel-0857.relay.example")
    return RequestHead(1, [host, *pairs], method.encode(), target.encode())


def answer_head(status: int = 200, **fields: str) -> AnswerHead:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in fields.items()]
    return AnswerHead(1, pairs, status, b"OK")


def seen(
    log: RequestLog,
    asked: RequestHead | None = None,
    status: int = 200,
    body: bytes = b"",
    sent: bytes = b"",
    site: str = "",
    **fields: str,
) -> Exchange:
    """One whole exchange."""
    exchange = log.begin(site, asked or head())
    if sent:
        exchange.request_body(memoryview(sent))
    exchange.answer(answer_head(status, **fields))
    if body:
        exchange.answer_body(memoryview(body))
    exchange.ended(None)
    return exchange


class Machine(Keeper):
    """Answers a request with `answer`, or keeps silent, or `hangs_up` then."""

    def __init__(self, answer: bytes, *, hangs_up: bool) -> None:
        super().__init__()
        self.answer, self.hangs_up = answer, hangs_up

    def send(self, data: Bytes) -> None:
        if not self.sent:
            asyncio.get_running_loop().call_soon(self._reply)
        super().send(data)

    def _reply(self) -> None:
        if self.answer:
            self.peer.send(self.answer)
        if self.hangs_up:
            self.peer.send_eof()


class SmallShare:
    """Guests are names; `asked` are the commands that came."""

    def __init__(self) -> None:
        self.log = RequestLog()
        self.newsroom = Newsroom()
        self.expires_at = time.time() + 3600
        self.guests = ["bob"]
        self.asked: list[requests.Request] = []
        self.stopped = False
        self.now = Totals()
        self.machines: list[Machine] = []
        self.answer, self.hangs_up = OK, False
        self.unreachable: Exception | None = None
        self.visits = Visits(Sites(http=Site(MAIN, 80), others={"docs": Site("docs", 8080)}))
        self.carried: list[tuple[str, int]] = []

    @property
    def parts(self) -> Share:
        return Share(self.log, self.table(), self.newsroom, self, self.carry)

    def table(self) -> Mapping[type[requests.Request], Handler]:
        return dict(
            [
                on(requests.Status, self._status),
                on(requests.Guests, self._guests),
                on(requests.Kick, self._kick),
                on(requests.Extend, self._extend),
                on(requests.Stop, self._stop),
                on(requests.Code, self._code),
            ]
        )

    async def _status(self, _: requests.Status) -> requests.ShareState:
        return requests.ShareState(
            "frosty-weasel-0857",
            "shop",
            "relay.example",
            URL,
            "frosty-weasel-0857@relay.example",
            self.expires_at,
            len(self.guests),
            "all ports of the machine",
        )

    async def _guests(self, _: requests.Guests) -> requests.GuestList:
        return requests.GuestList(
            [requests.GuestRow(name, time.time() - 60, "203.0.113.9") for name in self.guests]
        )

    async def _kick(self, request: requests.Kick) -> requests.OneGuest:
        self.asked.append(request)
        if request.guest not in self.guests:
            raise UsageError(f"there is no guest {request.guest!r}", "see vshare guests")
        self.guests.remove(request.guest)
        self.newsroom.tell("kicked", f"{request.guest} was removed", guest=request.guest)
        return requests.OneGuest(request.guest)

    async def _extend(self, request: requests.Extend) -> requests.Expiry:
        self.asked.append(request)
        self.expires_at = time.time() + request.seconds
        return requests.Expiry(self.expires_at)

    async def _stop(self, request: requests.Stop) -> requests.Stopped:
        self.asked.append(request)
        self.stopped = True
        return requests.Stopped()

    async def _code(self, request: requests.Code) -> requests.ShareCode:
        self.asked.append(request)
        return requests.ShareCode("frosty-weasel-0857", "a-b-c", "x")

    # -- Figures

    def totals(self) -> Totals:
        return self.now

    def open_streams(self, limit: int) -> Sequence[StreamRow]:
        return [
            StreamRow("bob", "tcp", "machine", 22, 12.0, 1, 2),
            StreamRow("gateway", "http", "", 443, 1.0, 1, 2),
        ][:limit]

    # -- Carry, and Reach as far as Visits asks for it

    async def carry(self, label: str, port: int, end: End, gallery: Gallery) -> None:
        self.carried.append((label, port))
        site = self.visits.sites.find(label, port)
        stage = Stage(end, label, (), gallery, lambda: None)
        target = Target("192.0.2.1", site.port)
        machine, _ = await self.visits.open(site, target, self, stage)  # type: ignore[arg-type]
        await bridge(stage, machine)

    async def open_tcp(self, host: str, port: int) -> End:
        await asyncio.sleep(0)
        if self.unreachable is not None:
            raise self.unreachable
        machine = Machine(self.answer, hangs_up=self.hangs_up)
        self.machines.append(machine)
        return machine
