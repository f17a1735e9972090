"""The arguments of ``audit`` that are no columns and no images: each is checked, by its name, before any work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fdgpu
from fdgpu import CaptionGrammar, FailureDirections
from fdgpu.errors import FdgpuError, InputError

IMAGES, LABELS = torch.zeros(4, 3, 8, 8), ["a", "b", "a", "b"]


def never() -> Any:
    raise AssertionError("a model is loaded before the arguments are checked")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedder": 3}, "embedder is 3: pass an fdgpu.ClipEmbedder, its name, or a function that loads one"),
        ({"model": 3, "predictions": None}, "model is 3: pass a torch.nn.Module"),
        ({"model": "resnet50", "predictions": None}, "classifier is 'resnet50': use torchvision:NAME"),
        ({"preprocess": 3}, "preprocess is given without a model"),
        ({"embedder": FailureDirections}, "embedder is a type"),
        ({"decoder": "bundled"}, "decoder is 'bundled': pass an fdgpu.Decoder"),
        ({"directions": {"cv": 3}}, "directions is a dict: pass an fdgpu.FailureDirections"),
        ({"directions": FailureDirections}, "directions is a type"),
        ({"planted": ["a"]}, r"planted is \['a'\]: pass a mapping"),
        ({"planted": {"a": "on white"}}, "planted of 'a' is 'on white': pass a Planted"),
        ({"title": 3}, "title is 3: use a text"),
        ({"title": "half \ud800"}, r"title is 'half \\ud800': use a text that UTF-8 can hold"),
        ({"seed": -1}, "seed is -1: use a whole number from 0"),
        ({"seed": 2**70}, "seed is 1180591620717411303424"),
        ({"seed": None}, "seed is None"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"timings": 3}, "timings is 3: pass seconds by the name of a stage"),
        ({"timings": {"render": "long"}}, "timings is a dict: pass seconds"),
        ({"timings": {3: 1.0}}, "timings is a dict: pass seconds"),
        ({"progress": True}, "progress is True: pass a function"),
    ],
)
def test_an_argument_of_another_kind_is_named(options: dict[str, Any], message: str) -> None:
    arguments = {"labels": LABELS, "predictions": LABELS, "embedder": never, **options}
    with pytest.raises(InputError, match=message):
        fdgpu.audit(IMAGES, **arguments)


ODD = st.one_of(
    st.integers(-(2**70), -1), st.floats(), st.binary(max_size=5), st.lists(st.integers(), min_size=1, max_size=3),
    st.sampled_from([True, "\udcff", np.arange(3), torch.ones(2), object(), int, {"a": 1}, {1: 2}, (1,)]),
)  # fmt: skip


@settings(max_examples=400, derandomize=True)
@given(st.sampled_from(["embedder", "decoder", "directions", "planted", "title", "seed", "timings", "progress"]), ODD)
def test_whatever_comes_is_refused_by_its_name_and_not_after_work(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"embedder": never, name: value}
    fits = {"timings": isinstance(value, dict) and "a" in value, "progress": callable(value)}
    if fits.get(name):
        return
    with pytest.raises(InputError, match=rf"^{name}( is | of | names )"):
        fdgpu.audit(IMAGES, LABELS, LABELS, **arguments)


TEMPLATES = st.text(st.characters(), max_size=12) | st.sampled_from(["a {noun}", "{noun:9}", "{x} {noun}", "{self}"])
WORDS = st.none() | st.text(st.characters(), max_size=6) | st.integers() | st.just("\ud800")


@settings(max_examples=300, derandomize=True)
@given(TEMPLATES, st.data())
def test_a_grammar_of_anything_makes_captions_or_says_why(template: str, data: st.DataObject) -> None:
    slots = data.draw(st.dictionaries(st.sampled_from(["noun", "x", "y"]), st.lists(WORDS, max_size=3) | WORDS))
    try:
        grammar = CaptionGrammar(template, **slots)
    except FdgpuError:
        return
    captions = list(grammar)
    assert len(captions) == len(grammar)
    "".join(captions).encode()  # can be written
    assert grammar.slots.keys() == slots.keys()
