"""What is wrong with a command of a document: its program, options, parameters, names and files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

import setup
from helpers import doc_names
from helpers.doc_names import nearest
from helpers.doc_parsers import usage_error
from helpers.doc_ros2 import program_problems, ros2_problems
from helpers.doc_shell import Command
from helpers.documents import files
from helpers.process import ROOT

# Programs that are not ours: known by name, and not run here, since a test has no network, no robot, no root
# and no container.
FOREIGN = {
    ".", "apt", "apt-get", "bloom-release", "cat", "catkin_prepare_release", "cd", "colcon", "cp", "curl",
    "docker", "echo", "eval", "export", "ffmpeg", "git", "grep", "head", "kill", "ls", "mcap", "mkdir", "mv",
    "nvidia-smi", "pre-commit", "rerun", "rm", "rosdep", "rviz2", "sed", "set", "sleep", "source", "ssh",
    "sysctl", "systemctl", "tail", "tar", "tee", "test", "udevadm", "unset", "unzip", "usermod", "v4l2-ctl",
    "wget", "which", "xdg-open",
}  # fmt: skip
# `pip install NAME` that setup.py does not name: name, why
OTHER_PACKAGES = {
    "anny": "renders people for training; too large to be installed for everybody",
    "vtk": "renders views and training material; too large to be installed for everybody",
    "pre-commit": "a tool for contributors",
    "build": "makes the wheel",
    "panosam2-ros": "this package",
}
_PATH = r"(?:^|[=:\s\"']|SUBSTITUTED/(?:share/panosam2_ros/)?)((?:%s)/[\w./*-]+)"


def problems(command: Command) -> Iterator[str]:
    """Yield what is wrong with a command; what is yielded says what to mend."""
    yield from _variables(command)
    yield from _missing_files(command)
    words = [word for word in command.words if word != "..."]  # the reader's own
    if not words:
        return
    program, *arguments = words
    if program in doc_names.programs():
        yield from program_problems(program, doc_names.programs()[program], arguments)
    elif program in CHECKED:
        yield from CHECKED[program](arguments)
    elif "/" in program and not program.startswith(("~", ".venv/", "PLACEHOLDER")):
        if program not in files():
            yield f"there is no file {program}"
    elif program not in FOREIGN and not program.startswith(("~", ".venv/", "PLACEHOLDER")):
        known = {*doc_names.programs(), *CHECKED, *FOREIGN}
        yield (
            f"unknown program {program}: {nearest(program, known)}. A new program of ours belongs into "
            "setup.py and CMakeLists.txt, another one into FOREIGN of test/helpers/doc_commands.py"
        )


def _make(words: list[str]) -> Iterator[str]:
    targets = doc_names.make_targets()
    given = dict(word.split("=", 1) for word in words if "=" in word)
    wanted = [word for word in words if "=" not in word and not word.startswith("-")]
    for name in given:
        if not doc_names.make_variable(name):
            yield f"make: the Makefile reads no variable {name}"
    for target in wanted:
        if target not in targets:
            yield f"make: there is no target {target}: {nearest(target, targets)}"
        elif arguments := shlex.split(given.get("ARGS", "")):
            yield from _make_arguments(target, targets[target], arguments)


def _make_arguments(target: str, recipe: str, arguments: list[str]) -> Iterator[str]:
    """Yield what is wrong with ARGS of a target."""
    program = re.search(r"\$\(BIN\)/(?:python -m ([\w.]+)|(panosam2_\w+))", recipe)
    if program:
        module = program[1] or doc_names.programs()[program[2]]
        if error := usage_error(module, arguments):
            yield error
    elif target.startswith("test"):
        for word in arguments:
            if word.startswith("test/") and not (ROOT / word.partition("::")[0]).exists():
                yield f"there is no {word}"


def _python(words: list[str]) -> Iterator[str]:
    words = words[1:] if words[:1] == ["-u"] else words
    if words[:1] == ["-c"]:
        try:
            compile(words[1], "-c", "exec")
        except SyntaxError as error:
            yield f"{words[1]}: {error}"
    elif words[:1] == ["-m"]:
        yield from _python_module(words[1], words[2:])
    elif words and words[0].endswith(".py"):
        yield from _script(words[0], words[1:])


def _python_module(module: str, arguments: list[str]) -> Iterator[str]:
    if not module.startswith(("panosam2_ros", "tools")):
        if find_spec(module) is None:
            yield f"there is no module {module}"
        elif module == "pip":
            yield from _pip(arguments)
        return
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        yield f"there is no module {module}: {nearest(module, _modules())}"
    elif error := usage_error(module, arguments):
        yield error


@cache
def _modules() -> list[str]:
    return [
        name.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        for name in files()
        if name.startswith(("panosam2_ros/", "tools/")) and name.endswith(".py")
    ]


def _script(name: str, arguments: list[str]) -> Iterator[str]:
    """Yield what is wrong with a script of the checkout: its own arguments, or its parameters."""
    if name not in files():
        if "/" in name:
            yield f"there is no file {name}"
        return  # the reader's own
    if "--ros-args" not in arguments:
        if "parse_" in (ROOT / name).read_text() and (error := usage_error(ROOT / name, arguments)):
            yield error
        return
    known = doc_names.settings(ROOT / name)
    for option, value in pairwise(arguments):
        if option == "-p" and (parameter := value.partition(":=")[0]) not in {*known, "use_sim_time"}:
            yield f"{name} has no parameter {parameter}: {nearest(parameter, known)}"


def _torchrun(words: list[str]) -> Iterator[str]:
    if "-m" in words:
        place = words.index("-m")
        yield from _python_module(words[place + 1], words[place + 2 :])


def _pip(words: list[str]) -> Iterator[str]:
    """Yield which requirements of `pip install` are unknown to setup.py."""
    if words[:1] not in (["install"], ["download"]):
        return
    valued = {"-d", "--find-links", "-c", "-r", "--index-url", "--extra-index-url", "-e", "--target"}
    previous = ""
    for word in words[1:]:
        if not word.startswith("-") and previous not in valued:
            yield from _requirement(word)
        previous = word


def _requirement(word: str) -> Iterator[str]:
    word = word.replace("==SUBSTITUTED", "")
    local, _, extras = word.partition("[")
    if local == "." or local.startswith(("./", "dist/", "/", "PLACEHOLDER")):
        names = [extra for extra in extras.rstrip("]").split(",") if extra]
    else:
        try:
            requirement = Requirement(word)
        except InvalidRequirement as error:
            yield f"pip install {word}: {error}"
            return
        names = list(requirement.extras)
        known = {_plain(r) for rs in (setup.CORE, *setup.EXTRAS.values()) for r in rs}
        known |= {_plain(r) for r in (setup.TORCH, *setup.WITHOUT_DEPENDENCIES)} | OTHER_PACKAGES.keys()
        if _plain(requirement.name) not in known:
            yield f"pip install {word}: setup.py does not name it: {nearest(_plain(requirement.name), known)}"
    for name in names:
        if name not in setup.EXTRAS:
            yield f"pip install {word}: setup.py has no extra {name}: {nearest(name, setup.EXTRAS)}"


def _plain(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def _variables(command: Command) -> Iterator[str]:
    """Yield which environment variables of ours nothing reads."""
    for name in command.variables:
        if name.startswith("PANOSAM2_") and name not in _read_variables():
            yield f"nothing reads the variable {name}: {nearest(name, _read_variables())}"


@cache
def _read_variables() -> frozenset[str]:
    sources = (n for n in files() if n.endswith((".py", "Makefile")) and "test_doc_" not in n)
    texts = ((ROOT / name).read_text() for name in sources)
    return frozenset(name for text in texts for name in re.findall(r"\bPANOSAM2_[A-Z_]+\b", text))


def _missing_files(command: Command) -> Iterator[str]:
    """Yield which words name files below a folder of the checkout that do not exist."""
    folders = {name.partition("/")[0] for name in files() if "/" in name}
    pattern = re.compile(_PATH % "|".join(map(re.escape, sorted(folders))))
    for word in command.words:
        for name in pattern.findall(word):
            if not any(ROOT.glob(name.rstrip("/."))) and Path(name).parts[0] in folders:
                yield f"there is no file {name} in the repository"


CHECKED: dict[str, Callable[[list[str]], Iterator[str]]] = {
    "ros2": ros2_problems,
    "make": _make,
    "python": _python,
    "python3": _python,
    "torchrun": _torchrun,
    "pip": _pip,
}
