"""Each figure a small function: it drives one system, and returns what it measured."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.driver import quantiles
from bench.ours import Ours, SharedTerminal
from bench.processes import cpu_seconds, killed_after, memory_kb
from bench.system import System
from bench.way import Way

MEGA, GIGA, MICRO, MILLI = 1e6, 1e9, 1e6, 1e3
BURST = 200  # connections
SETTLE = 0.5  # seconds for a program to have done what it does after starting
IDLE = 12.0  # seconds after which a stream is idle: long enough for what is only kept for a while
WARM = 0.3  # seconds of loads whose code is then imported and whose pages are touched
SAMPLES_EVERY = 0.05  # seconds between looks at the memory
RESUME_TURNS = 4
WRK_CONNECTIONS = 50
WITHIN = 120.0  # seconds for one load; one that hangs is a failure

Found = dict[str, float]


@dataclass(frozen=True)
class Setup:
    """A system under way, another instance of it for figures that need a fresh one."""

    system: System
    fresh: Callable[[], System]
    seconds: float


class LoadError(Exception):
    """A load that failed, with its last words."""


def drive(load: str, way: Way, seconds: float, *more: str) -> dict[str, float]:
    """Run a load in a process of its own. Raises LoadError."""
    command = [sys.executable, "-m", "bench.driver", load, str(way), str(seconds), *more]
    with killed_after(command) as process:
        try:
            said, errors = process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired:
            raise LoadError(f"{load}: not done within {WITHIN:g} s") from None
    if process.returncode:
        raise LoadError(f"{load}: {errors.strip().splitlines()[-1]}")
    answer: dict[str, float] = json.loads(said)
    return answer


@contextmanager
def held(
    load: str, way: Way, count: float
) -> Iterator[tuple[dict[str, float], Callable[[], None]]]:
    """A load that waits where it says so: its first answer, and what lets it go on."""
    command = [sys.executable, "-m", "bench.driver", load, str(way), str(count)]
    with killed_after(command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        go_on = process.stdin
        line = process.stdout.readline()
        if not line:
            raise LoadError(f"{load}: {process.stderr.read().strip().splitlines()[-1]}")

        def let_go() -> None:
            go_on.write("\n")
            go_on.flush()

        yield json.loads(line), let_go
        try:
            process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired:
            raise LoadError(f"{load}: not done within {WITHIN:g} s") from None


def stream(setup: Setup) -> Found:
    """A download and an upload, and what they cost."""
    system = setup.system
    sides = {"share": system.share, "connect": system.connect, "relay": system.relay}
    before = {side: cpu_seconds(processes) for side, processes in sides.items()}
    down = drive("down", system.way, setup.seconds)
    up = drive("up", system.way, setup.seconds)
    found = {
        "stream_down": down["bytes"] / down["seconds"] / MEGA,
        "stream_up": up["bytes"] / up["seconds"] / MEGA,
    }
    if system.processes:
        moved = (down["bytes"] + up["bytes"]) / GIGA
        cost = {side: (cpu_seconds(sides[side]) - before[side]) / moved for side in sides}
        found["cpu_per_gb"] = cost["share"] + cost["connect"]
        found |= {f"{side}_cpu_per_gb": cost[side] for side in sides}
    return found


def stream_x4(setup: Setup) -> Found:
    """Four at once."""
    answer = drive("down_x4", setup.system.way, setup.seconds)
    return {"stream_x4": answer["bytes"] / answer["seconds"] / MEGA}


def resume(setup: Setup) -> Found:
    """What it costs that streams can be resumed: downloads with and without, taking turns."""
    system = setup.system
    plain = system.way_not_resumable() if isinstance(system, Ours) else None
    if plain is None:
        return {}
    assert isinstance(system, Ours)
    guests = ((system.way, system.connect), (plain, system.plain))
    speeds: tuple[list[float], list[float]] = ([], [])
    costs: tuple[list[float], list[float]] = ([], [])  # CPU seconds per byte of share and guest
    for turn in range(RESUME_TURNS):
        for number in (turn % 2, 1 - turn % 2):
            way, guest = guests[number]
            before = cpu_seconds([*system.share, *guest])
            answer = drive("down", way, setup.seconds / 2)
            cost = cpu_seconds([*system.share, *guest]) - before
            speeds[number].append(answer["bytes"] / answer["seconds"])
            costs[number].append(cost / answer["bytes"])
    with_it, without = map(statistics.median, speeds)
    cpu_with_it, cpu_without = map(statistics.median, costs)
    return {"resume_ratio": with_it / without, "resume_cpu_ratio": cpu_with_it / cpu_without}


def rtt(setup: Setup) -> Found:
    """An ssh key press."""
    answer = drive("rtt", setup.system.way, setup.seconds / 2)
    return {"rtt_p50": answer["p50"] * MICRO, "rtt_p99": answer["p99"] * MICRO}


def rtt_loaded(setup: Setup) -> Found:
    """The same beside a download."""
    answer = drive("rtt_loaded", setup.system.way, setup.seconds)
    return {"rtt_loaded_p50": answer["p50"] * MICRO, "rtt_loaded_p99": answer["p99"] * MICRO}


def opens(setup: Setup) -> Found:
    """New connections, one after another."""
    answer = drive("opens", setup.system.way, setup.seconds)
    return {"open_p50": answer["p50"] * MICRO, "open_p99": answer["p99"] * MICRO}


def opens_many(setup: Setup) -> Found:
    """New connections, 50 at a time."""
    return {"opens_per_s": drive("opens_many", setup.system.way, setup.seconds)["per_second"]}


def http(setup: Setup) -> Found:
    """A small page, by wrk."""
    _wrk(setup.system, 1)  # not counted: pools grow
    return parse_wrk(_wrk(setup.system, max(1, round(setup.seconds))))


def _wrk(system: System, seconds: int) -> str:
    command = ["wrk", "-t", "1", "-c", str(WRK_CONNECTIONS), "-d", f"{seconds}s", "--latency"]
    command += ["-H", f"Host: {system.http_host}", f"http://127.0.0.1:{system.http.port}/"]
    with killed_after(command) as process:
        return process.communicate(timeout=WITHIN)[0]


def parse_wrk(text: str) -> Found:
    """wrk's report. Raises LoadError when requests failed."""
    wrong = re.search(r"Non-2xx or 3xx responses: \d+", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", text)
    if wrong or (broken and any(map(int, broken.groups()))):  # slow ones are in the statistic
        raise LoadError(f"wrk: {text.strip().splitlines()[-3:]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    slow = re.search(r"^\s+99%\s+([\d.]+)(us|ms|s)\s*$", text, re.MULTILINE)
    if not rate or not slow:
        raise LoadError(f"wrk said {text!r}")
    milliseconds = float(slow[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[slow[2]]
    return {"http_rps": float(rate[1]), "http_p99": milliseconds}


def http_stream(setup: Setup) -> Found:
    """A large file."""
    system = setup.system
    answer = drive("http_down", system.http, setup.seconds, system.http_host)
    return {"http_stream": answer["bytes"] / answer["seconds"] / MEGA}


def udp(setup: Setup) -> Found:
    """Datagrams, where the system takes them."""
    if setup.system.udp is None:
        return {}
    flow = drive("udp_flow", setup.system.udp, setup.seconds)
    paced = drive("udp_paced", setup.system.udp, setup.seconds)
    return {
        "udp_pps": flow["per_second"],
        "udp_rtt_p50": paced["p50"] * MICRO,
        "udp_loss": paced["loss"] * 100,
    }


def burst_and_idle(setup: Setup) -> Found:
    """A fresh start, then 200 connections at once; what each costs while it is idle."""
    with running(setup.fresh()) as system:
        found = dict(system.took)  # share_ready, connect_ready
        drive("opens", system.way, WARM)
        before = memories(system)
        with held("burst", system.way, BURST) as (answer, let_go):
            time.sleep(IDLE if setup.seconds >= 1 else SETTLE)
            after = memories(system)
            let_go()
    found |= {"burst_200": answer["seconds"] * 1000, "burst_200_failed": answer["failed"]}
    open_streams = BURST - answer["failed"]
    if open_streams:
        found |= {
            f"{side}_kb_per_stream": (after[side] - before[side]) / open_streams for side in before
        }
    return found


def moving_memory(setup: Setup) -> Found:
    """What downloads cost whose readers stop, and then those at full speed."""
    with running(setup.fresh()) as system:
        drive("down", system.way, WARM)
        before = memories(system)
        if not before:
            return {}
        with held("stopped", system.way, setup.seconds) as (answer, let_go):
            stopped = memories(system)
            let_go()
            most = dict(stopped)
            end = time.monotonic() + setup.seconds
            while time.monotonic() < end:
                time.sleep(SAMPLES_EVERY)
                now = memories(system)
                most = {side: max(most[side], now[side]) for side in most}
    count = answer["streams"]
    return {
        **{f"{side}_kb_per_stopped": (stopped[side] - before[side]) / count for side in before},
        **{f"{side}_kb_per_moving": (most[side] - before[side]) / count for side in before},
    }


@contextmanager
def running(system: System) -> Iterator[System]:
    """A system for the length of a block."""
    try:
        system.start()
        time.sleep(SETTLE)
        yield system
    finally:
        system.stop()


def memories(system: System) -> dict[str, int]:
    """kB of each side."""
    sides = {"share": system.share, "connect": system.connect, "relay": system.relay}
    return {side: memory_kb(processes) for side, processes in sides.items() if processes}


def terminal_key(setup: Setup) -> Found:
    """A key that a guest presses in a terminal, to its echo on the guest's screen."""
    keyboard = setup.system.keyboard()
    if keyboard is None:
        return {}
    try:
        keyboard.press_for(WARM)
        answer = quantiles(keyboard.press_for(setup.seconds))
    finally:
        keyboard.close()
    return {
        "terminal_key_p50": answer["p50"] * MILLI,
        "terminal_key_p99": answer["p99"] * MILLI,
    }


def terminal_crowd(setup: Setup) -> Found:
    """What the sharer's own keys take, alone and among guests of all kinds."""
    if not isinstance(setup.system, Ours):
        return {}
    terminal = setup.system.terminal
    found: Found = {}
    for kind in ("alone", "crowd", "flooding", "stopped"):
        with contextlib.ExitStack() as stack:
            if kind != "alone":
                stack.enter_context(crowd(terminal, setup.system, kind))
            terminal.sharer.press_for(WARM)
            before = cpu_seconds(terminal.share)
            answer = quantiles(terminal.sharer.press_for(setup.seconds))
            used = cpu_seconds(terminal.share) - before
        found[f"terminal_key_{kind}_p50"] = answer["p50"] * MILLI
        found[f"terminal_key_{kind}_p99"] = answer["p99"] * MILLI
        found[f"terminal_key_{kind}_cpu"] = used / answer["count"] * MILLI
    return found


@contextmanager
def crowd(terminal: SharedTerminal, system: Ours, kind: str) -> Iterator[None]:
    """Guests of one terminal, all in one process (bench/crowd.py), for the length of a block. They
    are elsewhere in real life: they get the CPU time that nobody else wants."""
    program = ["nice", "-n", "19", sys.executable, "-m", "bench.crowd"]
    command = [*program, kind, terminal.connect_to, terminal.code]
    with killed_after(command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "ready\n":
            raise LoadError(f"{kind}: {process.stderr.read().strip().splitlines()[-1]}")
        yield


ALL: dict[str, Callable[[Setup], Found]] = {
    "stream": stream,
    "x4": stream_x4,
    "resume": resume,
    "rtt": rtt,
    "loaded": rtt_loaded,
    "open": opens,
    "opens": opens_many,
    "http": http,
    "http_stream": http_stream,
    "udp": udp,
    "burst": burst_and_idle,
    "moving": moving_memory,
    "terminal_key": terminal_key,
    "terminal_crowd": terminal_crowd,
}
