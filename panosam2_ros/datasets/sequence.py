"""What every source of annotated 360 video looks like to training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray


class LayoutError(ValueError):
    """Files that are not where they should be; says what was needed, what came, and the remedy."""


class VideoSequence(Protocol):
    """One video with the objects that are to be followed through it."""

    @property
    def name(self) -> str:
        """Unique within its data set."""
        ...

    @property
    def grid(self) -> Equirect:
        """The size of its images and labels."""
        ...

    @property
    def first_frames(self) -> Mapping[int, int]:
        """Object id -> index of the frame in which it is prompted."""
        ...

    @property
    def attributes(self) -> frozenset[str]:
        """What makes it hard, by name; empty where nobody says."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def image(self, index: int) -> ImageArray:
        """One frame, RGB."""
        ...

    def labels(self, index: int) -> LabelImage | None:
        """All objects' true ids in one frame; None where that truth is not given."""
        ...

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """The true mask of an object in its first frame."""
        ...


class _Rendered(Protocol):
    """What a scene renders."""

    @property
    def image(self) -> ImageArray: ...
    @property
    def labels(self) -> NDArray[Any]: ...


class _Scene(Protocol):
    """What ``data.synthetic.Scene`` is to this module."""

    @property
    def grid(self) -> Equirect: ...
    def __len__(self) -> int: ...
    def render(self, index: int) -> _Rendered: ...


class SceneSequence:
    """A synthetic scene as a video sequence; objects that frame 0 does not show are left out."""

    def __init__(self, name: str, scene: _Scene, attributes: frozenset[str] = frozenset()) -> None:
        self.name, self.attributes, self.grid = name, attributes, scene.grid
        self._scene = scene
        self._newest: tuple[int, _Rendered] | None = None  # image and labels come from one render
        self.first_frames: Mapping[int, int] = dict.fromkeys(_ids(self.labels(0)), 0)

    def __len__(self) -> int:
        return len(self._scene)

    def image(self, index: int) -> ImageArray:
        return self._render(index).image

    def labels(self, index: int) -> LabelImage:
        return np.asarray(self._render(index).labels, np.uint16)

    def prompt_mask(self, obj_id: int) -> MaskArray:
        return np.asarray(self.labels(self.first_frames[obj_id]) == obj_id)

    def _render(self, index: int) -> _Rendered:
        if self._newest is None or self._newest[0] != index:
            self._newest = (index, self._scene.render(index))
        return self._newest[1]


def _ids(labels: LabelImage) -> list[int]:
    return [int(i) for i in np.unique(labels) if i]
