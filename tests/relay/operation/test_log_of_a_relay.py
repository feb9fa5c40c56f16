"""What a relay's log says of shares that come, are refused and go; and what it never says."""

from __future__ import annotations

import io
import json
import secrets
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounts.book import Allowance, account_book
from relay.config import RelayConfig
from relay.operation.logs import log_to
from relay.server import Relay
from tests.loops import run, until
from tests.relay.operation.test_panel import metrics
from tunnel.names import ShareName
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, RelayToken, make_token
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

NAME = "quiet-otter-lamp"


def link_of(relay: Relay, token: RelayToken) -> RelayLink:
    return RelayLink(
        relay.address,
        Ed25519PrivateKey.generate(),
        ShareName(NAME),
        on_visitor=lambda sock, paired: sock.close(),
        expires_at=time.time() + 600,
        route=secrets.token_hex(16),
        token=token,
    )


@pytest.mark.parametrize("hide_sources", [False, True])
def test_shares_that_come_and_go(tmp_path: Path, hide_sources: bool) -> None:
    stream = io.StringIO()
    forged = make_token(bytes(ID_SIZE), bytes(SECRET_SIZE))
    with account_book(tmp_path) as book:
        book.create_user("ada", 1.0)
        token = book.create_token("ada", Allowance(), 1.0)

    async def main() -> None:
        config = RelayConfig(state_dir=tmp_path, accounts=True, metrics=("127.0.0.1", 0))
        async with Relay(config) as relay:
            with pytest.raises(RejectedError):
                async with link_of(relay, forged):
                    pass
            async with link_of(relay, token):
                pass
            await until(lambda: not len(relay.registry))
            found = await metrics(relay.metrics_port)
            assert found["vrelay_registrations_refused_total token"] == 1
            assert found["vrelay_shares_ended_total ended"] == 1

    with log_to("json", verbose=True, hide_sources=hide_sources, stream=stream):
        run(main)
    events = {line["event"]: line for line in map(json.loads, stream.getvalue().splitlines())}
    assert events["share-refused"]["reason"] == "token"
    registered = events["share-registered"]
    assert (registered["share"], registered["token"]) == (NAME, token.id)
    assert ("source" in registered) is not hide_sources
    assert events["share-ended"]["how"] == "ended"
    assert not hide_sources or "127.0.0.1" not in stream.getvalue()
    for each in (token, forged):
        assert each.text not in stream.getvalue()
        assert each.text[20:50] not in stream.getvalue()
