"""The command that prints the line to export for Fast DDS."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.process import ROOT
from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros import dds
from panosam2_ros.ros.cli import dds_profile
from panosam2_ros.ros.dds import PROFILES_VARIABLE

PYTHON = shlex.quote(sys.executable)
COMMAND = f"{PYTHON} -c 'from panosam2_ros.programs.start import panosam2_dds_profile as run; run()'"


def in_bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != PROFILES_VARIABLE}
    environment = {**kept, **variables}
    command = ["bash", "-c", script]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_shell_takes_the_line() -> None:
    script = f'eval "$({COMMAND})" && printf %s "${PROFILES_VARIABLE}"'
    done = in_bash(script, RMW_IMPLEMENTATION="rmw_fastrtps_cpp")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout) == package_file("config", "fastdds.xml")


def test_with_other_middleware_a_shell_takes_nothing_and_is_told_why() -> None:
    script = f'eval "$({COMMAND})"; echo "<${{{PROFILES_VARIABLE}-}}>"'
    done = in_bash(script, RMW_IMPLEMENTATION="rmw_zenoh_cpp")  # which the wheels do not have
    assert done.stdout == "<>\n"
    assert "rmw_zenoh_cpp" in done.stderr and "Traceback" not in done.stderr


def test_the_line_is_for_fast_dds_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    monkeypatch.setattr(sys, "argv", ["dds_profile"])
    assert dds_profile.main() == 1
    out, told = capsys.readouterr()
    assert out == "" and "rmw_cyclonedds_cpp is in use" in told and "docs/qos.md" in told
    assert not dds_profile.problem("rmw_fastrtps_dynamic_cpp")


def test_a_profile_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*parts: str) -> Path:
        raise FileNotFoundError(f"{'/'.join(parts)} is not installed")

    monkeypatch.setattr(dds_profile, "package_file", absent)
    assert dds_profile.problem("rmw_fastrtps_cpp") == "config/fastdds.xml is not installed"


def test_the_middleware_is_the_chosen_one_or_that_of_rclpy() -> None:
    assert dds_profile.middleware({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == "rmw_cyclonedds_cpp"
    pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
    assert dds_profile.middleware({}) == os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")


def test_a_profile_of_the_users_own_is_named_before_it_is_replaced(tmp_path: Path) -> None:
    own, ours = tmp_path / "own.xml", package_file("config", "fastdds.xml")
    assert str(own) in dds_profile.replaced({PROFILES_VARIABLE: str(own)})
    assert not dds_profile.replaced({PROFILES_VARIABLE: str(ours)}) and not dds_profile.replaced({})


def test_a_path_with_spaces_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "my robot" / "fastdds.xml"
    monkeypatch.setattr(dds, "package_file", lambda *_: path)
    assert in_bash(f'{dds.profile_line()}; printf %s "${PROFILES_VARIABLE}"').stdout == str(path)
