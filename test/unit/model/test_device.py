"""Operations of a step: none moves data between devices, and they do not depend on the age of the memory."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import official_config
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.position_codes import SineEncoding
from panosam2_ros.tracking.propagation import empty_bank, propagate
from panosam2_ros.tracking.propagation_result import PropagationResult

NETWORKS = {
    "nano": ModelConfig(),
    "tiny": official_config("sam2.1_hiera_tiny", 448, 896),
    "edgetam": official_config("edgetam", 512, 512),
}


class Watch(TorchDispatchMode):
    """Records every operation with the shapes of its results, and those that involve two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[str, list[torch.Size]]] = []
        self.moves: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        taken = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.work.append((str(func), [x.shape for x in made]))
        if len({x.device for x in made + taken}) > 1:
            self.moves.append(str(func))
        return out


def step(model: PanoSAM2, bank: MemoryBank, image: Tensor) -> PropagationResult:
    return propagate(model, bank, model.encode_image(image))


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_no_tensor_leaves_the_device_and_shapes_do_not_depend_on_age(name: str, monkeypatch) -> None:
    """The meta device has no values: an operation that reads one, such as ``.item()``, raises."""
    model = random_model(0, config=NETWORKS[name]).eval().requires_grad_(False).to("meta")
    image = torch.zeros(1, 3, *model.input_size, dtype=torch.uint8, device="meta")
    bank = step(model, empty_bank(model, 4), image).bank  # constants are moved at the first step
    for maker in ("tensor", "as_tensor", "from_numpy"):  # these would copy from the host
        monkeypatch.setattr(torch, maker, None)
    seen = []
    for _ in range(model.config.slots + 2):
        with Watch() as watch:
            bank = step(model, bank, image).bank
        assert watch.moves == []
        seen.append(watch.work)
    assert len(seen[0]) > 100 and all(work == seen[0] for work in seen)


def test_watch_records_copies_between_devices() -> None:
    with Watch() as watch:
        torch.zeros(3).to("meta")
    assert watch.moves


def test_position_codes_made_on_another_device_are_copied_once() -> None:
    encoding, here = SineEncoding(8), torch.zeros(1, 8, 4, 4)
    encoding(here)
    there = here.to("meta")
    encoding(there)
    with Watch() as watch:
        encoding(there)
    assert watch.moves == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_a_step_can_be_captured_in_a_cuda_graph() -> None:
    model = random_model(0).eval().requires_grad_(False).to("cuda")
    images = torch.randint(0, 255, (3, 1, 3, *model.input_size), dtype=torch.uint8, device="cuda")
    bank = step(model, step(model, empty_bank(model, 4), images[0]).bank, images[1]).bank
    still = images[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(model, bank, still)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(model, bank, still)
    still.copy_(images[2])
    graph.replay()
    expected = step(model, bank, images[2])
    assert torch.allclose(captured.mask_logits, expected.mask_logits, atol=1e-2)
    for item in fields(MemoryBank):
        found, wanted = getattr(captured.bank, item.name), getattr(expected.bank, item.name)
        if isinstance(found, Tensor):
            assert found.shape == wanted.shape
