"""Node `panosam2_places`: places of tracked objects in space, from their masks and bearings.

Reads `masks` and `bearings` of panosam2_node, and `points` of a lidar or `depth`, a depth panorama. Publishes
`~/objects_3d` and `~/object_points`, with the image's stamp. Without ranges it triangulates over the robot's
own motion. See docs/places.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.places.place_estimator import CameraPose, PlaceEstimator, PlaceInput
from panosam2_ros.places.projected_points import RangeLimits, depth_points, project_points
from panosam2_ros.ros.cli.node_arguments import check_node_arguments
from panosam2_ros.ros.conversion.transforms import FrameError, LateTransformError, frame_id_problem
from panosam2_ros.ros.dds import keep_buffers
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.executor import SteadyExecutor
from panosam2_ros.ros.parameter_access import declare_settings, unknown_parameters
from panosam2_ros.ros.places.place_frames import TF_MISSING, PlaceFrames
from panosam2_ros.ros.places.place_messages import DETECTIONS_AVAILABLE
from panosam2_ros.ros.places.place_parameters import PlaceParameters, described_place_parameters
from panosam2_ros.ros.places.place_publishers import PlacePublishers
from panosam2_ros.ros.places.place_status import PlaceStatus
from panosam2_ros.ros.places.range_messages import (
    RangeMessageError,
    cloud_points,
    depth_ranges,
    mask_labels,
)
from panosam2_ros.ros.places.seen_objects import seen_objects
from panosam2_ros.ros.places.stamped_inputs import PendingImage, StampedInputs
from panosam2_ros.ros.spin import ros_running, starting

_DESCRIPTION = "Place tracked objects in space, by a lidar, a depth panorama or triangulation."
_Found = TypeVar("_Found")
_PERIOD = 0.02  # s between looks at images that wait
_REACH = 4.0  # multiples of alignment_error beside a mask whose depths are used
_REMEDIES = {
    "masks": "remap it to ~/masks of panosam2_node, as in -r masks:=/panosam2/masks",
    "bearings": "remap it to ~/bearings of panosam2_node, as in -r bearings:=/panosam2/bearings",
    "points": "remap it to the lidar's PointCloud2, as in -r points:=/lidar/points",
    "depth": "remap it to the camera's depth panorama, as in -r depth:=/camera/depth",
}


@dataclass(frozen=True)
class _LookUp:
    """Calls what needs transforms, and notes as a problem that there are none."""

    status: PlaceStatus
    last_try: bool  # do not wait for late ones any longer

    def __call__(self, look: Callable[[], _Found], kind: str, otherwise: str) -> _Found | None:
        try:
            return look()
        except FrameError as error:
            if isinstance(error, LateTransformError) and not self.last_try:
                raise
            self.status.problem(kind, f"{otherwise}: {error}")
            return None


class PlacesNode(Node):
    """Places tracked objects; everything runs on the executor's thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__("panosam2_places", **options)
        self._settings = now = declare_settings(self, PlaceParameters)
        if unknown := unknown_parameters(self):
            self.get_logger().warning(unknown)
        self._limits = RangeLimits(now.min_range, now.max_range)
        self._status = PlaceStatus(self, now.input_timeout)
        self._inputs = StampedInputs()
        self._frames = PlaceFrames(self, now)
        self._estimator = PlaceEstimator(now.range_config(), now.triangulation_config())
        self._epoch: int | None = None
        self._not_taken = 0
        self._outputs = PlacePublishers(self, publish_tf=now.publish_tf, prefix=now.tf_prefix)
        self._say_what_is_missing()
        self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(_PERIOD, self._process_ready, clock=steady)
        self.create_timer(now.diagnostics_period, self._report, clock=steady)

    def _say_what_is_missing(self) -> None:
        if not self._frames.has_tf:
            self.get_logger().warning(TF_MISSING)
        if not DETECTIONS_AVAILABLE:
            self.get_logger().warning(
                "vision_msgs is not installed (apt install ros-$ROS_DISTRO-vision-msgs): ~/objects_3d is not "
                "published; ~/object_points and TF frames are"
            )

    def _subscribe(self) -> None:
        source = self._settings.range_source
        self._on("bearings", ObjectBearingArray, self._take_bearings, reliable=True)
        self._uses = {"points": source in ("auto", "points"), "depth": source in ("auto", "depth")}
        if source != "none":
            self._on("masks", Image, self._take_masks, reliable=True)
        if self._uses["points"]:
            self._on("points", PointCloud2, self._take_ranges("points"), reliable=False)
        if self._uses["depth"]:
            self._on("depth", Image, self._take_ranges("depth"), reliable=False)

    def _on(self, name: str, kind: type, take: Any, *, reliable: bool) -> None:
        how = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5 if reliable else 2, reliability=how)
        self.create_subscription(kind, name, take, qos, qos_overriding_options=QOS_BY_PARAMETER)

    # --- inputs

    def _take_masks(self, msg: Image) -> None:
        self._status.arrived("masks")
        self._inputs.add_masks(msg)
        self._process_ready()

    def _take_bearings(self, msg: ObjectBearingArray) -> None:
        self._status.arrived("bearings")
        if msg.epoch != self._epoch:  # the ids are other objects'
            self._epoch = msg.epoch
            self._estimator.forget()
        # masks are published only where somebody subscribes, and not at all where there are no ranges to use
        alone = self._settings.range_source == "none" or not self._status.comes("masks")
        self._inputs.add_bearings(msg, alone=alone)
        self._process_ready()

    def _take_ranges(self, name: str) -> Any:
        def take(msg: Any) -> None:
            self._status.arrived(name)
            self._inputs.add_ranges(msg)
            self._process_ready()

        return take

    # --- images

    def _process_ready(self) -> None:
        """Process the oldest image that waits, once what it needs has come or it has waited long enough."""
        while self._inputs.pending:
            image = self._inputs.pending[0]
            last_try = time.monotonic() - image.since >= self._settings.wait
            if not last_try and self._waits_for_ranges(image):
                return
            try:
                self._process(image, last_try=last_try)
            except LateTransformError:
                return
            except (RangeMessageError, ValueError) as error:
                self._status.failed(str(error), "image")
            self._inputs.pending.popleft()

    def _waits_for_ranges(self, image: PendingImage) -> bool:
        if image.masks is None or not self._ranges_come():
            return False
        return not self._inputs.ranges_reach(image.stamp)

    def _ranges_come(self) -> bool:
        return self._status.comes("points") or self._status.comes("depth")

    def _process(self, image: PendingImage, *, last_try: bool) -> None:
        """Place the objects of an image; raise LateTransformError where waiting may help."""
        header: Header = image.masks.header if image.masks is not None else image.bearings.header
        if problem := frame_id_problem(header.frame_id):
            self._status.problem("frame_id", problem)
        frames, look_up = self._frames, _LookUp(self._status, last_try)
        camera = look_up(lambda: frames.camera_pose(header), "fixed_frame", "nothing is triangulated")
        turn = look_up(
            lambda: frames.bearings_to_optical(header, image.bearings.header), "bearings", "nothing is placed"
        )
        published = look_up(
            lambda: frames.published(header), "target_frame", "places are in the image's frame"
        )
        if turn is None:
            return
        place_input = PlaceInput(
            stamp=image.stamp,
            objects=seen_objects(image.bearings, turn),
            known_ids=frozenset(each.object_id for each in image.bearings.objects),
            up=frames.up(header, camera),
            camera=camera,
            **self._ranges(image, header, camera, look_up),
        )
        result = self._estimator.update(place_input)
        header, move = published or (header, frames.own(header))
        self._outputs.publish(header, move, image.bearings, place_input.points, result)
        self._status.placed(image.stamp, result)

    def _ranges(
        self, image: PendingImage, header: Header, camera: CameraPose | None, look_up: _LookUp
    ) -> dict[str, Any]:
        """Return labels, grid and points for an image; nothing where there are no ranges for it."""
        if image.masks is None:
            return {}
        now = self._settings
        msg = self._inputs.nearest_ranges(image.stamp, int(now.max_time_offset * 1e9))
        if msg is None:
            if self._ranges_come():
                limit = f"{now.max_time_offset:g} s (max_time_offset)"
                self._status.problem("ranges", f"no ranges within {limit} of the image: check both stamps")
            return {}
        labels = mask_labels(image.masks, now.max_image_mpixels * 1e6)
        grid = Equirect(labels.shape[1], labels.shape[0], now.vertical_fov)
        xyz = look_up(
            lambda: self._optical_points(msg, labels, header, camera), "ranges", "ranges are not used"
        )
        if xyz is None:
            return {}
        return {"labels": labels, "grid": grid, "points": project_points(xyz, grid, self._limits)}

    def _optical_points(
        self, msg: Any, labels: NDArray[np.uint16], header: Header, camera: CameraPose | None
    ) -> Floats:
        """Return the points [N, 3] of a cloud or depth panorama in the camera's optical axes."""
        now = self._settings
        if isinstance(msg, PointCloud2):
            move = self._frames.ranges_to_optical(header, msg.header, camera)
            return move.apply(cloud_points(msg, now.max_points))
        depth = depth_ranges(msg, now.max_image_mpixels * 1e6)
        return depth_points(depth, labels, now.vertical_fov, _REACH * now.alignment_error)

    # --- diagnostics

    def memory_ran_out(self, where: str) -> None:
        """Report that memory ran out; called by the executor."""
        self._not_taken += 1
        self._inputs.pending.clear()
        self._status.failed(
            f"memory ran out {where}, {self._not_taken} times so far: end other programs, or lower "
            "max_points",
            "memory ran out",
        )

    def _report(self) -> None:
        wanted = {name: _REMEDIES[name] for name in ("bearings",)}
        if self._settings.range_source != "none":
            wanted["masks"] = _REMEDIES["masks"]
        if self._settings.range_source in _REMEDIES:
            wanted[self._settings.range_source] = _REMEDIES[self._settings.range_source]
        values = {"images_skipped": self._inputs.skipped, "bearings_remembered": self._estimator.remembered}
        self._status.report(wanted, values)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM ends it."""
    check_node_arguments("panosam2_places", _DESCRIPTION, described_place_parameters(), args)
    keep_buffers()
    with ros_running(args):
        executor = SteadyExecutor()
        with starting():
            node = PlacesNode()
        try:
            executor.memory_ran_out = node.memory_ran_out
            executor.add_node(node)
            executor.spin()
        finally:
            executor.shutdown()
            node.destroy_node()


if __name__ == "__main__":
    main()
