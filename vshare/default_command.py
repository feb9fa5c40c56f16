"""A group of commands, of which one is meant where none is named."""

from __future__ import annotations

from typing import Any

import click

_OF_THE_GROUP = frozenset({"-h", "--help", "--version"})


class DefaultCommand(click.Group):
    """`default` stands before whatever is no command of the group's, and where there is nothing."""

    def __init__(self, *arguments: Any, default: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Group.parse_args."""
        if not args or (args[0] not in self.commands and args[0] not in _OF_THE_GROUP):
            args = [self._default, *args]
        return super().parse_args(ctx, args)
