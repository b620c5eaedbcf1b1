"""From what networks found to what is known of objects: label images, bearings, motion, the next view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.boundary import refine_boundaries
from panosam2_ros.masks.label_image import render_label_image, resize_mask
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.track import TrackedObject
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
    network: NetworkInput  # what sees the view
    planner: ViewPlanner  # of the next view


class TrackUpdater:
    """Turns masks into what is known and published of objects; keeps nothing of them itself."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config

    def update(
        self,
        sightings: Sequence[Sighting],
        frame: Frame,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> LabelImage:
        """Update objects from their masks; return the label image of those that are visible.

        ``prompts``: how objects, by id, were prompted in this frame. Masks that were given are taken pixel
        for pixel, also where the network's pixels are too coarse for them; in the label image they cover
        other objects, those of later prompts the earlier ones.
        """
        grid = frame.mask_grid(self._config.mask_width)
        given = {i: prompt.mask for i, prompt in prompts.items() if prompt.mask is not None}
        found = self._visible(sightings, prompted=bool(prompts))
        found = {obj_id: mask for obj_id, mask in found.items() if obj_id not in given}
        outlined = {seen.item.obj_id: seen.network.outline_size for seen in sightings}
        labels, regions = render_label_image(found | self._refined(frame.image, found, outlined), grid)
        for obj_id, mask in given.items():
            labels[resize_mask(mask, grid.width, grid.height)] = obj_id
        for seen in sightings:
            item, region, iou = seen.item, regions.get(seen.item.obj_id), seen.iou
            bearing = mask_bearing(region.whole(grid.height), grid, mask_iou=iou) if region else None
            if item.obj_id in given:
                iou = 1.0  # the network's is of a mask of its own
                bearing = mask_bearing(given[item.obj_id], frame.grid, mask_iou=iou)
            item.motion.update(frame.stamp, bearing, prompted=bool(prompts))
            item.searched = True
            item.score = seen.score
            item.mask_iou = min(max(iou, 0.0), 1.0) if bearing else 0.0
        return labels

    def _visible(self, sightings: Sequence[Sighting], *, prompted: bool) -> dict[int, Logits | MaskPatch]:
        """Return masks of present objects by id, in the panorama; plan where to look for all of them next."""
        found: dict[int, Logits | MaskPatch] = {}
        for seen in sightings:
            item, view = seen.item, seen.view
            mask = view.to_panorama(seen.logits, seen.network) if item.motion.present(seen.score) else None
            if mask is None:
                item.view = seen.planner.next_view(item.view, None, prompted=prompted)
            else:
                found[item.obj_id] = mask
                item.last_view = view
                item.view = seen.planner.next_view(view, seen.logits, prompted=prompted)
        return found

    def _refined(
        self, image: ImageArray, masks: Mapping[int, Logits | MaskPatch], sizes: Mapping[int, int]
    ) -> dict[int, MaskPatch]:
        """Return masks whose boundaries follow the image's pixels.

        ``sizes``: the side of objects' windows, pixels, by id; 0 where the network asks for none.
        """
        refined: dict[int, MaskPatch] = {}
        for size in sorted(set(sizes.values()) - {0}) if self._config.refine_boundaries else ():
            chosen = {obj_id: mask for obj_id, mask in masks.items() if sizes.get(obj_id) == size}
            refined |= refine_boundaries(image, chosen, size, self._config.vertical_fov)
        return refined
