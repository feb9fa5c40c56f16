"""The image's own `socket` and `typing` have all that the agent uses of the usual ones."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from box.connect import slim_socket, slim_typing
from box.connect.recipe import AGENT
from connect_vm.agent import wire

SOURCES = sorted(AGENT.glob("*.py"))


def used(module: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == module:
            yield node.attr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_is_missing(path: Path) -> None:
    for name in used("socket", path):
        assert hasattr(slim_socket, name), name
    for name in used("typing", path):
        assert hasattr(slim_typing, name), name


def test_a_named_tuple_of_a_class_statement() -> None:
    source = (
        (AGENT / "wire.py")
        .read_text()
        .replace("from typing import", f"from {slim_typing.__name__} import")
    )
    space: dict[str, object] = {"__name__": "wire"}
    exec(compile(source, "wire.py", "exec", dont_inherit=True), space)
    header = space["Header"].of(wire.TCP, ("192.0.2.2", 80), ("192.0.2.1", 9))  # type: ignore[attr-defined]
    assert header == wire.Header.of(wire.TCP, ("192.0.2.2", 80), ("192.0.2.1", 9))
    assert header.encode() == wire.Header(*header).encode()
    assert header.source == ("192.0.2.1", 9)


def test_a_socket_accepts_and_closes_itself() -> None:
    slim: Any = slim_socket  # mypy takes its socket for that of _socket
    with slim.create_server(("127.0.0.1", 0), backlog=1) as listener:
        with slim.socket() as client:
            thread = threading.Thread(target=client.connect, args=(listener.getsockname(),))
            thread.start()
            sock, peer = listener.accept()
            thread.join()
            assert peer == client.getsockname()
            with sock:
                sock.sendall(b"x")
                assert client.recv(1) == b"x"
        assert client.fileno() == -1
    assert listener.fileno() == -1
