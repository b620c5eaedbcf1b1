"""What the services do with the tracker; everything here runs on the worker's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from std_msgs.msg import Header
from std_srvs.srv import Trigger

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.msg import PromptResult
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.conversion.messages import (
    PromptError,
    bearing_msg,
    bearings_msg,
    ns_to_stamp,
    prompt_from_msg,
    stamp_to_ns,
)
from panosam2_ros.ros.inference.worker import NoSuchFrameError, Worker
from panosam2_ros.srv import ListObjects, RemoveObjects
from panosam2_ros.srv import Prompt as PromptSrv

CameraOf = Callable[[Header], CameraFrame]  # how the camera of an image's header sits


def prompt(
    worker: Worker[Any],
    request: PromptSrv.Request,
    camera_of: CameraOf,
    vertical_fov: float,  # rad
) -> PromptSrv.Response:
    """Every prompt for itself: good ones succeed beside bad ones."""
    epoch = worker.tracker.epoch
    if not request.prompts:
        message = "the request holds no prompts: give at least one"
        return PromptSrv.Response(success=False, message=message, epoch=epoch)
    try:
        frame, image = worker.frame_at(stamp_to_ns(request.stamp))
    except (NoSuchFrameError, ImageError) as error:
        return refused_prompts(len(request.prompts), message=str(error), epoch=epoch)
    camera = camera_of(frame.message.header)
    grid = Equirect(image.shape[1], image.shape[0], vertical_fov)
    read = [_read(message, grid, camera) for message in request.prompts]
    good = [p for p in read if isinstance(p, Prompt)]
    outcomes = iter(worker.tracker.prompt(image, frame.stamp, good) if good else [])
    results = [
        _result(next(outcomes), camera) if isinstance(p, Prompt) else PromptResult(message=p) for p in read
    ]
    return PromptSrv.Response(
        success=all(r.success for r in results),
        message=_summary(results),
        epoch=worker.tracker.epoch,
        stamp=ns_to_stamp(frame.stamp),
        results=results,
    )


def refused_prompts(
    count: int, success: bool = False, message: str = "", epoch: int = 0
) -> PromptSrv.Response:
    """One refusal for each of ``count`` prompts, with one reason."""
    results = [PromptResult(success=success, message=message) for _ in range(count)]
    return PromptSrv.Response(success=success, message=message, epoch=epoch, results=results)


def _read(message: Any, grid: Equirect, camera: CameraFrame) -> Prompt | str:
    """The prompt, or why it cannot be read."""
    try:
        return prompt_from_msg(message, grid, camera)
    except PromptError as error:
        return str(error)


def _result(outcome: Any, camera: CameraFrame) -> PromptResult:
    result = PromptResult(success=outcome.success, message=outcome.message)
    if outcome.track is not None:
        result.bearing = bearing_msg(outcome.track, camera)
    return result


def _summary(results: list[PromptResult]) -> str:
    refused = [(i, r.message) for i, r in enumerate(results) if not r.success]
    if not refused:
        return ""
    reasons = "; ".join(f"prompt {i}: {message}" for i, message in refused)
    return f"{len(refused)} of {len(results)} refused: {reasons}"


def remove_objects(worker: Worker[Any], request: RemoveObjects.Request) -> RemoveObjects.Response:
    """Known ids are removed beside unknown ones."""
    wanted = [int(i) for i in request.object_ids]
    removed = worker.tracker.remove(wanted)
    unknown = sorted(set(wanted) - set(removed))
    message = ""
    if not wanted:
        message = "object_ids is empty: name the objects, or call reset to forget all"
    elif unknown:
        known = [track.obj_id for track in worker.tracker.tracks()]
        message = f"no object has the id {', '.join(map(str, unknown))}; left are {known}"
    return RemoveObjects.Response(success=not message, message=message, removed=removed)


def list_objects(worker: Worker[Any], camera_of: CameraOf) -> ListObjects.Response:
    """As of the newest processed image."""
    tracker, newest = worker.tracker, worker.newest
    header = newest.message.header if newest else Header()
    objects = bearings_msg(header, tracker.epoch, tracker.tracks(), camera_of(header))
    return ListObjects.Response(
        objects=objects, memory_mib=tracker.memory_bytes / 2**20, max_objects=tracker.max_objects
    )


def reset(worker: Worker[Any]) -> Trigger.Response:
    """Everything is forgotten; ids start again."""
    worker.tracker.reset()
    return Trigger.Response(success=True, message=f"epoch {worker.tracker.epoch}")
