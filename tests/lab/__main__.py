"""`python -m tests.lab up | exec HOST -- COMMAND... | clean | list`."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.lab import plan, services, state
from tests.lab.host import entering
from tests.lab.lab import Lab
from tests.lab.root import run_as_root
from tunnel.errors import VshareError

ROOT = Path(__file__).parent.parent.parent
VIRTUAL = ("alice", "bob", "carol")
"""The hosts that have a libvirtd of their own."""

EXAMPLES = (
    "bob ping -c1 relay.test",
    "alice psql -h services -U postgres",
    "alice virsh list",
    "alice bash",
)


@click.group()
def main() -> None:
    """Hosts on different networks, on this machine."""


@main.command()
@click.option("--hosts", default=",".join(plan.HOSTS), show_default=True, help="Only these.")
@click.option("--no-vm", is_flag=True, help="Start no virtual machine in alice.")
def up(hosts: str, no_vm: bool) -> None:
    """Bring a lab up and keep it until Ctrl-C."""
    # SIGINT as well: a shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with Lab(tuple(hosts.split(","))) as lab:
            _describe(lab)
            _start_all(lab, with_machine=not no_vm)
            click.echo("all is up")
            signal.pause()
    except KeyboardInterrupt:
        click.echo("the lab is gone", err=True)


def _start_all(lab: Lab, *, with_machine: bool) -> None:
    with ThreadPoolExecutor() as pool:
        daemons = [pool.submit(lab.hosts[n].start_libvirtd) for n in VIRTUAL if n in lab.hosts]
        if "services" in lab.hosts:
            listening = pool.submit(services.start, lab.services).result()
            click.echo(f"services: {', '.join(f'{n} {p}' for n, p in listening.items())}")
        for task in daemons:
            task.result()
    if with_machine and "alice" in lab.hosts:
        click.echo("vagrant up in alice ...")
        click.echo(f"alice's machine is up: {lab.alice.vagrant_up()}")


def _describe(lab: Lab) -> None:
    assert lab.state is not None
    click.echo(f"lab {lab.state.id} is up, in {lab.folder}; Ctrl-C removes it")
    for name, host in lab.hosts.items():
        node = plan.NODES[name]
        behind = f"  behind {node.attached_to}" if node.attached_to.endswith("-nat") else ""
        click.echo(f"  {name:10} {host.ip}{behind}")
    click.echo("try, in another terminal:")
    click.echo(f"  cd {ROOT}")
    for example in EXAMPLES:
        where, _, command = example.partition(" ")
        if where in lab.hosts:
            click.echo(f"  {exec_command(lab.state.id, where)} {command}")


def exec_command(lab_id: str, host: str) -> str:
    """What people type before a command for `host`, in ROOT."""
    python = Path(sys.executable)
    shown = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    return f"{shown} -m tests.lab exec --lab {lab_id} {host} --"


@main.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.option("--lab", "lab_id", help="Which lab, if several are up.")
@click.argument("host")
@click.argument("command", nargs=-1, required=True)
def exec_(lab_id: str | None, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST of a lab that is up; its exit code becomes this one's."""
    found = state.find(lab_id)
    if host not in found.hosts:
        raise VshareError(f"no host {host!r} in lab {found.id}", f"hosts: {', '.join(found.hosts)}")
    there = found.hosts[host]
    environment = {**there.environment, "TERM": os.environ.get("TERM", "dumb")}
    if sys.stdin.isatty() and sys.stdout.isatty():
        # the host has ptys of its own; programs such as tmux look theirs up by name
        command = ("script", "-qefc", shlex.join(command), "/dev/null")
    arguments = entering(there.holder.pid, Path(there.folder), command)
    os.execve(arguments[0], arguments, environment)


@main.command()
def clean() -> None:
    """Remove what labs that were killed left behind."""
    removed = state.clean()
    click.echo(f"removed: {', '.join(removed) or 'nothing'}")


@main.command(name="list")
def list_() -> None:
    """The labs that are up."""
    for found in state.labs():
        if found.owner.alive():
            click.echo(f"{found.id}  {', '.join(found.hosts)}")


def run() -> None:
    """The program: as root, errors in two lines."""
    if os.geteuid() != 0:
        run_as_root("tests.lab", sys.argv[1:])
    try:
        main(prog_name="tests.lab", standalone_mode=True)
    except VshareError as error:
        print(f"error: {error.text}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
