"""`~/detections_in`: boxes of a detector, where vision_msgs is installed; new things become objects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from panosam2_ros.detections.boxes import Wanted
from panosam2_ros.detections.new_things import DetectedImage, DetectedImageError, DetectionRules
from panosam2_ros.msg import PromptResult
from panosam2_ros.ros.conversion.detections import (
    DETECTIONS_TYPE,
    DetectionsError,
    boxes_from_msg,
    check_message_size,
    parse_detections,
)
from panosam2_ros.ros.diagnostics.findings import WARN, Finding
from panosam2_ros.ros.diagnostics.image_loss import QOS_BY_PARAMETER
from panosam2_ros.ros.diagnostics.reporting import Reporter
from panosam2_ros.ros.diagnostics.status import DetectionCounts
from panosam2_ros.ros.inference.worker import Worker
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.services.detection_handler import DetectionAnswer, DetectionHandler, DetectionRequest
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.ros.services.servers import NodeContext, ServiceServers

_ABSENT = (
    "vision_msgs is not installed: ~/detections_in, ~/detections and ~/label_info are left out; "
    "apt install ros-$ROS_DISTRO-vision-msgs"
)
_STAYS = 5.0  # s for which a problem is a finding


class DetectedBoxesInput:
    """Takes `~/detections_in`; one message is worked on, and the newest of the others waits."""

    def __init__(
        self,
        node: Node,
        servers: ServiceServers,
        reporter: Reporter,
        context: NodeContext,
        settings: Callable[[], Parameters],
    ) -> None:
        self._servers, self._reporter, self._context = servers, reporter, context
        self._settings, self._handler = settings, DetectionHandler()
        self.counts = DetectionCounts()
        self._waiting: bytes | None = None
        self._busy = False
        self._problem, self._problem_at = "", 0.0
        if DETECTIONS_TYPE is None:
            node.get_logger().info(_ABSENT)
            return
        # best effort connects to every publisher; serialized, so that its size is judged before it is read
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(
            DETECTIONS_TYPE,
            "~/detections_in",
            self._arrived,
            qos,
            callback_group=ReentrantCallbackGroup(),  # one that waits for the tracker keeps nothing out
            qos_overriding_options=QOS_BY_PARAMETER,
            raw=True,
        )

    @property
    def findings(self) -> dict[str, Finding]:
        """What is wrong with the messages of the last seconds."""
        recent = self._problem and time.monotonic() - self._problem_at < _STAYS
        return {"detections": Finding(WARN, f"detections: {self._problem}")} if recent else {}

    async def _arrived(self, data: bytes) -> None:
        self._count(received=1, dropped=int(self._busy and self._waiting is not None))
        try:
            check_message_size(data)
        except DetectionsError as error:  # it must not wait: it may be of any size
            self._refused(error)
            return
        if self._busy:
            self._waiting = data
            return
        self._busy = True
        try:
            newest: bytes | None = data
            while newest is not None:
                await self._take(newest)
                newest, self._waiting = self._waiting, None
        except Exception as error:  # would end the executor
            self._servers.failed(error)
        finally:
            self._busy, self._waiting = False, None

    async def _take(self, data: bytes) -> None:
        """Make objects of one message."""
        now = self._settings()
        if self._context.worker is None or not now.detection_rate:
            self._count(dropped=1)
            return
        try:
            request = self._request(data, now)
        except (DetectionsError, DetectedImageError) as error:
            self._refused(error)
            return
        try:
            answer = await self._servers.run(partial(self._add, request=request), stamp=request.stamp)
        except CallRefusedError as refusal:
            held = refusal.code not in (PromptResult.STAMP_NOT_HELD, PromptResult.NO_IMAGE)
            self._count(dropped=int(held), expired=int(not held))
            if refusal.code not in (PromptResult.NOT_ACTIVE, PromptResult.NO_IMAGE):
                self._failed(str(refusal))
            return
        self._answered(answer, now)

    def _request(self, data: bytes, now: Parameters) -> DetectionRequest:
        """Read a message; raise DetectionsError or DetectedImageError."""
        msg = parse_detections(data)
        stamp, boxes = boxes_from_msg(msg, now.max_label_length)
        self._count(boxes_refused=len(msg.detections) - len(boxes))
        image = DetectedImage(
            now.detection_width,
            now.detection_height,
            now.detection_fov,
            now.detection_azimuth,
            now.detection_elevation,
        )
        image.view()
        classes = frozenset(name.strip() for name in now.detection_classes.split(",") if name.strip())
        rules = DetectionRules(Wanted(now.detection_score, classes), now.detection_overlap, image)
        return DetectionRequest(stamp, boxes, rules, now.detection_rate, now.vertical_fov)

    def _add(self, worker: Worker[Any], request: DetectionRequest) -> DetectionAnswer:
        """Make objects; called on the worker's thread."""
        answer = self._handler.add(worker, request)
        if answer.made:
            self._context.tracker_changed()
        return answer

    def _answered(self, answer: DetectionAnswer, now: Parameters) -> None:
        self._count(dropped=int(answer.replaying), boxes_refused=answer.unusable, objects=len(answer.made))
        for track in answer.made:
            self._reporter.note(f"detections: object {track.obj_id}, label {track.label!r}", "detection")
        if answer.made:
            self._context.save_soon()
        if answer.unusable:
            self._failed(
                f"{answer.unusable} boxes of a message were refused: a box is finite, has a size of two "
                "pixels or more and lies in the image; for a detector with an image of another size set "
                "detection_width and detection_height"
            )
        elif answer.without_room:
            self._failed(
                f"{answer.without_room} new things were left out: {now.max_objects} objects may be known "
                "(max_objects): remove some, or name detection_classes"
            )

    def _refused(self, error: Exception) -> None:
        self._count(refused=1)
        self._failed(str(error))

    def _failed(self, text: str) -> None:
        self._problem, self._problem_at = text, time.monotonic()

    def _count(self, **more: int) -> None:
        changed = {name: getattr(self.counts, name) + n for name, n in more.items()}
        self.counts = replace(self.counts, **changed)
