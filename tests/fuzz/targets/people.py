"""What guests and visitors call themselves, and a file of options that somebody else wrote."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from tests.fuzz.target import Target, require
from tunnel.errors import UsageError
from tunnel.identity import Role
from tunnel.looks import is_seen, skeleton
from vshare.cli import up
from vshare.guest_page.door import visitors_name
from vshare.guests import MAX_NAME, Guests
from vshare.share_file import read_share_file

OTHERS = ("alice", "Bob", "guest", "visitor")
LETTERS = (
    b"alice", b"Bob", b"sharer", b"the ", b"-2", b"--", b"(browser)", b"\x1b]0;", "\u202e".encode(),
    "\u3164".encode(), "\u0430".encode(), "\u0301".encode(), "\U0001d41a".encode(), b"\n", b"'",
    "\ufdfa".encode(), "\u0130".encode(), "\u1e9e".encode(), b"1", b"0", b"rn", b"$(x)", b";",
)  # fmt: skip
OPTIONS = (
    b"[up]\n", b"name = 'a'\n", b"port = [80, '443']\n", b"ssh = true\n", b"machine = 'web'\n",
    b"expose = ['10.0.0.0/24']\n", b"notify = '@x'\n", b"expires = '8h'\n", b"serve = '80=a'\n",
    b"http-auth-file = 'f'\n", b"token-file = 't'\n", b"[[up]]\n", b"up.name = 1\n", b"= ",
    b"\xff", b"1979-05-27T07:32:00Z", b"nan", b"{a = 1}", b'"""', b"[", b"9" * 30, b"\0",
)  # fmt: skip


def run_name(data: bytes) -> None:
    """No exception at all."""
    text = data.decode("utf-8", "replace")
    guests = Guests()
    for number, other in enumerate(OTHERS):
        guests.add(Role.GUEST, other, str(number), "")
    name = guests.free_name(text)
    for made in (name, visitors_name(text)):
        require(all(map(is_seen, made)) and made == made.strip(), "a name is seen", made)
        require(0 < len(made) <= MAX_NAME + 2, "a name has its length", made)
        require(not made.startswith("-"), "a name is no option", made)
        require(not set(made) & set("()'\"$`;|&<>\\!*?{}[]#~\n"), "a shell takes it as it is", made)
    taken = {skeleton(each) for each in (*OTHERS, "sharer", "the sharer")}
    require(skeleton(name) not in taken, "a name is one guest's", name)


def run_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(click.UsageError):
        path = Path(folder) / "vshare.toml"
        path.write_bytes(data)
        found = read_share_file(path, up.params, click.Context(up))
        known = {param.name for param in up.params}
        require(set(found) <= known - {"token_file", "detach", "as_json"}, "options that may be")


TARGETS = (
    Target(
        "guest-names", run_name, (), (b"alice", b"", b"Ada L.", "\u0430lice".encode()),
        ("tunnel.looks", "vshare.guests"), LETTERS, None, 200,
    ),
    Target(
        "share-file", run_file, (UsageError,), (b"", b"".join(OPTIONS[:9])),
        ("vshare.share_file",), OPTIONS, None, 1_000, share=0.1, slow="each input is a file",
    ),
)  # fmt: skip
