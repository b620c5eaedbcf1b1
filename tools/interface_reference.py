"""Generate the reference pages: ``python -m tools.interface_reference --write``.

docs/interface.md has topics, services and messages, docs/parameters.md all parameters. They are made from the
tables of topics, the message files, the declared parameters and config/*.yaml, so that they always agree with
them. Without --write the interface is printed, with --parameters the other page.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from panosam2_ros.demo import virtual_camera
from panosam2_ros.ros.parameters import Change, Parameters
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from panosam2_ros.ros.web.web_parameters import WebParameters
from tools.interface_topics import NODES, Endpoint, Role

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_HEAD = """# Interface reference

Topics, services and messages. Made by `python -m tools.interface_reference --write` from the code; a test
fails where they differ. `~` stands for the node's name, as in `/panosam2/masks`. How the QoS of topics is
overridden, and images are kept from being lost: [qos.md](qos.md).
"""
_ABOUT = {
    "panosam2": "Tracks prompted objects: program `panosam2_node`, a lifecycle node, which configures and\n"
    "activates itself unless `autostart` is false. It has ROS's lifecycle services, too (`~/change_state`,\n"
    "`~/get_state`). Pictures and clouds are made only while somebody subscribes.",
    "panosam2_web": "Serves [a page for browsers](browser.md): program `panosam2_web`. It prompts by the\n"
    "services of `panosam2`.",
    "panosam2_places": "Says [where objects are in space](places.md): program `panosam2_places`.",
}
_TITLES = {Role.SUBSCRIBES: "subscribes to", Role.PUBLISHES: "publishes", Role.SERVES: "services"}
_PARAMETERS = """# Parameters

Every parameter of the nodes. Made by `python -m tools.interface_reference --write` from the code; a test
fails where they differ. [config/panosam2.yaml](../config/panosam2.yaml) and
[config/places.yaml](../config/places.yaml) have all of them with their defaults; [tuning.md](tuning.md) says
which to change.

- *live*: may change at any time, as by `ros2 param set /panosam2 history_seconds 8.0`
- *unconfigured*: only while the node is unconfigured: deactivate it and clean it up first, or set it at start
- *start*: only at start
"""
_CHANGES = {Change.LIVE: "live", Change.UNCONFIGURED: "unconfigured", Change.START: "start"}
_UNITS = (
    (r"^(s|rad|m|MiB)\b", ""),
    (r"(?:, )(rad|pixels)\b", ""),
    (r"^(columns|rows)\b", "pixels"),
    (r"^millions of pixels\b", "10⁶ pixels"),
    (r"^\w+ (?:\w+ )?per s(?:econd)?\b", "1/s"),
)


def interface_reference(root: Path = ROOT) -> str:
    """Return docs/interface.md; ``root``: the checkout."""
    files = [*sorted((root / "msg").glob("*.msg")), *sorted((root / "srv").glob("*.srv"))]
    kinds = [
        f"## {path.parent.name}/{path.name}\n\n```text\n{path.read_text().strip()}\n```\n" for path in files
    ]
    elsewhere = "## Parameters\n\nAll nodes: [parameters.md](parameters.md).\n"
    return "\n".join([_HEAD, *(_node(name) for name in NODES), elsewhere, *kinds])


def _node(name: str) -> str:
    """Return the tables of a node's topics and services."""
    parts = [f"## {name}", "", _ABOUT[name], ""]
    for role, title in _TITLES.items():
        if found := [endpoint for endpoint in NODES[name] if endpoint.role is role]:
            parts += [f"### {name} {title}" if role is not Role.SERVES else f"### {title} of {name}", ""]
            parts += [*_endpoints(found), ""]
    return "\n".join(parts)


def _endpoints(endpoints: list[Endpoint]) -> list[str]:
    lines = ["| name | type | QoS | meaning |", "|---|---|---|---|"]
    for one in endpoints:
        needs = f"; where `{one.needs}` is installed" if one.needs else ""
        types = ", ".join(f"`{kind}`" for kind in one.types)
        lines.append(f"| `{one.name}` | {types} | {one.qos} | {one.meaning}{needs} |")
    return lines


def parameter_reference(root: Path = ROOT) -> str:
    """Return docs/parameters.md; ``root``: the checkout."""
    parts = [_PARAMETERS]
    by_name = {item.name: item for item in fields(Parameters)}
    parts.append("## panosam2\n")
    for group, names in _groups((root / "config" / "panosam2.yaml").read_text()).items():
        parts.append(f"### {group.capitalize()}\n\n{_table([by_name[name] for name in names])}")
    parts.append(f"## panosam2_places\n\nAll at *start*.\n\n{_table(fields(PlaceParameters))}")
    parts.append(f"## panosam2_web\n\nAll at *start*.\n\n{_table(fields(WebParameters))}")
    parts.append(f"## virtual_camera\n\nAll at *start*.\n\n{_camera_table()}")
    return "\n".join(parts)


def _groups(text: str) -> dict[str, list[str]]:
    """Return the parameters of a YAML file by the headings in its comments."""
    groups: dict[str, list[str]] = {"the node": []}
    for line in text.splitlines():
        if heading := re.match(r"    # --- (.+?)(?: \(docs/.*)?$", line):
            groups[heading[1]] = []
        elif parameter := re.match(r"    (\w+):", line):
            list(groups.values())[-1].append(parameter[1])
    return groups


def _table(items: Any) -> str:
    """Return the table of some parameters as Markdown."""
    lines = ["| name | type | default | unit, allowed | may change | meaning |", "|---|---|---|---|---|---|"]
    for item in items:
        change = _CHANGES[item.metadata["change"]]
        cells = [f"`{item.name}`", type(item.default).__name__, _shown(item.default), _allowed(item), change]
        lines.append(f"| {' | '.join([*cells, item.metadata['description']])} |")
    return "\n".join([*lines, ""])


def _camera_table() -> str:
    lines = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for name, about in virtual_camera.DESCRIPTIONS.items():
        default = virtual_camera.default_parameters()[name]
        kind = "list" if isinstance(default, tuple) else type(default).__name__
        lines.append(f"| `{name}` | {kind} | {_shown(default)} | {about} |")
    return "\n".join([*lines, ""])


def _shown(value: Any) -> str:
    """Return a default as YAML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{one:.6g}' for one in value)}]`"
    return f"`{value:.6g}`" if isinstance(value, float) else f"`{value}`" if value != "" else '`""`'


def _allowed(item: Field[Any]) -> str:
    """Return the unit and range, or the choices, of a parameter."""
    about = item.metadata
    if about["choices"]:
        return ", ".join(f"`{choice}`" for choice in about["choices"])
    if not about["span"]:
        return ""
    span = " to ".join(f"{end:.6g}" for end in about["span"])
    found = ((re.search(pattern, about["description"]), name) for pattern, name in _UNITS)
    unit = next((name or match[1] for match, name in found if match), "")
    return f"{unit}, {span}" if unit else span


def main() -> None:
    """Print a page, or write both."""
    parser = argparse.ArgumentParser("tools.interface_reference", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/interface.md and docs/parameters.md")
    parser.add_argument("--parameters", action="store_true", help="print docs/parameters.md")
    options = parser.parse_args()
    if options.write:
        (DOCS / "interface.md").write_text(interface_reference())
        (DOCS / "parameters.md").write_text(parameter_reference())
    else:
        sys.stdout.write(parameter_reference() if options.parameters else interface_reference())


if __name__ == "__main__":
    main()
