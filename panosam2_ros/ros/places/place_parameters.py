"""The parameters of the node `panosam2_places`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from panosam2_ros.places.range_clusters import RangeConfig
from panosam2_ros.places.triangulation import TriangulationConfig
from panosam2_ros.ros.parameters import Change, _declared

RANGE_SOURCES = ("auto", "points", "depth", "none")
_RANGES, _WAYS = RangeConfig(), TriangulationConfig()


@dataclass(frozen=True)
class PlaceParameters:
    """A snapshot of all parameters of `panosam2_places`."""

    range_source: str = _declared(
        "auto",
        "what measures ranges: points (a lidar), depth (a depth panorama), none, or auto: whichever comes",
        Change.START,
        choices=RANGE_SOURCES,
    )
    target_frame: str = _declared(
        "",
        "frame of all places that are published, by tf2; empty, or without a transform at the image's stamp: "
        "the image's frame",
        Change.START,
    )
    fixed_frame: str = _declared(
        "odom",
        "frame in which the robot moves without jumps, by tf2: for triangulation, and for points that were "
        "measured at another time than the image; empty: neither",
        Change.START,
    )
    vertical_fov: float = _declared(
        math.pi,
        "rad that masks and depth panorama cover; as of panosam2_node",
        Change.START,
        span=(0.1, math.pi),
    )
    frame_convention: str = _declared(
        "auto",
        "axes of the images' frame, as of panosam2_node",
        Change.START,
        choices=("auto", "optical", "body"),
    )
    camera_roll: float = _declared(0.0, "rad, as of panosam2_node", Change.START, span=(-math.pi, math.pi))
    camera_pitch: float = _declared(0.0, "rad, as of panosam2_node", Change.START, span=(-math.pi, math.pi))
    camera_yaw: float = _declared(0.0, "rad, as of panosam2_node", Change.START, span=(-math.pi, math.pi))
    max_time_offset: float = _declared(
        0.1, "s between an image and the ranges that are used for it", Change.START, span=(0.0, 10.0)
    )
    wait: float = _declared(
        0.2, "s for which an image waits for its ranges and transforms", Change.START, span=(0.0, 5.0)
    )
    min_range: float = _declared(0.3, "m; nearer points are left out", Change.START, span=(0.01, 100.0))
    max_range: float = _declared(120.0, "m; farther points are left out", Change.START, span=(0.1, 10_000.0))
    alignment_error: float = _declared(
        _RANGES.alignment_error,
        "rad by which camera and range sensor may be misaligned: points nearer to a mask's edge count less",
        Change.START,
        span=(0.0005, 0.2),
    )
    range_noise: float = _declared(
        _RANGES.range_noise, "m, standard deviation of one range", Change.START, span=(0.0, 10.0)
    )
    min_points: int = _declared(
        _RANGES.least_points, "points that an object needs of its own", Change.START, span=(1, 10_000)
    )
    max_points: int = _declared(
        4_000_000,
        "points that a cloud may have; larger ones are refused",
        Change.START,
        span=(1, 100_000_000),
    )
    max_image_mpixels: float = _declared(
        100.0, "millions of pixels that masks and depth panorama may have", Change.START, span=(0.001, 4000.0)
    )
    min_parallax: float = _declared(
        _WAYS.least_parallax,
        "rad between the outermost bearings of an object from which it is triangulated",
        Change.START,
        span=(0.001, math.pi),
    )
    max_relative_error: float = _declared(
        _WAYS.most_relative_error,
        "standard deviation of a triangulated range, as a share of it, up to which it is published",
        Change.START,
        span=(0.01, 10.0),
    )
    bearing_memory: float = _declared(
        _WAYS.memory, "s for which bearings are remembered; 0: no limit", Change.START, span=(0.0, 86400.0)
    )
    max_bearings: int = _declared(
        _WAYS.most_views, "bearings remembered of one object", Change.START, span=(4, 1000)
    )
    publish_tf: bool = _declared(False, "broadcast one TF frame per placed object", Change.START)
    tf_prefix: str = _declared("object_", "of these frames' names, before the object's id", Change.START)
    diagnostics_period: float = _declared(
        1.0, "s between messages on /diagnostics", Change.START, span=(0.05, 60.0)
    )
    input_timeout: float = _declared(
        5.0, "s without masks, bearings or ranges until /diagnostics warns", Change.START, span=(0.1, 3600.0)
    )

    def range_config(self) -> RangeConfig:
        """Return how points become places."""
        return RangeConfig(
            alignment_error=self.alignment_error, range_noise=self.range_noise, least_points=self.min_points
        )

    def triangulation_config(self) -> TriangulationConfig:
        """Return how bearings become places."""
        return TriangulationConfig(
            least_parallax=self.min_parallax,
            most_relative_error=self.max_relative_error,
            memory=self.bearing_memory,
            most_views=self.max_bearings,
        )


def described_place_parameters() -> dict[str, tuple[Any, str]]:
    """Return default and meaning of every parameter, by name."""
    return {item.name: (item.default, item.metadata["description"]) for item in fields(PlaceParameters)}
