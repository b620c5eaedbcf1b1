"""Prompts drawn from masks: clicks that point at an object, and beside it."""

from __future__ import annotations

import numpy as np

from panosam2_ros.training.prompt_sampling import OUTSIDE, SEVERAL, sample_prompt


def test_clicks_are_one_or_several_some_of_them_beside_the_object() -> None:
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    rng, counts = np.random.default_rng(0), []
    for _ in range(400):
        prompt = sample_prompt(rng, mask, (0.0, 1.0, 0.0))
        inside = mask[tuple(np.rint(prompt.points[:, ::-1]).astype(int).T)]
        assert np.array_equal(inside, prompt.point_labels == 1)
        for u, v in prompt.points[~inside]:
            assert 2 <= u < 88 and 0 <= v < 64  # near it
        counts.append(len(inside))
    shares = np.bincount(counts, minlength=4)[1:] / 400
    assert np.allclose(shares, (1 - SEVERAL, SEVERAL * (1 - OUTSIDE), SEVERAL * OUTSIDE), atol=0.08)


def test_an_object_that_fills_the_picture_has_nothing_beside_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        assert sample_prompt(rng, np.ones((32, 32), bool), (0.0, 1.0, 0.0)).point_labels.all()
