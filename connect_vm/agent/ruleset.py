"""What nft is told: hold SYNs, then tproxy, refuse, or nothing (nft(8)). Pure.

The order matters: the queue comes first; a verdict's mark is then seen by the chains
after it, in the same hook (divert) and the next (refuse).
"""

from collections.abc import Sequence

QUEUE = 0
MARK_OPEN = 0  # what every packet has that nobody marked
MARK_RESET = 2
MARK_UNREACHABLE = 3

# Declared, deleted, declared: so that an agent that is started again begins anew.
_TEMPLATE = """\
table ip vshare
delete table ip vshare
table ip vshare {{
  chain hold {{
    type filter hook prerouting priority -150; policy accept;
    ip daddr {{ {addresses} }} tcp flags & (fin | syn | rst | ack) == syn queue num {queue}
  }}
  chain divert {{
    type filter hook prerouting priority -140; policy accept;
    ip daddr != {{ {addresses} }} accept
    meta mark != {open} accept
    meta l4proto tcp tproxy to 127.0.0.1:{port} accept
    meta l4proto udp tproxy to 127.0.0.1:{port} accept
  }}
  chain refuse {{
    type filter hook input priority 0; policy accept;
    meta mark {reset} reject with tcp reset
    meta mark {unreachable} reject with icmp type host-unreachable
  }}
}}
"""


def ruleset(addresses: Sequence[str], port: int) -> str:
    """The table for these static addresses, diverting to 127.0.0.1:`port`."""
    return _TEMPLATE.format(
        addresses=", ".join(addresses),
        port=port,
        queue=QUEUE,
        open=MARK_OPEN,
        reset=MARK_RESET,
        unreachable=MARK_UNREACHABLE,
    )
