"""The figures: their units, which way is better, and what they mean. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a figure says."""

    unit: str
    higher_is_better: bool
    text: str


def _more(unit: str, text: str) -> Meaning:
    return Meaning(unit, True, text)


def _less(unit: str, text: str) -> Meaning:
    return Meaning(unit, False, text)


FIGURES: dict[str, Meaning] = {
    "stream_down": _more("MB/s", "one download"),
    "stream_up": _more("MB/s", "one upload"),
    "stream_x4": _more("MB/s", "four downloads at once, together"),
    "rtt_p50": _less("us", "one byte there and back on an open stream"),
    "rtt_p99": _less("us", "the same, the slowest of a hundred"),
    "rtt_loaded_p50": _less("us", "the same beside a download at full speed"),
    "rtt_loaded_p99": _less("us", "the slowest of a hundred of those"),
    "open_p50": _less("us", "connect, one byte there and back, close; one after another"),
    "open_p99": _less("us", "the slowest of a hundred of those"),
    "opens_per_s": _more("1/s", "the same, 50 at a time"),
    "burst_200": _less("ms", "200 connections at once on a fresh start, until all have echoed"),
    "burst_200_failed": _less("", "how many of them failed"),
    "http_rps": _more("1/s", "requests for a small page, wrk -c 50"),
    "http_p99": _less("ms", "the slowest of a hundred of those"),
    "http_stream": _more("MB/s", "a large file over HTTP"),
    "cpu_per_gb": _less("s/GB", "CPU of share side and connect side, half up, half down"),
    "share_cpu_per_gb": _less("s/GB", "of it, the share side"),
    "connect_cpu_per_gb": _less("s/GB", "of it, the connect side"),
    "relay_cpu_per_gb": _less("s/GB", "CPU of the relay"),
    "udp_pps": _more("1/s", "datagrams of 1,200 bytes echoed, 64 under way"),
    "udp_rtt_p50": _less("us", "one of 2,000 datagrams a second, there and back"),
    "udp_loss": _less("%", "of those, how many never came back"),
    "relay_kb_per_stream": _less("kB", "memory of the relay per open, idle stream, 200 of them"),
    "share_kb_per_stream": _less("kB", "the same of the share side"),
    "connect_kb_per_stream": _less("kB", "the same of the connect side"),
    "relay_kb_per_moving": _less("kB", "memory of the relay per download at full speed, 8 of them"),
    "share_kb_per_moving": _less("kB", "the same of the share side"),
    "connect_kb_per_moving": _less("kB", "the same of the connect side"),
    "relay_kb_per_stopped": _less("kB", "memory of the relay per download whose reader stops"),
    "share_kb_per_stopped": _less("kB", "the same of the share side"),
    "connect_kb_per_stopped": _less("kB", "the same of the connect side"),
    "share_ready": _less("s", "from starting the share side until its public side answers"),
    "connect_ready": _less("s", "from starting the connect side until a byte comes back"),
    "terminal_key_p50": _less("ms", "a guest's key in a terminal, to its echo on the screen"),
    "terminal_key_p99": _less("ms", "the slowest of a hundred of those"),
    "terminal_key_alone_p50": _less("ms", "the sharer's own key in a shared terminal, to its echo"),
    "terminal_key_alone_p99": _less("ms", "the slowest of a hundred of those"),
    "terminal_key_alone_cpu": _less("ms", "CPU of the share for one"),
    "terminal_key_crowd_p50": _less("ms", "the same with 50 guests who look on"),
    "terminal_key_crowd_p99": _less("ms", "the slowest of a hundred of those"),
    "terminal_key_crowd_cpu": _less("ms", "CPU of the share for one"),
    "terminal_key_flooding_p50": _less("ms", "the same with one more who types without end"),
    "terminal_key_flooding_p99": _less("ms", "the slowest of a hundred of those"),
    "terminal_key_flooding_cpu": _less("ms", "CPU of the share for one"),
    "terminal_key_stopped_p50": _less("ms", "the same with one more who has stopped reading"),
    "terminal_key_stopped_p99": _less("ms", "the slowest of a hundred of those"),
    "terminal_key_stopped_cpu": _less("ms", "CPU of the share for one"),
    "relay_kb_per_parked": _less("kB", "memory of the relay per parked connection"),
    "shares_per_gb": _more("", "idle shares in 1 GiB of the relay's, two parked connections each"),
    "resume_ratio": _more("", "speed of a download that can be resumed, to one that cannot"),
    "resume_cpu_ratio": _less("", "the same of CPU per byte, share and connect side"),
    "vm_ready": _less("s", "from starting QEMU until the connect VM answers"),
    "vm_ready_bare": _less("s", "the same kernel until its init prints"),
    "vm_ready_ratio": _less("", "the one divided by the other"),
    "vm_ready_cpu_ratio": _less("", "the same of CPU time"),
    "vm_image_mb": _less("MB", "kernel and initramfs"),
    "vm_ram_mb": _less("MiB", "RAM given to it"),
    "static_ip_down": _more("MB/s", "a download through the static IP"),
    "static_ip_up": _more("MB/s", "an upload through it"),
    "static_ip_down_fraction": _more("", "of what a VM's bare NIC moves"),
    "static_ip_up_fraction": _more("", "of what a VM's bare NIC moves"),
    "static_ip_open_p50": _less("us", "connect, one byte, close through the static IP"),
}

# Figures that no peer has a counterpart of.
OURS_ALONE = frozenset(
    name
    for name in FIGURES
    if name.startswith(("vm_", "static_ip"))
    or name in ("relay_kb_per_parked", "shares_per_gb", "resume_ratio", "resume_cpu_ratio")
    or (name.startswith("terminal_key_") and name.count("_") > 2)
)
