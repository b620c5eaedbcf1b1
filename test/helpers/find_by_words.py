"""``examples/find_by_words.py`` with one model after the other, in a process that imports torch but once."""

from __future__ import annotations

import runpy
import sys

import helpers.zero_shot_models  # noqa: F401  makes torchvision importable beside a CPU build of torch
from helpers.process import ROOT

EXAMPLE = ROOT / "examples" / "find_by_words.py"

if __name__ == "__main__":
    program, models, *arguments = sys.argv
    for model in models.split(","):
        sys.argv = [program, *arguments, "--model", model]
        runpy.run_path(str(EXAMPLE), run_name="__main__")
