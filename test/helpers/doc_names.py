"""The names that commands of documents may use: programs, launch arguments, parameters, topics, targets."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from helpers.process import ROOT
from panosam2_ros.demo.virtual_camera import DESCRIPTIONS, default_parameters
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from panosam2_ros.ros.web.web_parameters import WebParameters
from tools.interface_topics import NODES, Role

# rclpy's own
OF_EVERY_NODE = {"use_sim_time": False, "start_type_description_service": True}
NODE_OF_PROGRAM = {
    "panosam2_node": "panosam2",
    "panosam2_places": "panosam2_places",
    "panosam2_web": "panosam2_web",
    "virtual_camera": "virtual_camera",
    "panosam2_virtual_camera": "virtual_camera",
}

# by node: the class whose fields are its parameters
DECLARED = {"panosam2": Parameters, "panosam2_places": PlaceParameters, "panosam2_web": WebParameters}


def nearest(name: str, known: Any) -> str:
    """Return the nearest known name in words, or the known ones where none is near."""
    if near := get_close_matches(name, list(known), 1):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(sorted(known)[:40])}"


@cache
def programs() -> dict[str, str]:
    """Return the modules of our programs, as pip's commands and as `ros2 run` names them."""
    starts = ast.parse((ROOT / "panosam2_ros/programs/start.py").read_text())
    modules = {
        function.name: call.args[0].value
        for function in starts.body
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "run_program"
        and isinstance(call.args[0], ast.Constant)
    }
    setup = re.findall(r'"(\w+) = panosam2_ros\.programs\.start:(\w+)"', (ROOT / "setup.py").read_text())
    return {name: modules[function] for name, function in setup}


@cache
def executables() -> dict[str, str]:
    """Return the modules of what `ros2 run panosam2_ros` starts."""
    found = re.findall(r"^install_executable\((\w+) ([\w.]+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    return dict(found)


@cache
def launch_arguments(file: str) -> frozenset[str]:
    """Return the arguments of a launch file, with those of the files that it includes."""
    text = (ROOT / "launch" / file).read_text()
    declared = {
        str(call.args[0].value)
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") in ("DeclareLaunchArgument", "Argument")
        if isinstance(call.args[0], ast.Constant)
    }
    for other in re.findall(r'with_name\("([\w.]+\.launch\.py)"\)', text):
        declared |= launch_arguments(other)
    return frozenset(declared)


@cache
def make_targets() -> dict[str, str]:
    """Return the targets of the Makefile with their recipes."""
    text = (ROOT / "Makefile").read_text()
    found = re.findall(r"^([a-z][\w-]*):(?!=)[^\n]*\n((?:\t[^\n]*\n?)*)", text, re.M)
    return dict(found)


def make_variable(name: str) -> bool:
    """Tell whether the Makefile, or what it calls, reads a variable."""
    texts = [(ROOT / file).read_text() for file in ("Makefile", "setup.py")]
    return any(re.search(rf"\$[({{]{name}[):}}]|\b{name} \?=|\"{name}\"", text) for text in texts)


@cache
def parameters(node: str) -> Mapping[str, Any]:
    """Return the parameters of a node of ours, with their defaults."""
    if node == "virtual_camera":
        return {name: default_parameters()[name] for name in DESCRIPTIONS} | OF_EVERY_NODE
    return {item.name: item.default for item in fields(DECLARED[node])} | OF_EVERY_NODE


@cache
def settings(script: Path) -> frozenset[str]:
    """Return the parameters of a script of examples/: the fields of its class Settings."""
    classes = [c for c in ast.parse(script.read_text()).body if isinstance(c, ast.ClassDef)]
    found = (item for c in classes if c.name == "Settings" for item in c.body)
    return frozenset(
        item.target.id
        for item in found
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    )


def value_error(node: str, name: str, value: Any) -> str:
    """Return why a node of ours has no such parameter, or why it cannot have that value; empty: it can."""
    known = parameters(node)
    if name.startswith("qos_overrides."):
        return ""
    if name not in known:
        return f"{node} has no parameter {name}: {nearest(name, known)}"
    default = known[name]
    numbers = isinstance(default, float) and type(value) is int
    same = type(value) is type(default) or (isinstance(default, tuple) and isinstance(value, list))
    if not (same or numbers):
        return f"parameter {name} of {node} is of type {type(default).__name__}, got {value!r}"
    about = (
        next((i.metadata for i in fields(DECLARED[node]) if i.name == name), None)
        if node in DECLARED
        else None
    )
    if about and about["choices"] and value not in about["choices"]:
        return f"parameter {name} of {node} is one of {', '.join(about['choices'])}, got {value!r}"
    if about and about["span"] and not about["span"][0] <= value <= about["span"][1] + 1e-4:
        return f"parameter {name} of {node} is within {about['span']}, got {value!r}"
    return ""


def parameter_error(node: str, name: str, text: str) -> str:
    """Return what is wrong with a parameter that is given on a command line."""
    return value_error(node, name, yaml.safe_load(text) if text else "")


def endpoints(node: str, *roles: Role) -> set[str]:
    """Return the names of a node's topics or services, as the node's code has them (~/masks)."""
    return {e.name for e in NODES.get(node, ()) if not roles or e.role in roles}


def resolved(roles: tuple[Role, ...]) -> set[str]:
    """Return absolute names of topics or services of both nodes, without a namespace."""
    found = {(node, name) for node in NODES for name in endpoints(node, *roles)}
    return {name.replace("~", f"/{node}") if name[0] in "~/" else f"/{name}" for node, name in found}
