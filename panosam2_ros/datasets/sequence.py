"""The interface of annotated 360 video to training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray


class LayoutError(ValueError):
    """Error for files that do not follow a layout: names what was needed, what came, and the remedy."""


class VideoSequence(Protocol):
    """One video with the objects to be tracked in it."""

    @property
    def name(self) -> str:
        """Name, unique within its data set."""
        ...

    @property
    def grid(self) -> Equirect:
        """Pixel grid of its images and labels."""
        ...

    @property
    def first_frames(self) -> Mapping[int, int]:
        """Index of the frame in which each object is prompted, by object id."""
        ...

    @property
    def attributes(self) -> frozenset[str]:
        """Names of what makes it difficult, such as occlusion; empty where they are not annotated."""
        ...

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def image(self, index: int) -> ImageArray:
        """Return one frame, RGB."""
        ...

    def labels(self, index: int) -> LabelImage | None:
        """Return all objects' true ids in one frame, [H, W]; None where this ground truth is not given."""
        ...

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Return the true mask of an object in its first frame."""
        ...


class _RenderedFrame(Protocol):
    """One frame that a scene renders."""

    @property
    def image(self) -> ImageArray: ...
    @property
    def labels(self) -> NDArray[Any]: ...


class _Scene(Protocol):
    """The part of ``simulation.scene.Scene`` that this module uses."""

    @property
    def grid(self) -> Equirect: ...
    def __len__(self) -> int: ...
    def render(self, index: int) -> _RenderedFrame: ...


class SceneSequence:
    """A synthetic scene as a video sequence; objects that frame 0 does not show are left out."""

    def __init__(self, name: str, scene: _Scene, *, attributes: frozenset[str] = frozenset()) -> None:
        self.name, self.attributes, self.grid = name, attributes, scene.grid
        self._scene = scene
        self._newest: tuple[int, _RenderedFrame] | None = None  # serves image and labels of a frame
        self.first_frames: Mapping[int, int] = dict.fromkeys(_ids(self.labels(0)), 0)

    def __len__(self) -> int:
        return len(self._scene)

    def image(self, index: int) -> ImageArray:
        """Render one frame, RGB."""
        return self._render(index).image

    def labels(self, index: int) -> LabelImage:
        """Render all objects' ids of one frame, [H, W]."""
        return np.asarray(self._render(index).labels, np.uint16)

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Render the mask of an object in its first frame."""
        return np.asarray(self.labels(self.first_frames[obj_id]) == obj_id)

    def _render(self, index: int) -> _RenderedFrame:
        """Render a frame unless it is the one that was rendered last."""
        if self._newest is None or self._newest[0] != index:
            self._newest = (index, self._scene.render(index))
        return self._newest[1]


def _ids(labels: LabelImage) -> list[int]:
    """Return the object ids in a label image, ascending."""
    return [int(i) for i in np.unique(labels) if i]
