"""Requests as command lines, which a real shell and a real curl are given."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vshare.dashboard.small_share import head
from tunnel.http_heads import RequestHead, maybe_request
from vshare.dashboard.curl import as_curl, quote

SITE = "https://frosty-weasel-0857.relay.example"
SHELLS = ["/bin/sh", "/bin/bash"]
HEADS = st.binary(max_size=40).map(lambda data: bytes(b for b in data if b not in b"\0\n"))


def shell(line: str, program: str = "/bin/sh") -> list[bytes]:
    """What a program in the place of curl is given: its arguments, and its input last."""
    script = f"curl() {{ printf '%s\\0' \"$@\"; cat; }}\n{line}\n"
    done = subprocess.run(
        [program], input=script.encode(), capture_output=True, check=True, timeout=10
    )
    assert not done.stderr
    return done.stdout.split(b"\0")


def arguments(asked: RequestHead, program: str) -> list[bytes]:
    line = as_curl(SITE, asked, b"")
    assert line.replace("\n", "").isprintable()
    return shell(f"{line} </dev/null", program)


def test_a_plain_request_is_a_plain_line() -> None:
    asked = head("/a?b=c", Accept="*/*", User_Agent="x", X_Forwarded_For="203.0.113.7")
    assert as_curl(SITE, asked, b"") == (
        f"curl '{SITE}/a?b=c' \\\n  --header 'Accept: */*' \\\n  --header 'User-Agent: x'"
    )


def test_what_curl_would_add_is_taken_away() -> None:
    assert as_curl(SITE, head("/", "PUT", Accept_Encoding="gzip, br"), b"x").split(" \\\n  ") == [
        f"curl '{SITE}/'",
        "--request 'PUT'",
        "--compressed",
        "--header 'User-Agent:'",
        "--header 'Accept:'",
        "--header 'Content-Type:'",
        "--data-raw 'x'",
    ]


@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize(
    "nasty",
    [
        b"'; touch /tmp/owned; '",
        b"$(id)`id`\\$HOME!!",
        b"a'b\"c\\'d",
        b"\x1b]0;title\x07\x1b[2J",
        "right\u202eto left".encode(),
        b"caf\xe9 %s %n \\n",
        b"-d @/etc/passwd",
        b"\t",
    ],
)
def test_strangers_words_stay_words(nasty: bytes, program: str) -> None:
    asked = head("/", Accept="*/*", User_Agent="x")
    asked.fields.append((b"X-It", nasty))
    assert arguments(asked, program) == [
        f"{SITE}/".encode(),
        b"--header",
        b"Accept: */*",
        b"--header",
        b"User-Agent: x",
        b"--header",
        b"X-It: " + nasty,
        b"",
    ]


@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize(
    "body",
    [
        b"plain",
        b"@/etc/passwd",
        b"it's\ntwo lines\n",
        b"--boundary\r\nContent-Disposition: form-data\r\n\r\n'%d%%\\x41\r\n--boundary--\r\n",
        bytes(range(256)),
        b"\n\n",
        b"\0",
        b"1" * 65536,
        bytes(range(256)) * 256,
    ],
    ids=range(9),
)
def test_bodies_arrive_as_they_are(body: bytes, program: str) -> None:
    asked = head("/", "POST", Accept="*/*", User_Agent="x", Content_Type="a/b")
    line = as_curl(SITE, asked, body)
    words = b"\0".join(shell(line if "| curl" in line else line + " </dev/null", program))
    flag, _, taken = words.partition(b"a/b\0")[2].partition(b"\0")
    if flag == b"--data-raw":
        assert taken == body + b"\0"
    else:
        assert (flag, taken) == (b"--data-binary", b"@-\0" + body)


@given(HEADS)
@settings(max_examples=10)
def test_any_word(data: bytes) -> None:
    text = quote(data)
    assert "\n" not in text
    assert shell(f"curl {text} </dev/null") == [data, b""]


def serve_once(listener: socket.socket, taken: list[bytes]) -> None:
    sock, _ = listener.accept()
    with sock:
        data = bytearray()
        while True:
            data += sock.recv(65536)
            found = maybe_request(data)
            if found is not None:
                rest = int(found[0].value(b"content-length") or 0) + found[1] - len(data)
                if rest <= 0:
                    break
        taken.append(bytes(data))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (head("/a/../b/./c?x=[1-3]{a,b}&y='", "DELETE", Accept="*/*", User_Agent="me"), b""),
        (head("//evil.example/%2e#x", User_Agent="", X_Empty=""), b""),
        (head("*", "OPTIONS", Accept="*/*"), b""),
        (head("/a/../b/./c/..", Accept="*/*", User_Agent="me"), b""),
        (head("/up", "POST", Content_Type="x/y", Cookie="a=b; c='d'"), bytes(range(256))),
        (head("/up", "PATCH"), b"two\nlines"),
        (head("/", "HEAD", Accept="*/*"), b""),
    ],
    ids=range(7),
)
@pytest.mark.programs
def test_curl_sends_the_same_request(asked: RequestHead, body: bytes, tmp_path: Path) -> None:
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve_once, args=(listener, taken))
        thread.start()
        line = as_curl(f"http://127.0.0.1:{listener.getsockname()[1]}", asked, body)
        line = line.replace("curl ", "curl --silent --noproxy '*' --max-time 9 ", 1)
        subprocess.run(["/bin/sh", "-c", line], check=True, timeout=10, stdout=subprocess.DEVNULL)
        thread.join()
    found = maybe_request(taken[0])
    assert found is not None
    sent, size = found
    assert taken[0][size:] == body
    assert (sent.method, sent.target) == (asked.method, asked.target)
    dropped = {b"host", b"content-length"}
    mine = {name.lower(): value for name, value in asked.fields if name.lower() not in dropped}
    theirs = {name.lower(): value for name, value in sent.fields if name.lower() not in dropped}
    assert theirs == mine
