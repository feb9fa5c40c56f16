"""Which kernel modules to load, in which order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from box.errors import BoxError


def load_order(wanted: Iterable[str], needs: Callable[[str], Iterable[str]]) -> list[str]:
    """`wanted` and all that they need, each after what it needs.

    `needs` names a module's direct dependencies. Raises BoxError when they form a circle.
    """
    order: list[str] = []
    for name in wanted:
        _visit(name, needs, order, [])
    return order


def _visit(
    name: str, needs: Callable[[str], Iterable[str]], order: list[str], path: list[str]
) -> None:
    if name in path:
        raise BoxError(f"kernel modules need each other: {' -> '.join([*path, name])}")
    if name in order:
        return
    for other in needs(name):
        _visit(other, needs, order, [*path, name])
    order.append(name)
