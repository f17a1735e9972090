from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.demo.trusting import count_captions
from benchmarks.trust.__main__ import fewer, passed, shuffled, sides
from fdgpu.auditing import Predictions
from fdgpu.findings import CaptionEvidence, ClassFindings, ModeFindings, ScoredCaption


def caption(text: str, decided_by: str) -> ScoredCaption:
    reliable = decided_by != "neither"
    return ScoredCaption(
        text, -1.0, -0.1, (), CaptionEvidence(reliable, decided_by, 1, 9, 1, 1, 1, 1, 1, 0.02, 10, 0.5, 0.0, 0.0, 0.0)
    )


def one(name: str, *captions: ScoredCaption) -> ClassFindings:
    return ClassFindings(name, "ok", "", 10, 5, (ModeFindings(hard_captions=captions),))


def table() -> Predictions:
    labels, splits = ["a"] * 20 + ["b"] * 20, (["val"] * 10 + ["test"] * 10) * 2
    predictions = ["a", "b"] * 5 + ["a"] * 10 + ["b"] * 9 + ["a"] + ["b", "a"] * 5
    paths = [str(i) for i in range(40)]
    return Predictions(pa.table({"path": paths, "label": labels, "prediction": predictions, "split": splits}))


def test_answers_are_shuffled_within_a_class_and_split() -> None:
    before = table()
    after = shuffled(before, np.random.default_rng(0))
    assert after != before.predictions

    def counts(predictions: list[str]) -> Counter[tuple[str, ...]]:
        return Counter(zip(before.labels, before.splits, predictions, strict=True))

    assert counts(after) == counts(list(before.predictions))


def test_so_many_images_of_a_class_stay() -> None:
    before = table()
    splits = fewer(before, 4, np.random.default_rng(0))
    kept = Counter(zip(before.labels, splits, strict=True))
    assert (kept["a", "val"], kept["b", "val"], kept["a", "train"], kept["a", "test"]) == (4, 4, 6, 10)


def test_sides_are_counted_by_what_let_a_caption_pass() -> None:
    classes = (one("a", caption("x", "rank"), caption("y", "neither")), one("b", caption("x", "rank and gap")))
    found: Any = SimpleNamespace(classes=classes)
    assert [bool(p) for p in passed(sides(found), "rank")] == [True, False, True, False]
    assert [bool(p) for p in passed(sides(found), "gap")] == [False, False, True, False]


def test_right_and_wrong_captions_of_the_demo_are_counted() -> None:
    blue, green = "a photo of a blue t-shirt", "a photo of a green t-shirt"
    texts, scores = [green, blue, "a photo of a t-shirt", "x", "y", "z"], np.array([-2.0, -1.0, np.nan, 1.0, 2.0, 3.0])
    result: Any = SimpleNamespace(
        findings=SimpleNamespace(
            classes=(
                one("t-shirt", caption(green, "neither"), caption(blue, "gap")),
                one("bag", caption("a photo of a red bag", "neither")),
                one("dress", caption("a photo of a red dress", "rank")),
                ClassFindings("trouser", "no_errors", "", 10, 0),
            )
        ),
        captions=SimpleNamespace(by_class={0: (SimpleNamespace(texts=texts, scores=scores),)}),
    )
    assert count_captions(result) == {
        "ranked_first": 0, "ranked_in_three": 1, "trusted_first": 1, "trusted_in_three": 1, "right": 1,
        "right_withheld": 0, "wrong": 1, "wrong_withheld": 1, "unplanted": 2, "unplanted_without_caption": 1,
    }  # fmt: skip
