"""The parts of a relay that its operator's programs are told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from relay.acme import AcmeCertificate
from relay.certificate_files import ShownIdentity
from relay.control import Control
from relay.front import Front
from relay.history.recorder import Recorder
from relay.limits import Admission
from relay.names import NameBook
from relay.registry import LocalRegistry

Gauge = tuple[str, Callable[[], float]]  # its help, and how it is read
Check = Callable[[], str]  # what is wrong; empty: nothing


@dataclass(slots=True)
class Sources:
    """`gauges` and `checks` are those of parts that not every relay has, by name."""

    registry: LocalRegistry
    admission: Admission
    shown: ShownIdentity
    control: Control
    fronts: list[Front]
    names: NameBook
    acme: AcmeCertificate | None = None
    history: Recorder | None = None
    state_dir: Path | None = None
    gauges: dict[str, Gauge] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)
