"""Colour histograms of objects and of their surroundings, as evidence beside the network's own.

Ours, for small networks, without training; neither SAM2 nor the paper has it. When an object is
prompted, the colours inside its mask and around it are counted. From then on every pixel's mask logit
is shifted by the log ratio of the two counts at its colour, and a mask of mostly other colours does not
count as the object. Networks that recognise their objects well do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.circular import cached_constant, wrap_pad
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.per_object import per_object

LEVELS = (6, 8, 8)  # of luma and of both chroma components
RANGES = ((0, 256), (-64, 64), (-64, 64))  # values beyond count as the last level
BINS = LEVELS[0] * LEVELS[1] * LEVELS[2]
# ITU-R BT.601, full range
_TO_YCC = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))
_SMOOTHING = 0.7  # standard deviation, bins, against changes of the light
_UNSEEN = 1e-3  # frequency of a colour that was not counted
_CLAMP = 2.0  # of the log ratio
_BLUR = 1.0  # standard deviation, mask pixels
_BORDER, _AROUND = 1 / 112, 1 / 11  # fractions of the width: the uncertain border, and the surroundings
_AROUND_WEIGHT = 10.0  # of the surroundings, relative to the rest of the panorama


@dataclass(frozen=True, eq=False)
class ColourBins:
    """The histogram bin of every mask pixel of B images."""

    index: Tensor  # [B, h, w] int64, 0..BINS - 1
    planar: bool  # the images are search regions: no seam, all pixels as large; else panoramas

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.index)

    def split(self, parts: int) -> list[ColourBins]:
        """Return ``parts`` bins of B / ``parts`` images each, in order."""
        return [ColourBins(index, self.planar) for index in self.index.chunk(parts)]


def colour_bins(images: Tensor, stride: int, *, planar: bool) -> ColourBins:
    """Compute the histogram bins of mask pixels of ``stride`` image pixels.

    ``images`` [B, 3, H, W] are RGB 0..255; ``planar``: search regions, not panoramas.
    """
    small = F.avg_pool2d(images.float(), stride)
    components = torch.einsum("ck,bkhw->cbhw", _to_ycc(images.device, torch.float32), small)
    luma, blue, red = (
        ((x - low) / (high - low) * count).long().clamp(0, count - 1)
        for x, count, (low, high) in zip(components, LEVELS, RANGES, strict=True)
    )
    index: Tensor = (luma * LEVELS[1] + blue) * LEVELS[2] + red
    return ColourBins(index, planar)


def colour_histograms(bins: ColourBins, mask_logits: Tensor) -> Tensor:
    """Compute normalised histograms [N, 2, BINS] of the colours inside and outside N masks [N, 1, h, w].

    The N / B objects of each of the B images are adjacent in N. An object's surroundings count
    ``_AROUND_WEIGHT`` times as much as the rest of the panorama, its border not at all.
    """
    inside = (mask_logits > 0).float()
    width = mask_logits.shape[-1]
    outside = 1 - _dilated(inside, round(width * _BORDER), planar=bins.planar)
    around = _dilated(inside, round(width * _AROUND), planar=bins.planar)
    weights = torch.cat([inside, outside * (1 + (_AROUND_WEIGHT - 1) * around)], 1)
    return _histograms(bins, weights)


def colour_evidence(bins: ColourBins, colours: Tensor) -> Tensor:
    """Compute the log ratio, -2..2, of every pixel's colour in the object and outside it, [N, 1, h, w].

    ``colours`` [N, 2, BINS] as of ``colour_histograms``, zeros where unknown.
    """
    frequencies = colours + _UNSEEN
    ratio = (frequencies[:, 0] / frequencies[:, 1]).log().clamp(-_CLAMP, _CLAMP)
    found = ratio.gather(1, _bins_of_objects(bins, len(colours)))
    return _blurred(torch.unflatten(found, 1, bins.index.shape[1:])[:, None], planar=bins.planar)


def histogram_intersection(bins: ColourBins, colours: Tensor, mask_logits: Tensor) -> Tensor:
    """Compute the histogram intersection [N], 0..1, of the colours in masks [N, 1, h, w] with the objects'.

    1 for objects whose colours are unknown.
    """
    own = colours[:, 0]
    now = _histograms(bins, (mask_logits > 0).float())[:, 0]
    known = own.sum(1) > 0
    return torch.where(known, torch.minimum(own, now).sum(1), 1.0)


def _bins_of_objects(bins: ColourBins, count: int) -> Tensor:
    """Repeat the bins of images for each of their ``count`` objects, [N, h * w]."""
    return per_object(bins.index.flatten(1), count)


def _histograms(bins: ColourBins, weights: Tensor) -> Tensor:
    """Compute smoothed normalised histograms [N, K, BINS] of pixels with weights [N, K, h, w].

    Pixels of panoramas also count by their solid angle.
    """
    if not bins.planar:
        weights = weights * _row_areas(weights.device, weights.dtype, weights.shape[-2])
    where = _bins_of_objects(bins, len(weights))[:, None].expand(-1, weights.shape[1], -1)
    counts = weights.new_zeros(*weights.shape[:2], BINS).scatter_add(2, where, weights.flatten(2))
    counts = counts @ _smoothing(weights.device, weights.dtype)
    return counts / counts.sum(-1, keepdim=True).clamp_min(1e-9)


def _dilated(mask: Tensor, radius: int, *, planar: bool) -> Tensor:
    """Dilate masks [N, 1, h, w] of 0 and 1 by ``radius`` pixels, those of panoramas across the seam."""
    padded = F.pad(mask, (radius, radius)) if planar else wrap_pad(mask, radius, radius, 0, 0)
    wide = _window_sums(padded, 2 * radius + 1)
    tall = _window_sums(F.pad(wide, (0, 0, radius, radius)).mT, 2 * radius + 1).mT
    return (tall > 0).float()


def _window_sums(x: Tensor, count: int) -> Tensor:
    """Sum over every ``count`` adjacent columns, [..., W] -> [..., W + 1 - count]."""
    total = F.pad(x.cumsum(-1), (1, 0))
    return total[..., count:] - total[..., :-count]


def _blurred(x: Tensor, *, planar: bool) -> Tensor:
    """Blur maps [N, 1, h, w] with a Gaussian, of panoramas across the seam."""
    kernel = _gaussian(x.device, x.dtype)
    reach = len(kernel) // 2
    edge = (reach, reach, 0, 0)
    padded = F.pad(x, edge, mode="replicate") if planar else wrap_pad(x, *edge)
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(across, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))


@cached_constant
def _to_ycc() -> Tensor:
    """Make the matrix [3, 3] from RGB to luma and chroma."""
    return torch.tensor(_TO_YCC)


@cached_constant
def _gaussian() -> Tensor:
    """Make a normalised Gaussian kernel [7]."""
    weights = torch.exp(-0.5 * (torch.arange(-3, 4) / _BLUR) ** 2)
    return weights / weights.sum()


@cached_constant
def _smoothing() -> Tensor:
    """Make the matrix [BINS, BINS] that smooths histograms; its rows sum to 1."""
    whole = torch.ones(1, 1)
    for count in LEVELS:
        steps = torch.arange(count)
        weights = torch.exp(-0.5 * ((steps[:, None] - steps) / _SMOOTHING) ** 2)
        whole = torch.kron(whole, weights / weights.sum(1, keepdim=True))
    return whole


@cached_constant
def _row_areas(height: int) -> Tensor:
    """Compute the solid angle of a pixel in each row, [h, 1], up to a factor."""
    return torch.from_numpy(Equirect(2 * height, height).pixel_solid_angles()).float()[:, None]
