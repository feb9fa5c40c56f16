"""What asking a port came to. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Danger:
    """A port that lets every guest in: `why` that matters and what to do, a sentence each."""

    protocol: str
    port: int
    title: str  # "Redis without a password"
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Weakness:
    """What a conversation looks for; becomes a Danger at the port where it is found."""

    title: str
    why: str
    advice: str

    def at(self, port: int) -> Danger:
        """This weakness, found at a TCP port."""
        return Danger("tcp", port, self.title, self.why, self.advice)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a conversation ended: `weak`, or not; `note` says what could not be found out."""

    weak: bool = False
    note: str = ""


WEAK = Verdict(weak=True)
SOUND = Verdict()
