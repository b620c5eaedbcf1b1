"""What the services do with the tracker; everything here runs on the worker's thread.

What a request as a whole is refused for is raised: CallRefusedError, or an exception of the worker that
``CallRefusedError.of`` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from std_msgs.msg import Header
from std_srvs.srv import Trigger

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.printable import listed, printable
from panosam2_ros.memory.memory_header import MAX_OBJ_ID
from panosam2_ros.msg import PromptResult
from panosam2_ros.prompts.limits import LARGEST_PROMPT, PromptLimits
from panosam2_ros.prompts.prompt import Prompt, PromptError
from panosam2_ros.ros.conversion.messages import (
    bearing_msg,
    bearings_msg,
    prompt_from_msg,
    stamp_to_ns,
)
from panosam2_ros.ros.conversion.target_frame import TargetFrame
from panosam2_ros.ros.inference.worker import Worker
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.srv import GetObjects, PromptObjects, RemoveObjects
from panosam2_ros.tracking.track import PromptOutcome

_MOST_REASONS = 5  # of refused prompts in the message of the whole answer; each result has its own


@dataclass(frozen=True)
class ImageGeometry:
    """How pixels and directions of requests and answers relate to the images."""

    vertical_fov: float  # rad
    camera_of: Callable[
        [Header], CameraFrame
    ]  # how the camera of an image with this header sits in its frame
    target: TargetFrame  # of the directions in answers
    limits: PromptLimits = LARGEST_PROMPT  # of requests


def prompt_objects(
    worker: Worker[Any], request: PromptObjects.Request, geometry: ImageGeometry
) -> PromptObjects.Response:
    """Judge every prompt by itself: good ones take effect beside bad ones."""
    if not request.prompts:
        raise CallRefusedError(PromptResult.INVALID, "the request holds no prompts: give at least one")
    check_prompt_count(len(request.prompts), geometry.limits)
    frame, image = worker.frame_at(stamp_to_ns(request.stamp))
    camera = geometry.camera_of(frame.message.header)
    grid = Equirect(image.shape[1], image.shape[0], geometry.vertical_fov)
    prompts: dict[int, Prompt] = {}
    results: dict[int, PromptResult] = {}
    for i, message in enumerate(request.prompts):
        try:
            prompts[i] = prompt_from_msg(message, grid, camera, geometry.limits)
        except PromptError as error:
            results[i] = PromptResult(code=int(error.status), message=printable(str(error)))
    outcomes = worker.tracker.prompt(image, frame.stamp, list(prompts.values())) if prompts else []
    header, answered = geometry.target.of(frame.message.header, camera)
    results |= {i: _result(outcome, answered) for i, outcome in zip(prompts, outcomes, strict=True)}
    ordered = [results[i] for i in range(len(results))]
    return PromptObjects.Response(
        success=all(result.code == PromptResult.OK for result in ordered),
        message=_summary(ordered),
        header=header,
        epoch=worker.tracker.epoch,
        results=ordered,
    )


def refused_prompts(count: int, refusal: CallRefusedError, epoch: int) -> PromptObjects.Response:
    """Return one result for each of ``count`` prompts, all refused for one reason."""
    message = str(refusal)
    results = [PromptResult(code=refusal.code, message=message) for _ in range(count)]
    return PromptObjects.Response(success=False, message=message, epoch=epoch, results=results)


def check_prompt_count(count: int, limits: PromptLimits) -> None:
    """Raise CallRefusedError for a request of too many prompts."""
    if count > limits.prompts:
        raise CallRefusedError(
            PromptResult.INVALID,
            f"a request has at most {limits.prompts} prompts (max_prompts), got {count}: send several",
        )


def _result(outcome: PromptOutcome, camera: CameraFrame) -> PromptResult:
    result = PromptResult(code=int(outcome.status), message=printable(outcome.message))
    if outcome.track is not None:
        result.bearing = bearing_msg(outcome.track, camera)
    return result


def _summary(results: Sequence[PromptResult]) -> str:
    refused = [(i, r.message) for i, r in enumerate(results) if r.code != PromptResult.OK]
    if not refused:
        return ""
    reasons = "; ".join(f"prompt {i}: {message}" for i, message in refused[:_MOST_REASONS])
    more = len(refused) - _MOST_REASONS
    return f"{len(refused)} of {len(results)} refused: {reasons}" + (f"; and {more} more" if more > 0 else "")


def remove_objects(worker: Worker[Any], request: RemoveObjects.Request) -> RemoveObjects.Response:
    """Remove known ids, also beside unknown ones."""
    wanted = [int(i) for i in request.object_ids]
    if not wanted:
        message = "object_ids is empty: name the objects, or call reset to forget all"
        raise CallRefusedError(PromptResult.INVALID, message)
    if len(wanted) > MAX_OBJ_ID:
        message = f"object_ids has {len(wanted)} ids, and there are {MAX_OBJ_ID}: name each object once"
        raise CallRefusedError(PromptResult.INVALID, message)
    removed = worker.tracker.remove(wanted)
    unknown = sorted(set(wanted) - set(removed))
    if not unknown:
        return RemoveObjects.Response(success=True, removed=removed)
    known = [track.obj_id for track in worker.tracker.tracks()]
    return RemoveObjects.Response(
        success=False,
        code=PromptResult.UNKNOWN_OBJECT,
        message=f"no object has the id {listed(unknown)[1:-1]}; left are {listed(known)}",
        removed=removed,
    )


def get_objects(worker: Worker[Any], geometry: ImageGeometry) -> GetObjects.Response:
    """Return all known objects as of the newest processed image; the header is empty before the first."""
    tracker, newest = worker.tracker, worker.newest
    header = newest.message.header if newest else Header()
    camera = geometry.camera_of(header)
    if newest:
        header, camera = geometry.target.of(header, camera)
    return GetObjects.Response(
        success=True,
        objects=bearings_msg(header, tracker.epoch, tracker.tracks(), camera),
        memory_bytes=tracker.memory_bytes,
        max_objects=tracker.max_objects,
    )


def reset(worker: Worker[Any]) -> Trigger.Response:
    """Forget everything; ids start again."""
    worker.tracker.reset()
    return Trigger.Response(success=True, message=f"epoch {worker.tracker.epoch}")
