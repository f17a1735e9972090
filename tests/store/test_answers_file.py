"""What classifiers said of a store's images: each is asked once, and whatever they are asked about comes back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from fdgpu.auditing.columns.answers import AnsweredColumns, ModelAnswers
from fdgpu.auditing.columns.class_names import Outputs
from fdgpu.embedding import image_source
from fdgpu.embedding.classifier import KEPT, Classifier
from fdgpu.errors import InputError
from fdgpu.store.writing import ANSWERS, writing
from tests.store.tiny import Greys, content, filled, folder_of, shards

NAMES = [f"{i}.png" for i in range(11)]
NAMES[3] = "3 broken.png"
LABELS = [i % 3 for i in range(len(NAMES))]
ROWS = 4


class Spied(nn.Module):
    """Scores of three classes, whole numbers of the grey; one grey has none that are finite."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([[1.0, -2.0, 3.0], [2.0, 1.0, -3.0]])[seed])
        self.asked = 0

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.asked += len(pictures)
        grey = pictures.flatten(1).mean(dim=1, keepdim=True)
        return (grey * self.weights).masked_fill(grey == 20, torch.nan)


def as_grey(image: Image.Image) -> torch.Tensor:
    return torch.tensor(np.asarray(image)[:1, :1].copy()).movedim(2, 0).float()


def asked(seed: int = 0, labels: Any = LABELS) -> ModelAnswers:
    classifier = Classifier.from_model(Spied(seed), as_grey, class_names=("a", "b", "c"), name="spied")
    return ModelAnswers(classifier, Outputs(classifier), labels)


def calls(answers: ModelAnswers) -> int:
    model = answers.classifier.model
    assert isinstance(model, Spied)
    return model.asked


def told(answers: ModelAnswers) -> dict[str, Any]:
    found: AnsweredColumns = answers.finish()
    return {name: getattr(found, name) for name in AnsweredColumns.__dataclass_fields__}


def same(one: ModelAnswers, other: ModelAnswers) -> None:
    for (name, left), right in zip(told(one).items(), told(other).values(), strict=True):
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name


def plainly(photos: Path, seed: int = 0, labels: Any = LABELS) -> ModelAnswers:
    answers = asked(seed, labels)
    Greys().embed(photos, alongside=answers)
    return answers


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("photos"), NAMES)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    store = tmp_path_factory.mktemp("answered") / "store"
    first = asked()
    filled(store, photos, alongside=first, shard_rows=ROWS)
    assert calls(first) == len(NAMES) - 1
    same(first, plainly(photos))
    return store


@pytest.fixture
def store(answered: Path, tmp_path: Path) -> Path:
    return shutil.copytree(answered, tmp_path / "store")


def folder(store: Path, answers: ModelAnswers) -> Path:
    return store / ANSWERS / answers.fingerprint[:16]


def test_the_same_model_is_asked_nothing_again(store: Path, photos: Path) -> None:
    again, spy, before = asked(), Greys(), content(store)
    filled(store, photos, spy, alongside=again)
    assert (calls(again), spy.embedded) == (0, 0)
    same(again, plainly(photos))
    assert again.asked().outputs == 3
    assert content(store) == before


def test_another_models_answers_land_beside_them(store: Path, photos: Path) -> None:
    other, spy, before = asked(1), Greys(), content(store)
    filled(store, photos, spy, alongside=other)
    assert (calls(other), spy.embedded) == (len(NAMES) - 1, 0)
    same(other, plainly(photos, 1))
    after = content(store)
    assert {name: after[name] for name in before} == before
    assert sorted(one.name for one in folder(store, other).iterdir()) == shards(store)
    last = asked(1)
    filled(store, photos, alongside=last)
    assert calls(last) == 0
    same(last, other)


def test_labels_that_differ_are_asked_anew_and_no_others(store: Path, photos: Path) -> None:
    labels = [*LABELS]
    labels[0], labels[1], labels[10] = 2, 2, 0
    again = asked(labels=labels)
    filled(store, photos, alongside=again)
    assert calls(again) == 3
    same(again, plainly(photos, labels=labels))


@pytest.mark.parametrize("damage", ["gone", "cut off", "of another run", "of other images"])
def test_a_file_of_answers_that_is_damaged_is_written_anew(store: Path, photos: Path, damage: str) -> None:
    again, before = asked(), content(store)
    path = folder(store, again) / shards(store)[1]
    if damage == "gone":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "of another run":
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"fdgpu": '{"run": "x", "of": "", "outputs": 3}'}), path)
    else:
        shutil.copy(folder(store, again) / shards(store)[0], path)
    filled(store, photos, alongside=again)
    assert calls(again) == ROWS - 1  # one cannot be read
    same(again, plainly(photos))
    assert content(store) == before


def test_a_part_of_a_stores_images_is_asked_about_and_then_the_rest(tmp_path: Path, photos: Path) -> None:
    store, some = tmp_path / "store", ["0.png", "3 broken.png", "9.png"]
    filled(store, photos, shard_rows=ROWS)
    (tmp_path / "some").mkdir()
    for name in some:
        shutil.copy2(photos / name, tmp_path / "some" / name)
    labels = [LABELS[sorted(NAMES).index(name)] for name in some]
    part, rest = asked(labels=labels), asked()
    filled(store, tmp_path / "some", alongside=part)
    assert calls(part) == 2
    same(part, plainly(tmp_path / "some", labels=labels))
    filled(store, photos, alongside=rest)
    assert calls(rest) == len(NAMES) - 3
    same(rest, plainly(photos))


@pytest.mark.parametrize("stored", [False, True])
def test_several_labels_an_image(tmp_path: Path, photos: Path, stored: bool) -> None:
    conditions = np.array([[i % 2, i % 3 == 0, 1] for i in range(len(NAMES))], np.int64)
    if stored:
        filled(tmp_path / "store", photos, shard_rows=ROWS)
    first, again = asked(labels=conditions), asked(labels=conditions)
    filled(tmp_path / "store", photos, alongside=first, shard_rows=ROWS)
    filled(tmp_path / "store", photos, alongside=again)
    assert (calls(first), calls(again)) == (len(NAMES) - 1, 0)
    for answers in (first, again):
        same(answers, plainly(photos, labels=conditions))
    columns = pq.read_table(folder(tmp_path / "store", first)).column_names
    assert columns == ["id", *KEPT, "true", "scores"]
    classes = asked()
    filled(tmp_path / "store", photos, alongside=classes)  # of the same model, one label an image
    assert calls(classes) == len(NAMES) - 1
    same(classes, plainly(photos))


def test_labels_of_the_source_that_changed_are_asked_anew(tmp_path: Path) -> None:
    def pairs(labels: list[int]) -> list[Any]:
        return [(Image.new("RGB", (8, 8), (9 * i,) * 3), label) for i, label in enumerate(labels)]

    first, again = asked(labels=None), asked(labels=None)
    filled(tmp_path / "store", pairs([0, 1, 2, 0]), alongside=first)
    filled(tmp_path / "store", pairs([0, 1, 0, 0]), alongside=again)
    assert calls(again) == 1
    assert told(again)["labels"].tolist() == [0, 1, 0, 0]


def test_answers_of_a_source_that_does_not_give_all_again_are_kept(store: Path, photos: Path) -> None:
    class Failing(type(image_source(photos))):  # type: ignore[misc]  # FileSource
        def only(self, ids: Any) -> Any:
            return super().only([one for one in ids if one != "10.png"])

    source = image_source(photos)
    other, again = asked(1), asked(1)
    filled(store, Failing(source.paths, source.ids), alongside=other)  # type: ignore[attr-defined]
    assert calls(other) == len(NAMES) - 2
    filled(store, photos, alongside=again)
    assert calls(again) == 1


def test_a_model_that_has_to_be_asked_needs_the_lock(store: Path, photos: Path) -> None:
    with writing(store):
        filled(store, photos, alongside=asked())
        with pytest.raises(InputError, match="is being written by another run"):
            filled(store, photos, alongside=asked(1))
