"""Sampling of a scene from a seed: its background, its objects and their motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.simulation import scene_events as events
from panosam2_ros.simulation import scene_motion as motion
from panosam2_ros.simulation.appearance import AppearanceSampler
from panosam2_ros.simulation.assets import AssetLibrary, tone_map
from panosam2_ros.simulation.body import Body
from panosam2_ros.simulation.compositor import LARGEST_DIAMETER, paint_labels, project
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.sprites import Sprite, part_of, recoloured

START_VISIBLE = 0.6  # smallest visible fraction of every tracked object in frame 0
_CHECK_WIDTH = 256  # columns; sufficient to check the visibility in frame 0
_MAX_ATTEMPTS = 60  # after which the largest object has less than a hundredth of a degree
_PATIENT_ATTEMPTS = 6  # at full size, before all sizes are reduced
_OCCLUDER_DENT = 0.15  # deviation of an occluder's outline from a disc
_LARGE = (math.radians(98), math.radians(120))  # rad, sizes of objects that exceed 90 degrees
_MAX_TURNS = 0.035  # turns per frame of a solid object
_CROSSINGS, _CROSSING_SIZE = 2, (0.5, 1.0)  # distractors that cross objects, and their ratio of diameters
_GROWTH = (2.3, 3.5)  # ratio of sizes of objects that more than double


@dataclass(frozen=True, eq=False)
class SceneSpec:
    """The background, the camera and the bodies of a scene, which determine its frames."""

    panorama_name: str
    panorama: ImageArray  # [h, w, 3] tone-mapped
    camera: Floats  # [T, 3, 3] world to camera
    gains: Floats  # [T] exposure
    bodies: tuple[Body, ...]  # far to near
    jumps: frozenset[int] = frozenset()  # frames before which something moves by many degrees

    def is_sharp(self, index: int) -> bool:
        """Tell whether a frame has no motion blur, because a jump would be smeared over it."""
        return index in self.jumps or index + 1 in self.jumps


def sample_scene(config: SceneConfig, library: AssetLibrary, seed: int) -> SceneSpec:
    """Sample the scene of a seed, repeatedly until every tracked object is visible in frame 0.

    Raises RuntimeError where sizes have been reduced to less than a pixel without success.
    """
    for attempt in range(_MAX_ATTEMPTS):
        rng = np.random.default_rng((seed, 0, attempt))
        shrink = 0.85 ** max(0, attempt - _PATIENT_ATTEMPTS)
        sampler = _BodySampler(config, library, rng, shrink)
        camera = sampler.camera()
        bodies = sampler.bodies(camera)
        if _starts_visible(config, camera, bodies):
            break
    else:
        raise RuntimeError(
            f"none of {_MAX_ATTEMPTS} scenes of seed {seed} shows all tracked objects in frame 0: allow "
            "fewer objects or larger images"
        )
    name = str(rng.choice(sorted(library.panoramas)))
    panorama = tone_map(library.panoramas[name], exposure=rng.normal(0, config.exposure))
    drift = motion.smooth_noise(rng, config.frames, 1)[:, 0] * config.exposure_drift
    gains = 2.0 ** (drift - drift[0])
    if events.happens(rng, config.light_change):
        gains = gains * events.light(config, rng)
    return SceneSpec(name, panorama, camera, gains, bodies, sampler.jumps)


def _starts_visible(config: SceneConfig, camera: Floats, bodies: tuple[Body, ...]) -> bool:
    """Tell whether ``START_VISIBLE`` of every tracked object is visible in frame 0."""
    width = min(config.width, _CHECK_WIDTH)
    grid = Equirect(width, round(width * config.height / config.width))
    layers = [
        (body.obj_id, project(body.look(0), camera[0] @ body.poses[0], body.diameters[0], grid))
        for body in bodies
    ]
    labels, areas = paint_labels(layers, grid)
    row_areas = grid.pixel_solid_angles()
    return all(
        float((labels == body.obj_id).sum(1) @ row_areas) >= START_VISIBLE * max(area, 1e-9)
        for body, area in zip(bodies, areas, strict=True)
        if body.obj_id
    )


class _BodySampler:
    """Samples the camera and the bodies of one attempt, in a fixed order, with one random generator."""

    def __init__(
        self,
        config: SceneConfig,
        library: AssetLibrary,
        rng: np.random.Generator,
        shrink: float,  # factor on all sizes
    ) -> None:
        """Prepare an attempt."""
        self.config, self.rng, self.shrink = config, rng, shrink
        self._appearance = AppearanceSampler(config, library, rng)
        self.jumps: frozenset[int] = frozenset()
        self._camera_jumps = False

    def camera(self) -> Floats:
        """Sample world-to-camera rotations [T, 3, 3]."""
        full = self.rng.random() < self.config.full_rotation
        speed = self.config.camera_speed * self.rng.uniform(0.2, 1)
        tilt = self.config.camera_tilt if full else 0.0
        camera = motion.camera_path(self.rng, self.config.frames, speed, tilt)
        if events.happens(self.rng, self.config.jump):
            self.jumps = events.jump_frames(self.config, self.rng)
            self._camera_jumps = self.rng.random() < 0.5
        if not self._camera_jumps:
            return camera
        to_world = np.swapaxes(camera, 1, 2)
        return np.swapaxes(events.jumping(self.config, self.rng, to_world, self.jumps), 1, 2)

    def bodies(self, camera: Floats) -> tuple[Body, ...]:
        """Sample the bodies, far to near; an occluder is the nearest."""
        config, rng = self.config, self.rng
        jumps = frozenset[int]() if self._camera_jumps else self.jumps
        tracked = events.with_events(config, self._appearance, self._grown(self._tracked(camera)), jumps)
        others = [self._body(0, self._anchor()) for _ in range(self._count(config.distractors))]
        if rng.random() < config.look_alike:
            others.append(self._look_alike(tracked[rng.integers(len(tracked))]))
        shown: list[tuple[Body, ...]] = [(body,) for body in tracked + others]
        if events.happens(rng, config.parts):
            index = int(rng.integers(len(tracked)))
            shown[index] = self._with_its_part(tracked[index])
        bodies = [body for i in rng.permutation(len(shown)) for body in shown[i]]
        if config.large > 0:  # objects that fill half the view would occlude all others: they go behind
            bodies.sort(key=lambda body: body.diameters.max() < _LARGE[0])
        if config.clutter[1] > 0:
            count = self._count(config.clutter)
            bodies = [self._body(0, self._anchor(), moves=False) for _ in range(count)] + bodies
        if events.happens(rng, config.crossing):
            bodies += [self._crossing(tracked[rng.integers(len(tracked))]) for _ in range(_CROSSINGS)]
        if rng.random() < config.occlusion:
            bodies += self._occluder(min(tracked, key=lambda body: body.diameters.max()))
        return tuple(bodies)

    def _count(self, limits: tuple[int, int]) -> int:
        """Sample a number within limits, both included."""
        return int(self.rng.integers(limits[0], limits[1] + 1))

    def _tracked(self, camera: Floats) -> list[Body]:
        """Sample the tracked objects; some are placed on the seam or near a pole."""
        config, rng = self.config, self.rng
        anchors = [self._anchor() for _ in range(self._count(config.objects))]
        places = [(config.seam, motion.seam_direction), (config.pole, motion.polar_direction)]
        for index, (probability, place) in zip(rng.permutation(len(anchors)), places, strict=False):
            if rng.random() < probability:
                frame = int(rng.integers(config.frames))
                anchors[index] = motion.Anchor(frame, camera[frame].T @ place(rng))
        return [self._body(index + 1, anchor) for index, anchor in enumerate(anchors)]

    def _anchor(self) -> motion.Anchor:
        """Sample a direction in frame 0."""
        return motion.Anchor(0, motion.random_direction(self.rng))

    def _body(self, obj_id: int, anchor: motion.Anchor, *, moves: bool = True) -> Body:
        """Sample a body that is at the anchor."""
        config, rng = self.config, self.rng
        name, views = self._appearance.sample()
        phases = self._phases(len(views)) if len(views) > 1 else None
        speed = self._speed() if moves else 0.0
        path = motion.object_path(rng, config.frames, speed, config.turn, anchor)
        diameter = math.exp(rng.uniform(*np.log(config.size))) * self.shrink
        sizes = motion.sizes(rng, config.frames, diameter, config.size_change, LARGEST_DIAMETER)
        if config.hold_sizes:
            sizes = np.clip(sizes, *config.size)
        return Body(obj_id, name, views, path, path.poses, sizes, phases=phases)

    def _phases(self, views: int) -> Floats:
        """Sample the index of the view in every frame, [T], with steady and varying speed."""
        rng, frames = self.rng, self.config.frames
        pace = rng.uniform(-_MAX_TURNS, _MAX_TURNS) * views
        wander = motion.smooth_noise(rng, frames, 1)[:, 0] * rng.uniform(0, 0.25) * views
        return np.asarray(rng.uniform(0, views) + pace * np.arange(frames) + wander, float)

    def _speed(self) -> float:
        """Sample the speed of an object, rad per frame."""
        low, high = self.config.object_speed
        if self.config.speed_skew == 1:
            return float(self.rng.uniform(low, high))
        return float(low + (high - low) * self.rng.random() ** self.config.speed_skew)

    def _grown(self, tracked: list[Body]) -> list[Body]:
        """Let one of the tracked objects grow, with the probabilities of the config.

        It is the largest one, which grows beyond 90 degrees, or any, by more than a factor of 2.
        """
        config, rng = self.config, self.rng
        if config.large > 0 and rng.random() < config.large:
            body = max(tracked, key=lambda body: body.diameters.max())
            low, high = float(body.diameters.min()), rng.uniform(*_LARGE)
        elif config.growth > 0 and rng.random() < config.growth:
            body, ratio = tracked[rng.integers(len(tracked))], rng.uniform(*_GROWTH)
            smallest, largest = config.size
            low = math.exp(rng.uniform(math.log(smallest), math.log(max(smallest, largest / ratio))))
            high = low * ratio
        else:
            return tracked
        sizes = motion.swelling(rng, config.frames, low, high)
        return [replace(b, diameters=sizes) if b is body else b for b in tracked]

    def _with_its_part(self, body: Body) -> tuple[Body, Body]:
        """Return a thing, and the tracked object in front of it that is a part of it."""
        part = replace(body, name=f"part of {body.name}", views=part_of(self.rng, body.views))
        return replace(body, obj_id=0), part

    def _look_alike(self, body: Body) -> Body:
        """Sample a distractor with a body's sprite, slightly recoloured, and with its own size and path."""
        rng = self.rng
        other = self._body(0, self._anchor_beside(body))
        hue, factors = rng.uniform(-0.2, 0.2), rng.uniform(0.8, 1.2, 2)
        return replace(
            other,
            name=f"look-alike of {body.name}",
            twin=body.obj_id,
            views=tuple(Sprite(recoloured(v.rgba, hue, *factors), cropped=False) for v in body.views),
            phases=body.phases,
            diameters=body.diameters[::-1] * rng.uniform(0.8, 1.1),
        )

    def _crossing(self, body: Body) -> Body:
        """Sample a distractor that passes in front of a body; half of them look like it."""
        config, rng = self.config, self.rng
        alike = rng.random() < 0.5
        other = self._look_alike(body) if alike else self._body(0, self._anchor())
        sizes = body.diameters * rng.uniform(*_CROSSING_SIZE)
        return events.pass_by(config, rng, replace(other, diameters=sizes), body)

    def _anchor_beside(self, body: Body) -> motion.Anchor:
        """Sample a direction beside a body in some frame, or anywhere."""
        config, rng = self.config, self.rng
        if config.look_alike_near <= 0:
            return self._anchor()
        frame, heading = int(rng.integers(config.frames)), rng.uniform(-math.pi, math.pi)
        away = body.diameters[frame] + rng.uniform(0.3, 1) * config.look_alike_near
        axis = away * np.array([math.cos(heading), math.sin(heading), 0.0])
        direction = body.poses[frame] @ rotation_matrix(axis) @ np.array([0.0, 0.0, 1.0])
        return motion.Anchor(frame, np.asarray(direction))

    def _occluder(self, body: Body) -> list[Body]:
        """Sample a textured disc that occludes a tracked object completely; none if it would be too large."""
        config, rng = self.config, self.rng
        name, sprite = self._appearance.shape(_OCCLUDER_DENT)
        lead = max(2, config.frames // 8)
        hidden = min(self._count(config.hidden_frames), config.frames - 2 * lead)
        reach = math.tan(body.diameters.max() / 2) * max(view.reach for view in body.views)
        half = 1.2 * reach / sprite.core
        if hidden < 1 or 2 * math.atan(half) > LARGEST_DIAMETER:
            return []
        cover = math.atan(half * sprite.core) - math.atan(reach)
        hiding = motion.Hiding(
            start=int(rng.integers(lead, config.frames - lead - hidden + 1)),
            frames=hidden,
            lead=lead,
            clear=math.atan(half * sprite.reach) + math.atan(reach) + 0.02,
            slack=0.9 * cover,
        )
        path = motion.occluder_path(rng, body.path, hiding)
        sizes = np.full(config.frames, 2 * math.atan(half))
        return [Body(0, f"occluder, {name}", (sprite,), path, path.poses, sizes)]
