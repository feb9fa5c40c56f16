"""The parts of a relay that its operator's programs are told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay.acme import AcmeCertificate
from relay.certificate_files import ShownIdentity
from relay.control import Control
from relay.front import Front
from relay.history.recorder import Recorder
from relay.limits import Admission
from relay.names import NameBook
from relay.registry import LocalRegistry

if TYPE_CHECKING:
    from relay.cluster.node import ClusterNode


@dataclass(slots=True)
class Sources:
    """Those that not every relay has are None."""

    registry: LocalRegistry
    admission: Admission
    shown: ShownIdentity
    control: Control
    fronts: list[Front]
    names: NameBook
    acme: AcmeCertificate | None = None
    history: Recorder | None = None
    state_dir: Path | None = None
    cluster: ClusterNode | None = None
    is_leaving: Callable[[], bool] = lambda: False  # it takes nobody new
