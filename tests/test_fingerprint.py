"""Settings of a model as plain data: equal for equal pictures, another for another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from fdgpu.decoding import Decoder
from fdgpu.fingerprint import SAMPLED, pipeline_settings, plain, weights_digest
from tests.decoding import tiny


def net() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7))
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return made


def digest(of: nn.Module) -> str:
    return weights_digest({"net": of, "tokenizer": object(), "none": None})


def test_the_same_weights_have_the_same_digest() -> None:
    assert digest(net()) == digest(net()) == digest(net().to(memory_format=torch.channels_last))


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made[0].weight.data.mul_(1.001),
        lambda made: made[1].running_mean.add_(1),
        lambda made: made.half(),
        lambda made: made[1].num_batches_tracked.add_(1),
        lambda made: made.register_parameter("more", nn.Parameter(torch.zeros(0))),
    ],
)
def test_other_weights_have_another_digest(change: Callable[[Any], Any]) -> None:
    changed = net()
    change(changed)
    assert digest(changed) != digest(net())


def test_little_of_a_large_net_is_read_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    read, down = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: read.append(tensor.numel()) or down(tensor))
    digest(nn.Linear(300, 300))
    assert read == [2 * SAMPLED * 4]  # bytes, of weights and biases


def test_weights_that_are_offloaded_are_known_by_their_shapes() -> None:
    assert digest(nn.Linear(2, 3, device="meta")) != digest(nn.Linear(3, 2, device="meta"))


def pipelines() -> list[dict[str, Any]]:
    """Pipelines of one class, each with other pictures."""
    plain, weights, scheduler, other = (tiny.text_to_image() for _ in range(4))
    with torch.no_grad():
        weights.unet.conv_in.weight.mul_(3)
    scheduler.scheduler = type(scheduler.scheduler).from_config(
        scheduler.scheduler.config, prediction_type="v_prediction"
    )
    other.register_to_config(_name_or_path="another")
    return [pipeline_settings(one) for one in (plain, weights, scheduler, other)]


def test_pipelines_have_settings_of_their_own() -> None:
    settings = pipelines()
    texts = [json.dumps(one, sort_keys=True) for one in settings]
    assert len(set(texts)) == len(texts)
    assert texts == [json.dumps(one, sort_keys=True) for one in pipelines()]
    assert [json.loads(text) for text in texts] == settings  # nothing is lost on the way through a manifest
    assert settings[0]["schedulers"]["scheduler"]["class"] == "DDIMScheduler"
    assert not any(name.startswith("_") for name in settings[0]["schedulers"]["scheduler"])


def test_decoders_have_settings_of_their_own() -> None:
    of = partial(Decoder.from_diffusers, tiny.retrieval_augmented())
    decoders = [of(), of(length=50.0), of(negative=np.ones(tiny.D)), of(size=32)]
    settings = [decoder.settings for decoder in decoders]
    assert all(one not in settings[:i] for i, one in enumerate(settings))
    assert [json.loads(json.dumps(one)) for one in settings] == settings
    assert of().settings == settings[0]


DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(DATA)
def test_plain_data_stays_what_it_is(data: Any) -> None:
    assert plain(data) == data == json.loads(json.dumps(plain(data)))


def test_arrays_are_known_by_what_they_hold() -> None:
    values = [
        torch.zeros(2, 3),
        torch.zeros(3, 2),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.ones(2, 3),
        np.zeros((2, 3)),
        np.float32(0.5),
        Image.new("RGB", (2, 2)),
        Image.new("RGB", (2, 2), "red"),
    ]
    texts = [json.dumps(plain({"it": [value]})) for value in values]
    assert len(set(texts)) == len(texts)
    assert texts == [
        json.dumps(plain({"it": (value.copy() if hasattr(value, "copy") else value.clone(),)})) for value in values
    ]


def test_other_objects_have_no_address() -> None:
    assert plain(object()) == "<object object>"
    assert plain([lambda: 0])[0].startswith("<function test_other_objects")
