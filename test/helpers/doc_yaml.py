"""What is wrong with YAML of documents: parameters of nodes, prompts, files of compose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from helpers import doc_names
from helpers.doc_ros2 import FOREIGN_TOPICS

# nodes of others whose parameters documents show: node, package
FOREIGN_NODES = {"lifecycle_manager": "nav2_lifecycle_manager"}


def parameters_of(text: str) -> Iterator[tuple[str, str, Any]]:
    """Yield node, name and value of all parameters in a YAML file of ROS."""
    for node, content in yaml.safe_load(text).items():
        for name, value in (content or {}).get("ros__parameters", {}).items():
            yield node.rpartition("/")[2], name, value


def yaml_problems(text: str) -> Iterator[str]:
    """Yield what is wrong with a YAML block: prompts of panosam2_track, parameters, or a file of compose."""
    value = yaml.safe_load(text)
    if isinstance(value, dict) and "ros__parameters" in text:
        for node, name, given in parameters_of(text):
            if node in FOREIGN_NODES:
                continue
            node = "panosam2" if node == "**" else node
            if node not in doc_names.NODE_OF_PROGRAM.values():
                nearest = doc_names.nearest(node, doc_names.NODE_OF_PROGRAM.values())
                yield f"no node is named {node}: {nearest}"
            elif name == "qos_overrides":
                yield from _override_problems(node, given)
            elif error := doc_names.value_error(node, name, given):
                yield error
    elif isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        known = {"frame", "label", "box", "points", "point_labels", "direction", "object_id"}
        for name in {name for entry in value for name in entry} - known:
            yield f"a prompt has no {name}: {doc_names.nearest(name, known)}"
    elif not (isinstance(value, dict) and "services" in value):
        yield "neither parameters (ros__parameters), prompts nor services: teach yaml_problems"


def _override_problems(node: str, overrides: dict[str, Any]) -> Iterator[str]:
    known = doc_names.resolved(())
    for topic, sides in overrides.items():
        if not FOREIGN_TOPICS.match(topic) and topic not in known:
            yield f"{node} has no topic {topic}: {doc_names.nearest(topic, known)}"
        for side, policies in sides.items():
            if side not in ("publisher", "subscription"):
                yield f"{topic}: {side} is neither publisher nor subscription"
            for policy in policies.keys() - {"history", "depth", "reliability"}:
                yield f"{topic}: the policy {policy} cannot be overridden; history, depth, reliability can"
