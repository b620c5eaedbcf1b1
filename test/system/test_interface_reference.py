"""docs/interface.md says what the message files and the declared parameters say."""

from __future__ import annotations

from dataclasses import fields

import pytest

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from tools.interface_reference import interface_reference


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "interface.md").read_text()
    assert page == interface_reference(), "run python -m tools.interface_reference > docs/interface.md"


def test_it_has_every_message_service_and_parameter() -> None:
    page = interface_reference()
    for path in [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]:
        assert f"## {path.parent.name}/{path.name}" in page
        assert path.read_text().strip() in page
    for item in [*fields(Parameters), *fields(PlaceParameters)]:
        assert f"| `{item.name}` |" in page
