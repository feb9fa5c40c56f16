"""What happens in a share, told once, to all who follow: screen, audit log, webhook, terminals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

log = logging.getLogger(__name__)

Value: TypeAlias = str | int | float | None


@dataclass(frozen=True, slots=True)
class News:
    """One event. `kind` as docs/logging.md lists them; `text` is for people, empty for what
    would only fill their screen; `fields` is for programs, and holds no secret."""

    kind: str
    text: str
    fields: Mapping[str, Value]
    warning: bool = False


Listener: TypeAlias = Callable[[News], None]


class Newsroom:
    """Calls each listener, in the order in which they subscribed. One that fails is logged: it must
    neither undo what has happened nor keep it from the others."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` everything from now on; call what is returned to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, kind: str, text: str = "", *, warning: bool = False, **fields: Value) -> None:
        """`kind` has happened."""
        news = News(kind, text, fields, warning)
        for listener in list(self._listeners):
            try:
                listener(news)
            except Exception:
                log.exception("a listener could not be told of %s", kind)
