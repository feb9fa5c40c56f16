"""The documents' references: what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CODE_PATH = re.compile(r"\b(?:tests|tunnel|vshare|connect_vm|relay|box|docs|bench)/[\w./-]*\w")
# Made by `make box`; ALPN names; folders of the user's.
_BUILT = re.compile(r"box/(images|cache)|vshare/(\d|names|connect|kvm\.json)")
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def test_paths_in_the_documents_exist() -> None:
    missing = [
        f"{document.name}: {path}"
        for document in DOCS
        for path in _CODE_PATH.findall(document.read_text())
        if not (ROOT / path).exists() and not _BUILT.match(path)
    ]
    assert not missing


def test_links_between_documents_lead_somewhere() -> None:
    missing = [
        f"{document.name}: {link}"
        for document in DOCS
        for link in _LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert not missing


def test_parity_has_every_row_once() -> None:
    rows = re.findall(
        r"^\| ((?:VS|VC|LS)-\d+)", (ROOT / "docs/parity.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 50
    assert len(rows) == len(set(rows))
