"""Containers and workflows, as far as they can be checked without building them: schemas, linters, names."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.process import ROOT

DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["panosam2"]
# what installs; where it installs to, which update it follows and what colcon's venv is called may differ
INSTALLING = re.compile(r"^(pip install|rosdep install|colcon build|python3 -m venv)\b")
DIFFERS = re.compile(r"(~|\$\{VIRTUAL_ENV\})\S*|--dependency-types exec")


def commands(text: str) -> set[str]:
    """Return the installing commands of shell lines, each with single spaces, without quotes and folders."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    parts = (part.strip() for line in lines for part in re.split(r"&&|;|\s#\s", line))
    found = (re.sub(r"^DEBIAN_FRONTEND=\w+ ", "", part) for part in parts)
    plain = (DIFFERS.sub("", part.replace('"', "")) for part in found if INSTALLING.match(part))
    return {" ".join(part.split()) for part in plain}


def dockerfile_commands() -> set[str]:
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return commands("\n".join(re.findall(r"(?m)^RUN (.*)$", joined)))


def blocks(page: str) -> list[str]:
    return re.findall(r"(?ms)^```\w*\n(.*?)^```", (ROOT / "docs" / page).read_text())


def test_dockerfile_runs_the_commands_of_the_installation_page() -> None:
    (robot,) = (b for b in blocks("install.md") if "rosdep install" in b and "colcon build" in b)
    assert len(commands(robot)) == 6
    assert dockerfile_commands() == commands(robot)


def schema_errors(name: str, *files: Path) -> str:
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", f"vendor.{name}", *files]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("citation-file-format", [ROOT / "CITATION.cff"]),
        ("compose-spec", sorted(DOCKER.glob("compose*.yaml"))),
        ("github-workflows", WORKFLOWS),
    ],
    ids=["citation", "compose", "workflows"],
)
def test_file_has_the_form_that_its_readers_expect(schema: str, files: list[Path]) -> None:
    assert files and schema_errors(schema, *files) == ""


def test_schema_finds_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DOCKER / "compose.yaml").read_text().replace("network_mode:", "network-mode:"))
    assert "network-mode" in schema_errors("compose-spec", wrong)


def test_dockerfile_passes_its_linter() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [hadolint, "-c", DOCKER / "hadolint.yaml", "--no-color", DOCKER / "Dockerfile"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_entrypoint_is_a_script_that_becomes_the_command() -> None:
    script = DOCKER / "entrypoint.sh"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert script.stat().st_mode & 0o111 and script.read_text().rstrip().endswith('exec "$@"')


def instruction(name: str) -> str:
    """Return the arguments of the last instruction of that name."""
    joined = re.sub(r"\\\n", " ", DOCKERFILE)
    return re.findall(rf"(?m)^{name} (.*)$", joined)[-1].strip()


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])  # type: ignore[index]


def test_container_has_time_to_save_what_it_knows() -> None:
    launch = (ROOT / "launch" / "panosam2.launch.py").read_text()
    until_killed = sum(int(t) for t in re.findall(r'sig(?:term|kill)_timeout="(\d+)"', launch))
    assert until_killed == 20 and seconds(COMPOSE["stop_grace_period"]) > until_killed
    assert COMPOSE["stop_signal"] == instruction("STOPSIGNAL") == "SIGINT" and COMPOSE["init"] is True


def test_container_shares_network_and_shared_memory_or_neither() -> None:
    assert (COMPOSE["network_mode"], COMPOSE["ipc"]) == ("host", "host")
    profile = re.findall(r"FAST(?:RTPS|DDS)_DEFAULT_PROFILES_FILE=(\S+)", DOCKERFILE)
    assert len(profile) == 2 and all(p.endswith("/share/panosam2_ros/config/fastdds.xml") for p in profile)
    assert (ROOT / "config" / "fastdds.xml").is_file()


def test_container_does_not_run_as_root() -> None:
    assert instruction("USER") == "${USER_ID}:${GROUP_ID}"
    assert {"USER_ID", "GROUP_ID"} <= COMPOSE["build"]["args"].keys()


def test_build_arguments_exist() -> None:
    declared = set(re.findall(r"(?m)^ARG (\w+)", DOCKERFILE))
    nvidia = yaml.safe_load((DOCKER / "compose.nvidia.yaml").read_text())["services"]["panosam2"]
    assert {*COMPOSE["build"]["args"], *nvidia["build"]["args"]} <= declared
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("containers.md", "jetson.md"))
    assert set(re.findall(r"--build-arg (\w+)=", pages)) <= declared


def test_health_check_is_a_command_that_is_installed() -> None:
    check = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert check == ["/entrypoint.sh", "ros2", "run", "panosam2_ros", "panosam2_prompt", "list"]
    assert "install_executable(panosam2_prompt " in (ROOT / "CMakeLists.txt").read_text()


def test_context_has_everything_that_colcon_builds_of() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines and all((ROOT / name).exists() for name in allowed)
    cmake = (ROOT / "CMakeLists.txt").read_text()
    named = set(re.findall(r"\b(cmake|test)/[\w/.]+", cmake)) | set(re.findall(r'"(msg|srv)/', cmake))
    named |= set(re.search(r"install\(DIRECTORY ([\w ]+)\n", cmake)[1].split())  # type: ignore[index]
    assert {"cmake", "config", "launch", "models", "msg", "srv", "test"} == named
    assert named - {"test"} <= allowed and "test/helpers/node_launch.py" in allowed
    assert "add_launch_test(test/helpers/node_launch.py" in cmake
    assert {"CMakeLists.txt", "package.xml", "panosam2_ros", "docker/entrypoint.sh"} <= allowed


def test_development_container_makes_the_environment() -> None:
    config = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert config["postCreateCommand"] == "make"
    python = re.search(r"/python:(\d)\.(\d+)-", config["image"])
    assert python is not None and (3, 10) <= (int(python[1]), int(python[2])) <= (3, 14)


def pasted(page: str) -> list[list[str]]:
    """Return the words of every docker command on a page, without variables before it."""
    lines = re.sub(r"\\\n", " ", "\n".join(blocks(page))).splitlines()
    words = [shlex.split(line, comments=True) for line in lines if re.search(r"\bdocker ", line)]
    return [line[line.index("docker") :] for line in words if "docker" in line]


@pytest.mark.parametrize("page", ["containers.md", "jetson.md"])
def test_docker_commands_of_a_page_name_files_and_services_that_exist(page: str) -> None:
    found = pasted(page)
    assert found
    for words in found:
        files = [words[i + 1] for i, word in enumerate(words) if word in ("-f", "--file")]
        assert all((ROOT / name).is_file() for name in files), words
        if words[1] == "compose" and {"run", "exec"} & set(words):
            assert "panosam2" in words, words


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_is_pinned_and_may_do_no_more_than_it_must(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(
        re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) and re.fullmatch(r" # v[\d.]+", version)
        for action, version in used
    )
    assert workflow["permissions"] in ({}, {"contents": "read"})
    writing = {
        name for name, job in workflow["jobs"].items() if "write" in job.get("permissions", {}).values()
    }
    assert writing == ({"publish"} if path.stem in ("docs", "release") else set())
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_workflows_run_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text()))
    lines = [step.get("run", "") for path in WORKFLOWS for step in steps(yaml.safe_load(path.read_text()))]
    wanted = set(re.findall(r"(?m)^make ([a-z][\w-]*)", "\n".join(lines)))
    assert {"lint", "test", "release-check"} <= wanted <= targets
