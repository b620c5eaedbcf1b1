"""The parameters of synthetic scenes: their units, their effects, and the values that turn them off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.simulation.compositor import LARGEST_DIAMETER

_RANGES = (
    "objects", "size", "object_speed", "distractors", "hidden_frames", "clutter", "jump_size", "light_stops",
)  # fmt: skip


@dataclass(frozen=True)
class SceneConfig:
    """The distribution of a synthetic scene.

    Ranges are (smallest, largest), both included; probabilities are per scene unless stated otherwise.
    """

    width: int = 1024
    height: int = 512
    frames: int = 90
    rate: float = 10.0  # Hz, for stamps and angular velocities; motion is per frame
    objects: tuple[int, int] = (2, 4)  # tracked, ids from 1
    size: tuple[float, float] = (math.radians(8), math.radians(60))  # rad, log-uniform diameter
    hold_sizes: bool = False  # sizes stay within ``size`` in all frames, except of objects that grow
    object_speed: tuple[float, float] = (0.0, 0.06)  # rad per frame along the great circle
    speed_skew: float = 1.0  # power of the uniform draw of speeds; 1 = none, 2 = mostly slow
    turn: float = 0.8  # rad by which an object's heading varies; 0 = exact great circles
    camera_speed: float = 0.05  # rad per frame at most; 0 = a static camera
    full_rotation: float = 0.7  # probability of motion in full SO(3); 0 = always yaw only
    camera_tilt: float = math.pi / 3  # rad, largest initial tilt with full rotation
    distractors: tuple[int, int] = (0, 3)  # untracked objects, which also occlude
    occlusion: float = 0.3  # probability that a tracked object is occluded completely for a while
    hidden_frames: tuple[int, int] = (10, 30)  # of a full occlusion; shortened to fit the clip
    seam: float = 0.4  # probability that a tracked object is placed across the seam
    pole: float = 0.25  # probability that a tracked object passes near a pole
    look_alike: float = 0.3  # probability of a distractor with a tracked object's sprite
    look_alike_near: float = 0.0  # rad, its smallest distance from that object's side; 0 = anywhere
    size_change: float = 1.5  # largest ratio of an object's sizes in a clip; 1 = constant
    growth: float = 0.0  # probability that a tracked object grows and shrinks by more than a factor of 2
    large: float = 0.0  # probability that a tracked object grows beyond 90 degrees for a while
    thin: float = 0.0  # probability that a tracked object is thin, of a sprite or a strip
    parts: float = 0.0  # probability that a tracked object is a part of a thing, as a head is of a person
    parted: float = 0.0  # probability that a tracked object has many parts
    crossing: float = 0.0  # probability that distractors pass in front of tracked objects
    meeting: float = 0.0  # probability that two tracked objects pass each other, one in front
    jump: float = 0.0  # probability that the camera or a tracked object jumps between two frames, twice
    jump_size: tuple[float, float] = (math.radians(10), math.radians(20))  # rad, of a jump
    texture_shapes: float = 0.25  # probability, per object, of a textured shape, not a sprite
    models: float = 0.0  # probability, per object, of a solid model that rotates; 0 = none
    people: float = 0.0  # probability, per object, of a person who moves; 0 = none
    photos: float = 0.0  # probability, per object, of a cut-out photograph with a shadow; 0 = none
    sway: float = 0.0  # probability, per object, that it bends to and fro; 0 = none
    clutter: tuple[int, int] = (0, 0)  # untracked static solid models behind all others
    recolour: float = 0.3  # probability, per sprite, of a random hue
    exposure: float = 0.7  # stops, standard deviation between scenes; 0 = as metered
    exposure_drift: float = 0.2  # stops, largest change within a clip; 0 = none
    light_change: float = 0.0  # probability that the light changes in the middle, by a step or a ramp
    light_stops: tuple[float, float] = (0.75, 1.5)  # stops, of pixel values, by which it then changes
    noise: float = 2.0  # grey levels, standard deviation of the sensor's noise; 0 = none
    motion_blur: float = 0.0  # fraction of the frame time in which the shutter is open; 0 = none
    blur_samples: int = 5  # renderings that are averaged for motion blur
    stitching: float = 0.0  # rad, largest misalignment between two lenses' images; 0 = none
    lens_step: float = 0.0  # stops, largest difference of exposure between two lenses; 0 = none

    def __post_init__(self) -> None:
        Equirect(self.width, self.height)
        for name in _RANGES:
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be 0 <= smallest <= largest, got {low}, {high}")
        if self.frames < 1 or self.rate <= 0:
            raise ValueError(f"need frames >= 1 and rate > 0, got {self.frames} and {self.rate}")
        if not 1 <= self.objects[0] <= self.objects[1] <= 255:
            raise ValueError(f"objects must lie in 1..255, got {self.objects}")
        if not 0 < self.size[0] <= self.size[1] <= LARGEST_DIAMETER:
            raise ValueError(f"size must lie in (0, {LARGEST_DIAMETER:.2f}] rad, got {self.size}")
        if self.size_change < 1:
            raise ValueError(f"size_change is a ratio of at least 1, got {self.size_change}")
