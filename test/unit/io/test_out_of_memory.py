"""A lack of memory is told apart from damage, and the host's from a GPU's, with the limit that applies."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from helpers.process import ROOT
from helpers.videos import write_video
from panosam2_ros.io import out_of_memory
from panosam2_ros.io.image_files import ImageFileError, decode_file
from panosam2_ros.io.out_of_memory import (
    LackOfMemoryError,
    is_device_memory,
    is_out_of_memory,
    memory_problem,
    raise_lack_of_memory,
)

pytestmark = pytest.mark.faults
CUDA = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
# runs a program once its modules are imported, with 16 MiB more than it has then
RUN = """
import importlib, resource, sys
main = importlib.import_module(sys.argv.pop(1)).main
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (16 << 20),) * 2)
main()
"""


@pytest.mark.parametrize(
    ("error", "device"),
    [
        (MemoryError(), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False),
        (RuntimeError("can't start new thread"), False),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 88473600 bytes"), False),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), False),
        (CUDA, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
    ],
)
def test_the_hosts_memory_and_a_gpus_have_remedies_of_their_own(error: Exception, device: bool) -> None:
    assert is_out_of_memory(error) and is_device_memory(error) == device
    text = memory_problem(error)
    assert len(text) < 600 and ("nvidia-smi" in text) == device == text.startswith("the GPU's memory ran out")
    with pytest.raises(LackOfMemoryError) as raised:
        raise_lack_of_memory(error)
    assert str(raised.value) == text == memory_problem(raised.value)
    outer = ValueError("the file is damaged")
    outer.__cause__ = error
    assert is_out_of_memory(outer) and is_device_memory(outer) == device


def test_other_errors_pass() -> None:
    for error in (ValueError("shapes differ"), OSError(errno.ENOSPC, "No space left on device")):
        assert not is_out_of_memory(error)
        raise_lack_of_memory(error)


def test_the_limit_that_applies_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group = tmp_path / "memory.max"
    monkeypatch.setattr(out_of_memory, "_CGROUPS", (tmp_path / "none", group))
    infinite = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (infinite, infinite))
    for text in ("max\n", str(1 << 62)):  # no limit: what is free counts
        group.write_text(text)
        assert "MiB of this machine are available: end other programs" in memory_problem(MemoryError())
    group.write_text(str(512 << 20))
    assert "this container may have 512 MiB" in memory_problem(MemoryError())
    monkeypatch.setattr(resource, "getrlimit", lambda _: (700 << 20, infinite))
    assert "700 MiB of addresses: raise ulimit -v" in memory_problem(MemoryError())


def test_a_lack_of_memory_is_no_damage_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cv2.imencode(".png", np.zeros((8, 16, 3), np.uint8))[1].reshape(-1)

    def failing(*_: object) -> None:
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr(cv2, "imdecode", failing)
    with pytest.raises(LackOfMemoryError, match="memory ran out"):
        decode_file(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    with pytest.raises(ImageFileError):
        decode_file(data)


def test_a_program_with_too_little_memory_says_so(tmp_path: Path) -> None:
    """With a real limit, of which whatever comes first has too little: threads, the decoder, the weights."""
    write_video(tmp_path / "video.mp4", range(0, 1000, 100))
    command = [
        sys.executable,
        "-c",
        RUN,
        "panosam2_ros.cli.track",
        "video.mp4",
        "--out",
        "out",
        "--click=9,9",
    ]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "panosam2_track: memory ran out" in done.stderr and "raise ulimit -v" in done.stderr
