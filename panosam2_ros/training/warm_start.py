"""Start of ``panosam2_mobile``: ImageNet's trunk, everything else from another network of ours.

``python -m panosam2_ros.training.warm_start --config config/train/mobile.yaml --out runs/mobile_start``. The
layers between the trunk and the rest are fitted by least squares to what the other network computes there,
on search regions of the recipe's first stage, so that training begins with a network that works.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from panosam2_ros.model.build import load_model, random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import normalise_pixels
from panosam2_ros.model.mobile_trunk import MobileTrunk
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.weights import save_weights
from panosam2_ros.training.clip_sources import Sources
from panosam2_ros.training.curriculum import Recipe, read_config
from panosam2_ros.training.imagenet_trunk import fetch_imagenet_weights, fill_trunk

_RIDGE = 1e-3  # of the mean square of the inputs, so that channels that are alike share their weight


def started(recipe: Recipe, teacher: PanoSAM2, images: Iterator[Tensor]) -> PanoSAM2:
    """Return the network of a recipe, started from a teacher; ``images`` [B, 3, H, W] RGB 0..255."""
    config = ModelConfig.from_json(json.dumps(recipe.model))
    model = random_model(recipe.seed, config=config).eval()
    trunk = model.image_encoder.trunk
    if not isinstance(trunk, MobileTrunk):
        raise ValueError(
            f"the recipe's trunk is {config.trunk!r}; ImageNet weights are there for mobilenet_v2"
        )
    fill_trunk(trunk, fetch_imagenet_weights())
    _take_what_fits(model, teacher)
    _fit(model, teacher.eval(), images)
    return model


def _take_what_fits(model: PanoSAM2, teacher: PanoSAM2) -> None:
    """Copy the teacher's weights of the same names and shapes; codes of more slots begin as known ones."""
    own, theirs = model.state_dict(), teacher.state_dict()
    same = {k: x for k, x in theirs.items() if k in own and own[k].shape == x.shape and ".trunk." not in k}
    codes, fewer = own["maskmem_tpos_enc"].clone(), theirs["maskmem_tpos_enc"]
    codes[:-1] = fewer[[min(k, len(fewer) - 2) for k in range(len(codes) - 1)]]
    codes[-1] = fewer[-1]  # of prompted frames
    model.load_state_dict({**own, **same, "maskmem_tpos_enc": codes})


class LeastSquares:
    """Weights of a convolution that maps what it is given to what is wanted, from any number of batches."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self._gram: Tensor = torch.zeros(())
        self._product: Tensor = torch.zeros(())
        self._square, self._count = 0.0, 0

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """Take maps [B, C, h, w] and what the convolution is to make of them."""
        size, padding = self.conv.kernel_size, self.conv.padding
        columns = F.unfold(given.double(), size, padding=_pair(padding)).transpose(1, 2).flatten(0, 1)
        x = torch.cat([columns, torch.ones_like(columns[:, :1])], 1)
        y = wanted.double().flatten(2).transpose(1, 2).flatten(0, 1)
        self._gram, self._product = self._gram + x.T @ x, self._product + x.T @ y
        self._square += float((y - y.mean(0)).square().sum())
        self._count += len(x)

    def solve(self) -> float:
        """Set the convolution's weights; return the share of the variance that they explain, 0..1."""
        ridge = _RIDGE * self._gram.diagonal().mean() * torch.eye(len(self._gram), dtype=torch.float64)
        weights = torch.linalg.solve(self._gram + ridge, self._product)
        with torch.no_grad():
            self.conv.weight.copy_(weights[:-1].T.reshape(self.conv.weight.shape))
            if self.conv.bias is not None:
                self.conv.bias.copy_(weights[-1])
        explained = 2 * (weights * self._product).sum() - (weights * (self._gram @ weights)).sum()
        mean = self._product[-1] / self._count
        return float((explained - self._count * mean.square().sum()) / self._square)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    """Return a padding in pixels; raise TypeError for one that is named."""
    if isinstance(padding, str):
        raise TypeError(f"needed is a padding in pixels, got {padding!r}")
    return padding


@torch.no_grad()
def _fit(model: PanoSAM2, teacher: PanoSAM2, images: Iterator[Tensor]) -> None:
    """Fit the neck, and the first layer of masks at stride 2, to the teacher's."""
    necks = [[level.conv for level in net.image_encoder.neck.convs] for net in (model, teacher)]
    pairs = dict(zip((32, 16, 8, 4), zip(*necks, strict=True), strict=True))
    if model.detail is not None and teacher.detail is not None:
        pairs[2] = (model.detail.from_features, teacher.detail.from_features)
    fits = {stride: LeastSquares(own) for stride, (own, _) in pairs.items()}
    for batch in images:
        pixels = normalise_pixels(batch)
        ours, theirs = (_maps(net, pixels) for net in (model, teacher))
        for stride, fit in fits.items():
            fit.add(ours[stride], pairs[stride][1](theirs[stride]))
    for stride, fit in fits.items():
        print(f"stride {stride}: R2 {fit.solve():.2f}")


def _maps(model: PanoSAM2, pixels: Tensor) -> dict[int, Tensor]:
    """Return the trunk's maps by their strides."""
    trunk = model.image_encoder.trunk
    stem = trunk.stem(pixels)
    return {2: stem, **dict(zip((4, 8, 16, 32), trunk.from_stem(stem), strict=True))}


def regions(recipe: Recipe, sources: Sources, clips: int) -> Iterator[Tensor]:
    """Yield the first and the last picture of clips of the recipe's first stage, [2, 3, H, W] each."""
    stage = recipe.stages[0]
    source, rng = sources.open_clips(stage), np.random.default_rng(recipe.seed)
    for number in tqdm(range(clips), desc="regions"):
        images, labels = source.clip(number)
        images, _ = source.augment(rng, images[[0, -1]], labels[[0, -1]], 0.0)
        yield torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.training.warm_start", description=__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="recipe whose network is started")
    add("--teacher", default="panosam2_nano", help="network by name or path (default: %(default)s)")
    add("--clips", type=int, default=130, help="of which two pictures each are used (default: %(default)s)")
    add("--sources", type=Path, default=Path("runs/sources"), help="folder of the npm packages")
    add("--models", type=Path, help="folder of solid models and people")
    add("--out", type=Path, required=True, help="file of weights that is written")
    options = parser.parse_args(arguments)
    recipe = read_config(options.config)
    images = regions(recipe, Sources(options.sources, options.models, recipe.sprite_split), options.clips)
    model = started(recipe, load_model(options.teacher), images)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model, options.out, dtype=torch.float32)


if __name__ == "__main__":
    main()
