"""The appearance of an object in a scene: a sprite, a textured shape, a solid model, a person, a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from panosam2_ros.simulation.assets import AssetLibrary, read_rgba, read_view_strip, tone_map
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.sprites import (
    Sprite,
    recoloured,
    swaying,
    textured_shape,
    thin_strip,
    turning,
    with_shadow,
)

_SWAY_VIEWS = 12
_THIN_SPRITES = 0.3  # probability of a thin sprite, not a strip: most splits have few
_THICKNESS = (0.05, 0.12)  # of a strip's length


@dataclass(frozen=True, eq=False)
class AppearanceSampler:
    """Samples appearances from a library, in a fixed order, with one random generator."""

    config: SceneConfig
    library: AssetLibrary
    rng: np.random.Generator

    def sample(self) -> tuple[str, tuple[Sprite, ...]]:
        """Sample the name of an appearance, and one view or a closed sequence of views.

        Raises ValueError where the config requires material that the library lacks.
        """
        config, rng = self.config, self.rng
        if config.people > 0 and rng.random() < config.people:
            name, views = self._person()
        elif config.models > 0 and rng.random() < config.models:
            name, views = self._model()
        elif config.photos > 0 and rng.random() < config.photos:
            name, views = self._photo()
        else:
            name, views = self._one_view()
        if config.sway > 0 and rng.random() < config.sway:
            image = views[rng.integers(len(views))].rgba
            views = tuple(Sprite(bent, cropped=False) for bent in swaying(rng, image, _SWAY_VIEWS))
        return name, views

    def _one_view(self) -> tuple[str, tuple[Sprite, ...]]:
        """Sample a sprite or a textured shape, which have one view."""
        name, sprite = self._sprite()
        return name, (sprite,)

    def _model(self) -> tuple[str, tuple[Sprite, ...]]:
        """Sample the views of a solid model, with another hue and brightness."""
        rng = self.rng
        if not self.library.models:
            raise ValueError(
                "the scene needs solid models, the library has none: see synthetic/mesh_assets.py"
            )
        names = sorted(self.library.models)
        for _ in range(20):  # a limited number of tries, as in _sprite
            name = str(names[rng.integers(len(names))])
            views = read_view_strip(self.library.models[name])
            if all(Sprite(view).compact for view in views[:: len(views) // 4]):
                break
        hue, value = rng.uniform(0, 2 * math.pi), rng.uniform(0.7, 1.5)
        if rng.random() >= self.config.recolour:
            hue = 0.0
        return name, tuple(Sprite(recoloured(v, hue, 1.0, value), cropped=False) for v in views)

    def _person(self) -> tuple[str, tuple[Sprite, ...]]:
        """Sample the views of a person, with another brightness."""
        rng = self.rng
        if not self.library.people:
            raise ValueError("the scene needs people, the library has none: see synthetic/people.py")
        names = sorted(self.library.people)
        name, value = str(names[rng.integers(len(names))]), rng.uniform(0.6, 1.6)
        views = read_view_strip(self.library.people[name])
        return name, tuple(Sprite(recoloured(v, 0.0, 1.0, value), cropped=False) for v in views)

    def _photo(self) -> tuple[str, tuple[Sprite, ...]]:
        """Sample a photograph with a shadow that turns to and fro, with another brightness."""
        rng = self.rng
        if not self.library.photos:
            raise ValueError(
                "the scene needs photographs, the library has none: see synthetic/photographs.py"
            )
        names = sorted(self.library.photos)
        name = str(names[rng.integers(len(names))])
        rgba = read_rgba(self.library.photos[name])
        mirrored = np.ascontiguousarray(rgba[:, ::-1]) if rng.random() < 0.5 else rgba
        relit = recoloured(mirrored, rng.normal(0, 0.1), rng.uniform(0.7, 1.2), rng.uniform(0.6, 1.4))
        shaded = with_shadow(rng, Sprite(relit).rgba)
        return name, tuple(Sprite(view, cropped=False) for view in turning(rng, shaded, _SWAY_VIEWS))

    def _sprite(self) -> tuple[str, Sprite]:
        """Sample a compact sprite or a textured shape."""
        rng = self.rng
        if rng.random() < self.config.texture_shapes:
            return self.shape(dent=0.5)
        groups = self.library.sprite_groups
        for _ in range(20):  # limited, because a library may have no compact sprites
            group = groups[rng.integers(len(groups))]
            name = group[0] if len(group) == 1 else group[rng.integers(len(group))]
            sprite = Sprite(self.library.sprite(name))
            if sprite.compact:
                break
        if rng.random() < self.config.recolour:
            rgba = recoloured(sprite.rgba, rng.uniform(0, 2 * math.pi), 1.0, rng.uniform(0.6, 1.1))
            sprite = Sprite(rgba)
        return name, sprite

    def thin(self) -> tuple[str, Sprite]:
        """Sample a thin sprite, or a strip of the colours of any sprite or shape."""
        rng, names = self.rng, self.library.thin_sprites
        if names and rng.random() < _THIN_SPRITES:
            return self._recoloured(str(names[rng.integers(len(names))]))
        name, sprite = self._sprite()
        return f"strip of {name}", Sprite(thin_strip(sprite.rgba, rng.uniform(*_THICKNESS)), cropped=False)

    def parted(self) -> tuple[str, Sprite]:
        """Sample a sprite of many parts; raises ValueError where the library has none."""
        names = self.library.parted_sprites
        if not names:
            raise ValueError("the scene needs a sprite of many parts, the library has none: leave out parted")
        return self._recoloured(str(names[self.rng.integers(len(names))]))

    def _recoloured(self, name: str) -> tuple[str, Sprite]:
        """Load a sprite with a random hue and brightness."""
        hue, value = self.rng.uniform(0, 2 * math.pi), self.rng.uniform(0.6, 1.1)
        return name, Sprite(recoloured(self.library.sprite(name), hue, 1.0, value))

    def shape(self, dent: float) -> tuple[str, Sprite]:
        """Make a shape with a piece of any panorama as its texture; see ``textured_shape``."""
        rng = self.rng
        name = str(rng.choice(sorted(self.library.panoramas)))
        panorama = self.library.panoramas[name]
        height, width = panorama.shape[:2]
        side = int(height * rng.uniform(0.15, 0.5))
        top = int(rng.integers(height // 6, height - height // 6 - side + 1))
        left = int(rng.integers(width - side + 1))
        piece = tone_map(panorama[top : top + side, left : left + side], exposure=rng.normal(0.3, 0.7))
        rgba = textured_shape(rng, piece, dent)
        rgba = recoloured(rgba, rng.uniform(0, 2 * math.pi), rng.uniform(0.7, 2), 1.0)
        return f"shape of {name}", Sprite(rgba)
