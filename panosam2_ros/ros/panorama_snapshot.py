"""The panorama of a node at a moment with what the node knows of it, and pictures of that."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import LEAST_WIDTH, Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.image_encodings import ImageError, image_to_array
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.messages import camera_frame, stamp_to_ns
from panosam2_ros.ros.pointing import Picture
from panosam2_ros.visualization.drawing import Mark
from panosam2_ros.visualization.overlay import name
from panosam2_ros.visualization.rulers import annotated

_PATIENCE = 2.0  # s after a panorama for its masks and bearings
_KEPT = 4  # newest messages of each topic, until some stamp has come on all of them
_TOPICS: dict[str, Any] = {"panorama": Image, "masks": Image, "bearings": ObjectBearingArray}
_ANGLES = ("camera_roll", "camera_pitch", "camera_yaw")
SNAPSHOT_PARAMETERS = ("vertical_fov", "frame_convention", *_ANGLES, "history_seconds")


@dataclass(frozen=True, eq=False)
class PanoramaSnapshot:
    """One panorama and what the node found in it."""

    header: Header  # of the image: its stamp, and the frame of its camera
    image: ImageArray  # [H, W, 3] RGB, at the size to which prompts refer
    labels: LabelImage | None  # [H, W]; None where no label image of it came
    objects: ObjectBearingArray | None  # None where no bearings of it came
    camera: CameraFrame
    vertical_fov: float  # rad
    history_seconds: float  # s for which the node keeps an image for prompts

    @property
    def grid(self) -> Equirect:
        """The pixels of the panorama."""
        return Equirect(self.image.shape[1], self.image.shape[0], self.vertical_fov)

    def picture(self, *, most_columns: int = 0, view: PerspectiveView | None = None) -> Picture:
        """Return the pixels of a view, or of the panorama with at most so many columns (0: all)."""
        grid = self.grid
        if view is None and 0 < most_columns < grid.width:
            return Picture(grid.of_width(max(most_columns, LEAST_WIDTH)), grid, self.camera)
        return Picture(view or grid, grid, self.camera)

    def draw(self, picture: Picture, *, rulers: bool = True, in_image_pixels: bool = False) -> ImageArray:
        """Draw a picture, by default with rulers, outlines and names of objects.

        ``in_image_pixels``: the rulers of a smaller panorama count the pixels of the image, not its own.
        """
        projection, labels = picture.projection, self.labels
        if isinstance(projection, PerspectiveView):
            pixels = projection.pixels(self.image, self.grid)
            labels = projection.labels(labels, self.grid) if labels is not None else None
        else:
            pixels = resized_image(self.image, projection.width, projection.height)
            labels = (
                resize_labels(labels, projection.width, projection.height) if labels is not None else None
            )
        if not rulers:
            return pixels
        step = self.grid.width / projection.width if in_image_pixels else 1.0
        return annotated(pixels, labels, self._marks(), projection, self.camera, pixel_step=step)

    def _marks(self) -> list[Mark]:
        """Return the marks of all objects whose direction in the image is known."""
        found = []
        for item in self.objects.objects if self.objects is not None else ():
            direction = self.direction(item)
            if direction is not None and item.state != ObjectBearing.STATE_UNKNOWN:
                text = name(item.object_id, item.label, item.state, item.score)
                seen = item.state == ObjectBearing.STATE_VISIBLE
                found.append(Mark(item.object_id, direction, text, seen=seen))
        return found

    def direction(self, item: ObjectBearing) -> Floats | None:
        """Return an object's direction [3], optical axes, by its mask where bearings are in another frame."""
        if self.objects is not None and self.objects.header.frame_id == self.header.frame_id:
            return self.camera.from_frame([item.direction.x, item.direction.y, item.direction.z])
        if self.labels is None:
            return None
        bearing = mask_bearing(self.labels == item.object_id, self.grid)
        return None if bearing is None else bearing.direction


@dataclass
class ArrivedMessages:
    """The newest messages of panorama, masks and bearings, by stamp."""

    messages: dict[str, dict[int, Any]] = field(default_factory=lambda: {topic: {} for topic in _TOPICS})

    def keep(self, topic: str) -> Callable[[Any], None]:
        """Return what takes the messages of a topic; called on the thread that spins."""

        def taken(message: Any) -> None:
            kept = self.messages[topic]
            kept[stamp_to_ns(message.header.stamp)] = message
            for stamp in list(kept)[:-_KEPT]:
                del kept[stamp]

        return taken

    def stamp(self) -> int | None:
        """Return the newest stamp that has come on all topics, ns; None where there is none."""
        stamps = [set(kept) for kept in self.messages.values()]
        return max(set.intersection(*stamps), default=None)


def take_snapshot(client: Client) -> PanoramaSnapshot:
    """Wait for a panorama of the node, and for the masks and bearings of the same image.

    Masks or bearings that do not come in two seconds are left out. Raises ClientError where no panorama comes
    within the client's timeout, or the node is not there.
    """
    parameters = client.parameters(*SNAPSHOT_PARAMETERS)
    arrived = ArrivedMessages()
    with ExitStack() as subscriptions:
        for topic in reversed(_TOPICS):  # the panorama last: what is known of it must not be missed
            subscriptions.enter_context(client.subscribed(_TOPICS[topic], topic, arrived.keep(topic)))
        if not client.waiting.until(lambda: arrived.messages["panorama"], client.timeout):
            raise client.silent("panorama")
        client.waiting.until(lambda: arrived.stamp() is not None, _PATIENCE)
    panoramas, masks, bearings = (arrived.messages[topic] for topic in _TOPICS)
    stamp = arrived.stamp()
    if stamp is None:
        stamp = max(panoramas)
    try:
        return snapshot_of(panoramas[stamp], masks.get(stamp), bearings.get(stamp), parameters)
    except (ImageError, ValueError) as error:
        raise ClientError(f"{client.resolved('panorama')} cannot be read: {error}") from error


def snapshot_of(
    panorama: Image, masks: Image | None, bearings: Any, parameters: dict[str, Any]
) -> PanoramaSnapshot:
    """Make the snapshot of messages; ``parameters``: the node's SNAPSHOT_PARAMETERS.

    Raises ImageError or ValueError for messages that cannot be read.
    """
    image, fov = image_to_array(panorama), float(parameters["vertical_fov"])
    grid = Equirect(image.shape[1], image.shape[0], fov)
    labels = None
    if masks is not None:
        ids = np.frombuffer(masks.data, ">u2" if masks.is_bigendian else "<u2").reshape(masks.height, -1)
        labels = resize_labels(ids[:, : masks.width].astype(np.uint16), grid.width, grid.height)
    angles = [float(parameters[angle]) for angle in _ANGLES]
    camera = camera_frame(str(parameters["frame_convention"]), panorama.header.frame_id, *angles)
    seconds = float(parameters["history_seconds"])
    return PanoramaSnapshot(panorama.header, image, labels, bearings, camera, fov, seconds)


def view_of(
    camera: CameraFrame,
    degrees: tuple[float, float, float],  # azimuth, elevation, horizontal field of view
    size: tuple[int, int],  # width, height, pixels
) -> PerspectiveView:
    """Return the view of angles in degrees; raise ValueError for what no view has."""
    azimuth, elevation, fov = (math.radians(angle) for angle in degrees)
    return PerspectiveView.facing(camera, azimuth, elevation, fov, size)
