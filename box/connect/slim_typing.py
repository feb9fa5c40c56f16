"""The image's `typing`: NamedTuple and Protocol, without the rest, which takes 0.1 s to import."""

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Protocol:
    """Says nothing when a program runs."""


class _NamedTupleType(type):
    def __new__(cls, name: str, bases: tuple[type, ...], members: "dict[str, Any]") -> "Any":
        """The named tuple of a class statement: its annotations are the fields."""
        made = namedtuple(name, members.get("__annotations__", {}))  # type: ignore[misc]
        for member, value in members.items():
            if member not in ("__annotations__", "__qualname__"):
                setattr(made, member, value)
        return made


_named_tuple = type.__new__(_NamedTupleType, "NamedTuple", (), {})


def NamedTuple() -> None:  # noqa: N802
    """A base class: see typing.NamedTuple, of which fields without defaults are known here."""


NamedTuple.__mro_entries__ = lambda _bases: (_named_tuple,)  # type: ignore[attr-defined]
