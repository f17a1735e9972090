"""Several failure modes and their tests: from what a fit says to findings, JSON and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fdgpu.auditing.captioning import CaptionedClasses, ModeCaptions
from fdgpu.auditing.evidence import AuditedImages
from fdgpu.auditing.inputs import AuditInputs, check_inputs
from fdgpu.auditing.outputs import audit_json
from fdgpu.auditing.showing import class_findings
from fdgpu.auditing.truth import Planted
from fdgpu.auditing.writing import write_audit
from fdgpu.captions import WordEffects
from fdgpu.captions.ranking import rank_captions
from fdgpu.findings import ClassFindings, Findings, WordEffect

NAN = float("nan")
PER_CLASS = 8


class StandIn:
    """A fit of three classes: two modes, one that stopped early, and none; r = 2, two values of C."""

    Cs = (0.1, 1.0)
    n_directions, n_permutations, fdr = 2, 200, 0.05
    classes_ = np.array([0, 1, 2])
    status_ = ("ok", "ok", "no_errors")
    n_samples_, n_errors_ = np.array([40, 40, 40]), np.array([14, 9, 0])
    n_directions_, n_permutations_ = np.array([2, 1, 0]), np.array([200, 57, 0])
    nested_score_, solver_ = np.array([0.75, NAN, NAN]), ["gram", "newton", ""]
    coef_ = np.full((3, 2, 4), NAN)
    cv_score_ = np.array([[0.9, 0.8], [0.6, NAN], [NAN, NAN]])
    cv_scores_ = np.array([[[0.7, 0.9], [0.8, 0.8]], [[0.5, 0.6], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    p_value_ = np.array([[0.005, 0.01], [0.3, NAN], [NAN, NAN]])
    q_value_ = np.array([[0.01, 0.02], [0.3, NAN], [NAN, NAN]])
    significant_ = q_value_ <= 0.05
    C_ = np.array([[1.0, 0.1], [1.0, NAN], [NAN, NAN]])
    C_at_edge_ = np.isfinite(C_)
    converged_ = np.array([[True, False], [True, False], [False, False]])
    n_errors_of_ = np.array([[8, 6], [9, 0], [0, 0]])

    def save(self, path: Path) -> None:
        path.write_bytes(b"")


@pytest.fixture
def inputs() -> AuditInputs:
    labels = np.repeat([0, 1, 2], PER_CLASS)
    said = labels.copy()
    said[:4], said[8] = 1, 0
    return check_inputs(labels, said, ["<b>a", "b", "c"], None, np.linspace(0.3, 0.9, len(labels)))


@pytest.fixture
def images(inputs: AuditInputs) -> AuditedImages:
    """Mode 0 of the first class flags images 0 and 1 most, mode 1 images 2 and 3."""
    decisions = np.full((len(inputs), 2), NAN)
    decisions[:PER_CLASS, 0] = [-4, -3, 7, 8, 1, 2, 3, 4]
    decisions[:PER_CLASS, 1] = [1, 2, -4, -3, 6, 5, 4, 3]
    decisions[PER_CLASS : 2 * PER_CLASS, 0] = np.arange(PER_CLASS) - 1.0
    ids = [f"{i}.png" for i in range(len(inputs))]
    vectors = np.eye(len(inputs), 4, dtype=np.float32)
    return AuditedImages(ids, vectors, decisions, np.ones(len(inputs), bool))


def captions_of(*scores: list[float]) -> tuple[ModeCaptions, ...]:
    texts = ["a red one", "a blue one", "one"]
    arrays = [np.array(s) for s in scores]
    ends = {"hard": np.array([1.0, 0, 0, 0], np.float32)}
    words = [WordEffects((WordEffect("colour", "blue", float(s[1]), 0.5, 1),), 0.75) for s in arrays]
    return tuple(
        ModeCaptions(texts, s, 2.0, rank_captions(s, 1), ends, words=w) for s, w in zip(arrays, words, strict=True)
    )


@pytest.fixture
def captions() -> CaptionedClasses:
    two, one = captions_of([-1.0, 1.0, NAN], [1.0, -1.0, NAN]), captions_of([-0.5, 0.5, NAN])
    return CaptionedClasses({0: two, 1: one}, [])


@pytest.fixture
def classes(inputs: AuditInputs, images: AuditedImages, captions: CaptionedClasses) -> tuple[ClassFindings, ...]:
    minority = np.zeros(len(inputs), bool)
    minority[[2, 3]] = True
    planted = Planted("colour", "red", "blue", "a blue", minority)
    fit: Any = StandIn()
    return class_findings(fit, inputs, images, captions, {"<b>a": planted})


@pytest.fixture
def findings(classes: tuple[ClassFindings, ...]) -> Findings:
    return Findings(
        version="1", seed=0, model="m", backend="numba", backend_reason="", device="cpu", title="t", classes=classes,
        timings={}, n_images={"val": 24}, fitted_on="val", whitened_by="val", shown_from="val", C_grid=StandIn.Cs,
        n_directions=2, n_permutations=200, fdr=0.05,
    )  # fmt: skip


def test_every_kept_direction_is_a_mode_with_evidence_of_its_own(classes: tuple[ClassFindings, ...]) -> None:
    first, second = classes[0].modes
    assert (first.cv_score, second.cv_score, first.p_value, second.q_value) == (0.9, 0.8, 0.005, 0.02)
    assert (first.n_errors, second.n_errors, classes[0].n_errors) == (8, 6, 14)
    assert (first.C_tied, second.C_tied) == (False, True)
    assert (first.converged, second.converged) == (True, False)
    assert [m.hard_captions[0].caption for m in (first, second)] == ["a red one", "a blue one"]
    assert [m.easy_captions[0].caption for m in (first, second)] == ["a blue one", "a red one"]
    assert second.hard_captions[0].alignment == -0.5  # over its own ‖w‖
    assert [e.path for e in first.hard_examples[:2]] == ["0.png", "1.png"]
    assert [(e.path, e.decision) for e in second.hard_examples[:2]] == [("2.png", -4.0), ("3.png", -3.0)]
    assert second.easy_examples[0].path == "4.png"
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
    assert (two.n_shown, two.accuracy_shown) == (PER_CLASS, 0.5)
    assert np.isnan(none.cv_score)
    assert {e.path for e in two.examples} >= {"0.png", "2.png"}


def test_the_json_has_the_strongest_mode_at_the_class_and_every_mode_below(findings: Findings) -> None:
    document = json.loads(json.dumps(audit_json(findings), allow_nan=False))
    assert (document["n_permutations"], document["fdr"], document["p_value_min"]) == (200, 0.05, 1 / 201)
    two, one, none = document["classes"]
    keys = "cv_score p_value q_value C hard_captions easy_captions hard_examples easy_examples"
    for key in keys.split():
        assert two[key] == two["modes"][0][key], key
    assert [mode["cv_score"] for mode in two["modes"]] == [0.9, 0.8]
    assert [mode["n_errors"] for mode in two["modes"]] == [8, 6]
    assert two["n_errors"] == 14
    assert (two["n_permutations"], two["nested_score"], two["solver"]) == (200, 0.75, "gram")
    assert two["modes"][1]["hard_examples"][:2] == ["2.png", "3.png"]
    assert two["modes"][1]["hard_captions"][0]["caption"] == "a blue one"
    assert (one["n_permutations"], one["nested_score"], one["significant"]) == (57, None, False)
    assert (none["modes"], none["cv_score"], none["hard_captions"], none["n"]) == ([], None, [], 40)


def test_the_tables_say_which_mode(
    findings: Findings, inputs: AuditInputs, images: AuditedImages, captions: CaptionedClasses, tmp_path: Path
) -> None:
    fit: Any = StandIn()
    write_audit(tmp_path, findings, fit, "<!doctype html>", inputs, images, captions)
    table = pq.read_table(tmp_path / "examples.parquet").to_pydict()
    assert table["mode"][:PER_CLASS] == [0, 0, 1, 1, 0, 0, 0, 1]
    assert table["mode"][PER_CLASS:] == [0] * PER_CLASS + [None] * PER_CLASS
    assert table["decision_value"][:4] == [-4, -3, 7, 8]
    assert table["decision_value_1"][:4] == [1, 2, -4, -3]
    assert np.isnan(table["decision_value_1"][PER_CLASS:]).all()
    scored = pq.read_table(tmp_path / "captions.parquet").to_pylist()
    row = {"class": "<b>a", "caption": "a blue one", "score": -1.0, "direction": 1}
    assert row | {"group": "a blue one", "reliable": None} in scored  # nobody judged it
    assert [row["direction"] for row in scored] == [0, 0, 1, 1, 0, 0]
    effects = pq.read_table(tmp_path / "effects.parquet").to_pylist()
    blue = {"slot": "colour", "word": "blue", "half_width": 0.5, "n": 1, "against": "mean"}
    assert effects[:2] == [{"class": "<b>a", "direction": r, "effect": e, **blue} for r, e in ((0, 1.0), (1, -1.0))]
    assert [effect["direction"] for effect in effects] == [0, 1, 0]


def test_one_direction_needs_no_mode_column(
    findings: Findings, inputs: AuditInputs, images: AuditedImages, captions: CaptionedClasses, tmp_path: Path
) -> None:
    fit: Any = StandIn()
    alone = AuditedImages(images.ids, images.vectors, images.decisions[:, :1], images.shown)
    write_audit(tmp_path, findings, fit, "<!doctype html>", inputs, alone, captions)
    names = pq.read_schema(tmp_path / "examples.parquet").names
    assert names == ["path", "class", "prediction", "split", "correct", "decision_value", "confidence"]
