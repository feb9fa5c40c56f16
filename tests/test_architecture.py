"""The shape of the code, held by tests: which way imports go, what is pure, what is banned."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("tunnel", "vshare", "connect_vm", "relay", "box")
MAY_IMPORT = {
    "tunnel": {"tunnel"},
    "vshare": {"tunnel", "vshare"},
    "connect_vm": {"tunnel", "connect_vm"},
    "relay": {"tunnel", "relay"},
    "box": {"box", "tunnel", "connect_vm"},
}
DOORS = {  # the exceptions, each one file to one package
    ("vshare/embedded.py", "relay"),
}
IMPURE = {
    "asyncio", "socket", "ssl", "threading", "time", "random", "secrets", "os", "logging",
}  # fmt: skip
LATE = {"asyncssh", "keyring", "libvirt", "starlette", "uvicorn"}  # 0.1 s each, about
MAX_LINES = 500
MAX_FUNCTION = 60  # lines of a body; a command's options are counted apart
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All of them: to walk takes longer than to parse."""
    return tuple(ast.walk(tree_of(path)))


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def module_imports(path: Path) -> set[str]:
    return set(imports(nodes_of(path)))


def test_arrows_point_one_way() -> None:
    for path in SOURCES:
        package = path.relative_to(ROOT).parts[0]
        ours = {module.split(".")[0] for module in module_imports(path)} & {*PACKAGES, "tests"}
        strangers = {
            other for other in ours - MAY_IMPORT[package] if (name_of(path), other) not in DOORS
        }
        assert not strangers, name_of(path)


def test_what_calls_itself_pure_is() -> None:
    pure = 0
    for path in SOURCES:
        tree = tree_of(path)
        summary = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
        if summary.endswith("Pure.") or ". Pure:" in summary:
            pure += 1
            impure = {module.split(".")[0] for module in module_imports(path)} & IMPURE
            assert not impure, name_of(path)
    assert pure > 10


def test_files_and_functions_are_small() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= MAX_LINES, name_of(path)
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
                length = (node.body[-1].end_lineno or 0) - node.body[0].lineno + 1
                assert length <= MAX_FUNCTION, f"{name_of(path)}: {node.name} has {length} lines"


def test_no_task_is_forgotten() -> None:
    """Tasks belong to a TaskGroup: `asyncio.create_task` and `loop.create_task` are not used."""
    for path in SOURCES:
        for node in nodes_of(path):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("create_task", "ensure_future", "gather"):
                owner = ast.unparse(node.func.value)
                where = f"{name_of(path)}:{node.lineno}"
                assert owner not in ("asyncio", "loop", "self._loop"), where


def test_no_junk_drawers() -> None:
    names = {path.stem for path in SOURCES}
    assert not names & {"utils", "util", "common", "misc", "helper"}


def imports_at_start(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """Those of a module that are done when it is imported."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def graph_of_ours() -> dict[str, set[str]]:
    """Which modules of ours each imports when it is imported."""
    known = {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in SOURCES
    }
    return {
        module: {found for node in imports_at_start(path) for found in _targets(node, known)}
        for module, path in known.items()
    }


def test_commands_start_without_what_few_of_them_need() -> None:
    graph = graph_of_ours()
    for command in ("vshare.cli", "connect_vm.cli"):
        waiting, needed = [command], set[str]()
        while waiting:
            module = waiting.pop()
            if module not in needed:
                needed.add(module)
                waiting.extend(graph[module])
        paths = [ROOT / f"{module.replace('.', '/')}.py" for module in sorted(needed)]
        for path in paths:
            if path.exists():  # else a package
                packages = {name.split(".")[0] for name in imports(imports_at_start(path))}
                assert not packages & LATE, name_of(path)


def test_there_are_no_import_cycles() -> None:
    graph = graph_of_ours()
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        for other in graph[module]:
            visit(other, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def _targets(node: ast.Import | ast.ImportFrom, known: dict[str, Path]) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & set(known)
    module = node.module or ""
    return ({module} | {f"{module}.{alias.name}" for alias in node.names}) & set(known)
