"""The target and the driver with nothing between them, each load for a moment."""

from __future__ import annotations

import socket
import threading

import pytest

from bench import driver, driver_many, driver_udp
from bench.target import BACKLOG, BIG, BLOCK, Target, _echo_datagrams
from bench.way import Way

MOMENT = 0.02  # seconds


@pytest.fixture(scope="module")
def tcp() -> Way:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    threading.Thread(target=Target(listener).run, daemon=True).start()  # ends with the tests
    return Way(listener.getsockname()[1])


@pytest.fixture(scope="module")
def udp() -> Way:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    threading.Thread(target=_echo_datagrams, args=(sock,), daemon=True).start()
    return Way(sock.getsockname()[1])


def test_streams(tcp: Way) -> None:
    for load in (driver.down, driver.up, driver.down_x4):
        answer = load(tcp, MOMENT)
        assert answer["bytes"] % BLOCK == 0
        assert answer["bytes"] > 0
        assert answer["seconds"] > 0


def test_pings_and_opens(tcp: Way) -> None:
    for load in (driver.rtt, driver.opens):
        answer = load(tcp, MOMENT)
        assert 0 < answer["p50"] <= answer["p99"]
        assert answer["count"] > 2


def test_http(tcp: Way) -> None:
    assert driver.http_down(tcp, MOMENT, "localhost")["bytes"] % BIG == 0


def test_many(tcp: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_many, "WARM_UP", MOMENT)
    moments = (MOMENT, 1, 5)  # the machine may be busy
    answers: list[dict[str, float]] = []
    while not answers or (not answers[-1]["per_second"] and len(answers) < len(moments)):
        answers.append(driver_many.opens_many(tcp, moments[len(answers)]))
    assert answers[-1]["per_second"] > 0
    assert not any(answer["failed"] for answer in answers)


def test_datagrams(udp: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = (MOMENT, 1, 5)  # the machine may be busy
    assert any(driver_udp.udp_flow(udp, moment)["per_second"] > 0 for moment in moments)
    monkeypatch.setattr(driver_udp, "LAST_WAIT", MOMENT)
    answer = driver_udp.udp_paced(udp, MOMENT)
    assert 0 <= answer["loss"] < 1
    assert answer["sent"] > 2


def test_a_connection_that_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionError):
        driver.down(Way(port), MOMENT)
