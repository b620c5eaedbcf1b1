"""The node: subscribe, hand over, publish. What takes long is done on the worker's thread."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.ros.conversion import messages
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
from panosam2_ros.ros.conversion.target_frame import TargetFrame
from panosam2_ros.ros.conversion.transforms import Transforms
from panosam2_ros.ros.dds import keep_buffers, profile_line
from panosam2_ros.ros.diagnostics.findings import WARN, Finding
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.diagnostics.image_monitor import ImageMonitor, ImageTopic
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.diagnostics.status import ModelInfo, NodeStatus, TrackerStatus
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.tracker_factory import build_tracker, use_threads, worker_limits
from panosam2_ros.ros.inference.worker import Callbacks, Worker, WorkerCounts, WorkerQueue
from panosam2_ros.ros.lifecycle_node import SteadyLifecycleNode, with_info
from panosam2_ros.ros.parameters import Parameters, declare_parameters, read_parameters, refusal
from panosam2_ros.ros.publishing.results import ResultPublishers
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput, VisualizationStyle
from panosam2_ros.ros.services.clicked_point import ClickedPoints
from panosam2_ros.ros.services.servers import ServiceServers
from panosam2_ros.ros.spin import ros_running
from panosam2_ros.tracking.track import TrackedFrame

ImageMsg: TypeAlias = Any  # sensor_msgs Image or CompressedImage
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PanoSam2Node(SteadyLifecycleNode):
    """Tracks prompted objects in a stream of panoramas."""

    def __init__(self, **options: Any) -> None:
        super().__init__("panosam2", **options)
        self._settings = declare_parameters(self)
        self._state = "unconfigured"
        self._worker: Worker[ImageMsg] | None = None
        self._epoch = 0  # of a tracker that remembers nothing
        self._keeper: MemoryStore | None = None
        self._save_timer: Timer | None = None
        self._subscription: Subscription | None = None
        self._watch: ImageMonitor | None = None
        self._tracked = TrackerStatus()  # written by the worker's thread, whole
        self._machinery, self._frame_id = ModelInfo(), ""
        self._transforms = Transforms(self)
        self._target = TargetFrame(self._transforms, "")
        self._create_interfaces()
        self.watch_parameters(self._refusal, self._apply_parameters)
        self._report_timer = self.create_timer(self._settings.diagnostics_period, self._report)
        if self._settings.autostart:
            self.soon(self._autostart)

    def _create_interfaces(self) -> None:
        self._reporter = Reporter(self)
        self._outputs = ResultPublishers(self, self._reporter)
        desk = ServiceServers(self, self)
        label, frame_id = lambda: self._settings.click_label, lambda: self._frame_id
        self._clicks = ClickedPoints(self, desk, self._reporter, label, frame_id, self._transforms)

    # --- lifecycle

    def _autostart(self) -> None:
        if self._state != "unconfigured" or self.trigger_configure() != SUCCESS:
            return
        if self.context.ok():  # a model can take longer to load than the user's patience lasts
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and start the worker."""
        if not self._attempt(self._configure, "could not be configured"):
            return FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def _attempt(self, action: Callable[[Parameters], None], otherwise: str) -> bool:
        """Whether it succeeded; rclpy would swallow what it raises."""
        try:
            action(self._settings)
        except Exception as error:
            self._reporter.failed(f"{otherwise}: {error}", otherwise)
            return False
        return True

    def _configure(self, parameters: Parameters) -> None:
        panoramas = PanoramaDecoder(parameters)
        tracker = build_tracker(parameters)
        tracker.epoch = self._epoch
        keeper = MemoryStore(
            tracker, parameters.memory_directory, parameters.memory_file, self._memory_failed
        )
        if restored := keeper.restore():
            self.get_logger().info(restored)
        device = str(tracker.model.device)
        self._machinery = ModelInfo(device, parameters.model, tracker.model.weights_sha256)
        self._target = TargetFrame(self._transforms, parameters.target_frame)
        self._worker = Worker(
            tracker,
            Callbacks(panoramas, self._publish, self._failed),
            worker_limits(parameters),
            partial(use_threads, parameters.num_threads),
        )
        tracker.batcher.release_caches = self._worker.forget_frames
        self._keeper = keeper
        self.tracker_changed()
        self._worker.start()
        if keeper.restored:
            self._save_soon()  # that file is not final any more
        if parameters.memory_file and parameters.save_interval > 0:
            self._save_timer = self.create_timer(parameters.save_interval, self._save_soon)
        self.get_logger().info(f"model {parameters.model} on {device}")

    def save_soon(self) -> None:
        """Something has changed that should survive a kill."""
        if self._save_timer is not None:
            self._save_soon()

    def _save_soon(self) -> None:
        if self._worker is not None and self._keeper is not None:
            self._keeper.save_soon(self._worker)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        if not self._attempt(self._subscribe, "could not be activated"):
            return FAILURE
        self._state = "active"
        return super().on_activate(state)

    def _subscribe(self, parameters: Parameters) -> None:
        compressed = parameters.image_transport == "compressed"
        name = self.resolve_topic_name("image") + ("/compressed" if compressed else "")
        kind = CompressedImage if compressed else Image
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self.create_subscription(
            kind, name, with_info(self._receive), qos, qos_overriding_options=QOS_BY_PARAMETER
        )
        self._outputs.views.start()
        self._watch = ImageMonitor(self, ImageTopic(name, f"sensor_msgs/msg/{kind.__name__}", qos))
        self.get_logger().info(f"waiting for images on {name} ({qos.reliability.name.lower()})")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; weights and what is remembered stay."""
        self._unsubscribe()
        self._save_soon()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and all memory."""
        self.close()
        self._state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state."""
        self.close()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that raised: back to unconfigured."""
        self.close()
        self._state = "unconfigured"
        return SUCCESS

    def close(self) -> None:
        """Unsubscribe, end the worker, save, free what it held; more than once does no harm."""
        self._unsubscribe()
        if self._save_timer is not None:
            self.destroy_timer(self._save_timer)
            self._save_timer = None
        worker, self._worker = self._worker, None
        keeper, self._keeper = self._keeper, None
        if worker is None:
            return
        stopped = worker.stop(timeout=30.0)
        if not stopped:
            self.get_logger().error("inference does not end; leaving it behind")
        if keeper is not None:
            keeper.close(stopped)
        self._epoch = worker.tracker.epoch + 1
        self._tracked, self._machinery = TrackerStatus(), ModelInfo()
        del worker, keeper
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _unsubscribe(self) -> None:
        self._watch = None
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        self._outputs.views.stop()

    # --- parameters

    def _refusal(self, changes: list[Parameter]) -> str:
        return refusal(changes, self._settings, self._worker is not None)

    def _apply_parameters(self) -> None:
        self._settings = parameters = read_parameters(self)
        self._report_timer.timer_period_ns = int(parameters.diagnostics_period * 1e9)
        if self._worker is not None:
            self._worker.set_history(parameters.history_seconds, parameters.history_mib)

    # --- images

    def _receive(self, msg: ImageMsg, info: dict[str, Any]) -> None:
        if self._worker is None or self._watch is None:
            return
        stamp = stamp_to_ns(msg.header.stamp)
        self._watch.arrived(stamp, info)
        self._worker.offer(ReceivedImage(stamp, msg, len(msg.data)))
        if msg.header.frame_id != self._frame_id:
            self._frame_id = msg.header.frame_id
            axes = self.camera_of(msg.header).convention.value
            self.get_logger().info(f"directions are in frame {self._frame_id!r}, axes: {axes}")

    def _publish(self, frame: ReceivedImage[ImageMsg], tracked: TrackedFrame) -> None:
        """On the worker's thread."""
        worker = self._worker
        if worker is None or not self.context.ok():
            return
        header, now = frame.message.header, self._settings
        look = VisualizationStyle(now.overlay_width, now.sphere_radius, now.cloud_width)
        image = worker.frame_at(0)[1]  # the one that was tracked
        scene = VisualizationInput(header, image, tracked, self.camera_of(header), now.vertical_fov, look)
        self._outputs.publish(scene, worker.tracker.epoch, self._target)
        self.tracker_changed()
        self._reporter.processed(frame.stamp)

    def _failed(self, _: ReceivedImage[ImageMsg], error: Exception) -> None:
        """On the worker's thread."""
        if not self.context.ok():
            return  # publishing fails while the process ends
        self.tracker_changed()
        if isinstance(error, ImageError):
            self._reporter.failed(f"image refused: {error}", "image")
            return
        self._reporter.failed(f"inference failed: {type(error).__name__}: {error}", "inference", error)

    # --- what the services need (service_desk.Desk)

    @property
    def worker(self) -> Worker[ImageMsg] | None:
        """None while unconfigured."""
        return self._worker

    @property
    def vertical_fov(self) -> float:
        """rad"""
        return self._settings.vertical_fov

    def camera_of(self, header: Header) -> CameraFrame:
        """How the camera of an image with this header sits in the header's frame."""
        now = self._settings
        angles = (now.camera_roll, now.camera_pitch, now.camera_yaw)
        return messages.camera_frame(now.frame_convention, header.frame_id, *angles)

    @property
    def keeper(self) -> MemoryStore | None:
        """None while unconfigured."""
        return self._keeper

    def tracker_changed(self) -> None:
        """On the worker's thread: keep what the diagnostics tell of the tracker."""
        worker = self._worker
        if worker is not None:
            self._tracked = TrackerStatus.of(worker.tracker)

    def _memory_failed(self, reason: str) -> None:
        """On any thread."""
        if self.context.ok():
            self._reporter.failed(reason, "memory")
        else:
            self.get_logger().error(reason)

    def service_failed(self, error: Exception) -> None:
        """A service call raised."""
        self._reporter.failed(f"service failed: {type(error).__name__}: {error}", "service", error)

    # --- diagnostics

    def _report(self) -> None:
        worker = self._worker
        health = NodeStatus(
            state=self._state,
            counts=worker.counts if worker else WorkerCounts(),
            queue=worker.queue if worker else WorkerQueue(),
            lost=self._watch.lost if self._watch else 0,
            tracked=self._tracked,
            machinery=self._machinery,
            dds=f"{get_rmw_implementation_identifier()}; for the camera driver: {profile_line()}",
            views=self._outputs.views.counts,
        )
        found = self._watch.findings(self._settings) if self._watch else {}
        if self._target.problem:
            found["target_frame"] = Finding(WARN, self._target.problem)
        self._reporter.report(health, found, self._settings)


def main(args: list[str] | None = None) -> None:
    """Runs the node until it is told to stop by SIGINT or SIGTERM."""
    keep_buffers()
    with ros_running(args):
        executor, node = SingleThreadedExecutor(), None
        try:
            node = PanoSam2Node()
            executor.add_node(node)
            executor.spin()
        finally:
            executor.shutdown()
            if node is not None:
                node.close()
                node.destroy_node()


if __name__ == "__main__":
    main()
