"""A key in ~/.ssh/authorized_keys of the machine, put there and taken out over SSH.

helpers/authorized_keys.sh does it; the machine's word for that is not enough, so the key is then
tried (`try_key`).
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from importlib import resources

from tunnel.errors import VshareError
from vshare.key_place import Expiry, LoggedIn, OverSsh, Where, log_in
from vshare.ssh_key import SshKey
from vshare.ssh_link import SshLink

MAX_REASON = 160  # characters of the machine's own words
_LINE = re.compile(r"(ssh-ed25519) ([A-Za-z0-9+/]{60,100}={0,2}) ([A-Za-z0-9@._-]{1,100})")
_ANSWER = re.compile(r"^vshare-keys: (ok|failed) ([^\r\n]*)", re.MULTILINE)


def public_line(line: str) -> str:
    """The key in a line as `make_key` makes them, in base64. Raises ValueError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of authorized_keys: {line[:60]!r}")
    return match[2]


def script(action: str, line: str, seconds: str = "", *, utc: bool = False) -> bytes:
    """What `sh -s` is given to "insert" a line for so many seconds (""), or to "remove" it.

    Raises ValueError for a line that is none: it would be a program.
    """
    header = (
        f"action={action}\nkey='{public_line(line)}'\nline='{line}'\n"
        f"seconds='{seconds}'\nutc={'Z' if utc else ''}\n"
    )
    helper = resources.files("vshare.helpers").joinpath("authorized_keys.sh").read_text()
    return (header + helper).encode()


class AuthorizedKeys:
    """The KeyPlace of the user that `link` logs in as. `link` is the caller's."""

    def __init__(self, link: SshLink) -> None:
        self._link = link

    def where(self) -> Where | None:
        """See KeyPlace. A proxy command is a program to run, so it is not written down."""
        access = self._link.access
        if access.proxy_command is not None:
            return None
        keys = [str(each) for each in access.key_files]
        known = str(access.known_hosts) if access.known_hosts else None
        return OverSsh(access.host, access.port, access.user, keys, known)

    async def insert(self, line: str, expires_at: float) -> bool:
        """See KeyPlace. The time is in authorized_keys where the server understands it."""
        connection = await self._link.connection()
        expiry = Expiry(str(connection.get_extra_info("server_version")))
        seconds = str(int(expires_at - time.time())) if expiry.understood else ""
        return "expiry-time" in await self._run("insert", line, seconds, utc=expiry.in_utc)

    async def remove(self, line: str) -> None:
        """See KeyPlace."""
        await self._run("remove", line)

    async def try_key(self, key: SshKey, password: str | None) -> LoggedIn:
        """See KeyPlace."""
        connection = await self._link.connection()
        user = str(connection.get_extra_info("username"))
        trusted = connection.get_server_host_key()
        return await log_in(replace(self._link.access, user=user), key, password, trusted)

    async def _run(self, action: str, line: str, seconds: str = "", *, utc: bool = False) -> str:
        """What the helper says after "ok". Raises VshareError."""
        output = await self._link.run("sh -s", stdin=script(action, line, seconds, utc=utc))
        text = output.decode("utf-8", "replace")
        answers = _ANSWER.findall(text)
        if answers and answers[-1][0] == "ok":
            return str(answers[-1][1])
        raise VshareError(
            f"{self._link.access}: the SSH key could not be {_DONE[action]}: {_reason(text)}",
            _HINTS[action],
        )


_DONE = {"insert": "inserted", "remove": "removed"}
_HINTS = {
    "insert": "the machine must be a Unix whose user may write ~/.ssh/authorized_keys, and have"
    " finished booting; see whether `vagrant ssh` works, or share without --ssh",
    "remove": "remove the line that ends in vshare-NAME from ~/.ssh/authorized_keys in the machine",
}


def _reason(output: str) -> str:
    """What the machine complained of, for people: its last two lines."""
    words = " ".join(line.replace("vshare-keys: failed ", "") for line in output.splitlines()[-2:])
    clean = "".join(each for each in words if each.isprintable())
    return clean[:MAX_REASON] or "it did not say why"
