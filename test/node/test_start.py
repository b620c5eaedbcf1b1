"""What is wrong with the environment or the arguments: one line with the remedy, in every program."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.process import ROOT

pytestmark = pytest.mark.faults
NODE = "panosam2_ros.ros.node"
PROGRAMS = {
    NODE: (),
    "panosam2_ros.ros.cli.prompt": ("list",),
    "panosam2_ros.demo.virtual_camera": (),
}
RUN = "import sys; from panosam2_ros.programs.start import run_program; run_program(sys.argv.pop(1))"


def failing(module: str, *arguments: str, **environment: str | None) -> list[str]:
    """Return what a program writes that must end with an error; None removes a variable."""
    variables = {name: value for name, value in (os.environ | environment).items() if value is not None}
    command = [sys.executable, "-c", RUN, module, *PROGRAMS.get(module, ()), *arguments]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode > 0
    written = ended.stdout + ended.stderr
    assert "Traceback" not in written, written
    return [line for line in written.splitlines() if line.strip() and "[rcl]" not in line]


@pytest.mark.parametrize("module", PROGRAMS)
@pytest.mark.parametrize("domain", ["abc", "9999"])
def test_a_domain_that_does_not_exist(module: str, domain: str) -> None:
    (line,) = failing(module, ROS_DOMAIN_ID=domain)
    assert f"ROS_DOMAIN_ID must be an integer from 0 to 232, got {domain!r}" in line


@pytest.mark.parametrize("module", PROGRAMS)
def test_no_home(module: str) -> None:
    (line,) = failing(module, HOME=None, ROS_HOME=None, ROS_LOG_DIR=None)
    assert "set HOME, or ROS_LOG_DIR" in line


def test_a_log_folder_that_cannot_be_made() -> None:
    (line,) = failing("panosam2_ros.ros.cli.prompt", ROS_LOG_DIR="/proc/none")
    assert "set ROS_LOG_DIR" in line


@pytest.mark.parametrize(
    ("module", "name"),
    [*((module, "rmw_of_nobody") for module in (*PROGRAMS, "panosam2_ros.demo.demo")), (NODE, "no.name")],
)
def test_middleware_that_is_not_installed(module: str, name: str) -> None:
    (line,) = failing(module, RMW_IMPLEMENTATION=name)
    assert name in line and "unset" in line


@pytest.mark.parametrize(
    "module, arguments, part",
    [
        (
            "panosam2_ros.ros.node",
            ("-p", "model:=5"),
            "parameter model needs a string, got 5 (int); quote it",
        ),
        ("panosam2_ros.ros.node", ("-p", "image_transport:=theora"), "must be one of raw, compressed"),
        ("panosam2_ros.ros.node", ("-p", "foo"), "write -p NAME:=VALUE"),
        ("panosam2_ros.ros.node", ("--params-file", "/nonexistent.yaml"), "check the path"),
        (
            "panosam2_ros.ros.node",
            ("-p", "qos_overrides./panosam2/masks.publisher.reliability:=x"),
            "QoS override",
        ),
        (
            "panosam2_ros.demo.virtual_camera",
            ("-p", "rate:=fast"),
            "parameter rate needs a number, got 'fast'",
        ),
    ],
)
def test_arguments_that_cannot_be_used(module: str, arguments: tuple[str, ...], part: str) -> None:
    (line,) = failing(module, "--ros-args", *arguments)
    assert part in line
