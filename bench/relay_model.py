"""Carries what bench/relay_scale.py measured on to many relays, and simulates a relay's restart.

`python -m bench.relay_model` prints the tables of docs/scaling.md. Everything that is assumed is a
constant below; nothing here opens a socket.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

# Measured by bench/relay_scale.py (docs/scaling.md says where).
KB_START = 31_000.0
KB_PER_SHARE = 36.0
KB_PER_PARKED = 2.2
KB_KERNEL = 3.7  # of each connection: socket, file, inode
REGISTRATION_MS = 3.0  # of a relay's CPU
PARKING_MS = 1.4
PING_MS = 0.025  # PING and PONG of a parked connection; a channel's costs about as much
# Decided in the code.
PARKED = 4  # of a quiet share
PING_EVERY = 20.0
HANDSHAKE_WITHIN = 5.0
MAX_HANDSHAKES = 512
FIRST_RETRY, LAST_RETRY, LAST_RETRY_BUSY = 0.1, 1.0, 8.0
# Assumed.
SHARES_PER_RELAY = 10_000
PING_BYTES = 2 * (3 + 40 + 26 + 12) + 2 * (40 + 26 + 12)  # both ways and their ACKs, with headers
VISITS_PER_SHARE_HOUR = 60.0  # new connections: pools and browsers keep theirs
BYTES_PER_SHARE_HOUR = 20e6  # what guests and browsers move, on average over all shares
SPLICE_CPU_PER_GB = 0.3  # seconds
REFUSAL_MS = 0.2  # of CPU to accept, look and close
GIVE_UP = 600.0  # seconds of simulated time
TAKE_MS = 0.4  # of CPU to route, pair and splice one visitor


@dataclass(frozen=True, slots=True)
class Load:
    """One relay's, with so many shares."""

    shares: int

    @property
    def connections(self) -> int:
        """Open while nobody visits."""
        return self.shares * (1 + PARKED)

    @property
    def megabytes(self) -> float:
        """Of the process."""
        return (KB_START + self.shares * (KB_PER_SHARE + PARKED * KB_PER_PARKED)) / 1024

    @property
    def kernel_megabytes(self) -> float:
        """Beside the process."""
        return self.connections * KB_KERNEL / 1024

    @property
    def pings(self) -> float:
        """A second, answers not counted."""
        return self.connections / PING_EVERY

    @property
    def ping_cpu(self) -> float:
        """Of one core, in percent."""
        return self.pings * PING_MS / 10

    @property
    def ping_kilobits(self) -> float:
        """A second, both ways together."""
        return self.pings * PING_BYTES * 8 / 1000

    @property
    def visit_cpu(self) -> float:
        """Of one core, in percent: each visitor takes a parked connection, which is replaced."""
        return self.shares * VISITS_PER_SHARE_HOUR / 3600 * (TAKE_MS + PARKING_MS) / 10

    @property
    def traffic_cpu(self) -> float:
        """Of one core, in percent."""
        return self.shares * BYTES_PER_SHARE_HOUR / 3600 / 1e9 * SPLICE_CPU_PER_GB * 100

    @property
    def traffic_megabits(self) -> float:
        """A second, each way: what comes in goes out."""
        return self.shares * BYTES_PER_SHARE_HOUR / 3600 * 8 / 1e6


@dataclass(frozen=True, slots=True)
class Restart:
    """When shares are back after a relay's restart, in seconds, and what it cost."""

    half: float
    most: float  # 95 %
    last: float
    wasted_percent: float  # of the CPU: on handshakes whose share had given up


def restart(shares: int, down_for: float, most: int = MAX_HANDSHAKES, seed: int = 1) -> Restart:
    """One relay returns at 0 after `down_for` seconds; one core serves first come, first served.

    Shares are refused while it is down, and try again after pauses that double up to LAST_RETRY,
    times 0.5 to 1. Once it answers, who comes while `most` handshakes are under way is turned away,
    which costs REFUSAL_MS; who has waited HANDSHAKE_WITHIN has given up, which costs a whole one.
    Both pause up to LAST_RETRY_BUSY.
    """
    draw = random.Random(seed)
    tries: list[tuple[float, int, float]] = []  # when, which share, its next pause
    for share in range(shares):
        when, pause = -down_for, FIRST_RETRY
        while when < 0:
            when += pause * draw.uniform(0.5, 1.0)
            pause = min(pause * 2, LAST_RETRY)
        tries.append((when, share, pause))
    heapq.heapify(tries)
    free_at, wasted, back = 0.0, 0.0, []
    while tries and free_at < GIVE_UP:
        when, share, pause = heapq.heappop(tries)
        waits = max(0.0, free_at - when)
        pause = min(pause * 2, LAST_RETRY_BUSY)
        if waits > most * REGISTRATION_MS / 1000:
            cost, again = REFUSAL_MS / 1000, when
        else:
            cost, again = REGISTRATION_MS / 1000, when + HANDSHAKE_WITHIN
        free_at = max(free_at, when) + cost
        if again > when and waits <= HANDSHAKE_WITHIN:
            back.append(free_at)
            continue
        wasted += cost
        heapq.heappush(tries, (again + pause * draw.uniform(0.5, 1.0), share, pause))
    back += [GIVE_UP] * len(tries)
    return Restart(
        half=back[len(back) // 2],
        most=back[len(back) * 95 // 100],
        last=back[-1],
        wasted_percent=wasted / free_at * 100,
    )


def main() -> None:
    """The tables."""
    print("| shares on a relay | connections | process MB | kernel MB | pings/s | CPU of pings |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shares in (1_000, 10_000, 20_000, 50_000):
        load = Load(shares)
        print(
            f"| {shares:,} | {load.connections:,} | {load.megabytes:,.0f} |"
            f" {load.kernel_megabytes:,.0f} | {load.pings:,.0f} | {load.ping_cpu:.1f} % |"
        )
    each, relays = Load(SHARES_PER_RELAY), 1_000_000 // SHARES_PER_RELAY
    print(f"\nA million shares over {relays} relays, each:")
    print(f"pings {each.ping_cpu:.1f} % of a core, {each.ping_kilobits / 1000:.1f} Mbit/s")
    print(f"visits {each.visit_cpu:.1f} %, traffic {each.traffic_cpu:.1f} % of a core")
    print(f"traffic {each.traffic_megabits:,.0f} Mbit/s in and as much out")
    total = (each.megabytes + each.kernel_megabytes) * relays / 1024
    print(f"memory in all, kernel's too: {total:,.0f} GB")
    print("\n| shares | down for | half back | 95 % | all | CPU wasted |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shares in (1_000, 10_000, 20_000):
        for down_for, most in ((2.0, MAX_HANDSHAKES), (30.0, MAX_HANDSHAKES), (30.0, shares)):
            found = restart(shares, down_for, most)
            print(
                f"| {shares:,} | {down_for:.0f} s | {most if most < shares else 'none'} |"
                f" {found.half:.1f} s | {found.most:.1f} s | {found.last:.1f} s |"
                f" {found.wasted_percent:.0f} % |"
            )


if __name__ == "__main__":
    main()
