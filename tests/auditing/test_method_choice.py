"""The method of an audit: which runs and why, what it listens to, and what the page and the folder say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import fdgpu
from fdgpu import FailureDirections, options
from fdgpu.auditing import AuditResult
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.auditing.images import UNKNOWN, choose_method
from fdgpu.directions.parameters import LATENT_COSTS, Method
from fdgpu.embedding.given import GivenVectors
from fdgpu.errors import FdgpuWarning, InputError
from tests.auditing.test_outputs import mistakes
from tests.report.parsing import read

N, D = 320, 8
CLASSES = ["cat", "dog"]


class World:
    """Vectors of cats and dogs. A fifth of the cats is wet, along axis 1: there the true class is less probable."""

    def __init__(self, n: int = N, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = np.arange(n) % 2
        self.wet = (rng.random(n) < 0.2) & (self.labels == 0)
        self.p = np.where(self.wet, rng.beta(1.0, 3.0, n), rng.beta(6.0, 1.0, n))
        along = 2 * np.eye(D)[0] + 2 * self.wet[:, None] * np.eye(D)[1]
        self.vectors = (rng.normal(size=(n, D)) / 3 + along).astype(np.float32)
        self.predictions = np.where(self.p > 0.5, self.labels, 1 - self.labels)
        self.splits = np.where(np.arange(n) // 2 % 2, "val", "test")

    @property
    def correct(self) -> np.ndarray:
        return np.asarray(self.labels == self.predictions)

    def columns(self, *left_out: str, **changes: Any) -> dict[str, Any]:
        given = {
            "labels": self.labels, "predictions": self.predictions, "splits": self.splits, "class_names": CLASSES,
            "true_probability": self.p, "embeddings": GivenVectors(torch.from_numpy(self.vectors), "test vectors"),
        }  # fmt: skip
        return {key: value for key, value in (given | changes).items() if key not in left_out}


def settings(**changes: Any) -> FailureDirections:
    return FailureDirections(**{"n_permutations": 19, "stop_after": 4, "n_resamples": 4} | changes)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def audited(world: World, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """With captions in the same space, of which one says what is planted."""
    slots = {"how": [None, "wet", "dry"], "when": [None, "at night"]}
    grammar = fdgpu.CaptionGrammar("a {how} {noun} {when}", noun=["cat"], **slots)
    texts = [*grammar, "a photo of a dog"]
    axes = np.eye(D)
    rows = [
        2 * axes[0] + ("wet" in one) * axes[1] - ("dry" in one) * axes[1] + ("night" in one) * axes[3] for one in texts
    ]
    captions = (texts, torch.nn.functional.normalize(torch.tensor(np.array(rows)).float(), dim=1))
    return fdgpu.audit(
        None, **world.columns(), captions=captions, method="latent", directions=settings(method="latent"),
        out=tmp_path_factory.mktemp("latent"), groups="none", grammar={"cat": grammar},
    )  # fmt: skip


def test_the_terminal_offers_what_an_audit_takes() -> None:
    assert {*options.Method} == {"auto", *Method}


# --- which runs, and why ----------------------------------------------------------------------------------------------


def inputs_of(world: World, **changes: Any) -> AuditInputs:
    columns = {"labels": world.labels, "predictions": world.predictions, "class_names": CLASSES, "splits": world.splits}
    return check_inputs(**columns, **{"true_probability": world.p} | changes)


EVERY = np.ones(N, bool)
LATENT = FailureDirections(method="latent")


@pytest.mark.parametrize(
    ("asked", "directions", "known", "expected"),
    [
        ("auto", None, True, ("latent", "auto: the probability of the true class is known", True)),
        (None, None, True, ("latent", "auto: the probability of the true class is known", True)),
        (None, None, False, ("svm", f"auto: {UNKNOWN}", False)),
        ("svm", None, True, ("svm", "asked for by name", False)),
        ("latent", None, True, ("latent", "asked for by name", True)),
        ("latent", None, False, ("latent", f"asked for by name; {UNKNOWN}, but right and wrong are", False)),
        (None, FailureDirections(), True, ("svm", "that of the directions that were given", False)),
        (None, LATENT, True, ("latent", "that of the directions that were given", True)),
        ("auto", FailureDirections(published=True), True, ("svm", "auto: that of the published code", False)),
        ("auto", FailureDirections(backend="numba"), True, ("svm", "auto: that of the backend numba", False)),
        ("auto", LATENT, False, ("svm", f"auto: {UNKNOWN}", False)),
    ],
)  # fmt: skip
def test_the_method_and_its_reason(
    world: World, asked: str | None, directions: FailureDirections | None, known: bool,
    expected: tuple[str, str, bool],
) -> None:  # fmt: skip
    inputs = inputs_of(world) if known else inputs_of(world, true_probability=None)
    chosen = choose_method(asked, directions, inputs, EVERY)
    assert (chosen.method, chosen.reason, chosen.loss is not None) == expected


def test_the_loss_is_that_of_the_true_class_and_finite(world: World) -> None:
    p = world.p.copy()
    p[np.flatnonzero(~world.correct)[:2]] = 0
    loss = choose_method("latent", None, inputs_of(world, true_probability=p), EVERY).loss
    assert loss is not None
    np.testing.assert_allclose(loss, -np.log(p.clip(1e-12)))


def test_other_settings_stay(world: World) -> None:
    own = FailureDirections(cv=3, n_permutations=7, n_resamples=5, min_errors=4)
    chosen = choose_method("latent", None, inputs_of(world), EVERY)
    made = chosen.of(own)
    assert (made.method, made.Cs, made.cv, made.search_settings) == ("latent", LATENT_COSTS, 3, own.search_settings)
    assert chosen.of(made) is made
    back = choose_method("svm", None, inputs_of(world), EVERY).of(made)
    assert back.solver_settings == own.solver_settings


@pytest.mark.parametrize(
    ("method", "directions", "message"),
    [
        ("lda", None, "method is 'lda': use one of auto, svm, latent"),
        (3, None, "method is 3: use one of auto, svm, latent"),
        ("latent", FailureDirections(), "method is 'latent', and that of directions 'svm': leave one of them out"),
        ("svm", LATENT, "method is 'svm', and that of directions 'latent': leave one of them out"),
    ],
)
def test_methods_that_there_are_not_or_that_differ(
    world: World, method: Any, directions: FailureDirections | None, message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        fdgpu.audit(None, **world.columns(), method=method, directions=directions)


# --- probabilities that are not those of the true class ---------------------------------------------------------------


def confidences(world: World) -> np.ndarray:
    """Of the prediction, which is not the true class where it is wrong."""
    return np.where(world.correct, world.p, 1 - world.p)


ODD = {
    "that of the predicted class": (confidences, "contradicts the answers: .* wrong samples have p above 0.5"),
    "constant": (lambda _: np.full(N, 0.9), "is the same for every sample, which tells nothing"),
}


@pytest.mark.parametrize(("spoil", "message"), ODD.values(), ids=ODD)
def test_what_is_no_probability_of_the_true_class_is_refused_or_not_listened_to(
    world: World, spoil: Any, message: str
) -> None:
    columns = world.columns(true_probability=spoil(world))
    with pytest.warns(FdgpuWarning, match=f"True_probability {message}"):
        result = fdgpu.audit(None, **columns, method="auto", directions=settings(n_permutations=0))
    assert result.directions.method == "svm"
    assert result.findings.method_reason == "auto: true_probability contradicts the predictions"
    assert any(message.split(":")[0] in note for note in result.findings.notes)
    with (
        pytest.warns(FdgpuWarning, match="True_probability"),
        pytest.raises(
            InputError, match=f"true_probability {message}.*: pass the probability of the true class, and not"
        ),
    ):
        fdgpu.audit(None, **columns, method="latent")


def test_a_copy_of_the_confidence_is_known_by_its_wrong_rows() -> None:
    """Of many classes, whose confidence may be below one half, so that no single row gives it away."""
    rng = np.random.default_rng(0)
    labels, predictions = np.arange(60) % 3, np.where(np.arange(60) % 4, np.arange(60), np.arange(60) + 1) % 3
    confidence = rng.uniform(0.36, 0.48, 60)
    true = np.where(labels == predictions, confidence, confidence / 2)
    doubts = [check_inputs(labels, predictions, None, None, confidence, None, one).doubts for one in (confidence, true)]
    assert doubts[0] == (
        "True_probability is the confidence of the prediction for 15 of 15 wrong samples: pass the probability of the "
        "true class, and not that of the predicted one, or leave it out.",
    )
    assert doubts[1] == ()


@pytest.mark.parametrize(("factor", "message"), [(100.0, "true_probability holds"), (-1.0, "true_probability holds -")])
def test_percent_and_logarithms_are_refused(world: World, factor: float, message: str) -> None:
    with pytest.raises(InputError, match=f"{message}.* in row 0: pass numbers from 0 to 1"):
        fdgpu.audit(None, **world.columns(true_probability=factor * world.p), method="latent")


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_probability_that_is_not_finite_is_refused(world: World, odd: float) -> None:
    p = world.p.copy()
    p[7] = odd
    with pytest.raises(InputError, match=r"true_probability holds (nan|inf) in row 7"):
        fdgpu.audit(None, **world.columns(true_probability=p), method="latent")


# --- what an audit makes of it ----------------------------------------------------------------------------------------


def test_the_planted_failure_is_found_named_and_ranked_with_the_loss(audited: AuditResult, world: World) -> None:
    cat, dog = audited.findings.classes
    assert (cat.significant, cat.solver) == (True, "latent")
    assert cat.strongest.hard_captions[0].caption == "a wet cat"
    mode = cat.strongest
    shown = (world.labels == 0) & (world.splits == "test")
    assert abs(mode.share - world.wet[world.labels == 0].mean()) < 0.1
    assert mode.errors_explained is not None
    assert 0.2 < mode.errors_explained.low < mode.errors_explained.value < mode.errors_explained.high <= 1
    fit, ids = audited.directions, world.labels
    unit = world.vectors / np.linalg.norm(world.vectors, axis=1, keepdims=True)
    ranks = fit.decision_function(unit, ids, loss=-np.log(world.p))
    assert [int(one.path) for one in mode.hard_examples] == np.flatnonzero(shown)[
        np.argsort(ranks[shown])[:10]
    ].tolist()
    assert [one.decision for one in mode.hard_examples] == pytest.approx(np.sort(ranks[shown])[:10], abs=1e-4)
    assert all(world.wet[int(one.path)] for one in mode.hard_examples)
    np.testing.assert_allclose(audited.decisions, fit.decision_function(unit, ids), atol=1e-5)
    assert sum(mode.decisions.right) + sum(mode.decisions.wrong) == shown.sum()
    alone = audited.decisions[shown]
    assert mode.decisions.edges[0] <= alone.min() <= alone.max() <= mode.decisions.edges[-1]
    assert dog.strongest.errors_explained is not None or not dog.found


def test_the_folder_holds_both_values_and_says_what_ran(audited: AuditResult) -> None:
    document = json.loads((audited.out / "audit.json").read_text())
    assert mistakes(document) == []
    said = [document[key] for key in ("method", "method_reason", "uses_loss", "backend")]
    assert said == ["latent", "asked for by name", True, "torch"]
    cat = document["classes"][0]
    assert cat["share"] == cat["modes"][0]["share"]
    assert cat["errors_explained"].keys() == {"value", "low", "high"}
    table = pq.read_table(audited.out / "examples.parquet").to_pandas()
    own = table[table["class"] == "cat"]
    assert own.nsmallest(10, "decision_with_loss").path.tolist() == cat["hard_examples"]
    np.testing.assert_allclose(own.decision_value, audited.decisions[own.path.astype(int)])
    loaded = FailureDirections.load(audited.out / "directions.safetensors")
    assert (loaded.method, loaded.loss_weight_[0, 0]) == ("latent", audited.directions.loss_weight_[0, 0])


def test_the_page_shows_how_much_is_explained(audited: AuditResult) -> None:
    page = read(audited.page)
    mode = audited.findings.classes[0].strongest
    facts = {one.find("dt")[0].text: one.find("dd")[0].text for one in page.find("dl", cls="facts")[0].find("div")}
    low, high = (f"{100 * end:.0f}%" for end in (mode.errors_explained.low, mode.errors_explained.high))
    assert facts["errors explained"] == f"{100 * mode.errors_explained.value:.0f}% ({low} to {high})"
    assert facts["hidden class"] == f"{100 * mode.share:.1f}% of the class"
    assert facts["shrinkage λ"] in ("30", "3", "0.3")
    assert "C" not in facts
    assert "Method latent , asked for by name" in page.text
    assert "lowest decision value, with the image’s own loss" in page.text
    assert "support vector machine" not in page.text
    assert "△" not in audited.page
    heads = [one.text for one in page.find("table", id="classes-table")[0].find("th")]
    assert heads.index("Explained") == heads.index("Consistency") + 1


def test_the_svm_ranks_by_the_vector_alone_and_its_page_has_none_of_it(world: World, tmp_path: Path) -> None:
    result = fdgpu.audit(None, **world.columns(), method="svm", directions=settings(), out=tmp_path, groups="none")
    document = json.loads((tmp_path / "audit.json").read_text())
    assert [document[key] for key in ("method", "method_reason", "uses_loss")] == ["svm", "asked for by name", False]
    assert document["classes"][0]["errors_explained"] is None
    assert "decision_with_loss" not in pq.read_schema(tmp_path / "examples.parquet").names
    shown = (world.labels == 0) & (world.splits == "test")
    hardest = np.flatnonzero(shown)[np.argsort(result.decisions[shown])[:10]]
    assert [int(one.path) for one in result.findings.classes[0].hard_examples] == hardest.tolist()
    page = read(result.page)
    assert "Method SVM , asked for by name" in page.text
    assert not re.search("Explained|hidden class|shrinkage|own loss", page.text)


def test_without_probabilities_right_and_wrong_are_enough(world: World) -> None:
    given = world.columns("true_probability")
    result = fdgpu.audit(None, **given, method="latent", directions=settings(method="latent"), groups="none")
    cat = result.findings.classes[0]
    assert (result.findings.uses_loss, cat.significant) == (False, True)
    assert all(world.wet[int(one.path)] for one in cat.hard_examples[:5])
    assert "own loss" not in read(result.page).text


def test_scores_of_a_model_are_listened_to(world: World) -> None:
    """And are the same as the column that they say."""
    logits = np.zeros((N, 2))
    logits[np.arange(N), world.labels] = np.log(world.p / (1 - world.p))
    results = [
        fdgpu.audit(None, **given, method="latent", directions=settings(method="latent", n_permutations=0))
        for given in (world.columns("true_probability", predictions=logits), world.columns())
    ]
    assert all(one.findings.uses_loss for one in results)
    np.testing.assert_allclose(results[0].directions.coef_, results[1].directions.coef_, atol=1e-4)


def test_groups_and_near_duplicates_go_together_with_it(world: World) -> None:
    groups = np.arange(N) // 4
    result = fdgpu.audit(None, **world.columns(groups=groups), method="latent", directions=settings(method="latent"))
    assert result.findings.grouped_by == "given"
    assert result.findings.classes[0].significant
    alike = fdgpu.audit(
        None, **world.columns(), method="latent", directions=settings(method="latent", n_permutations=0)
    )
    assert alike.findings.grouped_by == "near-duplicates"


def test_a_store_of_embeddings_gives_the_same(world: World, tmp_path: Path) -> None:
    unit = torch.nn.functional.normalize(torch.from_numpy(world.vectors), dim=1)
    store = fdgpu.EmbeddingStore.create(tmp_path / "store", D, shard_rows=100)
    names = np.array(CLASSES)
    store.append([str(i) for i in range(N)], unit, labels=names[world.labels].tolist(), splits=world.splits.tolist())
    given = {"predictions": names[world.predictions], "true_probability": world.p, "method": "latent", "groups": "none"}
    made = settings(method="latent", n_permutations=0)
    stored = fdgpu.audit(None, embeddings=store, directions=made, **given)
    plain = fdgpu.audit(
        None, **world.columns("true_probability", "predictions"), **given,
        directions=settings(method="latent", n_permutations=0),
    )  # fmt: skip
    assert stored.findings.uses_loss
    np.testing.assert_allclose(stored.decisions, plain.decisions, atol=0.05 * np.nanmax(np.abs(plain.decisions)))
    paths = [{example.path for example in one.findings.classes[0].hard_examples} for one in (stored, plain)]
    assert paths[0] == paths[1]


def test_each_condition_has_losses_of_its_own() -> None:
    """Two conditions: of the second the model's answers have nothing to do with the vectors."""
    world, rng = World(n := 640), np.random.default_rng(5)
    second = (rng.random(n) < 0.5).astype(int)
    labels = np.stack([1 - world.labels, second], axis=1)
    labels[::9, 1] = -1
    by_chance = np.where(second, rng.beta(3, 2, n), rng.beta(2, 3, n))
    answers = np.stack([np.where(world.labels == 0, world.p, 1 - world.p), by_chance], axis=1)
    splits = np.where(np.arange(n) % 5 == 0, "train", world.splits)
    names = ["cat", "second"]
    given = world.columns("true_probability", labels=labels, predictions=answers, class_names=names, splits=splits)
    result = fdgpu.audit(None, **given, method="latent", directions=settings(method="latent"), groups="none")
    assert result.findings.uses_loss
    assert [one.name for one in result.findings.classes if one.significant] == ["cat"]
    assert all(world.wet[int(one.path)] for one in result.findings.classes[1].hard_examples[:5])
    assert np.isnan(result.decisions[::9, 1]).all()


def test_what_a_model_answers_in_the_same_pass_is_listened_to() -> None:
    pictures = torch.rand(80, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    features = fdgpu.embedding.FeatureEmbedder(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Linear(5, 2)), (8, 8), name="net", device="cpu"
    )
    result = fdgpu.audit(pictures, np.arange(80) % 2, model=model, embedder=features, class_names=CLASSES)
    assert result.findings.method_reason == "auto: the probability of the true class is known"
    assert result.findings.uses_loss
    assert result.directions.method == "latent"
