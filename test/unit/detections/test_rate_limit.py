"""So many in a second, and no more after a pause."""

from __future__ import annotations

import pytest

from panosam2_ros.detections.rate_limit import RateLimit


@pytest.mark.parametrize("rate", [0.25, 1.0, 3.0])
def test_it_grants_as_many_as_the_rate_says(rate: float) -> None:
    limit = RateLimit()
    granted = [limit.take(100, rate, 100 + 0.1 * i) for i in range(400)]
    assert granted[0] == max(1, int(rate))
    assert sum(granted) == pytest.approx(40 * rate, abs=rate + 1)


def test_a_pause_gives_no_more_than_a_second_does() -> None:
    limit = RateLimit()
    assert limit.take(100, 3, 0.0) == 3 and limit.take(100, 3, 1000.0) == 3


def test_what_is_not_wanted_is_not_granted() -> None:
    limit = RateLimit()
    assert [limit.take(2, 3, 0.0), limit.take(2, 3, 0.0), limit.take(0, 3, 0.0)] == [2, 1, 0]
    assert limit.take(5, 0, 50.0) == 0
