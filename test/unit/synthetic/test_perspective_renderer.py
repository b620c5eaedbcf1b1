"""A region that is rendered directly shows what a panorama shows there."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig
from panosam2_ros.synthetic.perspective_renderer import PerspectiveRenderer

SIZE = 128
CONFIG = SceneConfig(
    width=2048, height=1024, frames=6, size=(math.radians(15), math.radians(50)), noise=0.0,
    exposure_drift=0.5, object_speed=(0.0, 0.1),
)  # fmt: skip


@pytest.fixture(scope="module")
def library() -> AssetLibrary:
    return AssetLibrary.shipped(Split.TRAIN)


def object_regions(scene: Scene, index: int) -> list[SearchRegion]:
    """Return a region round each object of a frame, and one of half the sphere."""
    truth = scene.truth(index)
    found = [TargetExtent.of_mask(truth.labels == item.obj_id, scene.grid) for item in truth.objects]
    regions = [SearchRegion.around(target) for target in found if target is not None]
    return [*regions, replace(regions[0], diameter=math.pi)]


def render_region(
    renderer: PerspectiveRenderer, index: int, region: SearchRegion
) -> tuple[np.ndarray, np.ndarray]:
    return renderer.render(index, region.directions(SIZE).transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_a_region_equals_the_cut_from_the_panorama(library: AssetLibrary, seed: int) -> None:
    scene, renderer = Scene(CONFIG, library, seed), PerspectiveRenderer(CONFIG, library, seed)
    assert len(renderer) == len(scene)
    for index in (0, 5):
        frame = scene.render(index)
        for region in object_regions(scene, index):
            image, labels = render_region(renderer, index, region)
            expected = region.pixels(ImagePyramid(frame.image), SIZE).astype(float)
            assert np.abs(image - expected).mean() < 6
            assert (labels == region.mask(frame.labels, SIZE)).mean() > 0.985


def test_coarse_labels_say_where_objects_are(library: AssetLibrary) -> None:
    scene, renderer = Scene(CONFIG, library, 1), PerspectiveRenderer(CONFIG, library, 1)
    labels, grid = renderer.labels(0)  # shows every object
    truth = scene.truth(0)
    for item in truth.objects:
        coarse = TargetExtent.of_mask(labels == item.obj_id, grid)
        fine = TargetExtent.of_mask(truth.labels == item.obj_id, scene.grid)
        assert coarse is not None and fine is not None
        assert np.degrees(np.arccos(min(coarse.direction @ fine.direction, 1))) < 1
        assert coarse.diameter == pytest.approx(fine.diameter, rel=0.15)


def test_moving_objects_are_blurred_and_their_labels_are_not(library: AssetLibrary) -> None:
    still = replace(CONFIG, camera_speed=0.0, object_speed=(0.1, 0.1), distractors=(0, 0), look_alike=0.0)
    sharp, blurred = (
        PerspectiveRenderer(still, library, 2),
        PerspectiveRenderer(replace(still, motion_blur=0.8), library, 2),
    )
    region = object_regions(Scene(still, library, 2), 3)[0]
    (a, truth), (b, same) = render_region(sharp, 3, region), render_region(blurred, 3, region)
    assert np.array_equal(truth, same) and truth.any()
    moved = np.abs(a.astype(int) - b).max(-1) > 12
    assert moved.any() and moved.mean() < 0.5  # the background stands still
    assert not np.array_equal(a, b)


def test_noise_is_as_configured_and_reproducible(library: AssetLibrary) -> None:
    clean, noisy = (
        PerspectiveRenderer(CONFIG, library, 0),
        PerspectiveRenderer(replace(CONFIG, noise=3.0), library, 0),
    )
    region = object_regions(Scene(CONFIG, library, 0), 2)[0]
    (a, _), (b, _), (again, _) = (
        render_region(clean, 2, region),
        render_region(noisy, 2, region),
        render_region(noisy, 2, region),
    )
    assert np.array_equal(b, again)
    middle = (a > 20) & (a < 235)  # where noise is not clipped
    assert (b.astype(float) - a)[middle].std() == pytest.approx(3.0, rel=0.1)


def test_two_lenses_are_refused(library: AssetLibrary) -> None:
    with pytest.raises(ValueError, match=r"one lens: leave out stitching and lens_step, got 0\.02 and 0\.0"):
        PerspectiveRenderer(replace(CONFIG, stitching=0.02), library, 0)


def test_textures_finer_than_pixels_are_averaged() -> None:
    """Without averaging, textures would flicker where an image has fewer pixels than they have detail."""
    rng = np.random.default_rng(0)
    sprite = rng.integers(0, 255, (256, 256, 4), np.uint8)
    sprite[..., 3] = 255
    library = AssetLibrary({"noise": rng.integers(0, 255, (512, 1024, 3), np.uint8)}, {"noise": sprite})
    far = replace(
        CONFIG, texture_shapes=0.0, recolour=0.0, exposure=0.0, exposure_drift=0.0, distractors=(0, 0),
        look_alike=0.0, objects=(1, 1), size=(0.5, 0.5), size_change=1.0,
    )  # fmt: skip
    scene, renderer = Scene(far, library, 0), PerspectiveRenderer(far, library, 0)
    image, labels = render_region(renderer, 0, replace(object_regions(scene, 0)[0], diameter=math.pi))
    inside = cv2.erode((labels > 0).astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.sum() > 20
    sharp = rng.integers(0, 255, 10_000).std()
    assert image[inside].std() < 0.45 * sharp and image[labels == 0].std() < 0.45 * sharp
