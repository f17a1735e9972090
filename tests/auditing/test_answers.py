"""A model's answers beside the labels: labels find their outputs by name, and never by position alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from fdgpu.auditing.columns.answers import NO_ANSWER, AnsweredColumns, ModelAnswers
from fdgpu.auditing.columns.class_names import Outputs
from fdgpu.auditing.columns.conditions import UNKNOWN
from fdgpu.captions.recipe import bundled_folder
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.loading import ImageBatch, View
from fdgpu.embedding.named_networks import timm_network, torchvision_network
from fdgpu.errors import InputError


class Scores(nn.Module):
    """Gives the numbers of its input as scores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def named(*names: str) -> Classifier:
    return Classifier.from_model(Scores(), class_names=names or None, name="the model")


def batches(scores: torch.Tensor, labels: list[object], unreadable: tuple[int, ...] = (), size: int = 3) -> Iterator:
    """What a source gives of images whose pixels are their scores."""
    for start in range(0, len(scores), size):
        rows = range(start, min(start + size, len(scores)))
        read = [i for i, row in enumerate(rows) if row not in unreadable]
        yield ImageBatch(
            [str(row) for row in rows],
            (scores[[rows[i] for i in read]][:, :, None, None],),
            read,
            labels=[labels[row] for row in rows],
        )


def take_all(answers: ModelAnswers, given: Iterator[ImageBatch]) -> None:
    """Answer batches, of which all but the last have as many images."""
    numbered = ((batch, range(int(batch.ids[0]), int(batch.ids[-1]) + 1)) for batch in given)
    answers.complete([answers.take(batch.views[0], batch, rows) for batch, rows in numbered])


def answered(
    classifier: Classifier, outputs: Outputs, scores: torch.Tensor, labels: list[object], **how: object
) -> AnsweredColumns:
    answers = ModelAnswers(classifier, outputs)
    take_all(answers, batches(scores, labels, **how))  # type: ignore[arg-type]
    return answers.finish()


# --- which output a label is ------------------------------------------------------------------------------------------


def test_names_find_the_outputs_of_the_same_name() -> None:
    outputs = Outputs(named("dog", "golden retriever", "cat"))
    assert outputs.columns_of(["cat", "dog", "Golden_Retriever", "cat"]).tolist() == [2, 0, 1, 2]
    assert outputs.columns_of([2, np.int64(0), torch.tensor(1), np.array(1)]).tolist() == [2, 0, 1, 1]
    assert not outputs.doubts


def test_numbers_count_into_the_sources_names_and_not_into_the_models() -> None:
    outputs = Outputs(named("dog", "bird", "cat"), ["cat", "dog"])
    assert outputs.columns_of([0, 1]).tolist() == [2, 0]
    assert Outputs(named("dog", "bird", "cat"), {"7": "cat", "9": "dog"}).columns_of([7, 9]).tolist() == [2, 0]
    with pytest.raises(
        InputError, match=r"labels hold 1 \('bat'\), which is none of the 3 outputs of the model \('dog',"
    ):
        Outputs(named("dog", "bird", "cat"), ["cat", "bat"]).columns_of([1])


@pytest.mark.parametrize("of", ["torchvision", "timm"])
def test_imagenet_goes_by_names_and_by_wordnet_ids(of: str) -> None:
    network = torchvision_network("resnet18", None) if of == "torchvision" else timm_network("test_vit.r160_in1k", None)
    outputs = Outputs(Classifier.from_model(network.model, class_names=network.class_names))
    labels = ["n01440764", "tench", "n01443537", "Great_White_Shark", "n01484850", "great white shark, white shark"]
    assert outputs.columns_of(labels).tolist() == [0, 0, 1, 2, 2, 2]
    folders = Outputs(Classifier.from_model(network.model, class_names=network.class_names), ["n01443537", "n01440764"])
    assert folders.columns_of([0, 1]).tolist() == [1, 0]  # ImageFolder's numbers of a part of ImageNet


@pytest.mark.parametrize("of", ["torchvision", "timm"])
def test_every_folder_of_imagenet_finds_its_output(of: str) -> None:
    """ImageNet numbers its classes in the order of their WordNet ids; two share a name with another."""
    network = torchvision_network("resnet18", "none") if of == "torchvision" else timm_network("test_resnet", "none")
    with (bundled_folder() / "imagenet_classes.csv").open(encoding="utf-8") as stream:
        ids = sorted(re.findall(r"\bn\d{8}\b", stream.read()))
    outputs = Outputs(Classifier.from_model(network.model, class_names=network.class_names))
    assert outputs.columns_of(ids).tolist() == list(range(1000))


def test_a_way_to_write_that_two_outputs_share_finds_none() -> None:
    outputs = Outputs(named("crane, bird", "crane, machine"))
    assert outputs.columns_of(["crane, machine"]).tolist() == [1]
    with pytest.raises(InputError, match="labels hold 'crane', which is none of the 2 outputs"):
        outputs.columns_of(["crane"])


def test_a_model_without_names_takes_those_of_the_labels() -> None:
    outputs = Outputs(named(), ["cat", "dog"], by_folder=True)
    assert outputs.names == ("cat", "dog")
    assert outputs.columns_of(["dog", 0]).tolist() == [1, 0]
    assert "taken for the folders of classes in sorted order, 'cat', 'dog', as ImageFolder" in outputs.doubts[0]
    assert not Outputs(named(), ["cat", "dog"]).doubts
    assert Outputs(named()).columns_of([4, 0]).tolist() == [4, 0]
    with pytest.raises(InputError, match="labels hold 'cat', and the model does not say what its outputs are: pass cl"):
        Outputs(named()).columns_of(["cat"])
    with pytest.raises(InputError, match="numbers 2 classes with gaps, and the model does not name its outputs"):
        Outputs(named(), {1: "cat", 5: "dog"})


def test_a_model_of_another_number_of_classes() -> None:
    outputs = Outputs(named(), ["cat", "dog", "bird"])
    with pytest.raises(
        InputError, match=r"the model gives 2 scores an image, and there are 3 classes \('cat', 'dog', 'b"
    ):
        answered(named(), outputs, torch.zeros(4, 2), [0, 1, 1, 0])
    with pytest.raises(
        InputError, match="labels hold the class id 2, and the model gives 2 scores: pass labels of its"
    ):
        answered(named(), Outputs(named()), torch.zeros(4, 2), [0, 1, 2, 0])


@pytest.mark.parametrize(
    ("label", "message"), [(-1, "labels hold -1"), (True, "a label is True"), (1.5, "a label is 1.5")]
)
def test_a_label_that_is_none(label: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Outputs(named("a", "b")).columns_of([label])


# --- answers, image by image ------------------------------------------------------------------------------------------


def test_answers_stand_beside_their_images() -> None:
    scores = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    labels: list[object] = ["b", "a", "c", "a", "a", "b", "c", "c", "b", "a"]
    classifier = named("a", "b", "c")
    scores[4] = float("nan")
    got = answered(classifier, Outputs(classifier), scores, labels, unreadable=(2, 7))
    expected = scores.double().softmax(dim=1).numpy()
    there = [row for row in range(10) if row not in (2, 4, 7)]
    assert got.labels.tolist() == ["abc".index(str(label)) for label in labels]
    assert got.predictions[there].tolist() == expected[there].argmax(axis=1).tolist()
    assert got.confidence is not None
    assert got.true_probability is not None
    np.testing.assert_allclose(got.confidence[there], expected[there].max(axis=1), atol=1e-6)
    np.testing.assert_allclose(got.true_probability[there], expected[there, got.labels[there]], atol=1e-6)
    assert got.skipped == {4: NO_ANSWER}
    assert (got.predictions != got.labels)[[2, 4, 7]].all()
    assert (got.confidence[[2, 4, 7]] == 0).all()
    assert got.class_names == {0: "a", 1: "b", 2: "c"}
    assert got.note == "the model gives logits: probabilities are their softmax."


def test_the_classes_are_those_that_occur() -> None:
    classifier = named("n01440764", "n01443537", "bird", "cat")
    got = answered(classifier, Outputs(classifier), torch.eye(4)[[0, 3, 3]], ["tench", "cat", "tench"])
    assert got.class_names == {0: "tench", 3: "cat"}
    assert got.note == "the model gives probabilities."


def test_labels_beside_the_images() -> None:
    classifier = named("a", "b")
    answers = ModelAnswers(classifier, Outputs(classifier), torch.tensor([1, 0, 1, 0]))
    take_all(answers, batches(torch.eye(2)[[0, 0, 1, 1]], [None] * 4))
    assert answers.finish().labels.tolist() == [1, 0, 1, 0]
    few = ModelAnswers(classifier, Outputs(classifier), ["a", "b"])
    with pytest.raises(InputError, match="images gives more pictures than labels has entries, 2"):
        take_all(few, batches(torch.eye(2)[[0, 0, 1]], [None] * 3))
    with pytest.raises(InputError, match="images gives no label for '1': pass labels, or pairs"):
        answered(classifier, Outputs(classifier), torch.eye(2), ["a", None])


def test_the_record_of_what_was_asked() -> None:
    classifier = named("a", "b")
    answers = ModelAnswers(classifier, Outputs(classifier))
    take_all(answers, batches(torch.eye(2)[[0, 0, 1, 1]], ["a", "b", "a", "b"]))
    answers.finish()
    record = asdict(answers.asked())
    assert len(record.pop("fingerprint")) == 64
    assert record == {
        "name": "the model", "preprocessing": "by the source of the images", "outputs": 2, "scores": "probabilities",
        "device": "cpu", "precision": "float32",
    }  # fmt: skip
    plain = ModelAnswers(classifier, Outputs(classifier), view=View(lambda pixels: pixels))
    assert plain.asked().preprocessing == "none: pixels as they are"


def test_an_image_without_an_answer_brings_no_class_of_its_own() -> None:
    classifier = named("a", "b", "c")
    scores = torch.tensor([[2.0, 0.0, 1.0], [1.0, 2.0, 0.0], [float("nan"), 0.0, 0.0]])
    got = answered(classifier, Outputs(classifier), scores, ["a", "b", "b"])
    assert got.class_names == {0: "a", 1: "b"}
    assert got.predictions.tolist() == [0, 1, 0]


def test_scores_that_are_never_finite() -> None:
    with pytest.raises(InputError, match="the model gives NaN or infinity for all 3 images that were read: check its"):
        answered(named(), Outputs(named()), torch.full((3, 2), float("nan")), [0, 1, 1])


def test_several_conditions_an_image() -> None:
    scores = torch.tensor([[3.0, -1.0], [0.0, float("nan")], [-2.0, 2.0]])
    classifier = named("sick", "old")
    got = answered(classifier, Outputs(classifier), scores, [np.array([1, 0]), np.array([0, 1]), torch.tensor([0, 1])])
    assert got.labels.tolist() == [[1, 0], [UNKNOWN, UNKNOWN], [0, 1]]
    np.testing.assert_allclose(got.predictions[[0, 2]], scores[[0, 2]].double().sigmoid(), atol=1e-6)
    assert (got.class_names, got.confidence, got.skipped) == (("sick", "old"), None, {1: NO_ANSWER})
    with pytest.raises(InputError, match="labels hold 3 conditions an image, and the model gives 2 scores"):
        answered(named(), Outputs(named()), scores, [[1, 0, 1]] * 3)
