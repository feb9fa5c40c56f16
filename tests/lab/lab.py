"""The lab: hosts behind NAT routers on a small internet, all of it namespaces of one machine."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from tests.lab import plan, state
from tests.lab.host import Host
from tunnel.errors import UsageError, VshareError

COMMAND_TIME = 10.0  # seconds for one ip or nft command; they take milliseconds


class Lab:
    """A context manager: the hosts are up inside the block, and gone after it.

    `hosts["alice"].run([...])` runs a command there; see `tests.lab.plan` for who is there.
    Raises VshareError when the machine cannot do it, UsageError for an unknown host.
    """

    def __init__(self, hosts: tuple[str, ...] = plan.HOSTS) -> None:
        for name in hosts:
            if name not in (known := {*plan.HOSTS, *plan.CLUSTER}):
                raise UsageError(f"no host {name!r} in the lab", f"hosts: {', '.join(known)}")
        self._nodes = plan.needed(hosts)
        self.state: state.LabState | None = None
        self.hosts: dict[str, Host] = {}

    @property
    def folder(self) -> Path:
        """The lab's folder on the machine, gone with the lab."""
        if self.state is None:
            raise VshareError("the lab is not up")
        return self.state.folder

    @property
    def relay(self) -> Host:
        """The host on the internet that a relay runs on."""
        return self.hosts["relay"]

    @property
    def alice(self) -> Host:
        """The host that shares."""
        return self.hosts["alice"]

    @property
    def services(self) -> Host:
        """The host beside alice, with real services; `tests.lab.services.start` starts them."""
        return self.hosts["services"]

    @property
    def bob(self) -> Host:
        """The host that connects."""
        return self.hosts["bob"]

    @property
    def carol(self) -> Host:
        """A second host that connects."""
        return self.hosts["carol"]

    def __enter__(self) -> Lab:
        state.clean()
        self.state = state.create()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, namespace and file of the lab. Idempotent."""
        if self.state is None:
            return
        with ThreadPoolExecutor(len(self.hosts) or 1) as pool:
            list(pool.map(Host.stop, self.hosts.values()))
        state.remove(self.state)
        self.state = None
        self.hosts.clear()

    def _start(self) -> None:
        assert self.state is not None
        files = {
            "/etc/hosts": plan.hosts_file(self._nodes),
            "/etc/resolv.conf": "# no DNS in the lab\n",
        }
        for node in self._nodes:
            self.hosts[node.name] = Host(node, self.state.folder / node.name)
            self.hosts[node.name].start(files)
        for host in self.hosts.values():
            host.wait_ready()
            self.state.hosts[host.name] = host.state()
            self.state.save()
        self._cable()

    def _cable(self) -> None:
        pids = {host.name: host.pid for host in self.hosts.values()}
        _configure(["ip", "-batch", "-"], plan.link_commands(self._nodes, pids))
        for node in self._nodes:
            inside = ["nsenter", "--net", "--target", str(pids[node.name])]
            _configure([*inside, "ip", "-batch", "-"], plan.node_commands(node, self._nodes))
            if node.lan:
                _configure([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"], "")
                _configure([*inside, "nft", "-f", "-"], plan.nat_rules())


def _configure(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND_TIME)
    if done.returncode:
        raise VshareError(
            f"{' '.join(command)} failed: {done.stderr.strip() or done.returncode}",
            "the lab needs iproute2, nftables and a kernel with veth, bridge and nf_tables",
        )
