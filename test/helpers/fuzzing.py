"""How many examples tests with invented input take: the same few, or PANOSAM2_FUZZ_EXAMPLES new ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_MANY = "PANOSAM2_FUZZ_EXAMPLES"


def examples(few: int) -> Callable[[Any], Any]:
    """Have a test take ``few`` examples, or as many as the environment says, however long that lasts."""
    many = os.environ.get(_MANY)

    def decorated(test: Any) -> Any:
        chosen = settings(
            max_examples=int(many or few),
            derandomize=not many,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        test = pytest.mark.fuzz(chosen(test))
        return pytest.mark.timeout(0)(test) if many else test

    return decorated
