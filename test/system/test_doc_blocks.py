"""Every fenced block of the pages, and commands within their text: run, or judged by what would run them.

Python runs here in a folder with a small video; what needs a node is judged by its names. Commands are judged
by the programs' own parsers, declared parameters, launch files, the Makefile and setup.py.
`panosam2_track` runs. A block must say what it is: ```bash, ```python, ```yaml, ```json, ```xml, ```console
(commands after `$ `), or ```text for what nobody runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers import doc_commands, doc_names, doc_python
from helpers.doc_parsers import partial
from helpers.doc_shell import PREFIXES, Command, commands, syntax_error
from helpers.doc_yaml import yaml_problems
from helpers.documents import Block, blocks, inline_code, pages
from helpers.process import ROOT
from helpers.videos import write_walk
from panosam2_ros.cli import track

# what was tried, with the commands of then
HISTORY = ("experiments/", "CHANGELOG")
PAGES = [page for page in pages() if not str(page.relative_to(ROOT)).startswith(HISTORY)]
SHELL = ("bash", "sh", "shell")
TEXT = ("text", "dockerfile", "Dockerfile", "ini", "toml", "diff", "cpp")
# Python that is judged by its names instead of being run: what it has, why
NOT_RUN = {
    "rclpy": "needs a running node",
    "panosam2_ros.ros": "needs a running node",
    "panosam2_ros.msg": "needs a running node",
    "create_client": "needs a running node",
    'device="cuda"': "needs a GPU",
    "sam2.1_hiera": "needs weights that are downloaded",
    "edgetam": "needs weights that are downloaded",
}
# pages whose Python other tests run
RUN_ELSEWHERE = {"docs/quick_start.md": "test_quick_start.py runs it and reads what it prints"}
# options with which panosam2_track is not run here: other weights, other devices, many processes
ELSEWHERE = {"--model", "--device", "--workers", "--ray"}
# places in a home folder, which look like topics
FOLDERS = {"~/ws", "~/panosam2", "~/.ros/panosam2", "~/.cache/panosam2_ros"}
# NAME:=VALUE of other packages' launch files
FOREIGN_ARGUMENTS = {"equirectangular"}
OF_LIFECYCLE = {"~/change_state", "~/get_state", "~/true_masks", "~/true_bearings"}
# inline code that is judged as a command
COMMAND = re.compile(rf"({'|'.join(doc_names.programs())}|ros2|make|python -m|python examples/|pip install) ")


def all_blocks(*languages: str) -> Iterator[Block]:
    """Yield the blocks in some languages of all pages."""
    return (block for page in PAGES for block in blocks(page) if language(block) in languages)


def language(block: Block) -> str:
    """Return the language of a block; of one without a tag what its first line looks like, empty: unknown."""
    if block.language:
        return block.language
    first = next((line for line in block.text.splitlines() if line.strip() and line[0] != "#"), "")
    if first.startswith("$ "):
        return "console"
    words = [word for word in first.split() if not re.match(r"\w+=", word)]
    known = {*doc_names.programs(), *doc_commands.CHECKED, *doc_commands.FOREIGN, *PREFIXES}
    return "bash" if words and words[0] in known else ""


def shell_text(block: Block) -> str:
    """Return the commands of a block, each on the line on which it stands."""
    if language(block) != "console":
        return block.text
    lines = [line[2:] if line.startswith("$ ") else "" for line in block.text.splitlines()]
    return "\n".join(lines)


def place(block: Block, line: int) -> str:
    """Return where a line of a block is."""
    return f"{block.page}:{int(block.place.rpartition(':')[2]) + line}"


def told(block: Block, command: Command) -> Iterator[str]:
    """Yield what is wrong with a command, with its place."""
    for problem in doc_commands.problems(command):
        yield f"{place(block, command.line)}: {' '.join(command.words)}\n    {problem}"


def test_every_block_says_what_it_is() -> None:
    known = {*SHELL, *TEXT, "console", "python", "yaml", "json", "xml"}
    wrong = [
        f"{block.place}: {block.language or 'no language'}: {block.text.splitlines()[0][:80]}"
        for page in PAGES
        for block in blocks(page)
        if language(block) not in known
    ]
    told = "tag the block: ```bash for commands, ```text for what a program prints, ..."
    assert not wrong, "\n".join([told, *wrong])


def test_commands_of_blocks_would_be_taken() -> None:
    wrong = []
    for block in all_blocks(*SHELL, "console"):
        if error := syntax_error(shell_text(block)):
            wrong.append(f"{block.place}: {error}")
            continue
        for command in commands(shell_text(block)):
            wrong += told(block, command)
    assert not wrong, "\n".join(["commands that do not work as they stand:", *wrong])


def test_commands_within_the_text_would_be_taken() -> None:
    wrong, token = [], partial.set(True)
    for page in PAGES:
        for block in inline_code(page):
            if COMMAND.match(block.text) and not syntax_error(block.text):
                wrong += [text for command in commands(block.text) for text in told(block, command)]
    partial.reset(token)
    assert not wrong, "\n".join(["commands that do not work as they stand:", *wrong])


def test_names_within_the_text_exist() -> None:
    """Arguments NAME:=VALUE, parameters NAME: VALUE, topics ~/NAME."""
    launched = {
        name for path in (ROOT / "launch").iterdir() for name in doc_names.launch_arguments(path.name)
    }
    of_nodes = {name for node in doc_names.NODE_OF_PROGRAM.values() for name in doc_names.parameters(node)}
    of_nodes |= {name for path in (ROOT / "examples").glob("*.py") for name in doc_names.settings(path)}
    topics = {name for node in doc_names.NODES for name in doc_names.endpoints(node)} | OF_LIFECYCLE
    wrong = []
    for page in PAGES:
        for block in inline_code(page):
            if found := re.match(r"(\w+):=", block.text):
                known, name = launched | of_nodes | FOREIGN_ARGUMENTS, found[1]
            elif re.fullmatch(r"~/[\w/]+", block.text) and block.text not in FOLDERS:
                known, name = topics, block.text
            else:
                continue
            if name not in known:
                wrong.append(f"{block.place}: {block.text}: {doc_names.nearest(name, known)}")
    assert not wrong, "\n".join(wrong)


def test_yaml_names_parameters_and_topics_that_exist() -> None:
    wrong = [f"{b.place}: {p}" for b in all_blocks("yaml") for p in yaml_problems(b.text)]
    assert not wrong, "\n".join(wrong)


def test_json_and_xml_can_be_read() -> None:
    for block in all_blocks("json"):
        for server in json.loads(block.text).get("mcpServers", {}).values():
            text = server["args"][-1] if server["command"] == "bash" else " ".join(server["args"])
            wrong = [p for command in commands(text) for p in told(block, command)]
            assert not wrong, "\n".join(wrong)
    for block in all_blocks("xml"):
        ElementTree.fromstring(block.text)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video of four frames, in which documents' commands run."""
    write_walk(tmp_path / "walk.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python_of_pages() -> dict[str, list[Block]]:
    """Return the Python blocks of each page."""
    found: dict[str, list[Block]] = {}
    for block in all_blocks("python"):
        found.setdefault(block.page, []).append(block)
    return found


def reason_not_to_run(text: str) -> str:
    """Return why a block of Python is not run; empty: it is."""
    code = "\n".join(line.partition("#")[0] for line in text.splitlines())
    return next((reason for what, reason in NOT_RUN.items() if what in code), "")


@pytest.mark.parametrize("page", python_of_pages())
def test_python(page: str, sandbox: Path) -> None:
    """Blocks of a page run one after the other, with the names of those before."""
    have: dict[str, Any] = {"__name__": "__main__"}
    made: set[str] = set()
    for block in python_of_pages()[page]:
        code = compile(block.text, block.place, "exec")
        if (
            page in RUN_ELSEWHERE
            or reason_not_to_run(block.text)
            or doc_python.undefined(block.text, set(have))
        ):
            wrong = list(doc_python.problems(block.text, made | have.keys()))
            assert not wrong, "\n".join([f"{block.place}:", *wrong])
        else:
            exec(code, have)
        made |= {n for n in re.findall(r"^ *(\w+)(?:, \w+)* = |\bas (\w+)", block.text, re.M) for n in n if n}


def test_panosam2_track_does_what_documents_show(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sandbox / "video.mp4").symlink_to("walk.mp4")
    ran = 0
    lines = [(b, c) for b in all_blocks(*SHELL, "console") for c in commands(shell_text(b))]
    lines += [
        (b, c) for p in PAGES for b in inline_code(p) if COMMAND.match(b.text) for c in commands(b.text)
    ]
    for block, command in lines:
        words = set(command.words)
        if command.program != "panosam2_track" or "--out" not in words or words & ELSEWHERE:
            continue
        if "--rerun" in words and find_spec("rerun") is None:  # an extra that is not installed
            continue
        if (sandbox / command.words[1]).is_file():
            out = sandbox / command.words[command.words.index("--out") + 1]
            track.main([*command.words[1:], "--frames", "2"])
            assert len(list((out / "masks").glob("*.png"))) == 2, block.place
            ran += 1
    assert ran, "no page shows panosam2_track with walk.mp4 or video.mp4"
