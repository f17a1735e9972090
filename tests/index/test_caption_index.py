"""Directions, images and captions as queries; captions from a grammar, encoded batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu.errors import InputError
from fdgpu.index import CaptionIndex, IndexKind
from fdgpu.index.given_rows import BLOCK, batches
from tests.index.vectors import names, unit_rows

N, D, K = 3000, 24, 6
ROWS = unit_rows(N, D)
REFERENCE = ROWS[17]
WORDS = [str(i) for i in range(100)]
GRAMMAR = fdgpu.CaptionGrammar("{a} {b} {noun}", a=WORDS[:10], b=WORDS[:10], noun=WORDS[:30])


class HashEmbedder:
    """Unit vectors that depend on the text alone; counts what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def texts(self, captions: Sequence[str], progress: Any) -> torch.Tensor:
        self.batches.append(list(captions))
        progress("embed captions", 0, None)
        return torch.from_numpy(np.stack([vector(caption) for caption in captions]))


def vector(caption: str) -> np.ndarray:
    return unit_rows(1, D, seed=int.from_bytes(caption.encode(), "big"))[0]


@pytest.fixture(scope="module")
def fit() -> fdgpu.FailureDirections:
    rng = np.random.default_rng(5)
    images = rng.normal(size=(900, D)) * rng.uniform(0.1, 3, size=D) + rng.normal(size=D)
    right = images @ rng.normal(size=D) > -2
    return fdgpu.FailureDirections().fit(images.astype(np.float32), np.repeat([0, 1, 2], 300), right)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_both_sides_are_those_of_score_captions(fit: fdgpu.FailureDirections, kind: str) -> None:
    index = CaptionIndex(ROWS, names(N), reference=REFERENCE, scale=fit.scale_, kind=kind)
    w = fit.coef_[:, 0]
    hard, easy = index.hardest(w, K, exact=True), index.easiest(w, K, exact=True)
    for i, class_id in enumerate(fit.classes_):
        scores = fit.score_captions(ROWS, REFERENCE, class_id)
        order = np.argsort(scores)[: N - 1]  # NaN, the reference, is last
        length = np.linalg.norm(w[i])
        np.testing.assert_array_equal(hard.ids[i], order[:K])
        np.testing.assert_array_equal(easy.ids[i], order[::-1][:K])
        np.testing.assert_allclose(hard.scores[i], scores[order[:K]], atol=1e-5 * length)
        np.testing.assert_allclose(easy.scores[i], scores[order[::-1][:K]], atol=1e-5 * length)


def test_a_fit_that_does_not_whiten_needs_no_scale() -> None:
    x = unit_rows(200, D, seed=3)
    fit = fdgpu.FailureDirections(whiten=False).fit(x, np.zeros(200, int), x[:, 0] > -0.1)
    found = CaptionIndex(ROWS, names(N), reference=REFERENCE).hardest(fit.coef_[:, 0], K)
    scores = fit.score_captions(ROWS, REFERENCE, 0)
    np.testing.assert_array_equal(found.ids[0], np.argsort(scores)[:K])


def test_a_caption_that_is_the_reference_is_left_out() -> None:
    index = CaptionIndex(ROWS, names(N), reference=REFERENCE, kind="flat")
    assert (len(index), len(index.captions)) == (N - 1, N)
    ids = index.search(unit_rows(2, D, seed=9), N - 1).ids
    assert (np.sort(ids, axis=1) == np.delete(np.arange(N), 17)).all()
    with pytest.raises(InputError, match=f"the index holds {N - 1} vectors"):
        index.search(ROWS[:1], N)


def test_an_image_and_a_caption_find_their_captions() -> None:
    index = CaptionIndex(ROWS, names(N))
    assert index.names_of(index.search(ROWS[[5, 2000]], 1).ids) == [["caption 5"], ["caption 2000"]]
    with pytest.raises(InputError, match="make it with reference="):
        index.hardest(ROWS[:1], 1)


def test_results_are_of_the_queries_kind() -> None:
    index = CaptionIndex(torch.from_numpy(ROWS), names(N), reference=torch.from_numpy(REFERENCE))
    assert all(isinstance(part, torch.Tensor) for part in index.hardest(torch.from_numpy(ROWS[:2]), 3))
    assert all(type(part) is np.ndarray for part in index.easiest(ROWS[:2], 3))


@pytest.mark.parametrize("kind", ["flat", "hnsw", IndexKind("ivf", "a test", lists=20, probes=20)], ids=str)
def test_from_captions_is_the_index_of_their_vectors(kind: str | IndexKind) -> None:
    embedder, steps = HashEmbedder(), []
    index = CaptionIndex.from_captions(
        GRAMMAR, embedder, batch_size=1100, reference="7", kind=kind, progress=lambda *step: steps.append(step)
    )
    whole = CaptionIndex(np.stack([vector(c) for c in GRAMMAR]), GRAMMAR, reference=vector("7"), kind="flat")
    queries = unit_rows(20, D, seed=4)
    np.testing.assert_array_equal(index.search(queries, K, exact=True).ids, whole.search(queries, K).ids)
    assert sorted(text for batch in embedder.batches[2:] for text in batch) == sorted(GRAMMAR)
    assert max(map(len, embedder.batches)) <= 1100
    assert steps[0] == ("index captions", 0, 3000)
    assert steps[-1] == ("index captions", 3000, 3000)
    assert len(index) == 3000


def test_lists_are_learned_from_captions_of_all_kinds() -> None:
    shuffled = [block for batch in batches(100_000, 4096, shuffled=True) for block in batch]
    assert sorted(i for block in shuffled for i in block) == list(range(100_000))
    first = [block.start for block in shuffled[:16]]
    assert max(first) - min(first) > 50_000
    assert all(len(block) == BLOCK for block in shuffled if block.stop < 100_000)
    in_order = [block for batch in batches(10_000, 4096, shuffled=False) for block in batch]
    assert in_order == [range(4096), range(4096, 8192), range(8192, 10_000)]


class CountingGrammar(Sequence[str]):
    """A hundred million captions, of which it may be asked for a few."""

    asked = 0

    def __len__(self) -> int:
        return 10**8

    def __getitem__(self, index: Any) -> Any:
        self.asked += 1
        return f"caption {range(len(self))[index]}"

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a grammar of a hundred million captions is not gone through")


def test_captions_are_looked_up_and_not_gone_through() -> None:
    captions = CountingGrammar()
    index = CaptionIndex(None, captions, kind="flat").add(ROWS)
    assert index.names_of(index.search(ROWS[[2]], 1).ids) == [["caption 2"]]
    assert captions.asked == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": np.ones(D)}, "scale was given without a reference"),
        ({"reference": REFERENCE, "scale": np.ones(3)}, "scale has 3 columns"),
        ({"reference": REFERENCE, "scale": np.zeros(D)}, "scale holds 0 at dimension 0"),
        ({"reference": ROWS[:2]}, "reference has 2 rows: pass one vector"),
        ({"reference": np.full(D, np.nan)}, "reference holds NaN"),
        ({"reference": np.ones(3)}, f"embeddings has {D} columns, the index holds vectors of 3"),
    ],
)
def test_references_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CaptionIndex(ROWS, names(N), **wrong)


class Forgetful(HashEmbedder):
    def texts(self, captions: Sequence[str], progress: Any) -> torch.Tensor:
        return super().texts(captions, progress)[:5]


def test_an_embedder_that_gives_too_few_vectors() -> None:
    with pytest.raises(InputError, match="5 vectors for 3000 captions"):
        CaptionIndex.from_captions(GRAMMAR, Forgetful())


def test_encoding_nothing() -> None:
    with pytest.raises(InputError, match="captions is empty"):
        CaptionIndex.from_captions([], HashEmbedder())
    with pytest.raises(InputError, match="batch_size is 0"):
        CaptionIndex.from_captions(GRAMMAR, HashEmbedder(), batch_size=0)
