"""Fixtures of the tests of training."""

from pathlib import Path

import pytest

from helpers.tiny_training import write_recipe


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write a recipe of a few tiny steps."""
    return write_recipe(tmp_path / "tiny.yaml")
