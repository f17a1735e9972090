"""Which pictures a later call takes over: those of the same captions, seeds and settings, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu import SyntheticImages, text_to_image
from fdgpu.decoding import Decoder
from fdgpu.decoding.manifest import MANIFEST
from fdgpu.decoding.painters import PipelinePainter
from fdgpu.errors import InputError
from tests.decoding import tiny
from tests.decoding.test_synthetic import Reader

CAT = {"cat": {"hard": "a white cat", "reference": "a cat"}}
DOG = {"dog": {"hard": "a dog"}}
FEW = {"num_inference_steps": 1, "guidance_scale": 2.0}


def paint(out: Path, captions: Any = CAT, pipeline: Any = None, **arguments: Any) -> SyntheticImages:
    return text_to_image(captions, pipeline or tiny.text_to_image(), out, **{"per_caption": 1, **FEW} | arguments)


def other_weights() -> Any:
    pipeline = tiny.text_to_image()
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(3)
    return pipeline


def other_prediction() -> Any:
    pipeline = tiny.text_to_image()
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type="v_prediction")
    return pipeline


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        (lambda: {"captions": {"cat": {"hard": "a dog", "reference": "a cat"}}}, "cat/hard/0000.png"),
        (lambda: {"captions": {"cat": {"hard": "a white cat"}}}, "cat/reference/0000.png"),
        (lambda: {"seed": 1}, "cat/hard/0000.png"),
        (lambda: {"pipeline": other_weights()}, "its weights"),
        (lambda: {"pipeline": other_prediction()}, "its schedulers"),
        (lambda: {"guidance_scale": 3.0}, "its arguments"),
        (lambda: {"negative_prompt": ["ugly", "ugly"]}, "its arguments"),
        (lambda: {"latents": torch.ones(2, 4, 8, 8)}, "its arguments"),
        (lambda: {"cross_attention_kwargs": {"scale": 0.5}}, "its arguments"),
    ],
)
def test_never_mixes_pictures_of_two_settings(
    change: Callable[[], dict[str, Any]], differ: str, tmp_path: Path
) -> None:
    painted = paint(tmp_path)
    manifest = (tmp_path / MANIFEST).read_text()
    with pytest.raises(InputError, match=rf"holds pictures of other captions or settings \({differ}\): choose another"):
        paint(tmp_path, **change())
    assert (tmp_path / MANIFEST).read_text() == manifest
    assert SyntheticImages.load(tmp_path) == painted


@pytest.mark.parametrize(
    ("decoder", "differ"),
    [({"length": 50.0}, "length"), ({"negative": np.ones(tiny.D)}, "negative"), ({"size": 32}, "size")],
)
def test_never_mixes_pictures_of_two_decoders(decoder: dict[str, Any], differ: str, tmp_path: Path) -> None:
    pipeline, sampling = tiny.retrieval_augmented(), {"clip": Reader(), "per_caption": 1, "steps": 1}
    text_to_image(CAT, Decoder.from_diffusers(pipeline), tmp_path, **sampling)
    with pytest.raises(InputError, match=rf"\(its {differ}\)"):
        text_to_image(CAT, Decoder.from_diffusers(pipeline, **decoder), tmp_path, **sampling)
    text_to_image(CAT, Decoder.from_diffusers(pipeline), tmp_path, **sampling)


def test_a_clip_of_other_weights_reads_otherwise(tmp_path: Path) -> None:
    clip, decoder = Reader(), Decoder.from_diffusers(tiny.retrieval_augmented())
    clip.model = torch.nn.Linear(2, 2)  # type: ignore[attr-defined]
    text_to_image(CAT, decoder, tmp_path, clip=clip, per_caption=1, steps=1)
    clip.model = torch.nn.Linear(2, 2)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"\(its clip_weights\)"):
        text_to_image(CAT, decoder, tmp_path, clip=clip, per_caption=1, steps=1)


def test_pictures_that_no_manifest_lists_are_not_taken_over(tmp_path: Path) -> None:
    paint(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"other captions or settings \(cat/hard/0000.png\)"):
        paint(tmp_path)


def test_a_call_that_painted_nothing_binds_nobody(tmp_path: Path) -> None:
    with pytest.raises(TypeError):  # the pipeline's own, of an argument that it does not know how to take
        paint(tmp_path, guidance_scale="2")
    assert paint(tmp_path).pictures().shape == (2, 3, 16, 16)


def test_another_version_goes_on(tmp_path: Path) -> None:
    painted = paint(tmp_path).pictures()
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "fdgpu": "0.0.0"}))
    assert torch.equal(paint(tmp_path).pictures(), painted)
    assert json.loads((tmp_path / MANIFEST).read_text()) == manifest


def test_more_pictures_and_captions_join_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paint(tmp_path / "whole", CAT | DOG, per_caption=3)
    asked, call = [], PipelinePainter.__call__

    def counted(self: Any, captions: Any, seeds: Any) -> Any:
        asked.append(len(captions))
        return call(self, captions, seeds)

    monkeypatch.setattr(PipelinePainter, "__call__", counted)
    paint(tmp_path / "out", per_caption=1)
    paint(tmp_path / "out", per_caption=3)
    grown = paint(tmp_path / "out", CAT | DOG, per_caption=3)
    assert asked == [2, 4, 3]
    assert grown.rows == whole.rows == SyntheticImages.load(tmp_path / "out").rows
    assert (grown.pictures().int() - whole.pictures().int()).abs().max() <= 1
    with pytest.raises(InputError, match="holds pictures of other captions"):  # it would list fewer than there are
        paint(tmp_path / "out", CAT | DOG, per_caption=2)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"model": {}, "images": [{"path": "x.png"}]}', "\ud800"])
def test_a_manifest_of_another_program_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    for use in (SyntheticImages.load, paint):
        with pytest.raises(InputError, match=r"manifest.json is not a manifest of fdgpu.text_to_image"):
            use(tmp_path)
    with pytest.raises(InputError, match=r"has no manifest.json"):
        SyntheticImages.load(tmp_path / "elsewhere")
