"""What other programs print, read."""

from __future__ import annotations

import pytest

from bench.driver import quantiles
from bench.elsewhere import parse_boot, parse_relay_scale, parse_static_ip
from bench.figures import LoadError, parse_wrk

WRK = """\
Running 2s test @ http://127.0.0.1:42995/
  Latency Distribution
     50%   72.06ms
     99%    1.73s \n  19 requests in 1.07s, 2.67KB read
{more}Requests/sec:  17834.25
Transfer/sec:      2.51KB
"""


def test_wrk() -> None:
    found = parse_wrk(WRK.format(more="  Socket errors: connect 0, read 0, write 0, timeout 3\n"))
    assert found == {"http_rps": 17834.25, "http_p99": 1730}


@pytest.mark.parametrize(
    "more",
    ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 7, write 0, timeout 0\n"],
)
def test_requests_that_failed_are_no_figure(more: str) -> None:
    with pytest.raises(LoadError):
        parse_wrk(WRK.format(more=more))


def test_wrk_that_was_not_understood() -> None:
    with pytest.raises(LoadError, match="unable"):
        parse_wrk("unable to connect")


def test_quantiles() -> None:
    found = quantiles([float(number) for number in range(1000)])
    assert (found["p50"], found["p99"], found["count"]) == (499.5, 990, 1000)
    with pytest.raises(ConnectionError):
        quantiles([1.0])


def test_boot() -> None:
    line = "bare Took(clock=2.0, cpu=1.0), connect VM Took(clock=3.0, cpu=1.75)\n"
    found = list(parse_boot(line + "clock: bare 2.00 s, ready 3.00 s, ratio 1.50\n" + line))
    assert found[:4] == [
        ("vm_ready_bare", 2.0),
        ("vm_ready", 3.0),
        ("vm_ready_ratio", 1.5),
        ("vm_ready_cpu_ratio", 1.75),
    ]
    assert len(found) == 8


def test_static_ip() -> None:
    text = """\
static_ip_down       bare NIC     200.00 MB/s  (190.00 to 220.00) 1.00 of bare
static_ip_down       vconnect     100.00 MB/s  (90.00 to 110.00) 0.50 of bare
static_ip_down_cpu   vconnect       3.00 s/GB  (3.00 to 3.00)
static_ip_open       vconnect       1.50 ms    (1.00 to 9.00)
"""
    assert list(parse_static_ip(text)) == [
        ("static_ip_down", 100.0),
        ("static_ip_down", 90.0),
        ("static_ip_down", 110.0),
        ("static_ip_down_fraction", 0.5),
        ("static_ip_open_p50", 1500.0),
        ("static_ip_open_p50", 1000.0),
        ("static_ip_open_p50", 9000.0),
    ]


def test_shares_per_gb_is_a_slope() -> None:
    text = '{"kb_per_parked": 5, "kb_per_share": 30, "parked": 600, "shares": 300, "kb_start": 0}'
    assert list(parse_relay_scale(text)) == [
        ("relay_kb_per_parked", 5),
        ("shares_per_gb", 1024 * 1024 / 40),
    ]
