from __future__ import annotations

import json

import pytest

from tests.vshare.web.requests import BROWSER, Clock, request, value
from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare.web.outage import Outages
from vshare.web.sites import Site

SITE = Site("", 8000)
REFUSED = RefusedError(Code.CONNECTION_REFUSED, "192.168.121.5 port 8000: connection refused")


def test_it_says_what_was_tried_and_since_when() -> None:
    clock = Clock()
    outages = Outages(clock)
    reply = outages.began(SITE, REFUSED).reply(request(more=BROWSER))
    assert (reply.status, value(reply, b"Retry-After")) == (502, b"10")
    assert (
        b"<h1>The application behind frosty-weasel-0857.relay.example is not running</h1>"
        in reply.body
    )
    assert b"Port 8000 of the shared machine was tried just now: nothing listens" in reply.body
    assert b"It has been so" not in reply.body
    assert b"192.168" not in reply.body
    clock.now += 200
    reply = outages.began(SITE, REFUSED).reply(request())
    assert b"It has been so for 3 min." in reply.body
    outages.ended(SITE)
    assert b"It has been so" not in outages.began(SITE, REFUSED).reply(request()).body


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
    reply = outage.reply(request(more={"Accept": "application/json"}))
    assert (reply.status, json.loads(reply.body)["status"]) == (status, status)
    assert b"Port 5173 of the machine's loopback" in reply.body
