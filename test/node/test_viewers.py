"""RViz's configuration and Foxglove's layout against what the node really publishes, over DDS, anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import Image

from helpers import foxglove
from helpers.process import Process, wait_for
from panosam2_ros.io.package_files import package_file
from panosam2_ros.msg import PromptPoint
from panosam2_ros.ros import foxglove_layout, rviz_config
from panosam2_ros.ros.conversion.transforms import rotation_of
from panosam2_ros.ros.publishing.visualization_messages import CLOUD_POINT, SHAPES
from panosam2_ros.visualization.drawing import colour

# what these classes of RViz 2 subscribe to, or the tool publishes
TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/PublishPoint": "geometry_msgs/msg/PointStamped",
}
WITHOUT_TOPIC = {
    "rviz_default_plugins/Axes",
    "rviz_default_plugins/MoveCamera",
    "rviz_default_plugins/Select",
    "rviz_default_plugins/FocusCamera",
}


def shipped() -> Any:
    return yaml.safe_load(package_file("config", "panosam2.rviz").read_text())


def items(config: Any, kind: str) -> list[dict[str, Any]]:
    return list(config["Visualization Manager"][kind])


def profile(topic: dict[str, Any]) -> QoSProfile:
    """The QoS that RViz takes from a topic's entry."""
    of = {"Keep Last": HistoryPolicy.KEEP_LAST, "Volatile": DurabilityPolicy.VOLATILE}
    of |= {"Reliable": ReliabilityPolicy.RELIABLE, "Best Effort": ReliabilityPolicy.BEST_EFFORT}
    return QoSProfile(
        depth=topic["Depth"],
        history=of[topic["History Policy"]],
        reliability=of[topic["Reliability Policy"]],
        durability=of[topic["Durability Policy"]],
    )


@pytest.mark.parametrize(
    "namespace, image, expected",
    [
        ("", "image", ("/image", "/panosam2/overlay")),
        ("robot", "image", ("/robot/image", "/robot/panosam2/overlay")),
        ("/a/b/", "/cam/image_raw", ("/cam/image_raw", "/a/b/panosam2/overlay")),
    ],
)
def test_names_are_filled_in(tmp_path: Path, namespace: str, image: str, expected: tuple[str, str]) -> None:
    path = rviz_config.write(namespace, image, "theta_optical_frame", folder=tmp_path)
    config = yaml.safe_load(path.read_text())
    names = {t["Value"] for t in rviz_config.topics(config)}
    assert set(expected) <= names and len(names) == len(rviz_config.topics(shipped()))
    frame = "theta_optical_frame_upright"
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == frame
    kept = rviz_config.filled(config, dict.fromkeys(names, ""), "")
    blank = rviz_config.filled(shipped(), {t["Value"]: "" for t in rviz_config.topics(shipped())}, "")
    assert kept == blank, "nothing else is changed"


def test_the_shipped_file_is_the_one_of_the_defaults(tmp_path: Path) -> None:
    path = rviz_config.write("", "image", "camera", folder=tmp_path)
    assert yaml.safe_load(path.read_text()) == shipped()


def test_rviz_finds_every_value_that_it_would_leave_to_chance() -> None:
    """RViz reads these two into a variable that it does not initialise."""
    window = shipped()["Window Geometry"]
    assert window["Hide Left Dock"] is False and window["Hide Right Dock"] is False


def test_the_layout_places_every_panel_and_image(tmp_path: Path) -> None:
    """A dock that QMainWindow's state does not name floats over the window."""
    path = rviz_config.write("robot", "image", "camera", folder=tmp_path)
    config = yaml.safe_load(path.read_text())
    state = bytes.fromhex(config["Window Geometry"]["QMainWindow State"])
    images = [d for d in items(config, "Displays") if d["Class"] == "rviz_default_plugins/Image"]
    names = [entry["Name"] for entry in [*config["Panels"], *images]]
    assert len(names) == 5
    for name in names:
        encoded = name.encode("utf-16-be")
        assert len(encoded).to_bytes(4, "big") + encoded in state, name


def test_the_squares_of_the_sphere_leave_no_gaps() -> None:
    defaults = yaml.safe_load(package_file("config", "panosam2.yaml").read_text())
    (node,) = defaults.values()
    given = node["ros__parameters"]
    (cloud,) = (d for d in items(shipped(), "Displays") if d["Class"] == "rviz_default_plugins/PointCloud2")
    assert cloud["Style"] == "Flat Squares"
    step = 2 * math.pi * given["sphere_radius"] / given["cloud_width"]
    assert step < cloud["Size (m)"] < 1.5 * step


def test_the_upright_frame_has_its_z_axis_up_and_a_body_frame_is_left_alone() -> None:
    assert rviz_config.upright_transform("theta") == [] and rviz_config.fixed_frame("theta") == "theta"
    words = rviz_config.upright_transform("cam_optical_frame")
    values = dict(zip(words[::2], words[1::2], strict=True))
    assert values["--frame-id"] == "cam_optical_frame"
    assert values["--child-frame-id"] == rviz_config.fixed_frame("cam_optical_frame")
    quaternion = SimpleNamespace(**{c: float(values[f"--q{c}"]) for c in "xyzw"})
    forward, left, up = rotation_of(quaternion).T  # in optical axes
    assert np.allclose([forward, left, up], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node beside the node `panosam2`, both in namespace `robot`."""
    rclpy.init()
    node = Node("viewer", namespace="robot")
    node.create_publisher(Image, "image", 5)
    arguments = ["--ros-args", "-r", "__ns:=/robot", "-p", "num_threads:=1"]
    log = tmp_path_factory.mktemp("viewers") / "log.txt"
    with Process("panosam2_ros.ros.node", *arguments, log=log) as process:
        wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
        yield node
    node.destroy_node()
    rclpy.try_shutdown()


def test_every_display_and_tool_of_rviz_fits_the_node(node: Node, tmp_path: Path) -> None:
    config = yaml.safe_load(rviz_config.write("robot", "image", "camera", folder=tmp_path).read_text())
    for display in items(config, "Displays"):
        check(node, display, subscribes=True)
    for tool in items(config, "Tools"):
        check(node, tool, subscribes=False)


def check(node: Node, item: dict[str, Any], subscribes: bool) -> None:
    kind = item["Class"]
    if kind in WITHOUT_TOPIC:
        assert "Topic" not in item
        return
    topic = item["Topic"]
    name = topic["Value"]
    look = node.get_publishers_info_by_topic if subscribes else node.get_subscriptions_info_by_topic
    wait_for(lambda: look(name), 20, f"anybody at the other end of {name}")
    assert dict(node.get_topic_names_and_types())[name] == [TYPES[kind]]
    for other in look(name):
        # history and deadline of another process are not, or not rightly, told over DDS
        theirs = QoSProfile(
            depth=1, reliability=other.qos_profile.reliability, durability=other.qos_profile.durability
        )
        ends = (theirs, profile(topic)) if subscribes else (profile(topic), theirs)
        found, reason = qos_check_compatible(*ends)
        assert found != QoSCompatibility.ERROR, (name, reason)


def layout_of(namespace: str, frame: str, folder: Path) -> Any:
    return json.loads(foxglove_layout.write_layout(namespace, frame, folder=folder).read_text())


def test_foxglove_names_are_filled_in(tmp_path: Path) -> None:
    shipped_layout = json.loads(package_file("config", "foxglove.json").read_text())
    assert layout_of("", "camera", tmp_path) == shipped_layout, "the shipped file is the one of the defaults"
    layout = layout_of("/a/b/", "theta_optical_frame", tmp_path)
    names = {use.name for use in foxglove.used(layout)}
    assert names == {
        "/a/b" + use.name if use.name != "/diagnostics" else use.name for use in foxglove.used(shipped_layout)
    }
    text = json.dumps(layout)
    assert text.count('"theta_optical_frame_upright"') == 1, "the display frame has z up"
    assert text.replace("theta_optical_frame_upright", "camera").replace("/a/b/", "/") == json.dumps(
        shipped_layout
    ), "nothing else is changed"


def test_every_panel_of_foxglove_fits_the_node(node: Node, tmp_path: Path) -> None:
    layout = layout_of("robot", "camera", tmp_path)
    for name, kind, direction in set(foxglove.used(layout)):
        look = {
            "shown": node.get_publishers_info_by_topic,
            "sent": node.get_subscriptions_info_by_topic,
            "called": lambda name: name in dict(node.get_service_names_and_types()),
        }[direction]
        wait_for(lambda look=look, name=name: look(name), 20, f"anybody at the other end of {name}")
        known = (
            node.get_service_names_and_types() if direction == "called" else node.get_topic_names_and_types()
        )
        assert dict(known)[name] == [kind]


def test_foxglove_shows_fields_that_the_messages_have() -> None:
    layout = json.loads(package_file("config", "foxglove.json").read_text())
    shown = {}
    for kind, settings in foxglove.panels(layout):
        if kind in ("Table", "StateTransitions", "Plot"):
            shown[kind] = {foxglove.shown_field(path) for path in foxglove.message_paths(settings)}
        elif kind == "CallService" and "prompts" in settings["requestPayload"]:
            (prompt,) = foxglove.filled_request(settings["requestPayload"]).prompts
            assert prompt.points[0].label == PromptPoint.FOREGROUND and len(prompt.box) == 0
        elif kind == "3D":
            cloud, markers = settings["topics"].values()
            assert cloud["colorField"] in CLOUD_POINT.names and set(markers["namespaces"]) == set(SHAPES)
    assert shown == {
        "Table": {"sequence<panosam2_ros/ObjectBearing>"},
        "StateTransitions": {"uint8"},
        "Plot": {"float"},
    }
    with pytest.raises(KeyError):
        foxglove.shown_field("/panosam2/bearings.objects[:]{object_id==1}.azimut")


def test_colours_of_the_plot_are_those_of_the_overlay() -> None:
    layout = json.loads(package_file("config", "foxglove.json").read_text())
    series = layout["configById"]["Plot!azimuth"]["paths"]
    assert [s["color"] for s in series] == ["#{:02x}{:02x}{:02x}".format(*colour(i)) for i in range(1, 9)]


def test_settings_are_those_that_foxglove_documents() -> None:
    layouts = pytest.importorskip("foxglove.layouts", reason="needs foxglove-sdk: pip install foxglove-sdk")
    types = {
        "Image": layouts.ImageConfig,
        "3D": layouts.ThreeDeeConfig,
        "Table": layouts.TableConfig,
        "StateTransitions": layouts.StateTransitionsConfig,
        "Plot": layouts.PlotConfig,
        "CallService": layouts.ServiceCallConfig,
        "DiagnosticSummary": layouts.DiagnosticsSummaryConfig,
    }
    layout = json.loads(package_file("config", "foxglove.json").read_text())
    seen = set()
    for kind, settings in foxglove.panels(layout):
        own = {key: value for key, value in settings.items() if key != "foxglovePanelTitle"}
        assert foxglove.misfit(own, types[kind], kind) == ""
        seen.add(kind)
    assert seen == types.keys() and set(foxglove.placed(layout["layout"])) == set(layout["configById"])
    assert foxglove.misfit({"timeoutSecond": 3}, layouts.ServiceCallConfig) == ".timeoutSecond is unknown"
    assert "must be" in foxglove.misfit({"layout": "round"}, layouts.ServiceCallConfig)


def test_port_of_the_bridge_is_checked() -> None:
    assert foxglove_layout.bridge_port("8765") == 8765
    for wrong in ("", "0", "65536", "-1", "web"):
        with pytest.raises(ValueError, match="foxglove_port must be a port"):
            foxglove_layout.bridge_port(wrong)
