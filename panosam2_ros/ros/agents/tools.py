"""What an agent may do, whatever the protocol: every call ends with an answer or with AgentError."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
from builtin_interfaces.msg import Time

from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptDirection
from panosam2_ros.ros.agents.remedies import AgentError
from panosam2_ros.ros.agents.wording import describe_object, object_name, stale_note
from panosam2_ros.ros.client import NO_MESSAGES, Client, ClientError
from panosam2_ros.ros.conversion.messages import vector_msg
from panosam2_ros.ros.conversion.plain_values import (
    bearing_values,
    image_values,
    stamp_from_text,
    stamp_text,
)
from panosam2_ros.ros.panorama_snapshot import PanoramaSnapshot, take_snapshot, view_of
from panosam2_ros.ros.pointing import Picture
from panosam2_ros.srv import GetObjects

MOST_COLUMNS = 1280  # of a picture of the panorama: models that see scale larger pictures down themselves
VIEW_SIZE = 800, 600  # pixels of a perspective view
VIEW_FOV = 60.0  # degrees
LONGEST_WAIT = 120.0  # s
JPEG_QUALITY_FOR_AGENTS = 88
_SNAPSHOTS = 3  # kept, so that a detail of the same image can be looked at; of 4K ones 22 MB each

T = TypeVar("T")
View = dict[str, float]  # azimuth_deg, elevation_deg, fov_deg, width, height


@dataclass(frozen=True, eq=False)
class ToolAnswer:
    """What a call found: in words, as values with the keys of `panosam2_prompt --json`, and as a picture."""

    text: str
    values: dict[str, Any]
    jpeg: bytes = b""  # empty: no picture


class AgentTools:
    """The calls; they may be made by several threads at once if the client's way of waiting permits it."""

    def __init__(
        self, client: Client, *, most_columns: int = MOST_COLUMNS, clock: Callable[[], int] | None = None
    ) -> None:
        self._client, self._columns = client, most_columns
        self._clock = clock or (lambda: int(client.node.get_clock().now().nanoseconds))
        self._snapshots: OrderedDict[str, PanoramaSnapshot] = OrderedDict()  # by stamp
        self._lock = threading.Lock()

    @property
    def longest_call(self) -> float:
        """How long a call can take, s: finding a service, its answer, and an image each have the timeout."""
        return 7 * self._client.timeout + 2

    # --- looking

    def look(self, stamp: str | None = None) -> ToolAnswer:
        """Show the panorama."""
        taken = self._snapshot(stamp)
        picture = taken.picture(most_columns=self._columns)
        size = picture.projection
        text = (
            f"Panorama of {size.width}x{size.height} pixels; its left and right edges meet behind the "
            f"camera.\n{_holding(taken)}\nNumbers at the edges are pixels of this picture, as track takes "
            "them."
        )
        return self._shown(taken, picture, text, None)

    def look_at(
        self, azimuth: float, elevation: float = 0.0, fov: float = VIEW_FOV, stamp: str | None = None
    ) -> ToolAnswer:
        """Show a perspective view."""
        taken = self._snapshot(stamp)
        view = {"azimuth_deg": azimuth, "elevation_deg": elevation, "fov_deg": fov}
        view |= {"width": VIEW_SIZE[0], "height": VIEW_SIZE[1]}
        picture = taken.picture(view=_view(taken, view))
        text = (
            f"View to azimuth {azimuth:g}, elevation {elevation:g}, {fov:g} degrees wide, "
            f"{VIEW_SIZE[0]}x{VIEW_SIZE[1]} pixels.\n{_holding(taken)}\nTo point into it give track its "
            f"pixels, this stamp and view {json.dumps(view)}."
        )
        return self._shown(taken, picture, text, view)

    def _shown(self, taken: PanoramaSnapshot, picture: Picture, text: str, view: View | None) -> ToolAnswer:
        bgr = cv2.cvtColor(taken.draw(picture), cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY_FOR_AGENTS])
        known = taken.objects
        values = {
            **image_values(taken.header, known.epoch if known is not None else 0),
            "width": picture.projection.width,
            "height": picture.projection.height,
            "view": view,
            "history_s": taken.history_seconds,
            "objects_frame_id": known.header.frame_id if known is not None else None,
            "objects": [],
        }
        if known is not None:
            values["objects"] = [bearing_values(item, known.header) for item in known.objects]
            text += f"\n{self._listed(known)}"
        return ToolAnswer(text, values, encoded.tobytes())

    def _snapshot(self, stamp: str | None) -> PanoramaSnapshot:
        """Return the panorama of a stamp that was looked at, or the newest one."""
        if stamp is not None:
            wanted = stamp_text(_stamp(stamp))
            with self._lock:
                kept = self._snapshots.get(wanted)
                held = list(self._snapshots)
            if kept is None:
                text = (
                    f"no picture of stamp {wanted} was looked at lately; those of {held or 'none'} are kept"
                )
                raise AgentError("STAMP_NOT_HELD", text)
            return kept
        taken = _of_node(lambda: take_snapshot(self._client))
        with self._lock:
            self._snapshots[stamp_text(taken.header.stamp)] = taken
            while len(self._snapshots) > _SNAPSHOTS:
                self._snapshots.popitem(last=False)
        return taken

    # --- pointing

    def track(
        self,
        label: str,
        *,
        pixel: Sequence[float] = (),
        box: Sequence[float] = (),
        direction: Sequence[float] = (),  # azimuth, elevation, degrees
        stamp: str | None = None,
        view: View | None = None,
    ) -> ToolAnswer:
        """Track a new object."""
        given = [name for name, place in (("pixel", pixel), ("box", box), ("direction", direction)) if place]
        if len(given) != 1:
            text = f"track takes one of pixel, box and direction, got {' and '.join(given) or 'none of them'}"
            raise AgentError("INVALID", text)
        on = [_pair("pixel", pixel)] if pixel else []
        prompt = self._pointed(stamp, view, on=on, box=box, direction=direction)
        prompt.label = label
        return self._prompted(prompt, stamp, "Tracking")

    def correct(
        self,
        obj_id: int,
        *,
        on: Sequence[Sequence[float]] = (),
        off: Sequence[Sequence[float]] = (),
        stamp: str | None = None,
        view: View | None = None,
    ) -> ToolAnswer:
        """Correct the mask of a known object."""
        if not (on or off):
            raise AgentError("INVALID", "correct takes pixels on the object, or pixels beside it, or both")
        pixels = ([_pair("pixel", each) for each in places] for places in (on, off))
        prompt = self._pointed(stamp, view, *pixels)
        prompt.object_id = obj_id
        return self._prompted(prompt, stamp, "Corrected")

    def _pointed(
        self,
        stamp: str | None,
        view: View | None,
        on: Sequence[Sequence[float]] = (),
        off: Sequence[Sequence[float]] = (),
        *,
        box: Sequence[float] = (),
        direction: Sequence[float] = (),
    ) -> ObjectPrompt:
        taken = self._geometry(stamp)
        picture = taken.picture(most_columns=self._columns)
        if view is not None:
            picture = taken.picture(view=_view(taken, view))
        try:
            if not direction:
                return picture.prompt(on, off, box)
            azimuth, elevation = _pair("direction", direction)
            axis = view_of(taken.camera, (azimuth, elevation, VIEW_FOV), VIEW_SIZE).axes[2]
        except ValueError as error:
            raise AgentError("INVALID", str(error)) from error
        way = vector_msg(taken.camera.to_frame(axis))
        return ObjectPrompt(directions=[PromptDirection(direction=way, label=PromptDirection.FOREGROUND)])

    def _geometry(self, stamp: str | None) -> PanoramaSnapshot:
        """Return the panorama of a stamp, or another one, whose size and frame are the same."""
        with self._lock:
            kept = dict(self._snapshots)
        if stamp is not None and (same := kept.get(stamp_text(_stamp(stamp)))) is not None:
            return same
        return next(reversed(kept.values())) if kept else self._snapshot(None)

    def _prompted(self, prompt: ObjectPrompt, stamp: str | None, verb: str) -> ToolAnswer:
        at = _stamp(stamp) if stamp is not None else None
        try:
            answer = self._client.prompted(prompt, stamp=at)
        except ClientError as error:
            raise self._explained(error, prompt.object_id) from error
        bearing, header = answer.results[0].bearing, answer.header
        words = describe_object(bearing, header, self._clock())
        values = {**image_values(header, answer.epoch), "object": bearing_values(bearing, header)}
        text = f"{verb} {object_name(bearing)}. In the image of stamp {stamp_text(header.stamp)}, {words}."
        return ToolAnswer(text, values)

    # --- asking

    def where(self, obj_id: int) -> ToolAnswer:
        """Say where an object is."""
        known = self._known()
        found = self._found(obj_id, known)
        note = stale_note(known.header, self._clock())
        text = f"{describe_object(found, known.header, self._clock())}. {note}".rstrip()
        return ToolAnswer(text, _one(found, known))

    def list_objects(self) -> ToolAnswer:
        """Say where all objects are."""
        known = self._known()
        values = {
            **image_values(known.header, known.epoch),
            "objects": [bearing_values(item, known.header) for item in known.objects],
        }
        note = stale_note(known.header, self._clock()) if known.objects else ""
        return ToolAnswer(f"{self._listed(known)}\n{note}".rstrip(), values)

    def forget(self, obj_id: int) -> ToolAnswer:
        """Forget an object."""
        try:
            self._client.remove([obj_id])
        except ClientError as error:
            raise self._explained(error, obj_id) from error
        return ToolAnswer(f"Object {obj_id} is forgotten; its id is not used again.", {"removed": [obj_id]})

    def wait_until_visible(self, obj_id: int, timeout: float) -> ToolAnswer:
        """Wait until an object is seen, at most ``timeout`` s."""
        if not 0 < timeout <= LONGEST_WAIT:
            raise AgentError(
                "INVALID", f"timeout_s is more than 0 and at most {LONGEST_WAIT:g}, got {timeout:g}"
            )
        self._found(obj_id, self._known())
        newest: list[ObjectBearingArray] = []

        def keep(message: ObjectBearingArray) -> None:
            newest[:] = [message]

        def over() -> bool:
            state = {o.object_id: o.state for m in newest for o in m.objects}
            return bool(newest) and state.get(obj_id) in (None, ObjectBearing.STATE_VISIBLE)

        with self._client.subscribed(ObjectBearingArray, "bearings", keep):
            self._client.waiting.until(over, timeout)
        if not newest:
            name = self._client.resolved("bearings")
            raise AgentError(NO_MESSAGES, f"nothing came on {name} for {timeout:g} s: no image was processed")
        found = self._found(obj_id, newest[0])
        words = describe_object(found, newest[0].header, self._clock())
        seen = found.state == ObjectBearing.STATE_VISIBLE
        text = f"{words}." if seen else f"Not visible within {timeout:g} s: {words}."
        return ToolAnswer(text, {"visible": seen, **_one(found, newest[0])})

    def _known(self) -> ObjectBearingArray:
        answer: GetObjects.Response = _of_node(self._client.objects)
        return answer.objects

    def _found(self, obj_id: int, known: ObjectBearingArray) -> ObjectBearing:
        found = {item.object_id: item for item in known.objects}
        if obj_id not in found:
            raise _unknown(obj_id, known)
        return found[obj_id]

    def _listed(self, known: ObjectBearingArray) -> str:
        if not known.objects:
            return "No objects are tracked."
        lines = [f"- {describe_object(item, known.header, self._clock())}" for item in known.objects]
        return "\n".join([f"{len(lines)} object{'s' * (len(lines) > 1)} tracked:", *lines])

    def _explained(self, error: ClientError, obj_id: int) -> AgentError:
        """Return the error of a call, with the known ids where the object is none of them."""
        if error.name == "UNKNOWN_OBJECT":
            return _unknown(obj_id, self._known())
        return AgentError.of(error)


def _unknown(obj_id: int, known: ObjectBearingArray) -> AgentError:
    names = ", ".join(object_name(item) for item in known.objects) or "none"
    text = f"no object has id {obj_id} in epoch {known.epoch}; known are: {names}"
    return AgentError("UNKNOWN_OBJECT", text, known=[int(item.object_id) for item in known.objects])


def _one(found: ObjectBearing, known: ObjectBearingArray) -> dict[str, Any]:
    return {**image_values(known.header, known.epoch), "object": bearing_values(found, known.header)}


def _holding(taken: PanoramaSnapshot) -> str:
    """Say of which image a picture is, for how long it can be prompted, and what its lines mean."""
    frame = taken.header.frame_id
    text = (
        f"stamp {stamp_text(taken.header.stamp)}; the node takes prompts with it for about "
        f"{taken.history_seconds:g} s.\nLines are azimuth (left positive) and elevation, degrees, of frame "
        f"{frame}."
    )
    if taken.objects is not None and taken.objects.header.frame_id != frame:
        text += f" Directions of objects are in frame {taken.objects.header.frame_id}: look_at takes others."
    return text


def _of_node(call: Callable[[], T]) -> T:
    """Return what a call of the node returns; raise AgentError where it fails."""
    try:
        return call()
    except ClientError as error:
        raise AgentError.of(error) from error


def _stamp(text: str) -> Time:
    try:
        return stamp_from_text(text)
    except ValueError as error:
        raise AgentError("INVALID", f"{error}; copy it from the answer of look, as a string") from error


def _pair(name: str, numbers: Sequence[float]) -> tuple[float, float]:
    if len(numbers) != 2:
        raise AgentError("INVALID", f"a {name} is two numbers, got {len(numbers)}")
    return float(numbers[0]), float(numbers[1])


def _view(taken: PanoramaSnapshot, view: View) -> PerspectiveView:
    try:
        angles = float(view["azimuth_deg"]), float(view["elevation_deg"]), float(view["fov_deg"])
        return view_of(taken.camera, angles, (int(view["width"]), int(view["height"])))
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError("INVALID", f"this is no view as look_at returns it: {error}") from error
