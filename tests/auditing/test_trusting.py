"""From scores and images to a judgement of every caption that is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fdgpu.auditing.captioning import CaptionedClasses, ModeCaptions
from fdgpu.auditing.evidence import AuditedImages
from fdgpu.auditing.inputs import check_inputs
from fdgpu.auditing.showing import class_findings
from fdgpu.auditing.trusting import evidence, standings
from fdgpu.captions.ranks import ResampledScores
from fdgpu.directions import FailureDirections
from fdgpu.findings import ClassFindings

N, D = 120, 12
TEXTS = [
    "a cat",
    "a red cat",
    "a blue cat",
    "a blue cat at night",
    "a green cat",
    "a big cat",
    "a small cat",
    "a wet cat",
]
TEXTS += [f"a cat {i}" for i in range(24)]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Images of one class lie along an axis, -1 blue to +1 red; the model is wrong on the blue ones, or anywhere."""

    def __init__(self, *, null: bool = False, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        side = rng.choice([-1.0, 1.0], 2 * N)
        self.vectors = unit(np.eye(D)[0] + 0.5 * side[:, None] * np.eye(D)[1] + 0.25 * rng.normal(size=(2 * N, D)))
        self.right = side > 0
        if null:
            self.right = rng.permutation(self.right)
        texts = rng.normal(size=(len(TEXTS), D)) / 3
        texts[0], texts[1], texts[2], texts[3] = 0, np.eye(D)[1], -np.eye(D)[1], -np.eye(D)[1] + 0.2 * texts[3]
        self.texts = unit(np.eye(D)[0] + texts)

    def findings(self, *, splits: list[str] | None = None, **settings: Any) -> ClassFindings:
        names = np.where(self.right, "cat", "dog").tolist()
        inputs = check_inputs(["cat"] * (2 * N), names, ["cat", "dog"], splits or ["val", "test"] * N, None)
        val = inputs.splits == "val"
        fit = FailureDirections(**{"n_resamples": 40} | settings)
        fit.fit(self.vectors[val], inputs.labels[val], inputs.correct[val])
        decisions = fit.decision_function(self.vectors, inputs.labels)[:, None]
        shown = inputs.splits == inputs.first_split(np.ones(2 * N, bool), "test", "val")
        images = AuditedImages([str(i) for i in range(2 * N)], self.vectors, decisions, shown)
        points = fit.caption_directions(self.texts, self.texts[0])
        w = fit.coef_[0, 0]
        stand = standings(TEXTS, self.texts, points, ResampledScores.of(points, w, fit.resampled_coef_[0, 0]))
        own = ModeCaptions(TEXTS, points @ w, float(np.linalg.norm(w)), stand.ranked, {}, stand)
        return class_findings(fit, inputs, images, CaptionedClasses({0: (own,)}, []), {})[0]


def test_what_was_planted_is_reliable_by_rank_and_by_gap() -> None:
    found = World().findings()
    first = found.hard_captions[0]
    assert first.caption == "a blue cat" or first.also[0] == "a blue cat"
    assert "a blue cat at night" in (first.caption, *first.also)
    assert first.evidence is not None
    assert (first.evidence.reliable, first.evidence.decided_by) == (True, "rank and gap")
    assert (first.evidence.rank, first.evidence.candidates, first.evidence.nearest) == (1, len(TEXTS) - 1, 12)
    assert found.easy_captions[0].caption == "a red cat"
    assert found.easy_captions[0].evidence.reliable
    assert len({c.caption for c in found.hard_captions[:3]}) == 3
    assert not any("blue" in c.caption for c in found.hard_captions[1:])


def test_where_right_and_wrong_are_shuffled_captions_are_withheld() -> None:
    found = [World(null=True, seed=seed).findings() for seed in range(12)]
    assert sum(one.strongest.hardest_caption == "no reliable caption" for one in found) >= 10
    assert all(one.hard_captions for one in found)


def test_without_halves_the_gap_alone_decides() -> None:
    first = World().findings(n_resamples=0).hard_captions[0].evidence
    assert first.decided_by == "gap"
    assert np.isnan([first.top_share, first.noise_p, first.rank_median]).all()


def test_images_of_the_fit_prove_nothing() -> None:
    found = World().findings(splits=["val"] * (2 * N))
    assert found.hard_captions[0].evidence.decided_by == "rank"
    neither = World().findings(splits=["val"] * (2 * N), n_resamples=0)
    assert neither.hard_captions[0].evidence.decided_by == "neither"
    assert neither.strongest.hardest_caption == "no reliable caption"


def test_a_mode_that_is_not_significant_has_no_reliable_caption() -> None:
    found = World().findings(n_permutations=9)  # p cannot fall below 0.1
    assert {c.evidence.decided_by for c in (*found.hard_captions, *found.easy_captions)} == {"chance"}
    assert World().findings(n_permutations=39).hard_captions[0].evidence.reliable


@pytest.mark.parametrize("shown", [0, 1])
def test_no_image_or_one_leaves_the_rank(shown: int) -> None:
    splits = ["val"] * (2 * N - 1) + ["test" if shown else "train"]
    world = World()
    found = world.findings(splits=splits)
    first = found.hard_captions[0].evidence
    assert first.decided_by == "rank"
    assert np.isnan(first.gap) == bool(shown)


def test_few_captions_and_none() -> None:
    points = np.array([[np.nan, np.nan], [1.0, 0.0], [0.0, 1.0]])
    rng = np.random.default_rng(0)
    scores = ResampledScores.of(points, np.array([1.0, 0.5]), rng.normal(size=(5, 2)))
    stand = standings(["a", "b", "c"], np.eye(3, 2, dtype=np.float32), points, scores)
    assert (stand.ranked.hard, stand.ranked.easy) == ([2], [1])
    nothing = ResampledScores.of(np.empty((0, 2)), np.ones(2), rng.normal(size=(5, 2)))
    assert standings([], np.empty((0, 2), np.float32), np.empty((0, 2)), nothing).ranked.hard == []
    alone = ResampledScores.of(points[:1], np.ones(2), rng.normal(size=(5, 2)))
    assert standings(["a"], np.eye(1, 2, dtype=np.float32), points[:1], alone).ranked.hard == []


def test_the_gap_is_that_of_the_images_nearest_to_the_caption() -> None:
    points = np.array([[0.0, 1.0], [1.0, 0.0]])
    scores = ResampledScores.of(points, np.array([1.0, -1.0]), np.empty((0, 2)))
    (standing,) = standings(["b", "c"], np.eye(2, dtype=np.float32), points, scores).hard
    right = np.array([False] * 10 + [True] * 20)
    found = evidence(standing, lambda v: right if v[0] == 1 else right[::-1], hard=True, held_out=True, chance=False)
    assert (found.nearest, found.nearest_accuracy) == (10, 0.0)
    assert found.gap == pytest.approx(-2 / 3)
    assert found.decided_by == "gap"
    turned = evidence(standing, lambda _: right[::-1], hard=True, held_out=True, chance=False)
    assert turned.nearest_accuracy == 1.0
