"""The captions are those that the fit scores lowest and highest, and the images nearest to them come first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.paper.experiments import imagenet
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.subpopulations import EASY, HARD, Extremes, accuracies_near, near_both_sides
from fdgpu import ClipEmbedder, FailureDirections
from fdgpu.captions import CaptionRecipe


def seen(embeddings: list[list[float]], labels: list[int]) -> Seen:
    n = len(labels)
    marked = Marked(torch.zeros(n), torch.tensor(labels), torch.zeros(n), torch.zeros(n).bool())
    return Seen(marked, torch.zeros(n), np.array(embeddings, np.float32))


def test_images_of_the_class_are_ordered_by_their_cosine_with_its_caption() -> None:
    test = seen([[0, 1], [1, 0], [0.6, 0.8], [1, 0], [0, 1], [0.8, 0.6]], [0, 0, 0, 1, 1, 1])
    x, y = np.eye(2, dtype=np.float32)
    extremes = Extremes({}, {0: {HARD: x, EASY: y}, 1: {HARD: y, EASY: x}})
    assert [rows.tolist() for rows in extremes.nearest(test, HARD)] == [[1, 2, 0], [4, 5, 3]]
    assert [rows.tolist() for rows in extremes.nearest(test, EASY)] == [[0, 2, 1], [3, 5, 4]]
    right = np.array([True, False, True, True, False, True])
    figures = near_both_sides(right, extremes, test, [1, 2], "fdgpu", ", again")
    assert figures == [
        Figure("near the hard caption, again", "fdgpu", 0.0, 1),
        Figure("near the hard caption, again", "fdgpu", 0.5, 2),
        Figure("near the easy caption, again", "fdgpu", 1.0, 1),
        Figure("near the easy caption, again", "fdgpu", 1.0, 2),
        Figure("all images, again", "fdgpu", pytest.approx(4 / 6), 1),
        Figure("all images, again", "fdgpu", pytest.approx(4 / 6), 2),
    ]


def test_a_class_counts_as_much_as_another_whatever_its_size() -> None:
    right = np.array([True, True, True, True, False])
    nearest = [np.array([0, 1, 2, 3]), np.array([4])]
    assert accuracies_near(right, nearest, (1, 4)) == {1: 0.5, 4: 0.5}


def test_what_a_model_fails_on_is_its_hardest_caption() -> None:
    """Images lie where captions do: red boots are wrong, blue ones right."""
    clip, captions = ClipEmbedder.bundled("cpu"), CaptionRecipe.resolve("demo", ["bag", "boot"])
    red, blue, reference = clip.texts([f"a photo of a {word} boot".replace("  ", " ") for word in ("red", "blue", "")])
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(80, len(red), generator=generator)
    embeddings = torch.cat([red.expand(40, -1), blue.expand(40, -1)]) + noise
    correct = np.repeat([False, True], 40)
    fit = FailureDirections().fit(embeddings.numpy(), np.ones(80, int), correct)
    extremes = Extremes.of(fit, clip, captions)
    assert list(extremes.texts) == list(extremes.vectors) == [1]
    own = extremes.texts[1]
    assert own["reference"] == "a photo of a boot"
    assert "red" in own[HARD]
    assert "blue" in own[EASY]
    listed = [text for text in captions.classes[1].grammar if text != own["reference"]]
    scores = np.asarray(fit.score_captions(clip.texts(listed).numpy(), reference.numpy(), 1))
    assert own[HARD] == listed[scores.argmin()]
    assert own[EASY] == listed[scores.argmax()]
    assert extremes.vectors[1][HARD] == pytest.approx(clip.texts([own[HARD]])[0].numpy(), abs=1e-5)
    assert extremes.named(captions) == {"boot": own}


def test_transfer_judges_a_second_model_near_the_first_ones_captions_and_near_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second model is right on the first four images, which lie near its own captions."""
    right = np.array([True] * 4 + [False] * 4)
    monkeypatch.setattr(imagenet, "is_right", lambda *_: right)

    def near(rows: list[int]) -> Any:
        return SimpleNamespace(extremes=SimpleNamespace(nearest=lambda *_: [np.array(rows)]), model=None)

    world: Any = SimpleNamespace(lab=None, settings={"top": [2], "bars_at": 4})
    found = imagenet._transfer(world, near([4, 5, 6, 7]), "second", near([0, 1, 2, 3]), None)  # type: ignore[arg-type]
    values = {(figure.measure, figure.at): figure.value for figure in found}
    assert values["all", None] == 0.5
    for side in ("hard", "easy"):
        assert values[f"first run's {side}", None] == values[f"first run's {side}, over K", 2] == 0
        assert values[f"own {side}", None] == values[f"own {side}, over K", 2] == 1
