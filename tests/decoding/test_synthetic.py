"""Captions → a folder of pictures that says of each what it is, and that an interrupted call completes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fdgpu import SyntheticImages, text_to_image
from fdgpu.decoding import Decoder
from fdgpu.decoding.sampling import picture_seeds
from fdgpu.decoding.synthetic import MANIFEST, DecoderPainter, PipelinePainter, _plan
from fdgpu.errors import InputError
from tests.decoding import tiny

CAPTIONS = {
    "cat": {"hard": "a white cat", "easy": "a cat inside", "reference": "a cat"},
    "sea/gull": {"hard": "a gull", "reference": "a bird"},
}
FEW = {"num_inference_steps": 2, "guidance_scale": 2.0}


def test_pictures_are_the_pipelines_own(tmp_path: Path) -> None:
    pipeline = tiny.text_to_image()
    made = text_to_image(CAPTIONS, pipeline, tmp_path, per_caption=2, seed=3, batch_size=4, **FEW)
    assert [row.path for row in made.rows][:3] == ["cat/hard/0000.png", "cat/hard/0001.png", "cat/easy/0000.png"]
    assert len(made.rows) == 10
    assert made.class_names == ["cat"] * 6 + ["sea/gull"] * 4
    row = made.rows[7]
    assert (row.path, row.kind, row.caption) == ("sea-gull/hard/0001.png", "hard", "a gull")
    assert row.seed == picture_seeds(3, 2)[1]
    generator = torch.Generator().manual_seed(row.seed)
    expected = pipeline(prompt=row.caption, generator=generator, output_type="np", **FEW).images[0]
    shown = np.asarray(Image.open(tmp_path / row.path))
    assert np.abs(shown / 255 - expected).max() <= 1 / 255
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["model"]["pipeline"] == "StableDiffusionPipeline"
    assert document["model"]["arguments"] == FEW


def test_reading_back(tmp_path: Path) -> None:
    made = text_to_image(CAPTIONS, tiny.text_to_image(), tmp_path, per_caption=1, **FEW)
    read = SyntheticImages.load(tmp_path)
    assert read == made
    hard = read.of("hard")
    assert hard.class_names == ["cat", "sea/gull"]
    assert hard.pictures().shape == (2, 3, 16, 16)
    assert np.array_equal(hard.pictures()[1].permute(1, 2, 0), np.asarray(Image.open(tmp_path / hard.rows[1].path)))
    with pytest.raises(InputError, match="no picture is of kind 'harder': there are easy, hard, reference"):
        read.of("harder")


class InterruptedHereError(Exception):
    pass


def test_an_interrupted_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text_to_image(CAPTIONS, tiny.text_to_image(), tmp_path / "whole", per_caption=2, **FEW)
    calls, paint = [], PipelinePainter.__call__

    def tired(self: Any, captions: Any, seeds: Any) -> Tensor:
        calls.append(len(captions))
        if len(calls) == 2:
            raise InterruptedHereError
        return paint(self, captions, seeds)

    monkeypatch.setattr(PipelinePainter, "__call__", tired)
    out = tmp_path / "out"
    with pytest.raises(InterruptedHereError):
        text_to_image(CAPTIONS, tiny.text_to_image(), out, per_caption=2, batch_size=4, **FEW)
    with pytest.raises(InputError, match=r"6 of 10 pictures .* are missing, the first is cat/reference/0000.png: call"):
        SyntheticImages.load(out)
    resumed = text_to_image(CAPTIONS, tiny.text_to_image(), out, per_caption=2, batch_size=16, **FEW)
    assert calls == [4, 4, 6]
    difference = resumed.pictures().int() - whole.pictures().int()
    assert difference.abs().max() <= 1


def test_memory_that_runs_out_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, paint = [], PipelinePainter.__call__

    def small(self: Any, captions: Any, seeds: Any) -> Tensor:
        sizes.append(len(captions))
        if len(captions) > 3:
            raise torch.OutOfMemoryError
        return paint(self, captions, seeds)

    monkeypatch.setattr(PipelinePainter, "__call__", small)
    text_to_image(CAPTIONS, tiny.text_to_image(), tmp_path, per_caption=1, batch_size=5, **FEW)
    assert sizes == [5, 2, 2, 1]


class Reader:
    """Stands in for a ClipEmbedder: a caption's vector is drawn from its text."""

    name, dimension = "reader", tiny.D

    def texts(self, captions: list[str]) -> Tensor:
        rows = [torch.randn(tiny.D, generator=torch.Generator().manual_seed(len(text))) for text in captions]
        return F.normalize(torch.stack(rows), dim=1)


def test_a_decoder_paints_the_captions_vector(tmp_path: Path) -> None:
    decoder, clip = Decoder.from_diffusers(tiny.retrieval_augmented()), Reader()
    made = text_to_image(CAPTIONS, decoder, tmp_path, clip=clip, per_caption=2, steps=2)
    row = made.rows[3]
    expected = decoder.sample(clip.texts([row.caption]), 2, [row.seed])[0]
    shown = np.asarray(Image.open(tmp_path / row.path)).transpose(2, 0, 1) / 255
    assert np.abs(shown - expected.numpy()).max() <= 1 / 255
    document = json.loads((tmp_path / "manifest.json").read_text())
    model = document["model"]
    assert (model["pipeline"], model["clip"], model["arguments"]) == ("RDMPipeline", "reader", {"steps": 2})
    assert (model["length"], model["size"]) == (1.0, [16, 16])


def test_refuses_what_it_cannot_paint(tmp_path: Path) -> None:
    decoder = Decoder.from_diffusers(tiny.retrieval_augmented())
    with pytest.raises(InputError, match="RDMPipeline takes vectors: pass clip="):
        text_to_image(CAPTIONS, decoder, tmp_path)
    other = Reader()
    other.dimension = 7
    with pytest.raises(InputError, match="vectors of 7 numbers, RDMPipeline decodes vectors of 32"):
        DecoderPainter(decoder, other)
    for pipeline in (tiny.kandinsky(), tiny.image_variation(), object()):
        with pytest.raises(InputError, match="does not make pictures of a prompt alone"):
            text_to_image(CAPTIONS, pipeline, tmp_path)
    for number in (0, 1.5, "2"):
        with pytest.raises(InputError, match=f"per_caption is {number!r}"):
            text_to_image(CAPTIONS, tiny.text_to_image(), tmp_path, per_caption=number)
    for size in (0, -1, 1.5, "4"):
        with pytest.raises(InputError, match=f"batch_size is {size!r}: use a whole number of at least 1"):
            text_to_image(CAPTIONS, decoder, tmp_path, clip=Reader(), batch_size=size)
    for empty in ({}, {"cat": {}}):
        with pytest.raises(InputError, match="captions is empty"):
            text_to_image(empty, tiny.text_to_image(), tmp_path)
    with pytest.raises(InputError, match="the hard caption of cat is not a text"):
        text_to_image({"cat": {"hard": " "}}, tiny.text_to_image(), tmp_path)
    assert not list(tmp_path.iterdir())  # nothing is written for a call that cannot be


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        ({"cat": "a cat"}, "captions holds 'a cat' for cat: pass class name → kind → caption, such as"),
        (["a cat"], "captions is a list"),
        ({0: {"hard": "a cat"}}, "captions holds the class 0 .* names are texts"),
        ({"cat": {1: "a cat"}}, r"the class 'cat' with the kinds \[1\]: names are texts"),
        ({"cat": {"hard": 3}}, "the hard caption of cat is not a text"),
    ],
)
def test_says_what_captions_are(captions: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        text_to_image(captions, tiny.text_to_image(), tmp_path)


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path) -> None:
    made = text_to_image({"cat": {"hard": "a cat"}}, tiny.text_to_image(), tmp_path, per_caption=1, **FEW)
    path, whole = tmp_path / made.rows[0].path, made.pictures()
    data = path.read_bytes()
    for size in (0, 1, 20, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"cat/hard/0000.png cannot be read .* delete it and call"):
            SyntheticImages.load(tmp_path).pictures()
    path.unlink()
    again = text_to_image({"cat": {"hard": "a cat"}}, tiny.text_to_image(), tmp_path, per_caption=1, **FEW)
    assert torch.equal(again.pictures(), whole)


def test_classes_whose_names_look_alike_keep_folders_of_their_own(tmp_path: Path) -> None:
    captions = {"a b": {"hard": "one"}, "a/b": {"hard": "two"}, "../..": {"hard": "three"}}
    made = text_to_image(captions, tiny.text_to_image(), tmp_path, per_caption=1, **FEW)
    assert len({row.path for row in made.rows}) == 3
    assert all((tmp_path / row.path).resolve().is_relative_to(tmp_path.resolve()) for row in made.rows)


NAMES = st.text("aAb-2/ ", min_size=1, max_size=4)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.just("a caption"), min_size=1, max_size=4), min_size=1))
@example({"a-2": {"hard": "x"}, "a": {"hard": "x"}, "A": {"hard": "x"}})
@example({"a": {"hard": "x", "Hard": "x"}})
def test_no_two_pictures_share_a_file(captions: dict[str, dict[str, str]]) -> None:
    paths = [row.path.lower() for row in _plan(captions, 2, 0)]  # as file systems that do not tell letters' cases
    assert len(set(paths)) == len(paths) == 2 * sum(map(len, captions.values()))


# Which pictures a later call takes over: those of the same captions, seeds and settings, and no others.

CAT = {"cat": {"hard": "a white cat", "reference": "a cat"}}
DOG = {"dog": {"hard": "a dog"}}
ONE_STEP = {"num_inference_steps": 1, "guidance_scale": 2.0}


def paint(out: Path, captions: Any = CAT, pipeline: Any = None, **arguments: Any) -> SyntheticImages:
    return text_to_image(captions, pipeline or tiny.text_to_image(), out, **{"per_caption": 1, **ONE_STEP} | arguments)


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
def test_a_manifest_of_another_program_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    for use in (SyntheticImages.load, paint):
        with pytest.raises(InputError, match=r"manifest.json is not a manifest of fdgpu.text_to_image"):
            use(tmp_path)
    with pytest.raises(InputError, match=r"has no manifest.json"):
        SyntheticImages.load(tmp_path / "elsewhere")
