"""Directions with references of their own, against every caption scored by the one formula for alignment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fdgpu
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.errors import InputError
from fdgpu.index import CaptionIndex, IndexKind, caption_index
from fdgpu.index.caption_index import HALF_EQUAL
from fdgpu.kernels.alignments import alignments
from tests.index.vectors import names, unit_rows
from tests.pretend_cuda import inner, pretend_cuda, up

N, D, Q, K = 3000, 24, 5, 6
ROWS, REFERENCES = unit_rows(N, D), unit_rows(Q, D, seed=1)
DIRECTIONS = np.random.default_rng(2).normal(size=(Q, D)).astype(np.float32)
SCALE = np.linspace(0.02, 0.5, D)
LISTS = IndexKind("ivf", "a test", lists=20, probes=1)


def every_score(rows: np.ndarray, w: np.ndarray, reference: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return alignments(*(torch.from_numpy(part) for part in (rows, reference, w, scale))).numpy()


def check(rows: np.ndarray, w: np.ndarray, references: np.ndarray, scale: np.ndarray, found: Any, k: int) -> None:
    """Check scores against the k lowest and highest of all: ids may differ where two captions score alike."""
    for i in range(len(w)):
        scores = every_score(rows, w[i], references[i], scale)
        there = np.sort(scores[~np.isnan(scores)])
        for side, ordered in ((found.hardest, there), (found.easiest, there[::-1])):
            expected = np.full(k, np.nan)
            expected[: len(ordered[:k])] = ordered[:k]
            np.testing.assert_allclose(side.scores[i], expected, atol=1e-9)
            np.testing.assert_allclose(scores[side.ids[i]], side.scores[i], atol=1e-12)
            assert len(set(side.ids[i].tolist())) == k


@pytest.mark.parametrize("kind", ["flat", "hnsw", LISTS], ids=str)
def test_every_kind_finds_what_scoring_every_caption_finds(kind: str | IndexKind) -> None:
    references = REFERENCES.copy()
    references[1] = ROWS[40]  # a caption of the index, which has no score along this direction
    found = CaptionIndex(ROWS, names(N), kind=kind).extremes(DIRECTIONS, references, SCALE, K)
    check(ROWS, DIRECTIONS, references, SCALE, found, K)
    assert 40 not in np.stack([found.hardest.ids[1], found.easiest.ids[1]])
    assert found.hardest.scores.dtype == np.float64


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 10**6), st.booleans(), st.data())
def test_extremes_are_those_of_all_scores(n: int, q: int, seed: int, double: bool, data: st.DataObject) -> None:
    """In blocks, beside references, with captions that come twice, in both precisions that candidates are found in."""
    rng, k = np.random.default_rng(seed), data.draw(st.integers(1, n))
    rows = unit_rows(n, 6, seed)[rng.integers(n, size=n)]
    references = unit_rows(q, 6, seed + 1)
    for row in rng.permutation(n)[: data.draw(st.integers(0, 4))]:  # near a reference, or the same
        near = references[rng.integers(q)] + rng.choice([0, 1e-4, 1e-2]) * rng.normal(size=6)
        rows[row] = near / np.linalg.norm(near)
    w, scale = rng.normal(size=(q, 6)), rng.uniform(0.01, 1, size=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caption_index, "MOST_VECTORS", data.draw(st.integers(1, 9)))
        patch.setattr(caption_index, "PRECISION", {"cpu": torch.float64 if double else torch.float32})
        found = CaptionIndex(rows, names(n), kind="flat").extremes(w, references, scale, k)
    check(rows, w, references, scale, found, k)


def test_a_caption_next_to_its_reference_is_looked_at_on_both_sides() -> None:
    """Where nearly all are asked for, the easiest may score below 0, and one next to a reference too."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows, references = unit_rows(45, 6, seed)[rng.integers(45, size=45)], unit_rows(3, 6, seed + 1)
        for row in rng.permutation(45)[:4]:
            near = references[rng.integers(3)] + rng.choice([0, 1e-4, 1e-2]) * rng.normal(size=6)
            rows[row] = near / np.linalg.norm(near)
        w, scale = rng.normal(size=(3, 6)), rng.uniform(0.01, 1, size=6)
        check(rows, w, references, scale, CaptionIndex(rows, names(45)).extremes(w, references, scale, 22), 22)


def test_one_reference_for_all_and_no_scale_are_those_of_score_captions() -> None:
    x = unit_rows(400, D, seed=3)
    fit = fdgpu.FailureDirections(whiten=False).fit(x, np.repeat([0, 1], 200), x[:, 0] > -0.1)
    found = CaptionIndex(torch.from_numpy(ROWS), names(N)).extremes(torch.from_numpy(fit.coef_[:, 0]), ROWS[9], k=K)
    assert isinstance(found.hardest.ids, torch.Tensor)
    for i in range(2):
        scores = fit.score_captions(ROWS, ROWS[9], i)
        np.testing.assert_allclose(found.hardest.scores[i], np.sort(scores)[:K], atol=1e-12)
        np.testing.assert_array_equal(found.easiest.ids[i], np.argsort(-scores)[:K])


def test_float16_scores_what_it_holds_and_knows_the_reference_again() -> None:
    index = CaptionIndex(ROWS, names(N), kind="flat", dtype="float16")
    references = np.concatenate([ROWS[[40]], REFERENCES[1:]])
    found = index.extremes(DIRECTIONS, references, SCALE, K)
    assert 40 not in np.stack([found.hardest.ids[0], found.easiest.ids[0]])
    full = CaptionIndex(ROWS, names(N), kind="flat").extremes(DIRECTIONS, references, SCALE, K)
    lengths = np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
    assert (np.abs(found.hardest.scores - full.hardest.scores) < 5 * HALF_EQUAL * lengths).all()


def test_an_index_of_differences_answers_for_its_own_reference_alone(tmp_path: Path) -> None:
    index = CaptionIndex(ROWS, names(N), reference=REFERENCES[0], scale=SCALE)
    index.save(tmp_path / "index")
    found = CaptionIndex.load(tmp_path / "index").extremes(DIRECTIONS, REFERENCES[0], SCALE, K)
    plain = CaptionIndex(ROWS, names(N)).extremes(DIRECTIONS, REFERENCES[0], SCALE, K)
    for own, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(own.ids, other.ids)
        np.testing.assert_allclose(own.scores, other.scores, atol=1e-4)
    for references, scale in ((REFERENCES[1], SCALE), (REFERENCES[0], 2 * SCALE), (REFERENCES, SCALE)):
        with pytest.raises(InputError, match=r"not those that are asked for: make it without reference= and scale="):
            index.extremes(DIRECTIONS, references, scale, K)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"references": REFERENCES[:2]}, "references has 2 rows, directions has 5"),
        ({"references": 2 * REFERENCES}, "references holds 5 of 5 rows that are not unit vectors"),
        ({"scale": SCALE[:3]}, "scale has 3 columns"),
        ({"scale": 0 * SCALE}, "scale holds 0 at dimension 0"),
        ({"directions": np.full((Q, D), np.nan)}, "directions holds NaN"),
        ({"k": N + 1}, f"the index holds {N} vectors"),
    ],
)
def test_questions_that_do_not_go_together(wrong: dict[str, Any], message: str) -> None:
    asked = {"directions": DIRECTIONS, "references": REFERENCES, "scale": SCALE, "k": K, **wrong}
    with pytest.raises(InputError, match=message):
        CaptionIndex(ROWS, names(N)).extremes(**asked)


def test_a_sample_is_of_ids_that_are_there() -> None:
    index = CaptionIndex(ROWS, names(N), reference=ROWS[17])
    ids = index.sample(500, seed=3)
    assert len(set(ids.tolist()) - {17}) == 500
    np.testing.assert_array_equal(ids, index.sample(500, seed=3))
    assert (ids != index.sample(500, seed=4)).any()
    with pytest.raises(InputError, match="k is 3000"):
        index.sample(N)


# --- on a device ----------------------------------------------------------------------------------------------------


@contextmanager
def on_device() -> Iterator[list[Crossing]]:
    with pytest.MonkeyPatch.context() as patch, pretend_cuda(patch), counted_crossings() as crossings:
        yield crossings


def device_run(n: int, q: int, reference: np.ndarray | None) -> tuple[list[Crossing], list[np.ndarray]]:
    """Make an index on the pretended device and ask it everything."""
    w, references = np.tile(DIRECTIONS, (4, 1))[:q], np.tile(REFERENCES, (4, 1))[:q]
    base = None if reference is None else torch.from_numpy(reference)
    with on_device() as crossings:
        rows, directions, queries = (up(torch.from_numpy(part)) for part in (ROWS[:n], w, ROWS[:q]))
        index = CaptionIndex(rows[: n // 2], names(n // 2), reference=base, scale=None if base is None else SCALE)
        index.add(rows[n // 2 :], names(n - n // 2))
        assert (index.backend_, index.kind_.name) == ("gpu", "flat")
        compared = up(torch.from_numpy(references)) if reference is None else base
        found = index.extremes(directions, compared, SCALE, K)
        near = index.search(queries, K)
        assert index.names_of(near.ids)[0][0] is not None
        results = [*(part for side in found for part in side), *near]
    return crossings, [inner(one).numpy() for one in results]


@pytest.mark.parametrize("reference", [None, ROWS[3]], ids=["captions", "differences"])
def test_what_comes_down_does_not_grow_with_captions_or_directions(reference: np.ndarray | None) -> None:
    crossings, _ = device_run(700, Q, reference)
    for n, q in ((2800, Q), (700, 4 * Q)):
        others, _ = device_run(n, q, reference)
        assert [one.why for one in others] == [one.why for one in crossings]
        kept = 0 if reference is None else n
        assert sum(one.bytes for one in others) <= kept + 8 * q * K + 8 * 8  # bool a row, the ids whose names are asked


@pytest.mark.parametrize("reference", [None, ROWS[3]], ids=["captions", "differences"])
def test_the_device_finds_what_the_host_finds(reference: np.ndarray | None) -> None:
    index = CaptionIndex(ROWS, names(N), reference=reference, scale=None if reference is None else SCALE)
    found = index.extremes(DIRECTIONS, REFERENCES if reference is None else reference, SCALE, K)
    _, there = device_run(N, Q, reference)
    for mine, other in zip(
        [*(part for side in found for part in side), *index.search(ROWS[:Q], K)], there, strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=1e-5)
