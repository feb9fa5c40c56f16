import json
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from relay.cli import main
from tunnel.address import parse_relay


def test_serve_prints_its_address_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    pins = set()
    for extra in ([], ["--json"]):
        command = [sys.executable, "-c", "from relay.cli import main; main()", "serve"]
        command += ["--listen", "127.0.0.1:0", "--state-dir", str(tmp_path), *extra]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
            assert relay.stdout is not None
            line = relay.stdout.readline()
            text = json.loads(line)["relay"] if extra else line.partition("relay address: ")[2]
            pins.add(parse_relay(text).fingerprint)
            relay.send_signal(signal.SIGINT)
            assert relay.wait(10) in (0, 130)
    assert len(pins) == 1


def test_wrong_values() -> None:
    for arguments in (["--listen", "nowhere:port"], ["--key", __file__]):
        result = CliRunner().invoke(main, ["serve", *arguments])
        assert result.exit_code == 2
        assert "error:" in result.output
        assert "hint:" in result.output


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["serve", "--listen", "127.0.0.1:0", "--cert", __file__, "--state-dir", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "certificate or key cannot be used" in result.output
