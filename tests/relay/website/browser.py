"""A browser without a window: it keeps cookies, fills forms, and says where a form is from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message

HOST = "pages.example:7443"
FAR = "203.0.113.9"  # loopback has no limits
_CSRF = re.compile(r'name="csrf" value="([^"]*)"')


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def csrf(self) -> str:
        found = _CSRF.search(self.text)
        return unescape(found[1]) if found else ""


class Browser:
    """Asks `app` straight, as uvicorn would."""

    def __init__(self, app: ASGIApp, address: str = FAR) -> None:
        self._app, self._address = app, address
        self.cookies: dict[str, str] = {}
        self.csrf = ""  # of the page that was seen last

    async def ask(
        self,
        method: str,
        target: str,
        fields: dict[str, str] | None = None,
        body: bytes = b"",
        scheme: str = "https",
    ) -> Answer:
        path, _, query = target.partition("?")
        sent = {"host": HOST, **(fields or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": (self._address, 4_000),
            "server": ("127.0.0.1", 7443),
        }
        answer = Answer(0, [], "")

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                pairs = ((name.decode(), value.decode()) for name, value in message["headers"])
                answer.headers = [(name.lower(), value) for name, value in pairs]
            else:
                answer.text += message.get("body", b"").decode()

        await self._app(scope, receive, send)
        self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        for cookie in answer.all("set-cookie"):
            first, *attributes = cookie.split("; ")
            name, _, value = first.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    async def get(self, target: str, **fields: str) -> Answer:
        """A page."""
        answer = await self.ask("GET", target, fields)
        self.csrf = answer.csrf or self.csrf
        return answer

    async def post(self, target: str, fields: dict[str, str] | None = None, **form: str) -> Answer:
        """A form of the page that was seen last, sent as browsers do; `fields` are other header
        fields (empty: left out)."""
        sent = {
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"https://{HOST}",
            "sec-fetch-site": "same-origin",
            **(fields or {}),
        }
        body = urlencode({"csrf": self.csrf, **form}).encode()
        return await self.ask("POST", target, {k: v for k, v in sent.items() if v}, body)

    async def sign_in(self, token: str, target: str = "/sign-in") -> Answer:
        """With the form."""
        page = await self.get(target)
        way = re.search(r'name="next" value="([^"]*)"', page.text)
        return await self.post("/sign-in", token=token, next=way[1] if way else "")
