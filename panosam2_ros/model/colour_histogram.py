"""Which colours an object has and its surroundings have not: evidence beside the network's own.

Our own aid to small networks, without training (SAM2 and the paper have none): when an object is
prompted, colours inside its mask and around it are counted; from then on every pixel's mask logit is
moved by the log ratio of the two counts at its colour, and a mask whose colours are mostly others
does not count as the object. A network that knows its objects well does not need it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.circular import cached_constant, wrap_pad
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.model.mask_decoder import MaskPrediction

LEVELS = (6, 8, 8)  # of luma and of both chroma components
RANGES = ((0, 256), (-64, 64), (-64, 64))  # what is beyond counts with the last level
BINS = LEVELS[0] * LEVELS[1] * LEVELS[2]
# ITU-R BT.601, full range
_TO_YCC = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))
_SMOOTHING = 0.7  # bins; light changes
_UNSEEN = 1e-3  # share of a colour that was not counted
_CLAMP = 2.0  # of the log ratio
_BLUR = 1.0  # mask pixels
_NEAR, _AROUND = 1 / 112, 1 / 11  # of the width: too near to tell, and what is around the object
_AROUND_WEIGHT = 10.0  # of what is around beside the rest of the panorama


def colour_bins(images: Tensor, stride: int) -> Tensor:
    """The colour of every mask pixel: RGB 0..255 [B, 3, H, W] -> [B, H / stride, W / stride] int64."""
    small = F.avg_pool2d(images.float(), stride)
    components = torch.einsum("ck,bkhw->cbhw", _to_ycc(images.device, torch.float32), small)
    luma, blue, red = (
        ((x - low) / (high - low) * count).long().clamp(0, count - 1)
        for x, count, (low, high) in zip(components, LEVELS, RANGES, strict=True)
    )
    return (luma * LEVELS[1] + blue) * LEVELS[2] + red


def colour_histograms(bins: Tensor, mask_logits: Tensor) -> Tensor:
    """Shares of colours [N, 2, BINS] inside N masks [N, 1, h, w] and in the rest; ``bins`` [B, h, w].

    The N / B objects of an image are neighbours. What is around an object counts most.
    """
    inside = (mask_logits > 0).float()
    width = mask_logits.shape[-1]
    outside = 1 - _grown(inside, round(width * _NEAR))
    around = _grown(inside, round(width * _AROUND))
    weights = torch.cat([inside, outside * (1 + (_AROUND_WEIGHT - 1) * around)], 1)
    return _shares(bins, weights)


def colour_evidence(bins: Tensor, colours: Tensor) -> Tensor:
    """How much each pixel's colour speaks for each object: [N, 1, h, w], log ratio, -2..2.

    ``bins`` [B, h, w]; ``colours`` [N, 2, BINS] as ``colour_histograms`` gives them, zeros for none.
    """
    shares = colours + _UNSEEN
    ratio = (shares[:, 0] / shares[:, 1]).log().clamp(-_CLAMP, _CLAMP)
    found = ratio.gather(1, _of_each(bins, len(colours)))
    return _blurred(found.unflatten(1, bins.shape[1:])[:, None])


def histogram_intersection(bins: Tensor, colours: Tensor, mask_logits: Tensor) -> Tensor:
    """Overlap [N], 0..1, of the colours in masks [N, 1, h, w] with the objects'; 1 where none are known."""
    own = colours[:, 0]
    now = _shares(bins, (mask_logits > 0).float())[:, 0]
    known = own.sum(1) > 0
    return torch.where(known, torch.minimum(own, now).sum(1), 1.0)


def with_colours(prediction: MaskPrediction, evidence: Tensor) -> MaskPrediction:
    """The prediction with its logits moved by weighed evidence [N, 1, H', W']."""
    coarse = F.avg_pool2d(evidence, evidence.shape[-1] // prediction.mask_logits.shape[-1])
    return replace(
        prediction,
        mask_logits=prediction.mask_logits + coarse,
        fine_logits=prediction.fine_logits + evidence,
    )


def _of_each(bins: Tensor, count: int) -> Tensor:
    """Bins [B, h, w] of the image of each of ``count`` objects, [N, h * w]."""
    return bins.flatten(1).repeat_interleave(count // len(bins), 0)


def _shares(bins: Tensor, weights: Tensor) -> Tensor:
    """Smoothed shares of colours [N, K, BINS] on the sphere, of weights [N, K, h, w]."""
    weights = weights * _row_areas(weights.device, weights.dtype, weights.shape[-2])
    where = _of_each(bins, len(weights))[:, None].expand(-1, weights.shape[1], -1)
    counts = weights.new_zeros(*weights.shape[:2], BINS).scatter_add(2, where, weights.flatten(2))
    counts = counts @ _smoothing(weights.device, weights.dtype)
    return counts / counts.sum(-1, keepdim=True).clamp_min(1e-9)


def _grown(mask: Tensor, radius: int) -> Tensor:
    """Masks [N, 1, h, w] of 0 and 1 grown by so many pixels on all sides, across the seam."""
    wide = _sums(wrap_pad(mask, radius, radius, 0, 0), 2 * radius + 1)
    tall = _sums(F.pad(wide, (0, 0, radius, radius)).mT, 2 * radius + 1).mT
    return (tall > 0).float()


def _sums(x: Tensor, count: int) -> Tensor:
    """Sums over each ``count`` neighbouring columns, [..., W] -> [..., W + 1 - count]."""
    total = F.pad(x.cumsum(-1), (1, 0))
    return total[..., count:] - total[..., :-count]


def _blurred(x: Tensor) -> Tensor:
    kernel = _gaussian(x.device, x.dtype)
    reach = len(kernel) // 2
    across = F.conv2d(wrap_pad(x, reach, reach, 0, 0), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(across, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))


@cached_constant
def _to_ycc() -> Tensor:
    return torch.tensor(_TO_YCC)


@cached_constant
def _gaussian() -> Tensor:
    """[7]"""
    weights = torch.exp(-0.5 * (torch.arange(-3, 4) / _BLUR) ** 2)
    return weights / weights.sum()


@cached_constant
def _smoothing() -> Tensor:
    """[BINS, BINS], rows sum to 1."""
    whole = torch.ones(1, 1)
    for count in LEVELS:
        steps = torch.arange(count)
        weights = torch.exp(-0.5 * ((steps[:, None] - steps) / _SMOOTHING) ** 2)
        whole = torch.kron(whole, weights / weights.sum(1, keepdim=True))
    return whole


@cached_constant
def _row_areas(height: int) -> Tensor:
    """[h, 1], solid angle of a pixel in each row, in any unit."""
    return torch.from_numpy(Equirect(2 * height, height).pixel_solid_angles()).float()[:, None]
