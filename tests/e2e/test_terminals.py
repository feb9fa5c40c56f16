"""Shared terminals between hosts: real programs in them, tmux for the terminals that people sit at,
and what they show compared cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.demo import world
from tests.demo.program import started
from tests.demo.world import Share
from tests.lab import Host, Lab
from tests.tmux import Person, Run, differences, person

pytestmark = pytest.mark.e2e

PUBLIC_PORT = 8080  # in the URL only
OTHER_PORT = 9443
WITHIN = 60.0  # seconds for what an emulated machine shows
LITTLE, SMALL, MIDDLE, LARGE = (61, 19), (80, 24), (97, 28), (110, 32)
OPTIONS = ("--disable-http", "--yes")


def on(host: Host) -> Run:
    """A Run there."""

    def run(command: Sequence[str]) -> str:
        return host.run(command, env={"TERM": "xterm-256color"}).stdout

    return run


@dataclass
class Stage:
    """A share, and those who sit before its terminals; they leave with it."""

    lab: Lab
    share: Share
    stack: ExitStack

    def sharer(self, *options: str, size: tuple[int, int] = SMALL) -> Person:
        """Alice, who shares a terminal."""
        words = " ".join(("vshare", "terminal", "--share", self.share.name, *options))
        return self._person(self.lab.alice, words, size)

    def guest(self, host: Host, *options: str, size: tuple[int, int] = SMALL) -> Person:
        """Somebody on `host` who looks."""
        code = host.tmp / "terminal-code"
        code.write_text(self.share.code + "\n")
        words = ["vconnect", "terminal", self.share.connect, "--code-file", str(code)]
        return self._person(host, " ".join((*words, "--as", host.name, *options)), size)

    def _person(self, host: Host, command: str, size: tuple[int, int]) -> Person:
        shell = f"sh -c '{command}; echo code $?; exec cat'"
        return self.stack.enter_context(person(on(host), f"seat-{host.name}", shell, size))

    def say(self, *words: str) -> dict[str, Any]:
        """Another terminal of alice's."""
        command = ["vshare", "terminal", *words, "--share", self.share.name, "--json"]
        done = self.lab.alice.run(command, timeout=WITHIN)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Iterator[str]:
    with world.relay(lab, PUBLIC_PORT) as address:
        yield address


@contextmanager
def staged(lab: Lab, relay: str, folder: Path, *options: str) -> Iterator[Stage]:
    with (
        world.share(lab.alice, relay, folder, *OPTIONS, *options) as share,
        ExitStack() as stack,
    ):
        yield Stage(lab, share, stack)


@pytest.fixture
def machine(lab: Lab, relay: str, alice_machine: Path) -> Iterator[Stage]:
    """Alice's emulated machine, by Vagrant's SSH."""
    with staged(lab, relay, alice_machine) as stage:
        yield stage


@pytest.fixture(scope="module")
def served(lab: Lab, services_host: Host) -> Lab:
    """The host beside alice, whose sshd lets her in."""
    ssh = lab.alice.home / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    theirs = services_host.home / ".ssh"
    (ssh / "id_ed25519").write_bytes((theirs / "id_ed25519").read_bytes())
    (ssh / "id_ed25519").chmod(0o600)
    key = " ".join((theirs / "host_ed25519.pub").read_text().split()[:2])
    (ssh / "known_hosts").write_text(f"{services_host.ip} {key}\n")
    return lab


@pytest.fixture
def beside(served: Lab, relay: str) -> Iterator[Stage]:
    """A host with everything that people use, by SSH alone."""
    target = f"ssh://root@{served.services.ip}"
    with staged(served, relay, served.alice.home, "--target", target) as stage:
        yield stage


def same(*people: Person) -> None:
    """All show the same cells, and the cursor in the same place, soon."""
    first, *others = people
    for other in others:
        try:
            other.wait_for(partial(is_same, first, other), WITHIN)
        except AssertionError:
            rows = differences(first.cells(), other.cells())
            raise AssertionError(f"{first.name}, {other.name}:\n" + "\n".join(rows)) from None


def is_same(one: Person, other: Person) -> bool:
    return not differences(one.cells(), other.cells())


def same_corner(size: tuple[int, int], one: Person, other: Person) -> None:
    """The larger terminal `one` has the shared screen in its corner, and that is all of `other`."""
    one.wait_for(lambda: one.shared_size() == size, WITHIN)
    try:
        other.wait_for(lambda: one.cells(size) == other.cells(), WITHIN)
    except AssertionError:
        rows = differences(one.cells(size), other.cells())
        raise AssertionError(f"{one.name}, {other.name}:\n" + "\n".join(rows)) from None


def quiet(*people: Person) -> None:
    """The sentences over the last rows are gone."""
    for each in people:
        each.wait_for(partial(is_quiet, each), WITHIN)


def is_quiet(one: Person) -> bool:
    said = "\n".join(one.screen())
    return not any(word in said for word in ("Enter ~", "looks on", "You can", "You may"))


def test_the_machines_shell_with_two_guests(machine: Stage) -> None:
    """Rights, a late guest, an editor; the sharer's `exit` ends it for all, with a word."""
    lab = machine.lab
    alice = machine.sharer()
    alice.wait_for("$", WITHIN)
    bob = machine.guest(lab.bob)
    bob.wait_for("$", WITHIN)
    alice.wait_for("bob looks on")
    alice.type("echo $((6*7)); uname -n")
    alice.press("Enter")
    bob.wait_for("demo", WITHIN)
    bob.type("touch /tmp/never")  # read-only: it never gets there
    bob.wait_for("You can look on, but not type")
    bob.press("Enter")
    bob.type("~a")
    alice.wait_for("bob asks to type")
    machine.say("grant", "bob")
    bob.wait_for("You may type now.")
    bob.type("ls /tmp/never; echo ro''le")
    bob.press("Enter")
    alice.wait_for("role", WITHIN)
    assert "No such file" in "\n".join(alice.screen())
    carol = machine.guest(lab.carol)
    quiet(alice, bob, carol)
    same(alice, bob, carol)
    assert "role" in "\n".join(carol.screen())
    bob.type("vi /etc/passwd")
    bob.press("Enter")
    alice.wait_for("- /etc/passwd", WITHIN)
    bob.press("j", "j", "o")
    bob.type("written by bob")
    bob.press("Escape")
    carol.wait_for("written by bob", WITHIN)
    same(alice, bob, carol)
    machine.say("revoke", "bob")
    bob.wait_for("You may not type any more.")
    bob.type("dd")
    alice.type(":q!")
    alice.press("Enter")
    alice.type("top -b -n 1 | head -5; exit")
    alice.press("Enter")
    for each in (alice, bob, carol):
        each.wait_for("code 0", WITHIN)
        assert "the shell has ended" in "\n".join(each.screen()).lower()


@pytest.mark.parametrize("program", ["vim", "htop", "tmux"])
def test_full_screen_programs(beside: Stage, program: str) -> None:
    """On terminals of different sizes, of which the smallest decides, also when it gets another
    size meanwhile; with keys and the mouse of each."""
    lab = beside.lab
    text = lab.services.tmp / "text"
    text.write_text("".join(f"{number} Größe 漢字 e\u0301 ▒\n" for number in range(200)))
    alice = beside.sharer("--read-write", "--size", "smallest", size=LARGE)
    alice.wait_for("#", WITHIN)
    bob = beside.guest(lab.bob, size=SMALL)
    carol = beside.guest(lab.carol, size=LARGE)
    for each in (bob, carol):
        each.wait_for("#", WITHIN)
    alice.wait_for(lambda: alice.shared_size() == SMALL, WITHIN)
    {"vim": use_vim, "htop": use_htop, "tmux": use_tmux}[program](alice, bob, carol, text)
    for size in (SMALL, MIDDLE, LITTLE):
        bob.resize(*size)
        quiet(alice, bob, carol)
        same_corner(size, alice, bob)
        same(alice, carol)
    assert alice.flags() == bob.flags() == carol.flags()
    assert alice.flags().split()[2] == "1", "no mouse"
    alice.press("Enter")
    alice.type("~.")
    bob.wait_for("code 0", WITHIN)
    carol.wait_for("code 0", WITHIN)


def start(who: Person, command: str) -> None:
    who.type(command)
    who.press("Enter")


def use_vim(alice: Person, bob: Person, carol: Person, text: Path) -> None:
    """Carol writes a line, and a letter where bob has clicked, behind wide characters."""
    start(bob, f"vim -u NONE -N -c 'set nu mouse=a' {text}")
    carol.wait_for("23 22 Gr", WITHIN)
    carol.press("j", "o")
    carol.type("hello 漢 from carol")
    carol.press("Escape")
    alice.wait_for("hello 漢 from carol", WITHIN)
    bob.click_at("7 Größe 漢字 e\u0301 ▒")
    bob.type("rX")
    alice.wait_for("7 Größe 漢字 e\u0301 X", WITHIN)


def use_htop(alice: Person, bob: Person, carol: Person, text: Path) -> None:
    """Carol has a tree; bob clicks at the help, and alice leaves it."""
    start(bob, "htop -d 100")
    carol.wait_for("F10", WITHIN)
    carol.press("F5")
    carol.wait_for("└─", WITHIN)
    bob.click_at("F1He")
    alice.wait_for("GNU GPL", WITHIN)
    alice.press("Escape")
    bob.wait_for("F10", WITHIN)


def use_tmux(alice: Person, bob: Person, carol: Person, text: Path) -> None:
    """Carol divides the window and fills her pane; bob clicks into the other one, and types."""
    start(bob, "tmux -f /dev/null new sh ';' set -g mouse on")
    carol.wait_for("[0]", WITHIN)
    for key in ("C-b", "%"):  # one after the other: together they would be a paste
        carol.press(key)
    alice.wait_for("│", WITHIN)
    start(carol, "seq 40")
    alice.wait_for("40", WITHIN)
    bob.click(3, 3)
    start(bob, "echo le''ft 漢字")
    alice.wait_for(lambda: any(row.startswith("left 漢字") for row in alice.screen()), WITHIN)


def test_lock_and_hold(beside: Stage) -> None:
    held = beside.lab.services.home / "held"
    alice = beside.sharer("--read-write", "--hold-enter")
    alice.wait_for("#", WITHIN)
    bob = beside.guest(beside.lab.bob)
    bob.wait_for("#", WITHIN)
    bob.type("touch ~/held; echo do''ne")
    bob.press("Enter")
    alice.wait_for("bob wants to run", WITHIN)
    alice.wait_for("touch ~/held")
    bob.wait_for("waits for the sharer")
    assert not held.exists()
    alice.press("Enter")
    alice.type("~y")
    bob.wait_for("done", WITHIN)
    assert held.exists()
    beside.say("--lock")
    bob.wait_for("locked", WITHIN)
    bob.type("echo not th''is")
    bob.press("Enter")
    beside.say("--unlock")
    bob.wait_for("unlocked", WITHIN)
    assert "not this" not in "\n".join(alice.screen())
    alice.press("Enter")
    alice.type("~.")
    bob.wait_for("code 0", WITHIN)


@contextmanager
def other_relay(host: Host) -> Iterator[str]:
    """One that can go and come back, with the same names and the same key."""
    command = ["vrelay", "serve", "--json", "--listen", f"{host.ip}:{OTHER_PORT}"]
    command += ["--open", "--domain", "localhost", "--state-dir", str(host.tmp / "other-relay")]
    with started(host, command) as program:
        event = program.wait_for("serving", WITHIN)
        yield f"{host.ip}:{OTHER_PORT}#{event['fingerprint'][:32]}"


def test_the_relay_is_killed_and_back(served: Lab) -> None:
    """The terminal goes on; guests are back by themselves, and see the present."""
    lab, target = served, f"ssh://root@{served.services.ip}"
    with ExitStack() as relays:
        address = relays.enter_context(other_relay(lab.relay))
        with staged(lab, address, lab.alice.home, "--target", target) as stage:
            alice = stage.sharer("--read-write")
            alice.wait_for("#", WITHIN)
            bob = stage.guest(lab.bob, "--relay-only")
            bob.wait_for("#", WITHIN)
            relays.close()
            bob.wait_for("The connection is lost", WITHIN)
            alice.type("echo mean''while")
            alice.press("Enter")
            alice.wait_for("\nmeanwhile")
            relays.enter_context(other_relay(lab.relay))
            bob.wait_for("\nmeanwhile", WITHIN)
            bob.type("echo ba''ck")
            bob.press("Enter")
            alice.wait_for("\nback", WITHIN)
            quiet(alice, bob)
            same(alice, bob)
            stage.share.program.interrupt()
            bob.wait_for("the share has ended", WITHIN)
            bob.wait_for("code 1", WITHIN)
