"""Requests as the gateway hands them to a share, and a clock for their rules."""

from __future__ import annotations

from urllib.parse import urlencode

from tunnel.http_heads import RequestHead, maybe_request
from vshare.web.rules import Form, Reply

HOST = "frosty-weasel-0857.relay.example"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Clock:
    """Stands still unless it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def request(
    target: str = "/",
    method: str = "GET",
    *,
    address: str | None = "203.0.113.7",
    tls: bool = True,
    host: str = HOST,
    more: dict[str, str] | None = None,
) -> RequestHead:
    """The head of a request; `more` fields come first, as the visitor sent them."""
    fields = {"Host": host, **(more or {})}
    if address is not None:
        fields["X-Forwarded-For"] = address
    fields |= {"X-Forwarded-Proto": "https" if tls else "http", "X-Forwarded-Host": host}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    found = maybe_request(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())
    assert found is not None
    return found[0]


def value(reply: Reply, name: bytes) -> bytes | None:
    """Of a field of the reply."""
    return next((each for field, each in reply.fields if field == name), None)


def cookie(reply: Reply) -> str:
    """What a browser sends as Cookie that was given this reply."""
    field = value(reply, b"Set-Cookie")
    assert field is not None
    return field.partition(b";")[0].decode()


def refused(answer: Reply | Form | None) -> Reply:
    """The answer, which has to be a reply."""
    assert isinstance(answer, Reply)
    return answer


def submit(answer: Reply | Form | None, **fields: str) -> Reply:
    """What a form's fields are answered with."""
    assert isinstance(answer, Form)
    return answer.reply(urlencode(fields).encode())
