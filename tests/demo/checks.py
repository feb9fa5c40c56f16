"""Every way in, tried with the programs that people use. One check, one line."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from box.demo import large
from tests.demo.world import Connection, Share
from tests.lab import Host
from tunnel.errors import VshareError

BIG = 200_000_000  # bytes, as the demo promises
MIDDLE = 50_000_000  # bytes for each of two guests
SMALL = 10_000_000  # bytes, where the way and not the amount is tried
TRANSFER_WITHIN = 180.0  # seconds; the far end is an emulated CPU
PAGES = {"": "It works", "request": "Request", "files": "Files", "about": "About"}
UPLOAD = "upload.bin"
OPEN_PORT = "7"  # the demo machine's echo: what a refusal's time is compared with

Check = tuple[str, Callable[[], str]]


class FailedError(VshareError):
    """A check found something else than it should."""


def digest(count: int) -> str:
    """SHA-256, in hexadecimal, of the demo machine's first `count` bytes."""
    total = hashlib.sha256()
    for chunk in large.chunks(count):
        total.update(chunk)
    return total.hexdigest()


def write_upload(folder: Path, count: int) -> None:
    """The file that uploads send."""
    with (folder / UPLOAD).open("wb") as file:
        for chunk in large.chunks(count):
            file.write(chunk)


def by_url(shared: Share) -> Iterator[Check]:
    """The public URL, from the machine that runs the demo, as its browser would."""
    url = shared.url.rstrip("/")
    port = urlsplit(url).port

    def curl(path: str) -> str:
        command = ["curl", "-sS", "-f", "--noproxy", "*", "--max-time", "60", f"{url}/{path}"]
        return _run(command)

    for path, text in PAGES.items():
        yield f"URL: page /{path}", lambda path=path, text=text: _contains(curl(path), text)  # type: ignore[misc]

    def download() -> str:
        begin = time.monotonic()
        command = f"curl -sSf --noproxy '*' '{url}/large?bytes={SMALL}' | sha256sum"
        return _same(_run(["sh", "-c", command]).split()[0], SMALL, begin)

    yield "URL: download", download
    probe = ["-m", "tests.demo.probe", "websocket", url.replace("http", "ws") + "/ws", "-"]
    yield "URL: WebSocket", lambda: _run([sys.executable, *probe, f"127.0.0.1:{port}"]).strip()


def by_ip(link: Connection, count: int = BIG) -> Iterator[Check]:
    """The static IP, with programs that know nothing of us."""
    host, ip, way = link.host, link.ip, f"{link.host.name}: static IP"
    yield f"{way}: HTTP", lambda: _contains(_curl(host, f"http://{ip}/"), "It works")
    yield f"{way}: download {count // 10**6} MB", lambda: _download(host, f"http://{ip}", count)
    yield f"{way}: upload {count // 10**6} MB", lambda: _upload(host, f"http://{ip}", count)
    yield f"{way}: WebSocket", lambda: _probe(host, "websocket", f"ws://{ip}/ws", "-")
    yield f"{way}: TCP echo", lambda: _probe(host, "echo", "tcp", f"{ip}:7", "-")
    yield f"{way}: UDP echo", lambda: _probe(host, "echo", "udp", f"{ip}:7", "-")
    yield f"{way}: DNS with dig", lambda: _dig(host, ip)
    yield f"{way}: closed port refused", lambda: _refused(host, f"{ip}:9", "-")
    yield f"{way}: SSH refused", lambda: _refused(host, f"{ip}:22", "-", "denied")
    yield f"{way}: loopback port refused", lambda: _refused(host, f"{ip}:8081", "-")


def by_socks(link: Connection, shared: Share, count: int = BIG) -> Iterator[Check]:
    """The SOCKS address, with curl and PySocks; the machine by name and by IP."""
    host, proxy, way = link.host, link.socks, f"{link.host.name}: SOCKS"
    socks = ("--socks5-hostname", proxy)
    for name in (shared.name, "demo", link.ip):
        yield (
            f"{way}: HTTP to {name}",
            lambda name=name: _contains(_curl(host, f"http://{name}/", *socks), "It works"),  # type: ignore[misc]
        )
    place = f"http://{shared.name}"
    mega = count // 10**6
    yield f"{way}: download {mega} MB", lambda: _download(host, place, count, *socks)
    yield f"{way}: upload {mega} MB", lambda: _upload(host, place, count, *socks)
    there = f"ws://{shared.name}/ws"
    yield f"{way}: WebSocket", lambda: _probe(host, "websocket", there, proxy)
    machine = shared.name
    yield f"{way}: TCP echo, PySocks", lambda: _probe(host, "echo", "tcp", f"{machine}:7", proxy)
    yield f"{way}: UDP echo, PySocks", lambda: _probe(host, "echo", "udp", f"{machine}:7", proxy)
    yield f"{way}: DNS, PySocks", lambda: _probe(host, "dns", "demo.test", f"{machine}:53", proxy)
    yield f"{way}: closed port refused", lambda: _refused(host, f"{machine}:9", proxy)
    yield f"{way}: SSH refused", lambda: _refused(host, f"{machine}:22", proxy, "denied")
    yield f"{way}: loopback port refused", lambda: _refused(host, f"{machine}:8081", proxy)


def at_once(first: Connection, second: Connection) -> Iterator[Check]:
    """Two guests who download at the same time."""

    def both() -> str:
        place = "http://{}/large?bytes=" + str(MIDDLE)
        probe = ["python", "-m", "tests.demo.probe", "transfer"]
        running = [
            (link, link.host.popen([*probe, place.format(link.ip), "-"]))
            for link in (first, second)
        ]
        times, expected = [], digest(MIDDLE)
        for link, process in running:
            output, errors = process.communicate(timeout=TRANSFER_WITHIN)
            begin, end, found = output.split() if process.returncode == 0 else (0, 0, errors)
            if found != expected:
                raise FailedError(f"{link.host.name} got other bytes: {found}")
            times.append((float(begin), float(end)))
        return _together(times)

    yield f"{first.host.name} and {second.host.name} at once", both


def _together(times: list[tuple[float, float]]) -> str:
    """What share of the time both were transferring, at least half of it."""
    begin, end = min(each[0] for each in times), max(each[1] for each in times)
    overlap = min(each[1] for each in times) - max(each[0] for each in times)
    share = overlap / (end - begin)
    if share < 0.5:
        raise FailedError(f"one after the other: together for {share:.0%} of the time")
    rate = len(times) * MIDDLE / 1e6 / (end - begin)
    return f"SHA-256 equal, {rate:.0f} MB/s together, {share:.0%} of the time both"


def by_loopback(link: Connection, shared: Share) -> Iterator[Check]:
    """A share with --loopback 8081."""
    socks = ("--socks5-hostname", link.socks)
    for way, name, options in (("static IP", link.ip, ()), ("SOCKS", shared.name, socks)):
        yield (
            f"--loopback 8081: {way}",
            lambda name=name, options=options: _contains(  # type: ignore[misc]
                _curl(link.host, f"http://{name}:8081/", *options), "loopback"
            ),
        )


def by_target(link: Connection) -> Iterator[Check]:
    """A share of a host with real services (--target), at its static IP and through SOCKS."""
    host, ip = link.host, link.ip
    query = ["psql", "-h", ip, "-U", "postgres", "-Atc", "select 6 * 7"]
    yield "--target: psql, static IP", lambda: _contains(host.run(query).stdout, "42")
    ping = ["redis-cli", "-h", ip, "ping"]
    yield "--target: redis-cli, static IP", lambda: _contains(host.run(ping).stdout, "PONG")
    yield "--target: Redis, SOCKS", lambda: _probe(host, "redis", f"{ip}:6379", link.socks)
    yield (
        "--target: port not shared refused",
        lambda: _refused(host, f"{ip}:9418", "-", "denied", "6379"),
    )


def _run(command: list[str]) -> str:
    """On the machine itself, not in the lab."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRANSFER_WITHIN)
    except subprocess.TimeoutExpired:
        raise FailedError(f"no answer in {TRANSFER_WITHIN:g} s") from None
    if done.returncode:
        raise FailedError(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def _curl(host: Host, url: str, *options: str) -> str:
    return host.run(["curl", "-sSf", "--max-time", "60", *options, url], timeout=70).stdout


def _download(host: Host, place: str, count: int, *options: str) -> str:
    begin = time.monotonic()
    command = f"curl -sSf {' '.join(options)} '{place}/large?bytes={count}' | sha256sum"
    output = host.run(["sh", "-c", command], timeout=TRANSFER_WITHIN).stdout
    return _same(output.split()[0], count, begin)


def _upload(host: Host, place: str, count: int, *options: str) -> str:
    begin = time.monotonic()
    command = ["curl", "-sSf", *options, "-H", "Expect:", "-T", UPLOAD, f"{place}/upload"]
    output = host.run(command, timeout=TRANSFER_WITHIN, cwd=host.tmp).stdout
    return _same(output.strip(), count, begin)


def _same(found: str, count: int, begin: float) -> str:
    seconds = time.monotonic() - begin
    if found != digest(count):
        raise FailedError(f"SHA-256 differs: {found}")
    return f"SHA-256 equal, {count / 1e6 / seconds:.0f} MB/s"


def _dig(host: Host, ip: str) -> str:
    answer = host.run(["dig", f"@{ip}", "+short", "+time=3", "+tries=2", "demo.test"]).stdout
    if not answer.strip():
        raise FailedError("no answer from dig")
    return answer.strip()


def _refused(
    host: Host, address: str, proxy: str, how: str = "closed", open_port: str = OPEN_PORT
) -> str:
    return _probe(host, how, address, proxy, open_port)


def _probe(host: Host, *arguments: str) -> str:
    return host.run(["python", "-m", "tests.demo.probe", *arguments], timeout=60).stdout.strip()


def _contains(text: str, wanted: str) -> str:
    if wanted not in text:
        raise FailedError(f"{wanted!r} is not in {text[:200]!r}")
    return f"{len(text)} bytes"
