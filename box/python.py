"""The Python inside the images: which modules of the standard library, compiled beforehand.

Modules go in without their source: nothing is compiled or checked at boot.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from box.errors import BoxError
from box.sysroot import Sysroot

LIBRARY = "usr/lib/python3.11"
PROGRAM = "usr/bin/python3.11"
# what the interpreter imports by itself, at its start or when a text is decoded
ALWAYS = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8", "traceback")

_LIST_MODULES = """
import importlib, importlib.util, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
files |= {importlib.util.find_spec(name).origin or "" for name in ("os", "codecs", "io", "abc",
    "stat", "posixpath", "genericpath", "_collections_abc", "runpy", "importlib")}
prefix = sys.argv[1] + "/"
print("\\n".join(sorted(file.removeprefix(prefix) for file in files if file.startswith(prefix))))
"""

_COMPILE = """
import importlib._bootstrap_external as external, json, sys
jobs = json.load(sys.stdin)
for name, optimize, source in jobs:
    code = compile(source.encode("latin-1"), name, "exec", dont_inherit=True, optimize=optimize)
    data = external._code_to_hash_pyc(code, bytes(8), False)
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
"""


def imported_modules(sources: Iterable[str], own: str) -> set[str]:
    """The modules of the standard library that these sources import, at any depth of nesting.

    `own` is the package they form. Raises BoxError for an import from anywhere else: the
    images hold nothing but the standard library.
    """
    names: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    foreign = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    for name in sorted(foreign):
        if not (name + ".").startswith(own + "."):
            raise BoxError(f"{own} imports {name}, which is not in the image's standard library")
    return names - foreign


def needed_modules(sysroot: Sysroot, roots: Iterable[str]) -> list[str]:
    """The files of the standard library, below LIBRARY, that are loaded to import `roots`."""
    library = str(sysroot.folder / LIBRARY)
    names = sorted({*ALWAYS, *roots})
    return sysroot.run(PROGRAM, "-S", "-c", _LIST_MODULES, library, *names).decode().split()


@dataclass(frozen=True, slots=True)
class Source:
    """A module to compile: the path that tracebacks show, and its text.

    `documented`: docstrings and `assert` statements stay in.
    """

    path: str
    text: bytes
    documented: bool = False


def compiled(sysroot: Sysroot, sources: list[Source]) -> list[bytes]:
    """The bytecode files of these modules, valid without their source."""
    jobs = [
        (source.path, 0 if source.documented else 2, source.text.decode("latin-1"))
        for source in sources
    ]
    output = sysroot.run(PROGRAM, "-S", "-c", _COMPILE, data=json.dumps(jobs).encode())
    result: list[bytes] = []
    for _ in sources:
        size = int.from_bytes(output[:4], "big")
        result.append(output[4 : 4 + size])
        output = output[4 + size :]
    return result
