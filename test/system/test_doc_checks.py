"""The checks of documents: each tells what is wrong, and what would be right."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers import doc_commands, doc_python
from helpers.doc_shell import commands
from helpers.doc_yaml import yaml_problems


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("panosam2_tarck walk.mp4 --out out", "did you mean panosam2_track"),
        ("panosam2_track walk.mp4 --out out --boxx=1,2,3,4", "unrecognized arguments: --boxx"),
        ("panosam2_track walk.mp4", "required: --out"),
        ("panosam2_prompt klick 3 4", "invalid choice: 'klick'"),
        ("panosam2_node --ros-args -p modle:=panosam2_nano", "did you mean model?"),
        ("panosam2_node --ros-args -p max_objects:=many", "is of type int"),
        ("panosam2_node --ros-args -p view:=both", "is one of auto, regions, panorama"),
        ("panosam2_node --ros-args -r imgae:=/camera/image_raw", "did you mean image"),
        ("panosam2_node model:=x", "come after --ros-args"),
        ("panosam2_virtual_camera --ros-args -p sauce:=x", "did you mean source?"),
        ("ros2 run panosam2_ros panosam2_tracker", "did you mean panosam2_track?"),
        ("ros2 launch panosam2_ros panosam.launch.py", "did you mean panosam2.launch.py?"),
        ("ros2 launch panosam2_ros panosam2.launch.py imgae:=/a", "did you mean image?"),
        ("ros2 launch panosam2_ros panosam2.launch.py camera:=instax", "instax"),
        ("ros2 param set /panosam2 history_second 3.0", "did you mean history_seconds?"),
        ("ros2 param set /panosam history_seconds 3.0", "did you mean panosam2"),
        ("ros2 topic echo /panosam2/bearing", "did you mean /panosam2/bearings?"),
        ("ros2 service call /panosam2/promt std_srvs/srv/Trigger", "did you mean /panosam2/prompt?"),
        ("ros2 service call /panosam2/prompt panosam2_ros/srv/PromptObject", "did you mean PromptObjects?"),
        ("ros2 tpoic list", "is not known here"),
        ("make tset", "did you mean test?"),
        ("make demo VIDOE=walk.mp4", "reads no variable VIDOE"),
        ('make demo ARGS="--bocks 1,2,3,4"', "unrecognized arguments: --bocks"),
        ('make test ARGS="test/unit/oi"', "there is no test/unit/oi"),
        ("python -m tools.real_footages", "did you mean tools.real_footage?"),
        ("python -m panosam2_ros.evaluation.clicks --datasets x", "--dataset"),
        ("python examples/face_object.py --ros-args -p object:=3", "did you mean object_id?"),
        ("python -c 'import'", "invalid syntax"),
        ("torchrun --nproc-per-node 2 -m panosam2_ros.training.trian", "did you mean panosam2_ros.tr"),
        ("pip install '.[wheel]'", "did you mean wheels?"),
        ("pip install opencv", "setup.py does not name it"),
        ("PANOSAM2_CORE=1 make", "did you mean PANOSAM2_CORE_ONLY?"),
        ("cp config/panosam.yaml my.yaml", "there is no file config/panosam.yaml"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_told_with_what_is_right(line: str, expected: str) -> None:
    (command,) = commands(line)
    assert expected in "\n".join(doc_commands.problems(command))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/panosam2:\n  ros__parameters:\n    modle: x", "did you mean model?"),
        ("/panosam2:\n  ros__parameters:\n    max_objects: 3.5", "is of type int"),
        ("/panosam2:\n  ros__parameters:\n    min_island: 2.0", "is within"),
        ("/panosam3:\n  ros__parameters:\n    model: x", "did you mean panosam2"),
        (
            "/panosam2:\n  ros__parameters:\n    qos_overrides: {/panosam2/mask: {publisher: {depth: 1}}}",
            "did you mean /panosam2/masks?",
        ),
        ("- {frame: 0, boxx: [1, 2, 3, 4]}", "did you mean box?"),
        ("a: 1", "teach yaml_problems"),
    ],
)  # fmt: skip
def test_wrong_yaml_is_told(text: str, expected: str) -> None:
    assert expected in "\n".join(yaml_problems(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from panosam2_ros.msg import PromptPint", "PromptPint"),
        ("click = PromptPoint(u=1.0, w=2.0)", "takes no w"),
        ("print(PromptPoint.BACKGROUNDS)", "has no BACKGROUNDS"),
        ("from panosam2_ros.ros.client import Client\nc = Client(node)\nc.promt()", "has no promt"),
        ("print(chairs)", "chairs is not defined"),
    ],
)
def test_wrong_python_is_told(text: str, expected: str) -> None:
    assert expected in "\n".join(doc_python.problems(text, set()))
