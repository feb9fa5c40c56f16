"""The way through a relay that is several."""

from __future__ import annotations

import socket

from connect_vm.relay_way import RelayWay
from tests.loops import run
from tunnel.address import RelayAddress


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def port_of(sock: socket.socket) -> int:
    port: int = sock.getpeername()[1]
    sock.close()
    return port


def test_what_the_share_tells_comes_first_and_what_was_configured_is_always_good() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            first, second = one.getsockname()[1], other.getsockname()[1]
            way = RelayWay(RelayAddress("127.0.0.1", first, "ab" * 32))
            assert port_of(await way()) == first
            assert way.told([f"127.0.0.1:{second}", f"127.0.0.1:{first}", "no place"])
            assert not way.told([f"127.0.0.1:{second}"])
            assert port_of(await way()) == second
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))  # and does not listen: refused
                assert way.told([f"127.0.0.1:{unused.getsockname()[1]}"])
                assert port_of(await way()) == first
            assert not way.told([])
            assert port_of(await way()) == first

    run(main)


def test_a_share_sends_nobody_from_outside_into_a_private_network() -> None:
    async def main() -> None:
        with listening() as one, listening() as other:
            first, second = one.getsockname()[1], other.getsockname()[1]
            way = RelayWay(RelayAddress("127.0.0.1", first, None))
            way._was_public = True  # as it was found when the relay was dialled
            way.told([f"127.0.0.1:{second}"])
            assert port_of(await way()) == first

    run(main)
