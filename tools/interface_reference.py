"""Generate the interface reference: ``python -m tools.interface_reference > docs/interface.md``.

It is made from the message files and the declared parameters, so that it always agrees with them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from panosam2_ros.ros.web.web_parameters import WebParameters

ROOT = Path(__file__).resolve().parents[1]
_HEAD = """# Interface reference

Made by `python -m tools.interface_reference` from the message files and the declared parameters; a test
fails where they differ. Topics and services are listed in the [README](../README.md#interface). Parameters
may change at any time (*live*), while the node is *unconfigured*, or only at its *start*.
"""


def interface_reference(root: Path = ROOT) -> str:
    """Return the page as Markdown; ``root``: the checkout."""
    files = [*sorted((root / "msg").glob("*.msg")), *sorted((root / "srv").glob("*.srv"))]
    kinds = [f"## {path.parent.name}/{path.name}\n\n```\n{path.read_text().strip()}\n```\n" for path in files]
    parameters = [
        _parameters("Parameters", Parameters),
        _parameters("Parameters of panosam2_places", PlaceParameters),
        _parameters("Parameters of panosam2_web", WebParameters),
    ]
    return "\n".join([_HEAD, *parameters, *kinds])


def _parameters(title: str, kind: type[Parameters | PlaceParameters | WebParameters]) -> str:
    """Return the table of a node's parameters as Markdown."""
    lines = [f"## {title}", "", "| name | type | default | allowed | may change | meaning |"]
    lines.append("|---|---|---|---|---|---|")
    for item in fields(kind):
        about, value = item.metadata, item.default
        allowed = ", ".join(f"`{choice}`" for choice in about["choices"])
        if about["span"]:
            allowed = " to ".join(f"{end:.6g}" for end in about["span"])
        shown = f"`{value:.6g}`" if isinstance(value, float) else f"`{value!r}`"
        cells = [f"`{item.name}`", type(value).__name__, shown, allowed, about["change"].name.lower()]
        lines.append(f"| {' | '.join([*cells, about['description']])} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    argparse.ArgumentParser("tools.interface_reference", description=__doc__).parse_args()
    sys.stdout.write(interface_reference())
