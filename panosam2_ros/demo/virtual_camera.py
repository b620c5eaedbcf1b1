"""Node `virtual_camera`: a 360 camera that plays a file or renders a scene with its ground truth.

Publishes `image` as a driver does: in real time, stamped when the image is taken. Images of a ROS bag
keep their stamps and frame ids unless `restamp` is set. Of a synthetic scene it also publishes
`~/true_masks` (mono16) and `~/true_bearings`, with the image's header. It never makes up for lost time
by a burst: where rendering is too slow the rate falls, and the log says so. Frames of a video or a bag come
at the intervals at which they were recorded, unless `rate` is set. With `follow_cmd_vel` the camera stands on
a robot base that turns as `cmd_vel` says, whatever it plays. After the last frame the process ends,
with status 0, or with 3 and the reason where frames of the file could not be read.
"""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Twist, TwistStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.demo.playback import Playback, PlaybackConfig, Played
from panosam2_ros.demo.prefetch import PrefetchBuffer
from panosam2_ros.demo.turning_base import TurningBase, TurnLimits, seen_after_turn, whole_columns
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.io.read_report import EXIT_STATUS
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.cli.node_arguments import check_node_arguments
from panosam2_ros.ros.conversion.messages import image_message, masks_msg, ns_to_stamp, vector_msg
from panosam2_ros.ros.dds import keep_buffers
from panosam2_ros.ros.parameter_access import declare_parameter, unknown_parameters
from panosam2_ros.ros.spin import ros_running
from panosam2_ros.simulation.scene import ObjectTruth

_DESCRIPTION = "Play a video, a bag, images or a synthetic scene as a 360 camera does, on the topic image."
CAMERA_ENCODINGS = ("rgb8", "bgr8")
_SETTLE = 0.3  # s: a subscriber is known here before it knows this publisher, and drops images until then
DESCRIPTIONS = {
    "source": '"synthetic", or the path of a video, a ROS bag, an image or a folder of images',
    "topic": "of a bag; empty: its only image topic",
    "width": "pixels; 0: the file's own, 1920 for a synthetic scene",
    "height": "pixels; 0: the file's own, 960 for a synthetic scene",
    "rate": "Hz; 0: the times of the video or bag, 10 for images, 6 for a synthetic scene",
    "loop": "start a file again at its end",
    "frames": "how many to publish, then end; 0: all (a synthetic scene is endless)",
    "seed": "of the synthetic scene",
    "material": "of the synthetic scene: reserved (no shipped model was trained on it), val or train",
    "objects": "of the synthetic scene, with ground truth",
    "distractors": "of the synthetic scene, without ground truth; they occlude",
    "object_size": "rad, smallest and largest",
    "object_speed": "rad/s at most",
    "camera_speed": "rad/s at most",
    "camera_tilt": "rad at most at the start; 0: the camera stays upright",
    "occlusion": "probability that an object is completely hidden for a while",
    "vertical_fov": "rad, of the synthetic scene's images; below pi they are cropped above and below",
    "follow_cmd_vel": "turn as the topic cmd_vel says (angular.z), on a simulated base",
    "cmd_vel_stamped": "of that topic: false: geometry_msgs/Twist, true: TwistStamped",
    "start_yaw": "rad, heading of that base at the start, anticlockwise positive",
    "max_turn_rate": "rad/s, of that base",
    "max_turn_acceleration": "rad/s^2, of that base",
    "encoding": "rgb8 or bgr8",
    "frame_id": "of the images; `..._optical_frame`: x right, y down, z forward",
    "restamp": "true: images of a bag are stamped when published and have this frame_id; false: their own",
    "reliable": "false: publish best effort, as some drivers do",
    "start_when_subscribed": "wait until `image` has this many subscribers; 0: start at once",
    "fill_first": "wait until buffer_mib, or all frames, are ready",
    "buffer_mib": "MiB of frames that are kept ready",
}


class VirtualCamera(Node):
    """A node that plays; the caller spins it through ``play``."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__("virtual_camera", **overrides)
        self._declare()
        if self._get("encoding") not in CAMERA_ENCODINGS:
            raise ValueError(f"encoding must be one of {CAMERA_ENCODINGS}, got {self._get('encoding')!r}")
        settings = {f.name: self._get(f.name) for f in fields(PlaybackConfig)}
        settings["object_size"] = tuple(settings["object_size"])
        self.playback = Playback(PlaybackConfig(**settings))
        self._axes = CameraFrame(FrameConvention.of_frame_id(self._get("frame_id")))
        how = ReliabilityPolicy.RELIABLE if self._get("reliable") else ReliabilityPolicy.BEST_EFFORT
        self._image = self.create_publisher(Image, "image", QoSProfile(depth=5, reliability=how))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        if self.playback.config.synthetic:
            self._masks = self.create_publisher(Image, "~/true_masks", 10)
            self._bearings = self.create_publisher(ObjectBearingArray, "~/true_bearings", 10)
        self._base = self._make_base() if self._get("follow_cmd_vel") else None
        self.create_timer(1.0, self._report)
        self._last_seen: dict[int, Any] = {}
        self.published = 0
        limit = int(self._get("buffer_mib")) << 20
        self._frames = PrefetchBuffer(self.playback, lambda played: played.size, limit)

    def play(self) -> None:
        """Publish every frame at its time; return after the last one was delivered."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        try:
            while not self._may_start():
                executor.spin_once(timeout_sec=0.05)
            if self._get("start_when_subscribed"):
                time.sleep(_SETTLE)
            self._play_all(executor)
            self._report(finished=True)
            for publisher in (self._image, self._diagnostics):
                publisher.wait_for_all_acked(Duration(seconds=2.0))
            self.get_logger().info(f"played {self.published} frames")
        finally:
            self._frames.close()
            executor.shutdown()

    def _play_all(self, executor: SingleThreadedExecutor) -> None:
        period, due, slow = 1.0 / self.playback.rate, time.monotonic(), False
        before = 0.0
        while not self._frames.ended:
            played = self._frames.next(timeout=0.02)
            executor.spin_once(timeout_sec=0.0)
            if played is None:
                continue
            due += played.time - before
            late, before = time.monotonic() - due, played.time
            if late > period and self.published and not slow:
                slow = True
                self.get_logger().warning(
                    f"frames are not ready in time for {self.playback.rate:.1f} Hz: publishing "
                    "slower; lower rate, width and height, or raise buffer_mib and set fill_first"
                )
            while (left := due - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left)
            self._publish(self._seen(played))
            due = max(due, time.monotonic() - period / 2)

    def _make_base(self) -> TurningBase:
        limits = TurnLimits(self._get("max_turn_rate"), self._get("max_turn_acceleration"))
        kind = TwistStamped if self._get("cmd_vel_stamped") else Twist
        self.create_subscription(kind, "cmd_vel", self._on_cmd_vel, 10)
        return TurningBase(limits, yaw=self._get("start_yaw"), now=time.monotonic())

    def _on_cmd_vel(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if isinstance(message, TwistStamped) else message
        if self._base is not None and not self._base.command(twist.angular.z, time.monotonic()):
            reason = f"cmd_vel ignored: angular.z must be finite, got {twist.angular.z}"
            self.get_logger().warning(reason, throttle_duration_sec=10.0)

    def _seen(self, played: Played) -> Played:
        """Return the frame as seen from the base, where there is one."""
        if self._base is None:
            return played
        self._base.advance(time.monotonic())
        columns = whole_columns(self._base.yaw, played.image.shape[1])
        return seen_after_turn(played, columns, self._base.rate)

    def _may_start(self) -> bool:
        if self._get("fill_first") and not self._frames.full:
            return False
        return bool(self._image.get_subscription_count() >= self._get("start_when_subscribed"))

    def _publish(self, played: Played) -> None:
        stamp, frame_id = self.get_clock().now().to_msg(), self._get("frame_id")
        if played.frame_id is not None and not self._get("restamp"):
            stamp, frame_id = ns_to_stamp(played.stamp), played.frame_id
        header = Header(stamp=stamp, frame_id=frame_id)
        pixels = played.image if self._get("encoding") == "rgb8" else played.image[..., ::-1]
        self._image.publish(image_message(header, pixels, self._get("encoding")))
        self.published += 1
        if played.labels is None or played.objects is None:
            return
        self._masks.publish(masks_msg(header, played.labels.astype(np.uint16)))
        found = [self._bearing(truth, played.labels, stamp) for truth in played.objects]
        self._bearings.publish(ObjectBearingArray(header=header, epoch=0, objects=found))

    def _bearing(self, truth: ObjectTruth, labels: np.ndarray, stamp: Any) -> ObjectBearing:
        message = ObjectBearing(object_id=truth.obj_id, label=truth.name)
        message.state = ObjectBearing.STATE_VISIBLE if truth.visible else ObjectBearing.STATE_OCCLUDED
        message.score = message.mask_iou = float(truth.visible)
        if truth.visible:
            self._last_seen[truth.obj_id] = stamp
        message.last_seen = self._last_seen.get(truth.obj_id, message.last_seen)
        direction = self._axes.to_frame(truth.direction)
        azimuth, elevation = self._axes.azimuth_elevation(direction)
        message.azimuth, message.elevation = float(azimuth), float(elevation)
        message.direction = vector_msg(direction)
        message.angular_velocity = vector_msg(self._axes.to_frame(truth.angular_velocity))
        extent = mask_bearing(labels == truth.obj_id, self.playback.grid)
        if extent is not None:
            message.extent_horizontal = float(extent.extent_horizontal)
            message.extent_vertical = float(extent.extent_vertical)
        message.solid_angle = float(truth.solid_angle)
        return message

    def _report(self, *, finished: bool = False) -> None:
        values = {
            "frames_published": self.published,
            "frames_missing": self.playback.report.missing,
            "frames_ready": self._frames.ready,
            "frames_total": self.playback.frames,
            "finished": finished,
        }
        status = DiagnosticStatus(name=f"{self.get_name()}: playback", hardware_id="virtual")
        status.level = DiagnosticStatus.WARN if values["frames_missing"] else DiagnosticStatus.OK
        status.message = "finished" if finished else ("playing" if self.published else "waiting")
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _declare(self) -> None:
        for name, default in default_parameters().items():
            value = list(default) if isinstance(default, tuple) else default
            described = ParameterDescriptor(description=DESCRIPTIONS[name], read_only=True)
            declare_parameter(self, name, value, described)
        if unknown := unknown_parameters(self):
            self.get_logger().warning(unknown)

    def _get(self, name: str) -> Any:
        return self.get_parameter(name).value


def default_parameters() -> dict[str, Any]:
    """Return the default of every parameter, by name."""
    return {f.name: f.default for f in fields(PlaybackConfig)} | {
        "encoding": "rgb8",
        "follow_cmd_vel": False,
        "cmd_vel_stamped": False,
        "start_yaw": 0.0,
        "max_turn_rate": TurnLimits.rate,
        "max_turn_acceleration": TurnLimits.acceleration,
        "frame_id": "camera_optical_frame",
        "restamp": False,
        "reliable": True,
        "start_when_subscribed": 0,
        "fill_first": False,
        "buffer_mib": 256,
    }


def main(args: list[str] | None = None) -> None:
    """Run the node until its last frame, SIGINT or SIGTERM."""
    parameters = {name: (default, DESCRIPTIONS[name]) for name, default in default_parameters().items()}
    check_node_arguments("panosam2_virtual_camera", _DESCRIPTION, parameters, args)
    keep_buffers()
    cv2.setNumThreads(1)  # rendering ahead is not urgent
    try:
        with ros_running(args):
            camera = VirtualCamera()
            try:
                camera.play()
                report = camera.playback.report
            finally:
                camera.destroy_node()
            if report.text:
                print(f"virtual_camera: {report.text}", file=sys.stderr)
            if report.missing:
                sys.exit(EXIT_STATUS)
    except (ValueError, OSError) as error:  # settings and files; the message says what to do
        sys.exit(f"virtual_camera: {error}")


if __name__ == "__main__":
    main()
