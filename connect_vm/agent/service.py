"""The agent, started: configuration, nft, sockets, the loop."""

import gc
import os
import resource
import socket
from typing import NamedTuple

from .flows import IP_TRANSPARENT, Flows, transparent_udp
from .loop import IN, Loop
from .netlink import PacketQueue
from .parking import BACKLOG, Parking
from .ruleset import QUEUE, ruleset
from .syns import Syns

CONFIG = "/etc/vshare/agent.conf"
RULES = "/run/vshare.nft"
NFT = "/usr/sbin/nft"
MAX_FILES = 16_384  # 256 streams at 2 and a pipe each, 1,024 flows; far more than that
DIVERT = ("127.0.0.1", 7001)  # where tproxy sends; not reachable from outside


class Config(NamedTuple):
    """What the initramfs' second cpio says."""

    static: list[str]
    control: tuple[str, int]
    secret: bytes


def read_config(text: str) -> Config:
    """Lines of a name and values; addresses but the control address are static IPs.

    Not JSON, whose import takes 0.3 s under emulation. Raises ValueError, KeyError.
    """
    fields = {name: values for name, *values in map(str.split, text.splitlines())}
    (control,), (port,), (secret,) = fields["control"], fields["port"], fields["secret"]
    static = [address.partition("/")[0] for address in fields["addresses"]]
    return Config(
        [address for address in static if address != control],
        (control, int(port)),
        bytes.fromhex(secret),
    )


def load_rules(text: str) -> None:
    """Hand a ruleset to nft. Raises OSError when nft refuses it."""
    with open(RULES, "w", encoding="ascii") as file:
        file.write(text)
    status = os.spawnv(os.P_WAIT, NFT, ("nft", "-f", RULES))
    if status:
        raise OSError(f"nft ended with status {status}")


def _divert_tcp() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(DIVERT)
    listener.listen(BACKLOG)
    return listener


def _divert_udp() -> socket.socket:
    sock = transparent_udp()
    sock.bind(DIVERT)
    return sock


def main() -> None:
    """Run until the machine is switched off. Raises what went wrong at the start."""
    with open(CONFIG, encoding="utf-8") as file:
        config = read_config(file.read())
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    loop = Loop()
    queue = PacketQueue(QUEUE)
    load_rules(ruleset(config.static, DIVERT[1]))
    parking = Parking(loop, config.control, config.secret)
    syns = Syns(loop, queue, parking)
    flows = Flows(loop, _divert_udp())
    parking.on_datagrams = flows.link_up

    def on_packets(_events: int) -> None:
        for held in queue.receive():
            syns.on_syn(held)

    loop.add(queue.fileno(), on_packets, IN)
    gc.freeze()  # what is here stays: a collection need not look at it, for 20 ms under emulation
    with _divert_tcp() as listener:
        syns.accept_from(listener)
        loop.run()
