from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.loops import run
from tunnel.address import RelayAddress
from tunnel.console import Console
from tunnel.doctor.finding import Finding, State, Step
from tunnel.doctor.report import examine_all, tell_findings, tell_verdict
from tunnel.doctor.verdict import judge
from tunnel.proxy import Proxy

RELAY = RelayAddress("relay.test", 8443, "0" * 64)
FINE = Finding("name", State.OK, "fine", seconds=0.0123)
BAD = Finding("TLS", State.FAILED, "no\x1b[31m TLS", "look", "TLS has to pass", 2.0)
SAME = Finding("end-to-end TLS", State.FAILED, "no", ask="TLS has to pass", seconds=0.0)


async def each_of(*findings: Finding) -> AsyncIterator[Finding]:
    for each in findings:
        yield each


def test_lines_for_people() -> None:
    async def main() -> None:
        lines: list[str] = []
        skipped = Finding("clock", State.SKIPPED, "untold", seconds=0.0)
        console = Console("doctor")
        told = await tell_findings(each_of(FINE, BAD, skipped), console, lines.append)
        assert told == [FINE, BAD, skipped]
        assert lines == [
            "ok       name             fine (12 ms)",
            "failed   TLS              no\N{REPLACEMENT CHARACTER}[31m TLS (2000 ms)",
            "         hint: look",
            "skipped  clock            untold",
        ]
        lines.clear()
        tell_verdict(judge(told, RELAY), console, lines.append)
        assert lines[0] == "Verdict: not well: TLS."
        assert lines[1].startswith("Tell your network's administrator: this host needs")

    run(main)


def test_objects_for_scripts(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        console = Console("doctor", as_json=True)
        await tell_findings(each_of(BAD), console, print)
        tell_verdict(judge([BAD], RELAY), console, print)

    run(main)
    step, verdict = map(json.loads, capfd.readouterr().out.splitlines())
    assert step == {"event": "step", "name": "TLS", "state": "failed", "text": BAD.text,
                    "hint": "look", "ask": "TLS has to pass", "milliseconds": 2000}  # fmt: skip
    assert (verdict["event"], verdict["ok"]) == ("verdict", False)
    assert "TLS has to pass" in verdict["tell"]


def test_verdicts() -> None:
    assert judge([FINE], RELAY).text == "all is well"
    assert judge([FINE], None).text == "all is well, as far as can be seen without a relay"
    proxy = Proxy("http", "proxy", 3128, "bob", "sesame", "https_proxy")
    verdict = judge([FINE, BAD, SAME], RELAY, proxy)
    assert verdict.text == "not well: TLS, end-to-end TLS"
    assert verdict.tell.count("TLS has to pass") == 1
    assert "relay.test:8443 through the proxy proxy:3128:" in verdict.tell
    assert "sesame" not in verdict.tell
    assert RELAY.fingerprint not in verdict.tell.split()
    local = Finding("libvirt", State.FAILED, "gone", "start it")
    assert judge([local], RELAY).tell == ""  # nothing for the network's administrator
    assert judge([BAD], None).tell == ""


@pytest.mark.parametrize("state", list(State))
def test_what_is_local_counts(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def local() -> Finding:
        return Finding("KVM", state, "x")

    def steps() -> Iterator[Step]:
        yield Step("KVM", local)

    async def main() -> None:
        lines: list[str] = []
        console = Console("doctor")
        well = await examine_all(None, steps(), console, lines.append, sharing=True)
        assert well is (state is not State.FAILED)
        assert len(lines) == 4

    run(main)
