"""docs/interface.md and docs/parameters.md say what the code says, and the table of topics what nodes do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields

import pytest

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.message_packages import environment_with, is_installed
from panosam2_ros.demo.virtual_camera import DESCRIPTIONS
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.places.place_parameters import PlaceParameters
from panosam2_ros.ros.web.web_parameters import WebParameters
from tools.interface_reference import interface_reference, parameter_reference
from tools.interface_topics import NODES, Role

KINDS = {"publisher": Role.PUBLISHES, "subscription": Role.SUBSCRIBES, "service": Role.SERVES}
# ROS's own, in every node: topics, packages of types
COMMON = ("/rosout", "/parameter_events", "/tf", "/tf_static", "/clock")
COMMON_TYPES = ("rcl_interfaces/", "lifecycle_msgs/", "type_description_interfaces/")


@pytest.mark.parametrize(
    ("name", "made"), [("interface.md", interface_reference), ("parameters.md", parameter_reference)]
)
def test_the_page_is_up_to_date(name: str, made) -> None:
    assert (ROOT / "docs" / name).read_text() == made(), "run python -m tools.interface_reference --write"


def test_they_have_every_message_service_and_parameter() -> None:
    page = interface_reference()
    for path in [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]:
        assert f"## {path.parent.name}/{path.name}" in page
        assert path.read_text().strip() in page
    page = parameter_reference()
    kinds = (Parameters, PlaceParameters, WebParameters)
    names = [item.name for kind in kinds for item in fields(kind)]
    for name in [*names, *DESCRIPTIONS]:
        assert page.count(f"| `{name}` |") == [*names, *DESCRIPTIONS].count(name), name


@pytest.fixture(scope="module")
def made() -> dict[str, set[tuple[object, ...]]]:
    """What the nodes make, with the packages installed that tests can compile."""
    found = environment_with("vision_msgs", "tf2_ros", "ffmpeg_image_transport_msgs", "foxglove_msgs")
    found["PYTHONPATH"] += os.pathsep + os.pathsep.join([str(ROOT), str(ROOT / "test")])
    done = subprocess.run(
        [sys.executable, "-m", "helpers.listed_endpoints"],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {
        node: {(KINDS[kind], *rest) for kind, *rest in endpoints}
        for node, endpoints in json.loads(done.stdout.splitlines()[-1]).items()
    }


@pytest.mark.parametrize("node", NODES)
def test_the_table_of_topics_is_what_the_node_makes(node: str, made) -> None:
    """Names, types and quality of service."""
    own = {o for o in made[node] if o[1] not in COMMON and not str(o[2]).startswith(COMMON_TYPES)}
    table = {
        (e.role, e.name, e.types[0], e.depth, e.best_effort, e.kept, e.overridable)
        for e in NODES[node]
        if e.name not in COMMON and (e.name != "bond" or is_installed("bond"))
    }
    assert sorted(map(str, own - table)) == [], "not in tools/interface_topics.py, or otherwise"
    assert sorted(map(str, table - own)) == [], "in tools/interface_topics.py only, or otherwise"
