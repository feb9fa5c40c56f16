"""What a share says of itself, as a guest takes it; and what other terminals ask of `vconnect`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import TextIO

from connect_vm import requests, share_news
from connect_vm.local_ports import LocalPorts
from connect_vm.share_news import ShareNews
from tests.fuzz.target import Target, require, same_however_cut
from tunnel import follow
from tunnel.console import Console
from tunnel.ends import End
from tunnel.errors import RemoteProtocolError
from tunnel.flows import Flow, FlowReceiver
from tunnel.follow import MAX_LINE, LineParser, Person, Say, Server, is_label, parse, serialize
from tunnel.requests import serialize as serialize_request

LINES = (
    serialize("servers", [Server("web", 3000, "http"), Server("db", 5432)]),
    serialize("servers", []),
    serialize("says", [Say(1, "restarting"), Say(2, "\x1b[2J\u202e")]),
    serialize("says", [Say(9, "done")]),
    serialize("guests", [Person("Kim"), Person("me")]),
    serialize("terminals", [{"name": "build"}]),
    b'{"type":"later","items":[{}],"omitted":3}\n',
)
REQUESTS = (
    requests.Servers(),
    requests.Map("web", 8000),
    requests.Unmap("5432"),
    requests.People(),
)
ODD: tuple[object, ...] = (
    0, -1, 2**64, "", "x" * 600, "\x1b]52;c;\x07", None, [], {}, 1.5, "web",
)  # fmt: skip
MAX_PRINTED = 100  # lines for one of the share's: a screen is not flooded


class Nowhere:
    """An opener that nobody uses."""

    async def open(self, host: str, port: int) -> End:
        raise NotImplementedError

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        raise NotImplementedError


class Screen(Console):
    """What would be printed."""

    def __init__(self) -> None:
        super().__init__("m", as_json=True)
        self.printed = 0

    def _say(self, line: str, stream: TextIO) -> None:
        self.printed += 1
        require(line.isprintable(), "what is printed has no control characters")


def run_lines(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        parser, screen = LineParser(), Screen()
        ports = LocalPorts(Nowhere(), {}, automatic=False)
        news = ShareNews(ports, screen, "me")
        try:
            for piece in pieces:
                for line in parser.receive_data(piece):
                    before = screen.printed
                    news.told(parse(line))
                    require(screen.printed - before <= MAX_PRINTED, "a line prints a few")
                require(len(parser._rest) < MAX_LINE, "a line is bounded")
        except RemoteProtocolError:
            return "error"
        for row in ports.rows:
            require(is_label(row.name), "a server has a name that can be typed")
            require(1 <= row.port <= 65_535, "a port is one")
        return ports.rows, news.people, screen.printed

    same_however_cut(data, feed)


def odd_lines(chance: random.Random) -> bytes:
    lines = []
    for _ in range(chance.randrange(1, 5)):
        line = json.loads(chance.choice(LINES))
        odd = chance.choice(ODD)
        if line["items"] and chance.random() < 0.7:
            item = chance.choice(line["items"])
            item[chance.choice((*item, "more"))] = odd
        elif chance.random() < 0.5:
            line[chance.choice((*line, "more"))] = odd
        lines.append(json.dumps(line).encode() + b"\n")
    return b"".join(lines)


def run_request(data: bytes) -> None:
    request = requests.parse(data)
    require(requests.parse(serialize_request(request)) == request, "a request survives")
    if isinstance(request, requests.Map):
        require(0 <= request.local <= 65_535, "a port is one")


TARGETS = (
    Target(
        "follow-lines", run_lines, (), (b"".join(LINES), *LINES),
        (follow.__name__, share_news.__name__), (b'"items":[', b'"name":"', b"\\u001b", b"}\n"),
        odd_lines, 8_192,
    ),
    Target(
        "connection-request", run_request, (RemoteProtocolError,),
        tuple(map(serialize_request, REQUESTS)), (requests.__name__,), (b'"command":', b'"what":'),
    ),
)  # fmt: skip
