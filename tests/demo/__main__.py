"""`python -m tests.demo`: what `make demo` runs; with --check every way in is tried."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from subprocess import SubprocessError

import click

from tests.demo import capture, checks, traces, world
from tests.lab import Host, Lab, services, state
from tests.lab.__main__ import ROOT, exec_command
from tests.lab.forward import forwarder
from tests.lab.root import run_as_root
from tunnel.errors import VshareError

LOOPBACK_SHARE = ("--loopback", "8081", "--disable-http")
TARGET_SHARE = tuple(
    # Neither of the two has a password.
    "--disable-http --port 5432 --port 6379 --unfence 5432 --unfence 6379".split()  # noqa: SIM905
)
WIDTH = 46  # columns for a check's title


class Report:
    """Runs checks, prints a line for each, and counts."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def run(self, todo: Iterable[checks.Check]) -> None:
        """Run checks one after the other; a failure does not stop the rest."""
        for title, check in todo:
            try:
                figure = check()
            except (VshareError, OSError, ValueError, IndexError, SubprocessError) as error:
                self.failed += 1
                click.echo(f"FAILED  {title:{WIDTH}} {error}")
            else:
                self.passed += 1
                click.echo(f"ok      {title:{WIDTH}} {figure}")


class Demo:
    """The steps of the demo, in the order in which they are undone."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.lab = Lab()
        self._begin = time.monotonic()

    def start(self) -> None:
        """From nothing to a guest with a static IP. Raises VshareError."""
        self._stack.enter_context(self.lab)
        lab = self.lab
        internet = lab.hosts["internet"].pid
        target = (lab.relay.ip, world.RELAY_PORT)
        self.port = self._stack.enter_context(forwarder(internet, target))
        self.relay = self._stack.enter_context(world.relay(lab, self.port))
        self.say("the lab and a relay are up; `vagrant up` in alice ...")
        self.folder = lab.alice.vagrant_up()
        lab.bob.start_libvirtd()
        self.before_share = traces.look(lab.alice)
        self.before_connect = traces.look(lab.bob)
        self.say("the machine is up; `vshare up` in alice ...")
        sharing = world.share(lab.alice, self.relay, self.folder)
        self.share = self._stack.enter_context(sharing)
        self.say(f"shared as {self.share.name}; `vconnect` in bob ...")
        self.bob = self._stack.enter_context(world.connect(lab.bob, self.share))
        self.say("connected")

    def say(self, text: str) -> None:
        """Progress, with the seconds since the beginning, on stderr."""
        click.echo(f"[{time.monotonic() - self._begin:5.1f} s] {text}", err=True)

    def describe(self) -> None:
        """The ways in, each with a command to try."""
        assert self.lab.state is not None
        ip, socks = self.bob.ip, self.bob.socks
        there = exec_command(self.lab.state.id, "bob")
        click.echo(f"URL:            {self.share.url}")
        click.echo(f"                in a browser of this machine; or: curl {self.share.url}")
        click.echo(f"Static IP:      {ip}")
        click.echo(f"SOCKS address:  {socks}")
        click.echo("Both are on bob, in another network than alice. In another terminal:")
        click.echo(f"  cd {ROOT}")
        click.echo(f"  {there} curl http://{ip}/")
        click.echo(f"  {there} curl --socks5-hostname {socks} http://{self.share.name}/")
        click.echo("Ctrl-C ends all of it.", err=True)


def check_all(demo: Demo, report: Report) -> None:
    """Try every way in, then end it and look for what is left."""
    lab, bob, shared = demo.lab, demo.bob, demo.share
    checks.write_upload(lab.bob.tmp, checks.BIG)
    report.run(checks.by_url(shared))
    report.run(checks.by_ip(bob))
    report.run(checks.by_socks(bob, shared))
    (lab.bob.tmp / checks.UPLOAD).unlink()
    lab.carol.start_libvirtd()
    before = traces.look(lab.carol)
    report.run([("a second guest: carol", lambda: _second_guest(demo, report))])
    with (
        world.share(lab.alice, demo.relay, demo.folder, *LOOPBACK_SHARE) as second,
        world.connect(lab.carol, second) as carol,
    ):
        report.run(checks.by_loopback(carol, second))
    services.start(lab.services)
    target = ("--target", lab.services.ip, *TARGET_SHARE)
    with (
        world.share(lab.alice, demo.relay, lab.alice.home, *target) as third,
        world.connect(lab.carol, third) as carol,
    ):
        report.run(checks.by_target(carol))
    report.run([("carol: nothing is left", lambda: _nothing_left(lab.carol, before))])
    report.run([("Ctrl-C ends vconnect", lambda: f"{bob.program.interrupt():.1f} s")])
    report.run([("Ctrl-C ends vshare", lambda: f"{shared.program.interrupt():.1f} s")])
    report.run([("bob: nothing is left", lambda: _nothing_left(lab.bob, demo.before_connect))])
    report.run([("alice: nothing is left", lambda: _nothing_left(lab.alice, demo.before_share))])


def _second_guest(demo: Demo, report: Report) -> str:
    """Carol joins while a capture runs at the relay, so that it sees joining as well."""
    shared = demo.share
    with ExitStack() as stack:
        begin = time.monotonic()
        with capture.capturing(demo.lab.relay) as captured:
            carol = stack.enter_context(world.connect(demo.lab.carol, shared))
            seconds = time.monotonic() - begin
            capture.send_marks(carol, shared, captured)
        report.run([("the relay sees no plaintext", lambda: captured.verify(shared))])
        captured.path.unlink()
        report.run(checks.at_once(demo.bob, carol))
    return f"connected in {seconds:.1f} s"


def _nothing_left(host: Host, before: traces.Traces) -> str:
    left = traces.look(host).left_since(before)
    if left:
        raise checks.FailedError("; ".join(left))
    return "no domain, network, interface, route, process or file"


def _lab_is_gone(found: state.LabState) -> str:
    alive = [name for name, host in found.hosts.items() if host.holder.alive()]
    if alive or found.folder.exists():
        raise checks.FailedError(f"still there: {', '.join(alive)} {found.folder}")
    return f"{len(found.hosts)} hosts with all their namespaces, processes and files"


@click.command()
@click.option("--check", is_flag=True, help="Try every way in, say how it went, and end.")
def main(check: bool) -> None:
    """Share a real machine across the lab, until Ctrl-C."""
    # SIGINT as well: a shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    report = Report()
    found = None
    try:
        with ExitStack() as stack:
            demo = Demo(stack)
            demo.start()
            found = demo.lab.state
            demo.describe()
            if check:
                check_all(demo, report)
            else:
                signal.pause()
    except KeyboardInterrupt:
        click.echo("ended: machine, share and lab are gone", err=True)
        sys.exit(130 if check else 0)
    except VshareError as error:
        report.failed += 1
        click.echo(
            f"error: {error.text}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True
        )
    if found is not None:
        gone = found
        report.run([("the lab is gone", lambda: _lab_is_gone(gone))])
    if check:
        click.echo(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    if os.geteuid() != 0:
        run_as_root("tests.demo", sys.argv[1:])
    main(prog_name="tests.demo")
