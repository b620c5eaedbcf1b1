"""Which kind of view shows an object: a search region, or the whole panorama for what is too wide for one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.extent import prompted_extent
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.object_group import ObjectGroup
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.track_update import Sighting
from panosam2_ros.tracking.view import ViewKind
from panosam2_ros.tracking.view_pipeline import ViewPipeline

# Rad. A region shows at most 137 degrees (geometry/search_region.py: MOST_FOV), and things of its size have
# no surroundings in it. The gap between the two keeps an object from changing views to and fro.
WIDE, NARROW = math.radians(120), math.radians(100)


class ViewSelector:
    """Decides in which kind of view an object is seen."""

    def __init__(self, mode: str, config: ModelConfig) -> None:
        """Decide by ``TrackerConfig.view``.

        Where it is ``auto``, networks of panoramas see panoramas, and networks of regions that are not made
        for panoramas see regions whatever the size of an object.
        """
        self.kinds: tuple[ViewKind, ...]
        if mode == "auto" and config.regions and config.panorama_height and config.sees_panoramas:
            self.kinds = (ViewKind.REGION, ViewKind.PANORAMA)
        elif mode == "panorama" or (mode == "auto" and not config.regions):
            self.kinds = (ViewKind.PANORAMA,)
        else:
            self.kinds = (ViewKind.REGION,)

    @property
    def chooses(self) -> bool:
        """Whether there is more than one kind of view."""
        return len(self.kinds) > 1

    def of_prompt(self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect) -> ViewKind:
        """Return the view in which a prompt is segmented; corrections need the object's memory."""
        if corrected is not None:
            return corrected.view.kind
        if self.chooses and prompted_extent(prompt, grid).longest > WIDE:
            return ViewKind.PANORAMA
        return self.kinds[0]

    def of_object(self, item: TrackedObject) -> ViewKind:
        """Return the view in which an object is to be seen from now on, by the extent of its last mask."""
        if not self.chooses:
            return item.view.kind
        bearing = item.motion.bearing
        longest = max(bearing.extent_horizontal, bearing.extent_vertical)
        if item.view.kind is ViewKind.REGION:
            return ViewKind.PANORAMA if longest > WIDE else ViewKind.REGION
        return ViewKind.REGION if longest < NARROW else ViewKind.PANORAMA


def change_views(
    group: ObjectGroup,
    frame: Frame,
    found: Sequence[Sighting],
    selector: ViewSelector,
    pipelines: Mapping[ViewKind, ViewPipeline],
) -> None:
    """See objects in another kind of view from now on that have become too wide, or narrow enough.

    Their memory is made anew of the masks that were ``found`` in the frame.
    """
    for seen in found if selector.chooses else ():
        item = seen.item
        before, kind = item.view.kind, selector.of_object(item)
        own = seen.in_panorama() if kind is not before else None
        if own is None:
            continue
        mask = render_label_image({item.obj_id: own}, frame.grid)[0] > 0
        old = group.batches[before].select(group.batches[before].rows([item.obj_id]))
        moved = pipelines[kind].remembered_again(item, mask, frame, old)
        group.remove([item.obj_id])
        group.batches[kind] = group.batches[kind].joined(moved)
