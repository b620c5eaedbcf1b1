"""Produce a virtual camera's frames from a file or a synthetic scene, with ground truth where known."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.demo.latitude_crop import LatitudeCrop
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.frame_source import DEFAULT_RATE, open_frames, stamped_frames
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import StampedFrame, resized_image
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import ObjectTruth, Scene
from panosam2_ros.simulation.scene_config import SceneConfig

SYNTHETIC = "synthetic"
_DEFAULT_SIZE = (1920, 960)
_SYNTHETIC_RATE = 6.0  # Hz
_CYCLE = 600  # frames of an endless scene, played to and fro so that nothing ever jumps


@dataclass(frozen=True, eq=False)
class Played:
    """One frame; labels and objects are None where there is no ground truth."""

    image: ImageArray  # [H, W, 3] RGB
    labels: NDArray[np.uint8] | None = None  # [H, W] object id, 0 = none
    objects: tuple[ObjectTruth, ...] | None = None
    time: float = 0.0  # s from the first frame
    stamp: int = 0  # ns
    frame_id: str | None = None  # None: the source has no stamps and frames of its own

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.nbytes + (0 if self.labels is None else self.labels.nbytes)


@dataclass(frozen=True)
class PlaybackConfig:
    """What to play. Speeds are per second; a synthetic scene moves by speed / rate in a frame."""

    source: str = SYNTHETIC  # or a path: video, ROS bag, image, folder of images
    topic: str = ""  # of a bag; empty: its only image topic
    width: int = 0  # 0: the file's own; 1920 for a synthetic scene
    height: int = 0  # 0: the file's own; 960 for a synthetic scene
    rate: float = 0.0  # Hz; 0: the file's own times, 10 for images, 6 for a synthetic scene
    loop: bool = False  # start a file again at its end; a synthetic scene has no end of its own
    frames: int = 0  # to play; 0: all of them
    seed: int = 0
    material: str = Split.RESERVED.value  # of the synthetic scene: train, val or reserved
    objects: int = 4
    distractors: int = 2
    object_size: tuple[float, float] = (math.radians(20), math.radians(60))  # rad
    object_speed: float = 0.12  # rad/s at most
    camera_speed: float = 0.18  # rad/s at most
    camera_tilt: float = math.radians(20)  # rad, largest tilt at the start; 0: always upright
    occlusion: float = 0.3  # probability that an object is hidden whole for a while
    vertical_fov: float = math.pi  # rad, of a synthetic scene; below pi it is cropped above and below

    @property
    def synthetic(self) -> bool:
        """Whether frames are rendered, with ground truth."""
        return self.source == SYNTHETIC


class Playback:
    """Frames to be played at their times; iterating may be slower than that.

    Raises VideoError for a file that cannot be read and ValueError for impossible settings.
    """

    def __init__(self, config: PlaybackConfig) -> None:
        self.config = config
        self.rate = config.rate
        if config.synthetic:
            own = _DEFAULT_SIZE
            self.rate = self.rate or _SYNTHETIC_RATE
        else:
            self._file = open_frames(config.source, topic=config.topic)
            own = self._file.width, self._file.height
            self.rate = self.rate or self._file.rate or DEFAULT_RATE
        self.width, self.height = config.width or own[0], config.height or own[1]
        if config.synthetic:
            self.grid = Equirect(self.width, self.height, config.vertical_fov)
            self._crop = LatitudeCrop.of(self.grid)

    @property
    def frames(self) -> int:
        """How many frames there will be; 0: endless or unknown."""
        if self.config.frames or self.config.synthetic or self.config.loop:
            return self.config.frames
        return self._file.frames

    @property
    def report(self) -> ReadReport:
        """What the newest reading of the file has found."""
        return ReadReport() if self.config.synthetic else self._file.report

    def __iter__(self) -> Iterator[Played]:
        for count, played in enumerate(self._scene() if self.config.synthetic else self._files()):
            if self.config.frames and count >= self.config.frames:
                return
            yield played

    def _files(self) -> Iterator[Played]:
        period = 1.0 / self.rate
        before, time = None, 0.0
        while True:
            for frame in stamped_frames(self._file, rate=self.config.rate):
                if before is not None:
                    time += period if self.config.rate else _seconds_between(before, frame, default=period)
                image = resized_image(frame.image, self.width, self.height)
                yield Played(image, time=time, stamp=frame.stamp, frame_id=frame.frame_id)
                before = frame
            if not self.config.loop or before is None:
                return

    def _scene(self) -> Iterator[Played]:
        scene = make_scene(self.config, self.width, self._crop.full_height, self.rate)
        index, step = 0, 1
        for count in itertools.count():
            frame = scene.render(index)
            there = frame.objects
            if step < 0:  # to the frame before it, which is the next
                forward = {o.obj_id: o.angular_velocity for o in scene.truth(max(index - 1, 0)).objects}
                there = tuple(replace(o, angular_velocity=-forward[o.obj_id]) for o in there)
            objects = tuple(replace(o, name=readable(o.name)) for o in there)
            image, labels = self._crop.of_image(frame.image), self._crop.of_image(frame.labels)
            objects = tuple(self._crop.of_truth(o, labels) for o in objects)
            yield Played(image, labels, objects, time=count / self.rate)
            if len(scene) > 1:
                step = -step if not 0 <= index + step < len(scene) else step
                index += step


def _seconds_between(before: StampedFrame, frame: StampedFrame, *, default: float) -> float:
    """Measure the time, s, from a frame to the next; ``default`` where a file starts again.

    A recorder's clock is preferred: the stamps of a camera may jump.
    """
    if frame.recorded is None or before.recorded is None:
        nanoseconds = frame.stamp - before.stamp
    else:
        nanoseconds = frame.recorded - before.recorded
    return nanoseconds * 1e-9 if nanoseconds >= 0 else default


def readable(name: str) -> str:
    """Return the name of what a sprite shows: its file is named after the code points of an emoji."""
    try:
        return unicodedata.name(chr(int(name.split(".")[0].split("-")[0], 16))).lower()
    except ValueError:
        return name


def make_scene(config: PlaybackConfig, width: int, height: int, rate: float) -> Scene:
    """Make the synthetic scene of a configuration."""
    frames = config.frames or _CYCLE
    scene = SceneConfig(
        width=width,
        height=height,
        frames=frames,
        rate=rate,
        objects=(config.objects, config.objects),
        distractors=(config.distractors, config.distractors),
        size=config.object_size,
        object_speed=(0.0, config.object_speed / rate),
        camera_speed=config.camera_speed / rate,
        camera_tilt=config.camera_tilt,
        full_rotation=1.0 if config.camera_tilt > 0 else 0.0,
        occlusion=config.occlusion,
        seam=1.0,
        motion_blur=0.0,
        texture_shapes=0.0,
    )
    split = Split(config.material)
    library = AssetLibrary.shipped(split, reserved=split is Split.RESERVED)
    return Scene(scene, library, config.seed)
