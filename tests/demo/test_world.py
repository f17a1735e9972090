from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fdgpu.demo.base_model import halved, predict, small_convnet, train_base_model
from fdgpu.demo.world import load_photographs, make_split, phrase, truth_document, world_settings
from fdgpu.findings import Split
from fdgpu.repair import TrainingRecipe


@pytest.fixture
def few_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty photographs a class and split."""

    def few(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, labels = load_photographs(split)
        rows = torch.cat([(labels == k).nonzero()[:20, 0] for k in range(10)])
        return pixels[rows], labels[rows]

    monkeypatch.setattr("fdgpu.demo.world.load_photographs", few)


@pytest.mark.usefixtures("few_photographs")
@pytest.mark.parametrize(("name", "share"), [(Split.TRAIN, 0.2), (Split.VAL, 0.5), (Split.TEST, 0.5)])
def test_the_minority_has_its_share_in_every_planted_class(name: Split, share: float) -> None:
    split = make_split(name, seed=0)
    for plant in world_settings().plants:
        of_class = split.labels == world_settings().class_names.index(plant.class_name)
        minority = split.minority(plant)
        assert minority.sum() == round(share * int(of_class.sum()))
        assert not minority[~of_class].any()
        codes = getattr(split.attributes, plant.attribute)[of_class]
        allowed = {world_settings().code(plant.attribute, value) for value in (plant.easy, plant.hard)}
        assert set(codes.tolist()) == allowed


@pytest.mark.usefixtures("few_photographs")
def test_a_split_is_reproducible_and_splits_differ() -> None:
    assert torch.equal(make_split(Split.VAL, 1).pictures, make_split(Split.VAL, 1).pictures)
    assert not torch.equal(make_split(Split.VAL, 1).pictures, make_split(Split.VAL, 2).pictures)
    assert make_split(Split.TEST, 0).paths[20] == "test/trouser/0000.png"


@pytest.mark.usefixtures("few_photographs")
def test_the_truth_is_written_down() -> None:
    test = make_split(Split.TEST, 0)
    truth = truth_document(0, test)
    assert truth["strength"] == 0.8
    assert truth["planted"]["t-shirt"] == {
        "attribute": "colour", "easy": "red", "hard": "blue", "named_by": "a blue t-shirt",
    }  # fmt: skip
    assert truth["planted"]["dress"] is None
    assert sum(entry is not None for entry in truth["planted"].values()) == 6
    assert len(truth["test"]) == 200
    entry = truth["test"]["test/t-shirt/0003.png"]
    assert entry["minority"] == (entry["colour"] == "blue")
    assert sum(e["minority"] for e in truth["test"].values()) == 60


def test_pairs_are_planted_against_each_other() -> None:
    plants = world_settings().plants
    for one, other in zip(plants[::2], plants[1::2], strict=True):
        assert (one.attribute, one.easy, one.hard) == (other.attribute, other.hard, other.easy)
    assert {phrase(p) for p in plants} >= {"a red shirt", "on a white background", "a close-up sneaker"}


def test_the_base_model_learns_and_its_seed_decides() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    pictures = torch.randint(100, (256, 3, 64, 64), dtype=torch.uint8, generator=generator)
    pictures[labels == 1] += 100
    reported = []
    recipe = replace(TrainingRecipe.named("demo"), epochs=12)
    model = train_base_model(pictures, labels, 0, recipe=recipe, progress=lambda *args: reported.append(args))
    answers = predict(model, pictures, labels)
    right = answers.prediction == labels.numpy()
    assert right.mean() > 0.95
    assert ((answers.confidence >= 0.5) & (answers.confidence <= 1)).all()
    assert (answers.true_probability[right] == answers.confidence[right]).all()
    assert reported[-1] == ("train the base model", 12, 12)
    again = predict(train_base_model(pictures, labels, 0, recipe=recipe), pictures, labels)
    assert (answers.prediction == again.prediction).all()
    assert small_convnet(7, 0)(halved(pictures[:2])).shape == (2, 7)
