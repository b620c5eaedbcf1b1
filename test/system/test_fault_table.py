"""docs/faults.md lists the tests that are marked `faults`, all of them and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from helpers.process import ROOT

FOLDER = ROOT / "test"
TABLE = ROOT / "docs" / "faults.md"


def marked(path: Path) -> set[str]:
    """Tests of a file that bear the marker, by themselves or all together."""
    tree = ast.parse(path.read_text())
    everything = any(ast.unparse(item) == "pytestmark = pytest.mark.faults" for item in tree.body)
    return {
        f"{path.name}::{item.name}"
        for item in tree.body
        if isinstance(item, ast.FunctionDef)
        and item.name.startswith("test_")
        and (everything or "pytest.mark.faults" in map(ast.unparse, item.decorator_list))
    }


def test_the_table_is_complete() -> None:
    listed = set(re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE.read_text()))
    assert listed == set().union(*(marked(path) for path in FOLDER.rglob("test_*.py")))
