from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.loops import run
from tests.vshare.web.requests import BROWSER, Clock, request, value
from tests.vshare.web.test_stage import Keeper
from tunnel.codes import Code
from tunnel.ends import End, bridge
from tunnel.errors import RefusedError
from tunnel.http_heads import RequestHead
from vshare.policy import Target
from vshare.reach_direct import DirectReach
from vshare.web.access import RequestRule
from vshare.web.outage import Outages
from vshare.web.rules import Reply, Rule
from vshare.web.sites import Site, Sites
from vshare.web.visits import Visits

SITE = Site("", 8000)
REFUSED = RefusedError(Code.CONNECTION_REFUSED, "192.168.121.5 port 8000: connection refused")


def test_it_says_what_was_tried_and_since_when() -> None:
    clock = Clock()
    outages = Outages(clock)
    reply = outages.began(SITE, REFUSED).request(request(more=BROWSER))
    assert (reply.status, value(reply, b"Retry-After")) == (502, b"10")
    assert (
        b"<h1>The application behind frosty-weasel-0857.relay.example is not running</h1>"
        in reply.body
    )
    assert b"Port 8000 of the shared machine was tried just now: nothing listens" in reply.body
    assert b"It has been so" not in reply.body
    assert b"192.168" not in reply.body
    clock.now += 200
    reply = outages.began(SITE, REFUSED).request(request())
    assert b"It has been so for 3 min." in reply.body
    outages.ended(SITE)
    assert b"It has been so" not in outages.began(SITE, REFUSED).request(request()).body


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.TIMED_OUT, 504),
        (Code.BUSY, 503),
        (Code.HOST_UNREACHABLE, 502),
        (Code.CONNECTION_RESET, 502),
    ],
)
def test_statuses(code: Code, status: int) -> None:
    outage = Outages(Clock()).began(Site("x", 5173, loopback=True), RefusedError(code, "?"))
    reply = outage.request(request(more={"Accept": "application/json"}))
    assert (reply.status, json.loads(reply.body)["status"]) == (status, status)
    assert b"Port 5173 of the machine's loopback" in reply.body


class Closed(RequestRule):
    """Lets nobody in."""

    def request(self, head: RequestHead) -> Reply | None:
        return Reply(401, "Unauthorized")


class Nothing(DirectReach):
    """Reaches nothing."""

    async def open_tcp(self, host: str, port: int) -> End:
        raise REFUSED


@pytest.mark.parametrize(("rules", "status"), [((), b"502"), ((Closed(),), b"401")])
def test_who_may_not_come_is_not_told(rules: Sequence[Rule], status: bytes) -> None:
    async def main() -> None:
        visits = Visits(Sites(SITE), lambda _: rules)
        async with Nothing("127.0.0.1") as reach:
            way = await visits.open(SITE, Target("", 8000, False), reach)
        assert way.error is REFUSED
        visitor = Keeper()
        stage = visits.stage(SITE, way, visitor)
        stage.link(way.machine)
        visitor.peer.send(request().serialize())
        assert visitor.sent.startswith(b"HTTP/1.1 " + status)
        assert visitor.eof
        visitor.closed(None)
        await bridge(stage, way.machine)

    run(main)
