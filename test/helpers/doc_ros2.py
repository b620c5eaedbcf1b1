"""What is wrong with a ROS command of a document: programs, arguments, parameters, topics, services."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from helpers import doc_names
from helpers.doc_names import nearest
from helpers.doc_parsers import usage_error
from helpers.process import ROOT
from panosam2_ros.ros.camera_presets import load_preset
from tools.interface_topics import Role

# topics of other nodes in examples
FOREIGN_TOPICS = re.compile(
    r"/(camera|equirectangular|dual_fisheye|insta360|theta|lidar|tf|tf_static|clock|cmd_vel|diffbot|my_\w+)\b"
)


def program_problems(program: str, module: str, arguments: list[str]) -> Iterator[str]:
    """Yield what is wrong with the arguments of a program of ours."""
    if node := doc_names.NODE_OF_PROGRAM.get(program):
        yield from ros_argument_problems(node, arguments)
    elif "..." not in arguments and (error := usage_error(module, arguments)):
        yield error


def ros_argument_problems(node: str, arguments: list[str]) -> Iterator[str]:
    """Yield what is wrong with `--ros-args -p NAME:=VALUE -r FROM:=TO` of a node of ours."""
    if arguments in ([], ["--help"]):
        return
    if arguments[0] != "--ros-args":
        yield f"{arguments[0]}: arguments of a node come after --ros-args"
    options = iter(arguments[1:])
    for option in options:
        value = next(options, "")
        name, _, text = value.partition(":=")
        if option in ("-p", "--param"):
            if error := doc_names.parameter_error(node, name, text):
                yield error
        elif option in ("-r", "--remap"):
            known = {n for e in doc_names.endpoints(node) for n in (e, e.removeprefix("~/"))}
            if node != "virtual_camera" and name not in known | {"__ns", "__node"}:
                yield f"{node} has no topic or service {name}: {nearest(name, known)}"
        elif option not in ("--params-file", "--log-level", "--enclave"):
            yield f"{option} is none of ROS's arguments that documents use here"


def ros2_problems(words: list[str]) -> Iterator[str]:
    """Yield what is wrong with the words after `ros2`."""
    for length in (2, 1):
        if kind := _ROS2.get(tuple(words[:length])):
            yield from kind(words[length:])
            return
    yield f"ros2 {' '.join(words[:2])} is not known here: teach _ROS2 of test/helpers/doc_ros2.py"


def _nothing(_: list[str]) -> Iterator[str]:
    return iter(())


def _ros2_run(words: list[str]) -> Iterator[str]:
    words = words[1:] if words[:1] == ["--prefix"] else words
    if words[:1] != ["panosam2_ros"]:
        return
    program, *arguments = words[1:] or [""]
    modules = doc_names.executables()
    if program not in modules:
        yield f"ros2 run panosam2_ros has no {program}: {nearest(program, modules)}"
        return
    yield from program_problems(program, modules[program], arguments)


def _ros2_launch(words: list[str]) -> Iterator[str]:
    if words[:1] != ["panosam2_ros"]:
        return
    file, *arguments = words[1:] or [""]
    known = {path.name for path in (ROOT / "launch").glob("*.launch.py")}
    if file not in known:
        yield f"there is no launch file {file}: {nearest(file, known)}"
        return
    taken = doc_names.launch_arguments(file)
    for argument in arguments:
        name, assigned, value = argument.partition(":=")
        if not assigned:
            yield f"{argument} is no NAME:=VALUE"
        elif name not in taken:
            yield f"{file} has no argument {name}: {nearest(name, taken)}"
        elif name == "camera" and value.islower():
            try:
                load_preset(value)
            except ValueError as error:
                yield str(error)


def _ros2_param(words: list[str]) -> Iterator[str]:
    node, *rest = words or [""]
    name = node.rpartition("/")[2]
    if name not in doc_names.NODE_OF_PROGRAM.values():
        yield f"no node of ours is named {node}: {nearest(name, doc_names.NODE_OF_PROGRAM.values())}"
    elif len(rest) >= 2:
        if error := doc_names.parameter_error(name, rest[0], rest[1]):
            yield error
    elif rest and rest[0] not in doc_names.parameters(name):
        yield f"{name} has no parameter {rest[0]}: {nearest(rest[0], doc_names.parameters(name))}"


def _ros2_topic(words: list[str]) -> Iterator[str]:
    yield from _named(words, Role.SUBSCRIBES, Role.PUBLISHES)


def _ros2_service(words: list[str]) -> Iterator[str]:
    yield from _named(words, Role.SERVES)
    kinds = [word for word in words if word.startswith("panosam2_ros/")]
    for kind in kinds:
        yield from _interface([kind])


def _named(words: list[str], *roles: Role) -> Iterator[str]:
    """Yield what is wrong with the topic or service among words."""
    known = doc_names.resolved(roles)
    for word in words:
        ours = word.startswith("/") and not FOREIGN_TOPICS.match(word)
        if ours and not any(word.endswith(name) for name in known):
            yield f"no node of ours has {word}: {nearest(word, known)}"


def _interface(words: list[str]) -> Iterator[str]:
    for word in words:
        package, *rest = word.split("/")
        if package == "panosam2_ros":
            known = {p.stem for kind in ("msg", "srv") for p in (ROOT / kind).glob(f"*.{kind}")}
            if rest[-1] not in known:
                yield f"there is no {word}: {nearest(rest[-1], known)}"


_ROS2: dict[tuple[str, ...], Callable[[list[str]], Iterator[str]]] = {
    ("run",): _ros2_run,
    ("launch",): _ros2_launch,
    ("param", "set"): _ros2_param,
    ("param", "get"): _ros2_param,
    ("param", "list"): _ros2_param,
    ("param", "describe"): _ros2_param,
    ("param", "dump"): _ros2_param,
    ("param", "load"): _nothing,
    ("topic",): _ros2_topic,
    ("service",): _ros2_service,
    ("interface",): _interface,
    **{(name,): _nothing for name in ("bag", "pkg", "node", "lifecycle", "security", "daemon", "doctor")},
}
