"""What guests may ask the share itself (docs/protocol.md 8.3, protocol `api`)."""

from __future__ import annotations

from collections.abc import Callable

from tunnel.names import ShareName
from vshare.guests import Guest
from vshare.look import Found
from vshare.policy import Policy
from vshare.ssh_sharing import SshSharing
from vshare.streams import Calls


def share_calls(
    found: Found,
    name: Callable[[], ShareName],
    ssh: SshSharing | None,
    places: Callable[[], list[str]] = list,
    others: Callable[[], list[dict[str, str]]] = list,
    relays: Callable[[], list[str]] = list,
) -> Calls:
    """The calls; Vagrant Share had the first three. `name`: what it is called now. `places`: where
    guests can come to directly. `others`: the shares beside this one, for guests with the code
    that opens all of them. `relays`: where the share's relay is, and others that are one with it;
    none: as the guest knows."""

    def share_info(guest: Guest, policy: Policy) -> object:
        return {
            "name": name(),
            "machine": found.machine.name,
            "provider": found.machine.provider,
            "guest": guest.name,
            "shared": policy.describe(guest.rights),
            "http_port": found.http_port,
            "ssh": _ssh_for(guest, policy, ssh),
            "ssh_once": ssh is not None and ssh.once,
            "group": [] if guest.invite else others(),
        }

    def shared_ports(guest: Guest, policy: Policy) -> object:
        return {
            "rights": policy.rights(guest.role, guest.rights, has_ssh_key=guest.has_ssh_key),
            "listening": [
                {"protocol": each.protocol, "port": each.port, "process": each.process}
                for each in found.listening.listeners
                if policy.is_open(
                    each.protocol,
                    each.port,
                    loopback_only=each.loopback_only,
                    rights=guest.rights,
                    has_ssh_key=guest.has_ssh_key,
                )
            ],
        }

    return {
        "ping": lambda guest, policy: {"pong": True},
        "share-info": share_info,
        "shared-ports": shared_ports,
        "paths": lambda guest, policy: {"direct": places(), "relays": relays()},
    }


def _ssh_for(guest: Guest, policy: Policy, ssh: SshSharing | None) -> str | None:
    """How this guest gets the key: by its "password", or it is "open"; None: not at all."""
    if ssh is None or not policy.is_open(
        "tcp", ssh.port, loopback_only=False, rights=guest.rights, has_ssh_key=True
    ):
        return None
    return "password" if ssh.has_password else "open"
