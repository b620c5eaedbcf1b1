"""Panoramas and sprites of synthetic scenes: their sources, licences and splits.

The material is from two npm packages: ``@pmndrs/assets`` 1.7.0 (CC0: 512x256 HDR panoramas, base64
EXR) and ``@lobehub/fluent-emoji-3d`` 1.1.0 (MIT: shaded objects with alpha, 256x256 webp). A small
part of both is in this package, under ``asset_files``.

Every panorama and every sprite belongs to exactly one split. Reserved material is for final
acceptance only, never for training, tuning or model selection, so it must be requested explicitly.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.simulation.sprite_families import family_name, look_alike_families
from panosam2_ros.simulation.sprites import Sprite

ASSETS = Path(__file__).parent / "asset_files"
VIEWS, VIEW_SIDE = 32, 112  # views of a strip, and their side in pixels
RESERVED_PANORAMAS = frozenset({"city", "lab", "sunrise", "venice", "workshop"})
VAL_PANORAMAS = frozenset({"bridge", "forest", "warehouse"})
BRIGHTEST, _CODES = 64.0, 4095  # largest scene value, in multiples of the key; steps of the tone table

SpriteSplit = Literal["name", "family"]  # rule that assigns sprites to splits, see split_of_sprite
SPRITE_SPLITS: tuple[SpriteSplit, ...] = ("name", "family")
Panorama = NDArray[Any]  # [H, W, 3] RGB: uint8, or float32 scene-linear as of clean_hdr


class Split(enum.Enum):
    """The permitted use of material."""

    TRAIN = "train"
    VAL = "val"
    RESERVED = "reserved"

    @classmethod
    def of_panorama(cls, name: str) -> Split:
        """Return the split of a panorama by its name in the npm package, without extension."""
        if name in RESERVED_PANORAMAS:
            return cls.RESERVED
        return cls.VAL if name in VAL_PANORAMAS else cls.TRAIN

    @classmethod
    def of_sprite(cls, file_name: str) -> Split:
        """Return the split of a sprite by its file name in the npm package, with extension."""
        digit = int(hashlib.sha1(file_name.encode(), usedforsecurity=False).hexdigest(), 16) % 10
        if digit >= 8:
            return cls.RESERVED
        return cls.VAL if digit == 7 else cls.TRAIN

    @classmethod
    def of_sprite_family(cls, file_name: str) -> Split | None:
        """Return the split of a sprite by its family's name; None for what looks like a stricter split's."""
        family = family_name(file_name)
        return None if family in look_alike_families() else cls.of_sprite(family)


def split_of_sprite(file_name: str, rule: SpriteSplit) -> Split | None:
    """Return the split of a sprite by a rule; None: in no split.

    ``name`` hashes the file name, as of SynthPano v1, the acceptance scenes and the shipped weights: sprites
    that differ in skin tone alone may be in different splits. ``family`` hashes the family's name, as of
    SynthPano v2. Raises ValueError for another rule.
    """
    if rule not in SPRITE_SPLITS:
        raise ValueError(f"the split of sprites goes by {' or '.join(SPRITE_SPLITS)}, got {rule!r}")
    return Split.of_sprite(file_name) if rule == "name" else Split.of_sprite_family(file_name)


@dataclass(frozen=True, eq=False)
class AssetLibrary:
    """Panoramas and sprites of one split; picklable, so that worker processes can share it."""

    panoramas: Mapping[str, Panorama]  # by name, [H, W, 3] RGB
    sprites: Mapping[str, Path | ImageArray]  # by file name: a file, or RGBA uint8 [H, W, 4]
    _: KW_ONLY
    models: Mapping[str, Path] = field(default_factory=dict)  # strips of views by name
    people: Mapping[str, Path] = field(default_factory=dict)  # likewise
    photos: Mapping[str, Path] = field(default_factory=dict)  # pictures with alpha by name
    sprite_split: SpriteSplit = "name"  # rule by which its sprites were chosen

    def __post_init__(self) -> None:
        if not self.panoramas or not self.sprites:
            raise ValueError(
                f"a library needs at least one panorama and one sprite, got {len(self.panoramas)} "
                f"and {len(self.sprites)}"
            )

    def sprite(self, name: str) -> ImageArray:
        """Return a sprite as RGBA uint8 [H, W, 4] with straight (not premultiplied) alpha."""
        source = self.sprites[name]
        return source if isinstance(source, np.ndarray) else read_rgba(source)

    @cached_property
    def sprite_groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of the sprites in groups that are equally likely in scenes: families, or single sprites.

        Tones and genders would otherwise make a few families of people most of what is drawn.
        """
        names = sorted(self.sprites)
        if self.sprite_split == "name":
            return tuple((name,) for name in names)
        families: dict[str, list[str]] = {}
        for name in names:
            families.setdefault(family_name(name), []).append(name)
        return tuple(tuple(members) for members in families.values())

    @cached_property
    def thin_sprites(self) -> tuple[str, ...]:
        """The names of the sprites that are thin; all sprites are read on first use."""
        return tuple(name for name in sorted(self.sprites) if Sprite(self.sprite(name)).thin)

    @cached_property
    def parted_sprites(self) -> tuple[str, ...]:
        """The names of the sprites that have many parts; all sprites are read on first use."""
        return tuple(name for name in sorted(self.sprites) if Sprite(self.sprite(name)).parted)

    @classmethod
    def shipped(
        cls, split: Split, *, reserved: bool = False, sprite_split: SpriteSplit = "name"
    ) -> AssetLibrary:
        """Load the material of a split that is part of this package; ``sprite_split``: see split_of_sprite.

        Raises ValueError for reserved material without ``reserved``.
        """
        refuse_reserved(split, reserved=reserved)
        panoramas = sorted((ASSETS / "panoramas").glob("*.jpg"))
        sprites = sorted((ASSETS / "sprites").glob("*.webp"))
        return cls(
            {p.stem: read_rgb(p) for p in panoramas if Split.of_panorama(p.stem) is split},
            {p.name: p for p in sprites if split_of_sprite(p.name, sprite_split) is split},
            sprite_split=sprite_split,
        )


def refuse_reserved(split: Split, *, reserved: bool) -> None:
    """Raise ValueError for the reserved split, unless it is requested explicitly."""
    if split is Split.RESERVED and not reserved:
        raise ValueError(
            "reserved material is for final acceptance only, never for training, tuning or model "
            "selection; pass reserved=True for final acceptance"
        )


def tone_map(
    panorama: Panorama,  # [H, W, 3]
    *,
    exposure: float = 0.0,  # stops; 0 maps the middle of the scene to the middle of the range
) -> ImageArray:
    """Convert a panorama, or a piece of one, to uint8 sRGB-like values."""
    gain = 2.0**exposure
    if panorama.dtype == np.uint8:
        table = np.clip(np.arange(256) * gain ** (1 / 2.2), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(panorama, table), np.uint8)
    codes = np.sqrt(panorama * np.float32(_CODES**2 / BRIGHTEST))
    return np.asarray(_tone_table(gain).take(codes.astype(np.uint16)), np.uint8)


def _tone_table(gain: float) -> ImageArray:
    """Tabulate the display values of scene values with square-root spacing; powers of pixels are slow."""
    x = np.linspace(0, 1, _CODES + 1) ** 2 * BRIGHTEST * 0.45 * gain
    filmic = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.asarray(255 * np.clip(filmic, 0, 1) ** (1 / 2.2) + 0.5, np.uint8)


def _read(path: Path, flags: int) -> NDArray[Any]:
    """Read an image file with OpenCV's flags; raise ValueError where that fails."""
    pixels: NDArray[Any] | None = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if pixels is None:
        raise ValueError(f"{path} is not an image that this build of OpenCV can read")
    return pixels


def read_rgb(path: Path) -> ImageArray:
    """Read an image file as RGB uint8 [H, W, 3]."""
    return np.asarray(cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_rgba(path: Path) -> ImageArray:
    """Read an image file as RGBA uint8 [H, W, 4], opaque where it has no alpha."""
    pixels = _read(path, cv2.IMREAD_UNCHANGED)
    code = cv2.COLOR_BGRA2RGBA if pixels.shape[-1] == 4 else cv2.COLOR_BGR2RGBA
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def read_view_strip(path: Path) -> list[ImageArray]:
    """Read the views of a strip, side by side in a file, as RGBA uint8 [VIEW_SIDE, VIEW_SIDE, 4] each."""
    return [np.ascontiguousarray(view) for view in np.split(read_rgba(path), VIEWS, 1)]
