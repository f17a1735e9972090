"""A model's answers: its own preprocessing, the shape of its scores, and what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision import transforms
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from fdgpu.arrays import counted_crossings
from fdgpu.embedding.classifier import AnswerPart, Answers, Classifier
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.errors import InputError
from tests.pretend_cuda import CUDA, inner, pretend_cuda, up

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
TO_TENSOR = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])


def network(k: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 8 * 8, k))


class Gives(nn.Module):
    """A model that gives what it is told."""

    def __init__(self, out: object) -> None:
        super().__init__()
        self.out = out

    def forward(self, x: torch.Tensor) -> object:
        return self.out(x) if callable(self.out) else self.out


def test_a_model_runs_as_it_is_given() -> None:
    model = network().double().train()
    classifier = Classifier.from_model(model, TO_TENSOR, ["a", "b", "c"])
    assert classifier.view is not None
    inputs = torch.stack([classifier.view.function(PICTURE)] * 2)
    scores = classifier.answer(inputs)
    assert (scores.dtype, classifier.outputs) == (torch.float32, 3)
    torch.testing.assert_close(scores, model.eval()(inputs.double()).float())
    model.train()
    assert torch.equal(classifier.answer(inputs), scores)  # without dropout
    assert model.training
    assert next(model.parameters()).dtype == torch.float64


def test_pixels_of_our_own_preprocessing_are_normalised_where_the_model_is() -> None:
    config = {"size": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    ours, model = Preprocess.of_model(config), network().eval()
    classifier = Classifier.from_model(model, ours)
    assert classifier.view is not None
    assert classifier.preprocessing == (
        "scaled to 8 x 8 (bilinear), centre 8 x 8, mean 0.5, 0.5, 0.5, deviation 0.2, 0.2, 0.2"
    )
    seen = classifier.view.function(torch.from_numpy(np.array(PICTURE)).permute(2, 0, 1))[None]
    assert seen.dtype == torch.uint8
    torch.testing.assert_close(classifier.answer(seen), model(ours.normalise(seen, torch.float32)))


def test_a_batch_is_halved_where_memory_runs_out() -> None:
    sizes = []

    def scores(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return x.flatten(1)[:, :2]

    inputs = torch.rand(5, 3, 8, 8)
    assert torch.equal(Classifier.from_model(Gives(scores)).answer(inputs), inputs.flatten(1)[:, :2])
    assert sizes == [5, 2, 2, 1]


def test_hugging_faces_model_and_image_processor() -> None:
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ViTConfig(
        image_size=8, patch_size=4, id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1}, **settings
    )
    model = ViTForImageClassification(config).eval()
    processor = ViTImageProcessor(size={"height": 8, "width": 8})
    classifier = Classifier.from_model(model, processor)
    assert classifier.class_names == ("cat", "dog")
    assert classifier.view is not None
    inputs = classifier.view.of(Sample("a", PICTURE), PICTURE, torch.empty(0))[None]
    expected = processor(PICTURE, return_tensors="pt")
    torch.testing.assert_close(inputs, expected["pixel_values"])
    torch.testing.assert_close(classifier.answer(inputs), model(**expected).logits)
    assert "ImageProcessor" in classifier.preprocessing
    assert len(classifier.preprocessing) < 400
    assert (
        Classifier.from_model(ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **settings))).class_names
        is None
    )


def test_how_a_transform_is_described() -> None:
    def own(image: object) -> object:
        return image

    described = [
        Classifier.from_model(network(), one).preprocessing for one in (own, TO_TENSOR, transforms.Lambda(own), None)
    ]
    assert described[0].endswith("own")
    assert described[1].startswith("Compose( Resize(size=(8, 8)")
    assert not any("0x" in one for one in described)
    assert described[3] == "by the source of the images"
    assert Classifier.from_model(network()).view is None


@pytest.mark.parametrize(
    "made", [None, PICTURE, {"image": 3}, torch.zeros(1, 3, 8, 8), torch.zeros(8), np.zeros(3, int)]
)
def test_a_transform_that_returns_no_image(made: object) -> None:
    view = Classifier.from_model(network(), lambda _: made).view
    assert view is not None
    with pytest.raises(InputError, match=r"the transform gives a .* for the image 0: .* \(channels, height, width\)"):
        list(image_source([PICTURE]).batches(1, view))


def test_a_transform_that_returns_images_of_several_sizes() -> None:
    view = Classifier.from_model(network(), transforms.ToTensor()).view
    assert view is not None
    with pytest.raises(InputError, match=r"different shapes, \(3, 9, 7\) and \(3, 8, 8\): let it resize or crop"):
        list(image_source([PICTURE, PICTURE.resize((8, 8))]).batches(2, view))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda x: x, r"Gives gives \(2, 3, 8, 8\) for 2 images: it has to give one score a class"),
        (lambda x: x.flatten(1)[:1], r"gives \(1, 192\) for 2 images"),
        (lambda x: x.flatten(1)[:, :1], r"gives 1 score an image.*torch.cat\(\[torch.zeros_like\(z\), z\], dim=1\)"),
        (lambda x: x.flatten(1)[:, :5], r"gives 5 scores an image, and has class names 3: pass class_names"),
        (lambda x: {"scores": x}, "gives a dict, not a tensor of scores"),
    ],
)
def test_a_model_that_gives_other_shapes_than_its_classes(out: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Classifier.from_model(Gives(out), class_names=["a", "b", "c"]).answer(torch.zeros(2, 3, 8, 8))


def test_a_model_that_gives_another_number_of_scores_from_batch_to_batch() -> None:
    widths = iter([3, 4])
    classifier = Classifier.from_model(Gives(lambda x: x.flatten(1)[:, : next(widths)]))
    classifier.answer(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match="gives 4 scores an image, and gave before 3"):
        classifier.answer(torch.zeros(2, 3, 8, 8))


def test_what_is_no_model() -> None:
    with pytest.raises(InputError, match=r"model is .*: pass a torch.nn.Module that gives one score a class"):
        Classifier.from_model(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"preprocess is 224: pass a function of a PIL image"):
        Classifier.from_model(network(), 224)  # type: ignore[arg-type]


# --- answers ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(2, 7), st.integers(1, 9))
def test_answers_are_those_of_all_scores_however_they_are_cut(seed: int, n: int, k: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, k, generator=generator) * 4
    true = torch.randint(-1, k, (n,), generator=generator)
    answers = Answers()
    for some, own in zip(scores.split(size), true.split(size), strict=True):
        answers.add(some, own)
    got, expected = answers.finish(), scores.double().softmax(dim=1)
    assert got.usable.all()
    assert not got.were_probabilities
    assert got.prediction.tolist() == scores.argmax(dim=1).tolist()
    np.testing.assert_allclose(got.confidence, expected.amax(dim=1).numpy(), atol=1e-6)
    of_true = np.where(true < 0, np.nan, expected[torch.arange(n), true.clamp(min=0)].numpy())
    np.testing.assert_allclose(got.true_probability, of_true, atol=1e-6)
    right = got.prediction == true.numpy()
    assert (got.confidence[right] == got.true_probability[right]).all()
    assert (got.true_probability[(true >= 0).numpy()] <= got.confidence[(true >= 0).numpy()]).all()


def test_probabilities_are_not_softmaxed_again() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8004]])
    answers = Answers()
    answers.add(probabilities, torch.tensor([1, 2]))
    got = answers.finish()
    assert got.were_probabilities
    np.testing.assert_allclose(got.confidence, [0.7, 0.8004], atol=1e-6)
    np.testing.assert_allclose(got.true_probability, [0.2, 0.8004], atol=1e-6)
    answers.add(torch.tensor([[0.7, 0.2, 0.2]]), torch.tensor([0]))  # sums to 1.1: logits, then all are
    got = answers.finish()
    assert not got.were_probabilities
    np.testing.assert_allclose(got.confidence[:2], probabilities.softmax(1).amax(1), atol=1e-6)


def test_scores_that_are_not_finite_are_no_answer() -> None:
    answers = Answers()
    inf = float("inf")
    answers.add(torch.tensor([[1.0, float("nan")], [inf, 0.0], [0.0, -inf], [-inf, -inf], [2.0, 0.0]]))
    got = answers.finish()
    assert got.usable.tolist() == [False, False, True, False, True]
    assert got.confidence[2] == 1  # a class that cannot be
    assert np.isnan(got.true_probability).all()


def test_no_images_no_answers() -> None:
    got = Answers().finish()
    assert [len(one) for one in (got.prediction, got.confidence, got.true_probability, got.usable)] == [0] * 4


def test_several_labels_an_image_keep_every_probability() -> None:
    scores = torch.tensor([[-2.0, 0.0, 3.0], [0.5, 0.5, 0.5]])
    true = np.zeros(scores.shape)
    answers = Answers(AnswerPart.of(scores, range(2), true))
    np.testing.assert_allclose(answers.finish().each, scores.double().sigmoid(), atol=1e-6)
    alone = Answers(AnswerPart.of(scores.sigmoid(), range(2), true))
    np.testing.assert_allclose(alone.finish().each, scores.double().sigmoid(), atol=1e-6)


def test_answers_come_down_once_and_nothing_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, true = torch.randn(20, 4), np.zeros((20, 4))
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    monkeypatch.setattr("fdgpu.embedding.classifier.device_of", lambda _: CUDA)
    with pretend_cuda(monkeypatch), counted_crossings() as crossings:
        parts = [AnswerPart.of(up(some), range(len(some)), true[: len(some)]) for some in scores.split(8)]
        there = Answers(AnswerPart.joined(parts)).finish()
        classifier = Classifier.from_model(Gives(lambda x: up(model(inner(x)))))
        classifier.answer(up(torch.rand(3, 3, 2, 2)))
    on_host = Answers(AnswerPart.of(scores, range(20), true)).finish()
    assert len(crossings) == 1
    for one in ("prediction", "confidence", "true_probability", "usable", "each"):
        np.testing.assert_allclose(getattr(there, one), getattr(on_host, one))


def test_names_of_other_forms() -> None:
    for name in ("resnet50", "torchvision:", "keras:resnet", "model.py", "gone.py:make"):
        with pytest.raises(InputError, match=r"classifier is '.*: use torchvision:NAME\[:WEIGHTS\], timm:NAME"):
            Classifier.from_name(name)
    with pytest.raises(InputError, match=r"classifier is 3: pass torchvision"):
        Classifier.from_name(3)  # type: ignore[arg-type]
