"""From a fit, its captions and its images to what the page shows of a class."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu.auditing import gathering
from fdgpu.auditing.captioning import CaptionedClasses, CaptionSource, caption_classes
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.auditing.gathering import class_findings, confidence_order, examples, histogram, thumbnails
from fdgpu.auditing.images import AuditImages
from fdgpu.captions import CaptionGrammar, ClassCaptions
from fdgpu.directions import FailureDirections
from fdgpu.findings import INTERFACE, Causes, ClassFindings, ImageTable, Interface, Split, Status, Tally
from fdgpu.progress import silent
from fdgpu.rows import TensorRows
from tests.auditing.conftest import SHOWN, captions_of


def eight() -> AuditImages:
    """Twenty images of a class; those at rows 10 to 17 can be read, and the first four of these are wrong and hard."""
    predictions = ["a"] * 10 + ["b"] * 4 + ["a"] * 6
    inputs = check_inputs(["a"] * 20, predictions, ["a", "b"], None, np.linspace(0, 1, 20))
    readable = np.isin(np.arange(20), range(10, 18))
    decisions = np.full((20, 1), np.nan)
    decisions[10:18, 0] = [-4.0, -3, -2, -1, 1, 2, 3, 4]
    ids = [str(row) for row in range(20)]
    return AuditImages(inputs, ids, TensorRows(torch.zeros(20, 2)), readable, decisions, Split.VAL)


def test_only_readable_images_of_the_class_are_shown() -> None:
    images = eight()
    assert images.rows_of(0).tolist() == list(range(10, 18))
    assert images.rows_of(1).tolist() == []
    assert np.flatnonzero(images.shown).tolist() == list(range(10, 18))


def test_sure_and_wrong_comes_first_sure_and_right_last() -> None:
    inputs = check_inputs(["a"] * 4, ["a", "b", "a", "b"], ["a", "b"], None, [0.9, 0.6, 0.5, 0.99])
    images = AuditImages(
        inputs, list("0123"), TensorRows(torch.zeros(4, 2)), np.ones(4, bool), np.zeros((4, 1)), Split.VAL
    )
    assert confidence_order(images, np.arange(4)).tolist() == [3, 1, 2, 0]
    rows = eight().rows_of(0)
    assert rows[confidence_order(eight(), rows)[:2]].tolist() == [13, 12]


def test_an_example_says_what_the_model_predicted() -> None:
    wrong, right = examples(eight(), np.array([10, 17]))
    assert (wrong.path, wrong.correct, wrong.prediction, wrong.decision) == ("10", False, "b", -4.0)
    assert (right.path, right.correct, right.prediction, right.decision) == ("17", True, "a", 4.0)
    assert right.confidence == pytest.approx(17 / 19)


def test_the_histogram_counts_every_image_once() -> None:
    images, rows = eight(), eight().rows_of(0)
    counted = histogram(images.decisions[rows, 0], images.inputs.correct[rows])
    assert counted is not None
    assert (sum(counted.wrong), sum(counted.right)) == (4, 4)
    assert len(counted.edges) == len(counted.right) + 1
    assert sum(counted.wrong[: len(counted.wrong) // 2]) == 4
    assert histogram(np.empty(0), np.empty(0, bool)) is None


def test_a_class_whose_decisions_are_equal_but_for_rounding_has_a_histogram() -> None:
    counted = histogram(np.array([0.5, 0.5 + 2e-16, 0.5]), np.array([True, True, False]))
    assert counted is not None
    assert (sum(counted.right), sum(counted.wrong)) == (2, 1)


def test_accuracy_of_the_k_images_nearest_to_a_caption(classes: tuple[ClassFindings, ...]) -> None:
    (curve,) = classes[0].modes[0].nearest_accuracy  # of the hard caption: image 0, which is wrong, is the nearest
    assert (curve.name, curve.role) == ("nearest to the hard caption", "hard_caption")
    assert dict(zip(curve.k, curve.value, strict=True)) == {5: pytest.approx(1 / 5), 6: pytest.approx(2 / 6),
        7: pytest.approx(3 / 7), 8: pytest.approx(4 / 8)}  # fmt: skip


def test_every_kept_direction_is_a_mode_with_evidence_of_its_own(classes: tuple[ClassFindings, ...]) -> None:
    first, second = classes[0].modes
    assert (first.cv_score, second.cv_score, first.p_value, second.q_value) == (0.9, 0.8, 0.005, 0.02)
    assert (first.n_errors, second.n_errors, classes[0].n_errors) == (8, 6, 14)
    assert (first.C_tied, second.C_tied) == (False, True)
    assert (first.converged, second.converged) == (True, False)
    assert [m.hard_captions[0].caption for m in (first, second)] == ["a red one", "a blue one"]
    assert [m.easy_captions[0].caption for m in (first, second)] == ["a blue one", "a red one"]
    assert [e.path for e in first.hard_examples[:2]] == ["0.png", "1.png"]
    assert [(e.path, e.decision) for e in second.hard_examples[:2]] == [("2.png", -4.0), ("3.png", -3.0)]
    assert [e.path for e in second.easy_examples[:2]] == ["4.png", "5.png"]
    assert (first.hard_side, first.easy_side) == (Tally(2, 2), Tally(6, 2))
    assert (second.hard_side, second.easy_side) == (Tally(2, 2), Tally(6, 2))
    assert first.decisions is not None
    assert sum(first.decisions.wrong) == 4
    assert first.planted is not None
    assert second.planted is not None
    assert (first.planted.named_at, second.planted.named_at) == (None, 1)
    assert second.planted.shares[0].value[0] > first.planted.shares[0].value[0]


def test_what_belongs_to_the_class_stands_once(classes: tuple[ClassFindings, ...]) -> None:
    two, one, none = classes
    assert (two.significant, one.significant, none.significant) == (True, False, False)
    assert (two.n_permutations, one.n_permutations, one.solver, two.nested_score) == (200, 57, "newton", 0.75)
    assert two.unsure_examples[0].path == "3.png"  # sure and wrong
    assert (len(one.modes), len(none.modes), none.status) == (1, 0, "no_errors")
    assert (two.n_shown, two.accuracy_shown) == (SHOWN, 0.5)
    assert np.isnan(none.cv_score)
    assert {e.path for e in two.examples} >= {"0.png", "2.png"}


def test_a_class_without_captions_has_modes_all_the_same(images: AuditImages, stand_in: Any) -> None:
    only_one = SimpleNamespace(by_class={1: captions_of([-0.5, 0.5, np.nan])})
    two, one, _ = class_findings(stand_in, images, only_one, {}, {})
    assert (len(two.modes), two.hard_captions, two.strongest.nearest_accuracy) == (2, (), ())
    assert one.hard_captions


# Captions of a class whose failures are known

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
        self.text_vectors = torch.from_numpy(unit(np.eye(D)[0] + texts))

    def findings(self, *, splits: list[str] | None = None, **settings: Any) -> ClassFindings:
        names = np.where(self.right, "cat", "dog").tolist()
        inputs = check_inputs(["cat"] * (2 * N), names, ["cat", "dog"], splits or ["val", "test"] * N, None)
        val = inputs.splits == "val"
        fit = FailureDirections(**{"n_resamples": 40} | settings)
        fit.fit(self.vectors[val], inputs.labels[val], inputs.correct[val])
        decisions = fit.decision_function(self.vectors, inputs.labels)[:, None]
        readable = np.ones(2 * N, bool)
        shown_from = inputs.first_split(readable, Split.TEST, Split.VAL)
        vectors = TensorRows(torch.from_numpy(self.vectors))
        images = AuditImages(inputs, [str(i) for i in range(2 * N)], vectors, readable, decisions, shown_from)
        embedder: Any = SimpleNamespace(
            fits=lambda _: True, texts=lambda texts, _: self.text_vectors[[TEXTS.index(text) for text in texts]]
        )
        grammar = CaptionGrammar("{noun}", noun=TEXTS)
        recipe: Any = SimpleNamespace(classes=[ClassCaptions("cat", grammar, TEXTS[0])])
        captions = caption_classes(fit, embedder, CaptionSource(recipe, {}), silent, images)
        return class_findings(fit.fitted, images, captions, {}, {})[0]


def test_what_was_planted_is_reliable_by_rank_and_by_gap() -> None:
    found = World().findings()
    first = found.hard_captions[0]
    assert first.caption == "a blue cat" or first.also[0] == "a blue cat"
    assert "a blue cat at night" in (first.caption, *first.also)
    assert first.evidence is not None
    assert (first.evidence.reliable, first.evidence.decided_by) == (True, "rank and gap")
    assert (first.evidence.rank, first.evidence.candidates, first.evidence.nearest) == (1, len(TEXTS) - 1, 12)
    assert found.strongest.easy_captions[0].caption == "a red cat"
    assert found.strongest.easy_captions[0].evidence.reliable
    assert len({c.caption for c in found.hard_captions[:3]}) == 3
    assert not any("blue" in c.caption for c in found.hard_captions[1:])


def test_where_right_and_wrong_are_shuffled_captions_are_withheld() -> None:
    found = [World(null=True, seed=seed).findings() for seed in range(12)]
    assert sum(one.strongest.hardest_caption == "no reliable caption" for one in found) >= 10
    assert all(one.hard_captions for one in found)


def test_without_resamples_the_gap_alone_decides() -> None:
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
    found = World().findings(n_permutations=9).strongest  # p cannot fall below 0.1
    assert {c.evidence.decided_by for c in (*found.hard_captions, *found.easy_captions)} == {"chance"}
    assert World().findings(n_permutations=39).hard_captions[0].evidence.reliable


@pytest.mark.parametrize("shown", [0, 1])
def test_no_image_or_one_leaves_the_rank(shown: int) -> None:
    splits = ["val"] * (2 * N - 1) + ["test" if shown else "train"]
    first = World().findings(splits=splits).hard_captions[0].evidence
    assert first.decided_by == "rank"
    assert np.isnan(first.gap) == bool(shown)


# Pictures of the page


class Asked:
    """A source that remembers what it is asked for; it can show all but image 5."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.side = 0

    def pictures(self, rows: list[int], side: int) -> list[Any]:
        self.rows, self.side = rows, side
        return [None if row == 5 else np.zeros((4, 4, 3), np.uint8) for row in rows]


def listed(images: AuditImages) -> ImageTable:
    n = len(images.ids)
    return ImageTable(
        tuple(images.ids), images.inputs.labels, images.inputs.predictions, images.decisions, np.zeros(n),
        np.full((n, 4), -1),
    )  # fmt: skip


def test_the_page_holds_examples_first_and_then_the_hardest_of_every_class(
    classes: tuple[ClassFindings, ...], images: AuditImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = Asked()
    causes = Causes(0, 0, 0, 0, 0.0, 0.0, "", (), (), (), {})
    found, missing = thumbnails(classes, causes, listed(images), source, images.ids)
    shown = {int(example.path.removesuffix(".png")) for one in classes for example in one.examples}
    assert set(source.rows[: len(shown)]) == shown
    assert (set(source.rows), source.side) == (set(range(24)), 512)
    assert (len(found.pixels), missing) == (23, ["5.png"])

    monkeypatch.setattr(gathering, "PICTURES", 3)
    some = [replace(one, modes=(), unsure_examples=()) for one in classes]
    thumbnails(some, causes, listed(images), source, images.ids)
    assert source.rows == [0, 8, 1]  # the hardest of either class that has a direction, then the second
    thumbnails(classes, causes, listed(images), source, images.ids)
    assert set(source.rows) == shown  # examples are never left out
    thumbnails(classes, causes, None, source, images.ids)
    assert set(source.rows) == shown
    monkeypatch.setattr(gathering, "PIXEL_BYTES", 3 * 200**2 * len(shown))
    thumbnails(classes, causes, None, source, images.ids)
    assert source.side == 200


def test_a_remedy_is_of_the_interface_that_was_used(images: AuditImages, stand_in: Any) -> None:
    def remedy() -> str:
        return class_findings(stand_in, images, CaptionedClasses({}, []), {}, {})[2].remedy

    stand_in.status = ("ok", "ok", Status.TOO_FEW_ERRORS)
    assert "lower min_errors or cv" in remedy()
    before = INTERFACE.set(Interface.COMMAND_LINE)
    try:
        assert remedy().endswith("or lower --min-errors.")
    finally:
        INTERFACE.reset(before)
