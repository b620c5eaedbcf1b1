"""The node: subscribe, hand over, publish. Inference runs on the worker's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import Header

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.prompts.limits import PromptLimits
from panosam2_ros.ros.bond import Bond
from panosam2_ros.ros.cli.node_arguments import check_node_arguments
from panosam2_ros.ros.conversion.messages import camera_frame
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
from panosam2_ros.ros.conversion.target_frame import TargetFrame, TargetFrameOptions
from panosam2_ros.ros.conversion.transforms import Transforms
from panosam2_ros.ros.dds import keep_buffers, profile_line
from panosam2_ros.ros.diagnostics.duplicates import duplicates
from panosam2_ros.ros.diagnostics.findings import WARN, Finding
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.diagnostics.status import ModelInfo, NodeStatus, TrackerStatus
from panosam2_ros.ros.executor import SteadyExecutor
from panosam2_ros.ros.image_subscription import ImageMsg, ImageSubscription
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.inference.memory_store import MemoryStore
from panosam2_ros.ros.inference.progress import WorkerProgress
from panosam2_ros.ros.inference.worker import Callbacks, Worker
from panosam2_ros.ros.inference.worker_state import WorkerCounts, WorkerQueue
from panosam2_ros.ros.last_resort import LastResort
from panosam2_ros.ros.lifecycle_node import SteadyLifecycleNode
from panosam2_ros.ros.parameter_access import (
    declare_parameters,
    read_parameters,
    refusal,
    unknown_parameters,
)
from panosam2_ros.ros.parameters import Parameters, described_parameters
from panosam2_ros.ros.publishing.results import ResultPublishers
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput, VisualizationStyle
from panosam2_ros.ros.runtime import TrackingRuntime, free_memory
from panosam2_ros.ros.services.clicked_point import ClickedPoints
from panosam2_ros.ros.services.detected_boxes import DetectedBoxesInput
from panosam2_ros.ros.services.handlers import ImageGeometry
from panosam2_ros.ros.services.servers import ServiceServers
from panosam2_ros.ros.spin import end_process, ros_running, starting
from panosam2_ros.ros.supervisor import RuntimeSupervisor
from panosam2_ros.tracking.track import TrackedFrame

_DESCRIPTION = "Track prompted objects in the panoramas on the topic image. See docs/interface.md."
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_WATCH_PERIOD = 0.5  # s


class PanoSam2Node(SteadyLifecycleNode):
    """Tracks prompted objects in a stream of panoramas."""

    def __init__(self, **options: Any) -> None:
        super().__init__("panosam2", **options)
        self._settings = declare_parameters(self)
        self._state = "unconfigured"
        self._not_taken = 0  # messages and callbacks for which there was no memory
        self._decoder: PanoramaDecoder | None = None  # of this runtime, or of the last one
        self._transforms = Transforms(self)
        self._target = TargetFrame(self._transforms, TargetFrameOptions(""))
        self._reporter = Reporter(self)
        self._bond = Bond(self)
        self._supervisor = RuntimeSupervisor(self, self._reporter, self._make_callbacks, self._memory_failed)
        self._outputs = ResultPublishers(self, self._reporter)
        self._images = ImageSubscription(self, self._receive, self._frame_changed, self._reporter)
        servers = ServiceServers(self, self)
        self._detections = DetectedBoxesInput(self, servers, self._reporter, self, lambda: self._settings)
        self._clicks = ClickedPoints(
            self,
            servers,
            self._reporter,
            self._transforms,
            label=lambda: self._settings.click_label,
            camera_frame=lambda: self._images.frame_id,
        )
        self.watch_parameters(self._refusal, self._apply_parameters)
        self._report_timer = self.create_timer(self._settings.diagnostics_period, self._report)
        if unknown := unknown_parameters(self):
            self.get_logger().warning(unknown)
        self.create_timer(_WATCH_PERIOD, lambda: self._supervisor.watch(self._settings))
        if self._settings.autostart:
            self.soon(self._autostart)

    # --- lifecycle

    async def _autostart(self) -> None:
        if (
            self._state != "unconfigured"
            or await self.change_state(Transition.TRANSITION_CONFIGURE) != SUCCESS
        ):
            return
        if self.context.ok():  # the user may have ended the process while the model was loaded
            self.trigger_activate()

    async def prepare(self) -> None:
        """Load the model without blocking the executor."""
        self._state = "configuring"
        await self._supervisor.load(self._settings)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, with the model that was loaded."""
        self._state = "unconfigured"
        if not self._attempt(self._configure, "could not be configured"):
            return FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def _attempt(self, action: Callable[[Parameters], None], otherwise: str) -> bool:
        """Return whether an action succeeds, and report why not: rclpy would swallow an exception."""
        try:
            action(self._settings)
        except Exception as error:
            self._reporter.failed(f"{otherwise}: {error}", otherwise)
            return False
        return True

    def _configure(self, parameters: Parameters) -> None:
        self._target = TargetFrame(
            self._transforms,
            TargetFrameOptions(
                parameters.target_frame, parameters.transform_timeout, parameters.target_frame_only
            ),
        )
        self._supervisor.begin(parameters)

    def _make_callbacks(self, parameters: Parameters) -> Callbacks[ImageMsg]:
        self._decoder = PanoramaDecoder(parameters)
        return Callbacks(self._decoder, self._publish, self._failed, self._outputs.want_labels)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to images."""
        if not self._attempt(self._subscribe, "could not be activated"):
            return FAILURE
        self._state = "active"
        self._bond.form(self._settings.bond_heartbeat_period)
        return super().on_activate(state)

    def _subscribe(self, parameters: Parameters) -> None:
        self._outputs.views.start()
        self._images.start(parameters.image_transport, parameters.max_image_mpixels)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; keep the weights and what is remembered."""
        self._unsubscribe()
        if self._runtime is not None:
            self._runtime.save()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and all memory."""
        self.close()
        self._state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self.close()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after a transition that raised."""
        self.close()
        self._state = "unconfigured"
        return SUCCESS

    def close(self) -> None:
        """Unsubscribe, end the runtime, and free what it held; more than once does no harm."""
        self._unsubscribe()
        self._supervisor.close()

    def save_known(self) -> None:
        """Save what was remembered lately, on any thread; nothing else works after that."""
        self._supervisor.save_known()

    @property
    def hangs(self) -> bool:
        """Whether a thread runs that would keep the process from ending."""
        return self._supervisor.hangs

    @property
    def _runtime(self) -> TrackingRuntime | None:
        """None while unconfigured."""
        return self._supervisor.runtime

    def _unsubscribe(self) -> None:
        self._bond.end()
        self._images.stop()
        self._outputs.views.stop()

    # --- parameters

    def _refusal(self, changes: list[Parameter]) -> str:
        return refusal(
            changes, self._settings, configured=self._runtime is not None or self._state == "configuring"
        )

    def _apply_parameters(self) -> None:
        self._settings = parameters = read_parameters(self)
        self._report_timer.timer_period_ns = int(parameters.diagnostics_period * 1e9)
        if self._runtime is not None:
            self._runtime.worker.set_history(parameters.history_seconds, parameters.history_mib)

    # --- images

    def _receive(self, image: ReceivedImage[ImageMsg]) -> None:
        if self._runtime is not None:
            self._runtime.worker.offer(image)

    def _frame_changed(self, header: Header) -> None:
        axes = self._camera_of(header).convention.value
        self._reporter.note(f"images are in frame {header.frame_id!r}, axes: {axes}", "frame")

    def _camera_of(self, header: Header) -> CameraFrame:
        """Return how the camera of an image with this header sits in the header's frame."""
        now = self._settings
        angles = (now.camera_roll, now.camera_pitch, now.camera_yaw)
        return camera_frame(now.frame_convention, header.frame_id, *angles)

    def _publish(self, frame: ReceivedImage[ImageMsg], tracked: TrackedFrame) -> None:
        """Publish the results of an image; called on the worker's thread."""
        runtime = self._runtime
        if runtime is None or not self.context.ok():
            return
        header, now = frame.message.header, self._settings
        look = VisualizationStyle(now.overlay_width, now.sphere_radius, now.cloud_width)
        image = runtime.worker.frame_at(0)[1]  # the one that was tracked
        scene = VisualizationInput(header, image, tracked, self._camera_of(header), now.vertical_fov, look)
        self._outputs.publish(scene, runtime.worker.tracker.epoch, self._target)
        runtime.update_status()
        self._reporter.processed(frame.stamp)

    def _failed(self, _: ReceivedImage[ImageMsg], error: Exception) -> None:
        """Report an image without results; called on the worker's thread."""
        if not self.context.ok():
            return  # publishing fails while the process ends
        if self._runtime is not None:
            self._runtime.update_status()
        if isinstance(error, ImageError):
            self._reporter.failed(f"image refused: {error}", "image")
            return
        self._reporter.failed(f"inference failed: {type(error).__name__}: {error}", "inference", error)

    # --- what the services need (services.servers.NodeContext)

    @property
    def worker(self) -> Worker[ImageMsg] | None:
        """None while unconfigured."""
        return self._runtime.worker if self._runtime else None

    @property
    def memory_store(self) -> MemoryStore | None:
        """None while unconfigured."""
        return self._runtime.memory_store if self._runtime else None

    @property
    def geometry(self) -> ImageGeometry:
        """How pixels and directions of requests and answers relate to the images."""
        now = self._settings
        limits = PromptLimits(now.max_prompts, now.max_points, now.max_label_length)
        return ImageGeometry(now.vertical_fov, self._camera_of, self._target, limits)

    def tracker_changed(self) -> None:
        """Note what the diagnostics report of the tracker; called on the worker's thread."""
        runtime = self._runtime
        if runtime is not None:
            runtime.update_status(changed=True)

    def save_soon(self) -> None:
        """Save what is remembered, since a call has changed it."""
        if self._runtime is not None:
            self._runtime.changed()

    def service_failed(self, error: Exception) -> None:
        """Report a service call that raised."""
        self._reporter.failed(f"service failed: {type(error).__name__}: {error}", "service", error)

    def _memory_failed(self, reason: str) -> None:
        """Report a memory file that could not be written or read; called on any thread."""
        if self.context.ok():
            self._reporter.failed(reason, "memory")
        else:
            self.get_logger().error(reason)

    # --- diagnostics

    def memory_ran_out(self, where: str) -> None:
        """Free what can be freed, and report that memory ran out; called by the executor."""
        self._not_taken += 1
        runtime = self._runtime
        freed = (
            "kept images were dropped" if runtime and runtime.worker.forget_frames() else "nothing was kept"
        )
        free_memory()
        self._reporter.failed(
            f"memory ran out {where}, {self._not_taken} times so far; {freed}: end other programs, or lower "
            "history_mib and max_objects",
            "memory ran out",
        )

    def _report(self) -> None:
        runtime = self._runtime
        status = NodeStatus(
            state=self._state,
            counts=runtime.worker.counts if runtime else WorkerCounts(),
            queue=runtime.worker.queue if runtime else WorkerQueue(),
            lost=self._images.lost,
            stream=self._images.stream,
            stream_dropped=self._images.stream_dropped,
            tracked=runtime.tracked if runtime else TrackerStatus(),
            model=runtime.model if runtime else ModelInfo(),
            dds=f"{get_rmw_implementation_identifier()}; for the camera driver: {profile_line()}",
            views=self._outputs.views.counts,
            progress=runtime.worker.progress if runtime else WorkerProgress(),
            restarts=self._supervisor.restarts,
            not_taken=self._not_taken,
            detections=self._detections.counts,
        )
        found = {
            **self._images.findings(self._settings),
            **self._supervisor.findings(),
            **duplicates(self, "~/prompt"),
            **self._detections.findings,
        }
        if self._decoder is not None and self._decoder.problem:
            found["projection"] = Finding(WARN, self._decoder.problem)
        if self._target.problem:
            found["target_frame"] = Finding(WARN, self._target.problem)
        self._reporter.report(status, found, self._settings)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM ends it."""
    check_node_arguments("panosam2_node", _DESCRIPTION, described_parameters(), args)
    keep_buffers()
    hangs = False
    known: list[PanoSam2Node] = []

    def save() -> None:
        for node in known:
            node.save_known()

    # round everything of the middleware, which may block the start and the end, too, when a signal comes
    with LastResort(save) as last_resort, ros_running(args):
        executor = SteadyExecutor()
        with starting():
            node = PanoSam2Node()
        known.append(node)
        try:
            executor.memory_ran_out = node.memory_ran_out
            executor.add_node(node)
            executor.spin()
        finally:
            last_resort.begun()
            executor.shutdown()
            node.close()
            hangs = node.hangs
            node.destroy_node()
    if hangs:
        end_process()


if __name__ == "__main__":
    main()
