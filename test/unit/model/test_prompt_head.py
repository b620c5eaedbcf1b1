"""The prompt head: what the network of closer looks shares with the one that follows objects."""

from __future__ import annotations

import pytest
import torch

from panosam2_ros.model.build import random_model, reconfigured
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.prompt_head import closer_network
from panosam2_ros.training.export import with_prompt_head

CONFIG = ModelConfig(input_height=64, input_width=64, regions=True, prompt_zoom=0.5)
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255


def test_at_first_it_answers_as_the_network_does() -> None:
    model = random_model(3, config=CONFIG).eval()
    own, closer = model.encode_image(IMAGE), closer_network(model).encode_image(IMAGE)
    assert torch.equal(own.embedding, closer.embedding) and torch.equal(own.high_res_s4, closer.high_res_s4)


def test_its_weights_are_its_own_and_all_others_are_shared() -> None:
    model = random_model(3, config=CONFIG).eval()
    closer = closer_network(model)
    shared = {p.data_ptr() for p in model.parameters()}
    assert all(p.data_ptr() in shared for p in closer.parameters())
    before = model.encode_image(IMAGE)
    with torch.no_grad():
        for parameter in closer.image_encoder.neck.parameters():
            parameter.add_(0.1)
    assert torch.equal(model.encode_image(IMAGE).embedding, before.embedding)
    assert not torch.equal(closer.encode_image(IMAGE).embedding, before.embedding)


def test_another_input_size_is_that_of_the_head_too() -> None:
    closer = closer_network(random_model(3, config=CONFIG).for_regions(96))
    assert closer.sam_prompt_encoder.input_image_size == (96, 96) and closer.input_size == (96, 96)


def test_a_network_without_one_is_refused_and_its_answers_do_not_change() -> None:
    plain = random_model(3, config=ModelConfig(input_height=64, input_width=64, regions=True)).eval()
    with pytest.raises(ValueError, match="no prompt head: its config needs prompt_zoom below 1"):
        closer_network(plain)
    headed = random_model(3, config=CONFIG).eval()
    assert torch.equal(plain.encode_image(IMAGE).embedding, headed.encode_image(IMAGE).embedding)
    with pytest.raises(ValueError, match="prompt_zoom must be above 0 and at most 1, got 0"):
        ModelConfig(prompt_zoom=0.0)


def test_a_head_of_another_networks_parts_leaves_the_rest() -> None:
    plain = random_model(3, config=ModelConfig(input_height=64, input_width=64, regions=True))
    source = random_model(4, config=ModelConfig(input_height=64, input_width=64, regions=True))
    made = with_prompt_head(plain, source, 0.5)
    rest = {name: x for name, x in made.state_dict().items() if not name.startswith("prompt_head.")}
    assert rest.keys() == plain.state_dict().keys()
    assert all(torch.equal(x, plain.state_dict()[name]) for name, x in rest.items())
    closer, own = closer_network(made).state_dict(), source.state_dict()
    assert all(
        torch.equal(closer[n], own[n]) for n in own if n.startswith(("sam_mask", "image_encoder.neck"))
    )
    assert reconfigured(made, {"prompt_zoom": 1.0}).prompt_head is None
    with pytest.raises(ValueError, match="zoom below 1, got 1"):
        with_prompt_head(plain, source, 1.0)
