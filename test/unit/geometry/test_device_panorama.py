"""A panorama on a device is sampled as the CPU samples it, within one of 255 steps, whatever the views."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from panosam2_ros.geometry.circular import fit_image
from panosam2_ros.geometry.device_panorama import DevicePanorama, region_placement, sampled_regions
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """The hardest image: every pixel differs from its neighbours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def region(lon: float, lat: float, diameter: float) -> SearchRegion:
    return SearchRegion.around(TargetExtent(lonlat_to_vector(lon, lat), diameter, diameter))


def placements(regions: list[SearchRegion], size: int, panorama: DevicePanorama, fov: float) -> torch.Tensor:
    height, width = panorama.image.shape[:2]
    rows = [region_placement(own, size, (width, height), vertical_fov=fov) for own in regions]
    return torch.from_numpy(np.stack(rows)).to(panorama.image.device)


ANYWHERE = st.builds(region, st.floats(-3.2, 3.2), st.floats(-1.57, 1.57), st.floats(0.01, 2.0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("width", "height", "size"), [(1024, 512, 96), (640, 322, 224), (1536, 500, 160), (64, 32, 64)]
)
@settings(max_examples=15, deadline=None)
@given(st.lists(ANYWHERE, min_size=1, max_size=4))
def test_regions_are_those_of_the_cpu(
    device: torch.device, width: int, height: int, size: int, regions: list[SearchRegion]
) -> None:
    image, fov = noise(width, height), math.pi * 2 * height / width
    panorama, pyramid = DevicePanorama(image, device), ImagePyramid(image)
    found = sampled_regions(panorama.levels, placements(regions, size, panorama, fov), size).cpu().numpy()
    for own, view in zip(found, regions, strict=True):
        expected = view.pixels(pyramid, size, vertical_fov=fov).transpose(2, 0, 1)
        apart = np.abs(own - expected)
        # where an arctangent differs in its last bit, a pixel is sampled 1/32 of a pixel beside
        assert (apart > 1).mean() <= (0 if device == CPU else 1e-3) and apart.max() <= 9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("width", "height"), [(512, 256), (640, 322), (100, 37)])
def test_levels_are_those_of_the_pyramid(device: torch.device, width: int, height: int) -> None:
    image = noise(width, height)
    levels, pyramid = DevicePanorama(image, device).levels[0].permute(1, 2, 0).cpu(), ImagePyramid(image)
    for density in (1e9, *(width / 2**k for k in range(8))):
        level = pyramid.at(density / (2 * math.pi))[0]
        above = sum(height >> k for k in range(round(math.log2(height / len(level)))))
        assert np.array_equal(levels[above : above + len(level), :-1].numpy(), level)
    assert torch.equal(levels[:, -1], levels[:, 0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("width", "height"), [(1024, 512), (640, 322), (200, 100)])
def test_a_panorama_is_resized_as_on_the_cpu(device: torch.device, width: int, height: int) -> None:
    image = noise(width, height)
    found = DevicePanorama(image, device).fitted(128, 256).cpu()
    assert (found - fit_image(image, 128, 256).float()).abs().max() <= 1.001


def test_an_image_that_was_flipped_or_is_read_only_is_taken_as_it_looks() -> None:
    image = noise(64, 32)[::-1, ::-1, ::-1]
    image.flags.writeable = False
    found = DevicePanorama(image, CPU).image
    assert np.array_equal(found.numpy(), image)
    found.zero_()
    assert image.any()  # it was copied: a caller may use the buffer again


def test_a_panorama_gives_its_memory_back_at_once() -> None:
    """On a GPU the garbage collector would come too late: each has some ten times the size of its image."""
    panorama = DevicePanorama(noise(64, 32), CPU)
    assert panorama.fitted(16, 32) is panorama.fitted(16, 32) and panorama.levels is panorama.levels
    known = weakref.ref(panorama)
    gc.disable()
    try:
        del panorama
        assert known() is None
    finally:
        gc.enable()


def test_any_number_of_regions_is_sampled_by_as_many_operations() -> None:
    class Count(TorchDispatchMode):
        operations = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.operations += 1
            return func(*args, **(kwargs or {}))

    panorama, counts = DevicePanorama(noise(256, 128), CPU), set()
    levels = panorama.levels
    for number in (1, 2, 7):
        places = placements([region(k, 0.1 * k, 0.1 + k) for k in range(number)], 64, panorama, math.pi)
        with Count() as count:
            sampled_regions(levels, places, 64)
        counts.add(count.operations)
    assert len(counts) == 1
