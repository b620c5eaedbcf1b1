"""Losses against their definitions; a few steps learn; a run that was killed goes on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml

from panosam2_ros.data.sources import SourceLibrary
from panosam2_ros.equirect import Equirect
from panosam2_ros.model.build import load_weights, random_model
from panosam2_ros.model.memory_attention import _rotations_of
from panosam2_ros.prompts import PromptEncoding
from panosam2_ros.resources import sha256
from panosam2_ros.training.clips import ClipPool, RenderedClips
from panosam2_ros.training.curriculum import Stage, learning_rate, read_config
from panosam2_ros.training.losses import LossConfig
from panosam2_ros.training.parallel import agree, average_gradients
from panosam2_ros.training.ship import ship, training_hours
from panosam2_ros.training.train import Trainer, run_clip

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "train" / "nano.yaml"


def test_the_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) > 0.99 and rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_the_shipped_configuration_is_complete_and_typos_are_refused(tmp_path: Path) -> None:
    _, stages = read_config(CONFIG)
    assert [stage.scenes().width for stage in stages] == [stage.size[1] for stage in stages]
    config = yaml.safe_load(CONFIG.read_text())
    config["stages"][0]["stpes"] = 1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="stpes"):
        read_config(wrong)


def library() -> SourceLibrary:
    """One panorama and two sprites that need no file."""
    rng = np.random.default_rng(0)
    panorama = cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (256, 128))
    sprites = {}
    for name, colour in (("disc", (250, 40, 30)), ("ring", (30, 60, 250))):
        sprite = np.zeros((64, 64, 4), np.uint8)
        cv2.circle(sprite, (32, 32), 28, (*colour, 255), -1 if name == "disc" else 12)
        sprites[name] = sprite
    return SourceLibrary({"noise": panorama}, sprites)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A curriculum of a few tiny steps."""
    stage = {
        "name": "tiny", "steps": 4, "size": [64, 128], "batch": 2, "frames": 2,
        "free": 2, "hide": 0.2, "objects": 2,
        "lr": 1e-3, "balance": 1.0, "freeze_norm": True, "kinds": [0.4, 0.3, 0.3], "diameter": [40, 90],
        "clip": {"frames": 4, "objects": [2, 2], "object_speed": [0, 5], "camera_speed": 3,
                 "occlusion": 0.0},
    }  # fmt: skip
    options = {"seed": 1, "ema": 0.9, "weight_decay": 0.01, "gradient_clip": 1.0}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**options, "stages": [stage]}))
    return path


def test_a_batch_has_prompts_on_objects_that_are_there(small: Path) -> None:
    _, (stage,) = read_config(small)
    pool = ClipPool(RenderedClips(stage.scenes(), library(), 3), (64, 128), size=8, fresh=1, seed=0)
    batch = pool.draw(2, 3, 2, (0.0, 1.0, 0.0))
    assert batch.images.shape == (3, 2, 3, 64, 128) and batch.images.dtype == torch.uint8
    assert batch.targets.shape == (3, 4, 1, 16, 32)
    for prompt, target in zip(batch.prompts, batch.targets[0, :, 0], strict=True):
        u, v = prompt.points[0]
        assert target[int(v) // 4, int(u) // 4] > 0
    boxes = pool.draw(2, 1, 2, (1.0, 0.0, 0.0)).prompts
    assert all(p.box is not None for p in boxes)


def test_a_killed_run_goes_on_where_it_was(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SourceLibrary, "from_npm", lambda *_: library())
    trainer = Trainer(small, tmp_path / "run", tmp_path, None)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    original, calls = Trainer._update, 0

    def killed_at_third(self: Trainer, *arguments: Stage) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_update", killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(save_every=0)
    monkeypatch.setattr(Trainer, "_update", original)
    again = Trainer(small, tmp_path / "run", tmp_path, None)
    assert (again.stage, again.step, again.average.updates) == (0, 2, 2)
    again.run(save_every=1000)
    assert again.average.updates == 4
    assert any(not torch.equal(p, before[name]) for name, p in again.model.named_parameters())
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 4
    models = tmp_path / "models"
    models.mkdir()
    manifest = json.loads(ship(tmp_path / "run", small, models).read_text())
    weights = models / "panosam2_nano.safetensors"
    assert manifest["sha256"] == sha256(weights) and manifest["steps"] == 4
    shipped, average = load_weights(weights).state_dict(), again.average.model.state_dict()
    assert all(torch.equal(shipped[name], average[name]) for name in average)


def _one_of_two(rank: int, meeting: str, results: str) -> None:
    """A process of a run: its gradients and weights differ from the other's until they are exchanged."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    model = random_model(rank)
    agree(model)
    model.no_mem_embed.grad = torch.full_like(model.no_mem_embed, 1.0 + 2.0 * rank)
    average_gradients(model)
    torch.save([model.state_dict(), model.no_mem_embed.grad, model.no_obj_ptr.grad], f"{results}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_share_weights_and_average_gradients(tmp_path: Path) -> None:
    arguments = (str(tmp_path / "meeting"), str(tmp_path))
    torch.multiprocessing.spawn(_one_of_two, arguments, nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    wanted = random_model(0).state_dict()
    for state, gradient, unused in (first, second):
        assert all(torch.equal(state[name], wanted[name]) for name in wanted)
        assert (gradient == 2).all() and (unused == 0).all()


def test_a_model_that_tracked_can_be_trained(small: Path) -> None:
    """What is cached while tracking, without autograd, must not come into the way of training."""
    _, (stage,) = read_config(small)
    pool = ClipPool(RenderedClips(stage.scenes(), library(), 3), (64, 128), size=8, fresh=1, seed=0)
    batch = pool.draw(1, 2, 1, (1.0, 0.0, 0.0))
    model = random_model(0)
    model.set_input_size(64, 128)
    encoding = PromptEncoding(Equirect(128, 64), model.input_size, model.config)
    _rotations_of.cache_clear()
    with torch.inference_mode():
        run_clip(model, batch, encoding, 1.0, 0.0)
    losses, _ = run_clip(model, batch, encoding, 1.0, 0.0)
    losses.total(LossConfig()).backward()
    assert model.memory_attention.layers[0].linear1.weight.grad is not None


def test_pauses_between_sessions_are_no_training_time() -> None:
    assert training_hours([{"time": t} for t in (0.0, 30.0, 4000.0, 4042.0)]) == pytest.approx(72 / 3600)
