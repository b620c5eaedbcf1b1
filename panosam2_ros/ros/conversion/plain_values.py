"""Messages as plain values for JSON: stable keys that name their units, angles in degrees and in rad.

Stamps are strings SECONDS.NANOSECONDS: as a number of JSON they would lose nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import ELLIPSE_95
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.conversion.messages import stamp_to_ns

STATE_WORDS = {
    ObjectBearing.STATE_VISIBLE: "visible",
    ObjectBearing.STATE_OCCLUDED: "occluded",
    ObjectBearing.STATE_LOST: "lost",
}


def stamp_text(stamp: Time) -> str:
    """Return a stamp as SECONDS.NANOSECONDS."""
    return f"{stamp.sec}.{stamp.nanosec:09d}"


def stamp_from_text(text: str) -> Time:
    """Read a stamp exactly: a float would lose nanoseconds; raise ValueError for what is none."""
    seconds, _, rest = text.strip().partition(".")
    decimal = all(part.isascii() and part.isdecimal() for part in (seconds, rest or "0"))
    if not decimal or len(rest) > 9 or int(seconds) >= 2**31:
        raise ValueError(f"a stamp is SECONDS.NANOSECONDS, got {text[:80]!r}")
    return Time(sec=int(seconds), nanosec=int(rest.ljust(9, "0")))


def image_values(header: Header, epoch: int) -> dict[str, Any]:
    """Return of which image an answer is, in which frame its directions are, and in which epoch ids hold."""
    return {"stamp": stamp_text(header.stamp), "frame_id": header.frame_id, "epoch": int(epoch)}


def bearing_values(bearing: ObjectBearing, header: Header) -> dict[str, Any]:
    """Return what is known of an object; ``header``: of the answer."""
    unseen = (stamp_to_ns(header.stamp) - stamp_to_ns(bearing.last_seen)) * 1e-9
    velocity = [bearing.angular_velocity.x, bearing.angular_velocity.y, bearing.angular_velocity.z]
    known = all(map(math.isfinite, velocity))
    angles = {
        "azimuth": bearing.azimuth,
        "elevation": bearing.elevation,
        "extent_horizontal": bearing.extent_horizontal,
        "extent_vertical": bearing.extent_vertical,
        "within_95": within_95(bearing.direction_covariance),
    }
    in_degrees = {f"{name}_deg": _number(math.degrees(value), 3) for name, value in angles.items()}
    in_rad = {f"{name}_rad": _number(value, 6) for name, value in angles.items()}
    return {
        "object_id": int(bearing.object_id),
        "label": bearing.label,
        "state": STATE_WORDS.get(bearing.state, "unknown"),
        "score": _number(bearing.score, 4),
        "mask_iou": _number(bearing.mask_iou, 4),
        "last_seen": stamp_text(bearing.last_seen),
        "unseen_s": round(max(unseen, 0.0), 3),
        **in_degrees,
        **in_rad,
        "solid_angle_sr": _number(bearing.solid_angle, 6),
        "direction": [_number(c, 7) for c in (bearing.direction.x, bearing.direction.y, bearing.direction.z)],
        "angular_velocity_deg_s": [round(math.degrees(c), 3) for c in velocity] if known else None,
        "angular_velocity_rad_s": [round(c, 6) for c in velocity] if known else None,
    }


def _number(value: float, digits: int) -> float | None:
    """Round a number; None where it is not finite, which JSON cannot say."""
    return round(float(value), digits) if math.isfinite(value) else None


def within_95(covariance: Iterable[float]) -> float:
    """Return the angle, rad, within which a direction lies with 95 % probability, whatever the way.

    ``covariance`` [4]: rad^2, row-major 2x2. The larger half axis of the ellipse, at most half a turn.
    """
    matrix = np.reshape(np.asarray(list(covariance), float), (2, 2))
    if not np.isfinite(matrix).all():
        return math.pi
    values = np.linalg.eigvalsh(matrix)
    return min(math.sqrt(ELLIPSE_95 * max(float(values[-1]), 0.0)), math.pi)
