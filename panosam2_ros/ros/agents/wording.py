"""Plain words for what the node knows: angles in whole degrees, left and right, ages in seconds."""

from __future__ import annotations

import math

from std_msgs.msg import Header

from panosam2_ros.io.printable import printable
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.conversion.plain_values import STATE_WORDS, within_95

FIXED_FRAMES = ("map", "odom", "earth", "world")  # REP-105: they do not turn with the robot
_SAME_CLOCK = 3600.0  # s: an image that seems older was stamped by another clock
_AHEAD = 1.0  # s by which clocks of two machines may differ
_STALE = 2.0  # s after which the camera seems to have stopped


def describe_object(bearing: ObjectBearing, header: Header, now: int) -> str:
    """Describe an object in one sentence; ``header``: of the answer; ``now``: ns, of the clock of stamps."""
    name = object_name(bearing)
    where = describe_direction(bearing.azimuth, bearing.elevation, header.frame_id)
    seen = describe_age(bearing, header, now)
    sure = f"95 % within {math.degrees(within_95(bearing.direction_covariance)):.1f}°"
    state = STATE_WORDS.get(bearing.state, "unknown")
    if bearing.state == ObjectBearing.STATE_VISIBLE:
        return f"{name} is {where}, {seen}; {sure}; {state}"
    if bearing.state == ObjectBearing.STATE_OCCLUDED:
        return f"{name} is hidden, expected {where}, {seen}; {sure}; {state}"
    return f"{name} is lost; it was {where}, {seen}; {sure}; {state}"


def object_name(bearing: ObjectBearing) -> str:
    """Return an object's label and id."""
    return f"{printable(bearing.label) or 'object'} (id {bearing.object_id})"


def describe_direction(azimuth: float, elevation: float, frame_id: str) -> str:
    """Describe a direction, rad, as seen in a frame; left and right have no meaning in a fixed one."""
    return f"{_across(math.degrees(azimuth), frame_id)}, {_up(math.degrees(elevation))}"


def _across(degrees: float, frame_id: str) -> str:
    if frame_id.rsplit("/")[-1] in FIXED_FRAMES:
        return f"at azimuth {degrees:+.0f}° of the fixed frame {printable(frame_id)}"
    whole = round(abs(degrees))
    if whole <= 1:
        return "straight ahead"
    if whole >= 179:
        return "straight behind"
    side = "left" if degrees > 0 else "right"
    return f"{whole}° to the {side}" + (" (behind)" if whole > 90 else "")


def _up(degrees: float) -> str:
    whole = round(abs(degrees))
    if not whole:
        return "at the horizon"
    return f"{whole}° {'above' if degrees > 0 else 'below'} the horizon"


def image_age(header: Header, now: int) -> float | None:
    """Return how old an image is, s; None where its stamp comes from another clock, or there is no image."""
    age = (now - stamp_to_ns(header.stamp)) * 1e-9
    return max(age, 0.0) if -_AHEAD <= age <= _SAME_CLOCK else None


def describe_age(bearing: ObjectBearing, header: Header, now: int) -> str:
    """Say how long ago an object was seen."""
    unseen = max((stamp_to_ns(header.stamp) - stamp_to_ns(bearing.last_seen)) * 1e-9, 0.0)
    age = image_age(header, now)
    if age is not None:
        return f"seen {_seconds(age + unseen)} ago"
    return "seen in the newest image" if not unseen else f"seen {_seconds(unseen)} before the newest image"


def stale_note(header: Header, now: int) -> str:
    """Warn where the newest image is old; empty where it is not."""
    age = image_age(header, now)
    if age is None or age <= _STALE:
        return ""
    return f"The newest image is {_seconds(age)} old: has the camera stopped? Directions are of that moment."


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
