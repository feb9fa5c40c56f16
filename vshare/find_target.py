"""`--target`: a machine that is named by its address, or that only SSH reaches."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from tunnel.address import parse_host_port
from tunnel.errors import UsageError
from vshare.machine import SSH_PORT, Machine, Source, SshAccess, known_hosts_file

_FORMS = "write --target HOST, or --target ssh://[USER@]HOST[:PORT] where only SSH leads there"


async def find(target: str) -> Machine:
    """`HOST`, or `ssh://[user@]host[:port]`. Raises UsageError. Nothing is dialled.

    Through an `ssh://` target everything goes over SSH; its host key must be in the user's
    known_hosts, and its keys come from the SSH agent and ~/.ssh.
    """
    if "://" in target:
        return _ssh_target(target)
    bare = target if ":" in target and target.count(":") > 1 and "[" not in target else ""
    host, port = (bare, 0) if bare else parse_host_port(target, 0)
    if port:
        raise UsageError(
            f"a target is a whole machine, this is one of its ports: {target!r}",
            f"give {host!r} alone, and the port with --port {port}",
        )
    return Machine(
        name=host, provider="address", state="running", address=host, source=Source.TARGET
    )


def _ssh_target(target: str) -> Machine:
    try:
        url = urlsplit(target)
        port = url.port
    except ValueError as error:
        raise UsageError(f"not a target: {target!r}: {error}", _FORMS) from None
    _check(target, url)
    host = url.hostname or ""
    ssh = SshAccess(host, port or SSH_PORT, url.username, known_hosts=known_hosts_file())
    return Machine(
        name=host,
        provider="ssh",
        state="running",
        address=None,
        source=Source.TARGET,
        ssh=ssh,
    )


def _check(target: str, url: SplitResult) -> None:
    if url.password is not None:
        raise UsageError(
            "a password does not belong into a target: every user of this host can read it there",
            "use an SSH key: `ssh-copy-id`, then `ssh-add`",
        )
    if url.scheme != "ssh" or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise UsageError(f"not a target: {target!r}", _FORMS)
    # A user or host that begins with a dash would be an option to programs called with it.
    if url.hostname.startswith("-") or (url.username or "").startswith("-"):
        raise UsageError(f"not a target: {target!r}", _FORMS)
