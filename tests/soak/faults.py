"""What goes wrong: each fault breaks something, mends it, and says when."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.plan import INTERNET, INTERNET_IP, NODES, PORT, UPLINK
from tests.soak.world import World, pid_of

SERVICE = "service restarted"
NAT = "NAT"
MOVED_BY = 100  # added to the last number of an address
SPARE = 200  # the last number of a router's address while it forgets
PROGRAM = {"alice": "vshare", "bob": "vconnect"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One that happened. `returned`: when all was there again. CLOCK_MONOTONIC, seconds."""

    name: str
    began: float
    returned: float

    @property
    def is_silent(self) -> bool:
        """Whether it is the sharer whom nobody tells that the relay does not hear her any more."""
        return self.name.startswith(f"{NAT} of alice")

    @property
    def lasted(self) -> float:
        return self.returned - self.began


class Faults:
    """Breaks and mends a world; `dice` decide how long and who."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._addresses = {name: NODES[name].address for name in PROGRAM}

    @contextmanager
    def _timed(self, name: str, told: list[Fault]) -> Iterator[None]:
        began = time.monotonic()
        yield
        told.append(Fault(name, began, time.monotonic()))

    def relay_killed(self, away: float = 0.0) -> Fault:
        """kill -9; a new one, with the old one's files, after `away` seconds."""
        told: list[Fault] = []
        away = away or self._dice.uniform(0.2, 3.0)
        with self._timed("relay killed", told):
            self._world.kill_relay()
            time.sleep(away)
            self._world.start_relay()
        return told[0]

    def cut(self, who: str, seconds: float) -> Fault:
        """The cable between somebody's router (or the relay) and the internet, for a while."""
        told: list[Fault] = []
        port = who if who == "relay" else f"{who}-nat"
        internet = self._world.lab.hosts[INTERNET]
        with self._timed(f"link of {who} cut for {seconds:.0f} s", told):
            internet.run(["ip", "link", "set", port, "down"])
            try:
                time.sleep(seconds)
            finally:
                internet.run(["ip", "link", "set", port, "up"])
        return told[0]

    def suspended(self, who: str, seconds: float) -> Fault:
        """SIGSTOP of alice's vshare or bob's vconnect, SIGCONT after a while."""
        told: list[Fault] = []
        pid = pid_of(self._world.programs[PROGRAM[who]].process)
        with self._timed(f"{PROGRAM[who]} stopped for {seconds:.0f} s", told):
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
        return told[0]

    def moved(self, who: str) -> Fault:
        """Another address, and the old one gone: the laptop is on another network."""
        told: list[Fault] = []
        host, old = self._world.lab.hosts[who], self._addresses[who]
        new = NODES[who].address
        if new == old:
            stem, _, last = old.rpartition(".")
            new = f"{stem}.{int(last) + MOVED_BY}"
        steps = (
            f"ip address del {old}/24 dev {PORT} && ip address add {new}/24 dev {PORT}"
            f" && ip route add default via {NODES[who].gateway}"
        )
        with self._timed(f"address of {who} changed", told):
            host.run(["sh", "-c", steps])
        self._addresses[who] = new
        return told[0]

    def forgotten(self, who: str) -> Fault:
        """The NAT loses its table, as a router that was restarted: packets of old connections
        go nowhere, and nobody is told. (Masquerading forgets what used an address that goes.)"""
        told: list[Fault] = []
        router = f"{who}-nat"
        ip = NODES[router].address
        spare = f"{ip.rpartition('.')[0]}.{SPARE + int(ip.rpartition('.')[2]) % 50}"
        steps = (
            "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0"
            f" && ip address del {ip}/24 dev {UPLINK} && ip address add {spare}/24 dev {UPLINK}"
            f" && ip address del {spare}/24 dev {UPLINK} && ip address add {ip}/24 dev {UPLINK}"
            f" && ip route replace default via {INTERNET_IP}"
        )
        with self._timed(f"{NAT} of {who} forgot all", told):
            self._world.lab.hosts[router].run(["sh", "-c", steps])
        return told[0]

    def service_restarted(self) -> Fault:
        """What runs on the machine is killed and started again: its streams are over."""
        told: list[Fault] = []
        with self._timed(SERVICE, told):
            self._world.kill_service()
            self._world.start_service()
        return told[0]

    def deck(self, *, quick: bool) -> list[Callable[[], Fault]]:
        """One of each, shuffled; `quick` leaves out those that last."""
        dice = self._dice
        everybody = ("alice", "bob", "relay")
        cards: list[Callable[[], Fault]] = [
            self.relay_killed,
            self.relay_killed,
            lambda: self.cut(dice.choice(everybody), 1.0),
            lambda: self.suspended("alice", dice.uniform(5.0, 8.0 if quick else 20.0)),
            lambda: self.suspended("bob", dice.uniform(5.0, 8.0 if quick else 20.0)),
            lambda: self.moved("alice"),
            lambda: self.moved("bob"),
            lambda: self.forgotten("alice"),
            lambda: self.forgotten("bob"),
            self.service_restarted,
        ]
        if not quick:
            cards += [lambda: self.cut(dice.choice(everybody), 30.0)] * 2
        dice.shuffle(cards)
        return cards
