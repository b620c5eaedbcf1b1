"""How many examples tests with invented input take: few, or PANOSAM2_FUZZ_EXAMPLES."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings


def examples(few: int) -> Any:
    """Settings of a test that takes ``few`` examples, or as many as the environment says."""
    count = int(os.environ.get("PANOSAM2_FUZZ_EXAMPLES") or few)
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
