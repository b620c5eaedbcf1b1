"""What an image says of objects: masks to bearings, motion, and a label image where one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.boundary import refine_boundaries
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.bearing_history import PastBearing
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.track import TrackedObject, WholeMask
from panosam2_ros.tracking.view import InputView, NetworkInput
from panosam2_ros.tracking.view_planner import ViewPlanner


@dataclass(frozen=True, eq=False)
class Sighting:
    """What a network found of one object in a view."""

    item: TrackedObject
    view: InputView
    logits: Logits  # [h, w] fine logits in the view
    score: float  # probability that the object is present, 0..1
    iou: float  # predicted IoU of the mask
    whole: bool  # the mask is not what others left of the object
    network: NetworkInput  # what sees the view
    planner: ViewPlanner  # of the next view

    def in_panorama(self) -> Logits | MaskPatch | None:
        """Return the logits where they lie in the panorama; None where the mask is empty."""
        return self.view.to_panorama(self.logits, self.network)


class TrackUpdater:
    """Turns masks into what is known and published of objects; keeps nothing of them itself."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def update(
        self,
        sightings: Sequence[Sighting],
        frame: Frame,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> list[Sighting]:
        """Update objects from their masks; return the sightings of those that are visible.

        ``prompts``: how objects, by id, were prompted in this frame. Masks that were given are taken pixel
        for pixel, also where the network's pixels are too coarse for them.
        """
        found, prompted = [], bool(prompts)
        for seen in sightings:
            item, iou, bearing = seen.item, seen.iou, None
            if item.motion.present(seen.score):
                bearing = seen.view.bearing(seen.logits, seen.network, mask_iou=iou)
            if bearing is None:
                item.view = seen.planner.next_view(item.view, None, prompted=prompted)
            else:
                found.append(seen)
                item.last_view = seen.view
                if seen.whole:
                    item.whole = WholeMask(frame.stamp, seen.logits, seen.view, bearing.direction)
                item.view = seen.planner.next_view(seen.view, seen.logits, prompted=prompted)
            prompt = prompts.get(item.obj_id)
            if prompt is not None and prompt.mask is not None:
                iou = 1.0  # the network's is of a mask of its own
                bearing = mask_bearing(prompt.mask, frame.grid, mask_iou=iou)
            item.motion.update(frame.stamp, bearing, prompted=prompted, whole=seen.whole)
            item.history.add(PastBearing(frame.stamp, item.motion.state, item.motion.bearing))
            item.searched = True
            item.score = seen.score
            item.mask_iou = min(max(iou, 0.0), 1.0) if bearing else 0.0
        return found

    def wait(self, objects: Sequence[TrackedObject], frame: Frame) -> None:
        """Update lost objects that were not looked for in a frame."""
        for item in objects:
            item.motion.update(frame.stamp, None)
            item.history.add(PastBearing(frame.stamp, item.motion.state, item.motion.bearing))

    def render(self, found: Sequence[Sighting], frame: Frame) -> LabelImage:
        """Render the label image of visible objects.

        Boundaries follow the image's pixels, where the network asks for that.
        """
        grid = frame.mask_grid(self._config.mask_width)
        drawn = {seen.item.obj_id: (seen.in_panorama(), seen.network.outline_size) for seen in found}
        masks = {i: mask for i, (mask, _) in drawn.items() if mask is not None}
        sizes = {size for _, size in drawn.values()} - {0} if self._config.refine_boundaries else ()
        for size in sorted(sizes):
            coarse = {i: mask for i, mask in masks.items() if drawn[i][1] == size}
            masks |= refine_boundaries(frame.pyramid, coarse, size, self._config.vertical_fov)
        return render_label_image(masks, grid)[0]
