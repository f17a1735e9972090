"""Audits in spaces without captions (paper, B.1.6), and of vectors that are there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import fdgpu
from fdgpu import CaptionGrammar, ClipEmbedder, Decoder, FailureDirections
from fdgpu.auditing import AuditResult
from fdgpu.embedding import FeatureEmbedder, GivenVectors
from fdgpu.embedding.features import named_embedder
from fdgpu.embedding.sources import TensorSource
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from tests.auditing.test_outputs import mistakes
from tests.report.parsing import read

WORDS = ["a photo of a boot", "a photo of a bag", "a photo of a coat"]
WORDS += [f"a photo of a boot on a {colour} background" for colour in ("white", "black", "red", "green", "blue")]


class Counted(ClipEmbedder):
    """The bundled CLIP, of which the images are counted that it embeds."""

    embedded = 0

    def embed_batch(self, batch: Any) -> torch.Tensor:
        self.embedded += len(batch.ids)
        return super().embed_batch(batch)


@pytest.fixture(scope="module")
def counted() -> Counted:
    embedder = Counted.bundled("cpu")
    embedder.doubts = ()
    return embedder


@pytest.fixture(scope="module")
def vectors(world: dict, clip: ClipEmbedder) -> torch.Tensor:
    return clip.images(world["pictures"])


def columns(world: dict) -> dict[str, Any]:
    return {name: world[name] for name in ("labels", "predictions", "splits")}


def settings() -> dict[str, Any]:
    return {"directions": FailureDirections(n_permutations=50, n_resamples=10), "groups": "none"}


@pytest.fixture(scope="module")
def network() -> FeatureEmbedder:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10)]
    return FeatureEmbedder(nn.Sequential(*body), (64, 64), name="my net", device="cpu")


@pytest.fixture(scope="module")
def wordless(world: dict, network: FeatureEmbedder, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    out = tmp_path_factory.mktemp("wordless")
    return fdgpu.audit(world["pictures"], **columns(world), embedder=network, out=out, **settings())


# --- a space without captions -----------------------------------------------------------------------------------------


def test_failures_are_found_and_shown_without_a_word(wordless: AuditResult) -> None:
    boot = wordless.findings.classes[1]
    assert (boot.name, boot.significant) == ("boot", True)
    assert all(one.correct is False for one in boot.hard_examples[:4])
    assert (boot.hard_captions, wordless.captions.by_class) == ((), {})
    assert any("nothing reads them into the space of my net" in note for note in wordless.findings.notes)
    root = read(wordless.page)
    assert "described" not in root.find("section", cls="failures")[0].text
    assert not root.find("div", cls="captions")
    assert (
        len({len(row.find("th") + row.find("td")) for row in root.find("table", id="classes-table")[0].find("tr")}) == 1
    )
    assert len(root.find("section", cls="class")[0].find("button", cls="tile")) == 20


def test_its_folder_says_so(wordless: AuditResult) -> None:
    document = json.loads((wordless.out / "audit.json").read_text())
    assert mistakes(document) == []
    assert {document[key] for key in ("text_method", "text_method_reason", "activation", "activation_reason")} == {None}
    assert (document["model"], len(document["model_fingerprint"])) == ("my net", 64)
    assert pq.read_table(wordless.out / "captions.parquet").num_rows == 0
    assert pq.read_table(wordless.out / "effects.parquet").num_rows == 0


@pytest.mark.parametrize("what", ["grammar", "decoder"])
def test_what_needs_captions_is_refused_with_the_remedy(what: str, world: dict, network: FeatureEmbedder) -> None:
    given = {"grammar": "demo", "decoder": Decoder.bundled("cpu")}[what]
    with pytest.raises(
        InputError, match=f"{what} is given, and nothing reads captions into the space of my net: leave"
    ):
        fdgpu.audit(world["pictures"], **columns(world), embedder=network, **{what: given})


def test_features_go_by_name() -> None:
    loaded = named_embedder("features:torchvision:resnet18:none", "cpu")
    assert (loaded.name, loaded.dimension) == ("torchvision:resnet18:none", 512)
    assert loaded.doubts
    assert isinstance(named_embedder("bundled", "cpu"), ClipEmbedder)
    for name in ("features:", "features:keras:resnet", "features:torchvision"):
        with pytest.raises(ModelError, match="use features:torchvision:NAME"):
            named_embedder(name)


# --- vectors that are there already -----------------------------------------------------------------------------------


def same(one: AuditResult, other: AuditResult) -> None:
    np.testing.assert_allclose(one.decisions, other.decisions, atol=1e-4)
    for mine, yours in zip(one.findings.classes, other.findings.classes, strict=True):
        assert [c.caption for c in mine.hard_captions] == [c.caption for c in yours.hard_captions]
        assert mine.cv_score == pytest.approx(yours.cv_score, nan_ok=True)


def test_a_clip_s_vectors_give_its_audit_and_nothing_is_embedded(
    world: dict, clip: ClipEmbedder, counted: Counted, vectors: torch.Tensor, tmp_path: Path
) -> None:
    embedded = fdgpu.audit(world["pictures"], **columns(world), embedder=clip, **settings())
    counted.embedded = 0
    result = fdgpu.audit(
        **columns(world), embeddings=3 * vectors.double().numpy(), embedder=counted, out=tmp_path, **settings()
    )
    assert counted.embedded == 0
    same(result, embedded)
    document = json.loads((tmp_path / "audit.json").read_text())
    assert mistakes(document) == []
    assert (document["model"], document["model_fingerprint"]) == ("bundled, given vectors", None)
    assert next(iter(document["timings"])) == "take vectors"
    assert "No images were given beside the embeddings" in " ".join(document["notes"])
    root = read(result.page)
    assert not root.find("", cls="tile")
    names = [[one.text for one in own.find("li")] for own in root.find("ol", cls="names")]
    assert [example.path for example in result.findings.classes[1].hard_examples] in names


def test_images_beside_them_are_shown_and_a_few_are_compared(
    world: dict, counted: Counted, vectors: torch.Tensor
) -> None:
    counted.embedded = 0
    result = fdgpu.audit(world["pictures"], **columns(world), embeddings=vectors, embedder=counted, **settings())
    assert counted.embedded == 8
    assert not read(result.page).find("span", cls="missing")
    assert not any("embedded again" in note for note in result.findings.notes)
    with pytest.warns(FdgpuWarning, match=r"[678] of 8 images that bundled embedded again have other embeddings"):
        fdgpu.audit(world["pictures"], **columns(world), embeddings=vectors.roll(40, 0), embedder=counted, **settings())


def test_they_are_joined_by_name(world: dict, clip: ClipEmbedder, vectors: torch.Tensor) -> None:
    paths = [f"{row}.png" for row in range(len(vectors))]
    order = np.random.default_rng(0).permutation(len(paths))
    by_path = {name: {paths[row]: own[row] for row in order} for name, own in columns(world).items()}

    def fit() -> dict[str, Any]:  # folds, and so the choice of C, follow the order of the images
        return {"directions": FailureDirections(Cs=(0.1,)), "groups": "none"}

    expected = fdgpu.audit(**columns(world), embeddings=vectors, embedder=clip, **fit())
    mapping = {paths[row]: vectors[row] for row in order[::-1]} | {"another.png": vectors[0]}
    for images in (None, TensorSource(world["pictures"], paths)):
        joined = fdgpu.audit(images, **by_path, embeddings=mapping, embedder=clip, **fit())
        at = np.argsort(order) if images is None else np.arange(len(order))
        np.testing.assert_allclose(joined.decisions[at], expected.decisions, atol=1e-3)
    with pytest.raises(InputError, match=r"embeddings has no vector for '7.png'"):
        fdgpu.audit(**by_path, embeddings={p: v for p, v in mapping.items() if p != "7.png"}, embedder=clip)


def test_captions_may_be_given_with_their_vectors(world: dict, clip: ClipEmbedder, vectors: torch.Tensor) -> None:
    given = GivenVectors(vectors, "my CLIP")
    result = fdgpu.audit(
        **columns(world), embeddings=given, captions=dict(zip(WORDS, clip.texts(WORDS), strict=True)), **settings()
    )
    assert (result.findings.model, result.findings.text_method) == ("my CLIP", "given")
    assert result.findings.classes[1].hard_captions[0].caption == "a photo of a boot on a white background"
    assert "8 captions whose vectors were given, for every class" in " ".join(result.findings.notes)
    assert len(result.captions.by_class[1][0].texts) == len(WORDS)
    places = [None, *(f"on a {colour} background" for colour in ("white", "black", "red", "green"))]
    grammar = {"boot": CaptionGrammar("a photo of a {noun} {place}", noun=["boot"], place=places)}
    few = (WORDS[:6], clip.texts(WORDS[:6]))
    chosen = fdgpu.audit(**columns(world), embeddings=vectors, captions=few, grammar=grammar, **settings())
    assert set(chosen.captions.by_class[1][0].texts) == {WORDS[0], *WORDS[3:6]}
    assert "they have no vector among captions" in " ".join(chosen.findings.notes)


def test_a_vector_without_a_direction_is_skipped(world: dict, clip: ClipEmbedder, vectors: torch.Tensor) -> None:
    odd = vectors.clone()
    odd[2], odd[6, 0] = 0.0, float("nan")
    result = fdgpu.audit(**columns(world), embeddings=odd, embedder=clip, **settings())
    assert {one.path: one.reason for one in result.findings.skipped} == {
        "2": "its vector is zero", "6": "its embedding is not finite",
    }  # fmt: skip
    assert np.isnan(result.decisions[[2, 6]]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "images is missing: pass images, or embeddings"),
        ({"grammar": "demo"}, "nothing reads captions into the space of given vectors"),
        ({"embeddings": 5}, "embeddings has 5 rows, there are 120 images"),
        ({"dimension": 5, "embedder": True}, "vectors of 5 numbers, and those of bundled have 128"),
        ({"captions": WORDS[3:]}, r"captions has no vector of 'a photo of a bag', from which .* \(3 of 3 classes"),
        ({"captions": WORDS, "embedder": True}, "captions and embedder are given, and both read captions"),
        ({"embedder": "net"}, "embedder is my net, which reads no captions, and embeddings are given"),
        ({"model": nn.Identity(), "predictions": None}, "images is missing, and model answers images"),
        ({"labels": None}, "labels is missing: pass one label for each of embeddings"),
    ],
)
def test_what_does_not_go_together_is_said(
    given: dict[str, Any],
    message: str,
    world: dict,
    clip: ClipEmbedder,
    network: FeatureEmbedder,
    vectors: torch.Tensor,
) -> None:
    own = columns(world) | given
    if given:
        own["embeddings"] = vectors[: own.pop("embeddings", None), : own.pop("dimension", None)]
    if "embedder" in own:
        own["embedder"] = network if own["embedder"] == "net" else clip
    if "captions" in own:
        own["captions"] = (own["captions"], clip.texts(own["captions"]))
    with pytest.raises(InputError, match=message):
        fdgpu.audit(**own)
