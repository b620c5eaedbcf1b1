"""How many examples tests with invented input take: few, or PANOSAM2_FUZZ_EXAMPLES."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_MANY = "PANOSAM2_FUZZ_EXAMPLES"


def examples(few: int) -> Callable[[Any], Any]:
    """Have a test take ``few`` examples, or as many as the environment says, however long that lasts."""
    count = int(os.environ.get(_MANY) or few)

    def decorated(test: Any) -> Any:
        test = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))(test)
        return pytest.mark.timeout(0)(test) if _MANY in os.environ else test

    return decorated
