"""PanoSAM2 for ROS 2: point once at an object in a 360 stream, get its mask and bearing ever after.

Without ROS::

    from panosam2_ros import PanoTracker, Prompt, build_model

    tracker = PanoTracker(build_model())
    frame = tracker.step(image, stamp=0)  # RGB uint8 [H, W, 3], equirectangular; ns
    outcome = tracker.prompt(image, 0, [Prompt(box=(235, 46, 20, 80), label="cup")])[0]
    frame = tracker.step(next_image, stamp=100_000_000)
    frame.labels  # uint16 [H, W], object id of every pixel, 0 = none
    frame.tracks[0].bearing.direction  # unit vector, camera optical axes

The names below are loaded when they are first used, so that ``import panosam2_ros`` stays cheap.
"""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panosam2_ros.geometry.equirect import Equirect
    from panosam2_ros.model.build import build_model
    from panosam2_ros.prompts.prompt import Prompt
    from panosam2_ros.tracking.config import TrackerConfig
    from panosam2_ros.tracking.motion_model import TrackState
    from panosam2_ros.tracking.track import Track, TrackedFrame
    from panosam2_ros.tracking.tracker import PanoTracker

# Threads of OpenMP that wait for each other spin by default, for milliseconds: beside one busy process a step
# then takes nine times as long. OpenMP reads this once, when torch loads it, so it is set here, before any
# module of ours imports torch; programs that import torch first have to set it themselves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The generated messages (`panosam2_ros.msg`, `panosam2_ros.srv`) may lie in another prefix than
# this file: after `colcon build`, with the checkout itself first on the path.
__path__ = extend_path(__path__, __name__)

__version__: str  # of package.xml, read when it is first asked for

__all__ = [
    "Equirect",
    "PanoTracker",
    "Prompt",
    "Track",
    "TrackState",
    "TrackedFrame",
    "TrackerConfig",
    "build_model",
]

_MODULES = {
    "Equirect": "geometry.equirect",
    "PanoTracker": "tracking.tracker",
    "Prompt": "prompts.prompt",
    "Track": "tracking.track",
    "TrackState": "tracking.motion_model",
    "TrackedFrame": "tracking.track",
    "TrackerConfig": "tracking.config",
    "build_model": "model.build",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name == "__version__":
        value = import_module(f"{__name__}.io.package_files").package_version()
    elif name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
