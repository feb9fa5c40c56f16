"""Which part of a long list a page shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Some of the things; pages are numbered from 1."""

    things: Sequence[T]
    number: int
    pages: int
    total: int


def page_of(things: Sequence[T], wanted: str, size: int) -> Part[T]:
    """The page `wanted`, `size` things long; what is no number of one is the nearest."""
    pages = max(1, -(-len(things) // size))
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 1
    number = min(max(number, 1), pages)
    return Part(things[(number - 1) * size : number * size], number, pages, len(things))
