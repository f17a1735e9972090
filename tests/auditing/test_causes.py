"""Errors are sorted by what is to blame, through whole audits of vectors that are there."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu.auditing import AuditResult, causes
from fdgpu.auditing.causes import Neighbours, duplicate_distance, look_up, sort_errors
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.auditing.images import Embedded
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.findings import Cause
from fdgpu.rows import TensorRows

N, D, K = 360, 24, 3
COPIES = 12


def world(seed: int = 0, flipped: float = 0.08) -> dict[str, Any]:
    """Val and test of three classes with some wrong labels; the last of test are copies of the first of val."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, N)
    centres = 5 * np.linalg.qr(rng.normal(size=(D, K)))[0].T
    x = centres[truth] + rng.normal(size=(N, D))
    x[-COPIES:], truth[-COPIES:] = x[:COPIES] + 0.003 * rng.normal(size=(COPIES, D)), truth[:COPIES]
    predictions = np.where(rng.random(N) < 0.12, (truth + 1) % K, truth)
    wrong = rng.random(N) < flipped
    wrong[:COPIES] = wrong[-COPIES:] = False
    labels = np.where(wrong, (truth + rng.integers(1, K, N)) % K, truth)
    splits = np.where(np.arange(N) < N // 2, "val", "test").astype("U5")
    return {"x": x.astype(np.float32), "labels": labels, "predictions": predictions, "splits": splits, "wrong": wrong}


def sort(made: dict[str, Any], **columns: Any) -> causes.SortedErrors:
    given = {name: made[name] for name in ("labels", "predictions", "splits")} | columns
    inputs = check_inputs(class_names=None, **given)
    rows = TensorRows(torch.from_numpy(made["x"]), finite=True)
    n = len(made["x"])
    embedded = Embedded([str(i) for i in range(n)], rows, np.ones(n, bool), (), {}, "", [None] * n, [None] * n)
    return sort_errors(inputs, embedded)


def run(made: dict[str, Any], **change: Any) -> AuditResult:
    given = {name: made[name] for name in ("labels", "predictions", "splits")}
    fit = fdgpu.FailureDirections(Cs=(0.1,), cv=3, n_permutations=20)
    return fdgpu.audit(embeddings=made["x"], directions=fit, **given | change)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return run(world(), out=tmp_path_factory.mktemp("causes"), clean=True)


def test_copies_in_another_split_are_duplicates_of_what_they_copy() -> None:
    twins = sort(world()).twins
    expected = np.full(N, -1)
    expected[:COPIES], expected[-COPIES:] = np.arange(N - COPIES, N), np.arange(COPIES)
    assert (twins == expected).all()


def test_within_a_split_only_another_label_is_a_duplicate_and_never_in_a_group() -> None:
    made = world()
    made["splits"] = np.full(N, "val", "U5")
    assert (sort(made).twins == -1).all()
    made["labels"][:4] = (made["labels"][:4] + 1) % K  # a picture with two labels
    twins = sort(made).twins
    assert twins[:4].tolist() == list(range(N - COPIES, N - COPIES + 4))
    assert (twins[4:COPIES] == -1).all()
    groups = np.arange(N)
    groups[-COPIES:] = groups[:COPIES]  # frames of one video
    assert (sort(made, groups=groups).twins == -1).all()


def test_what_was_trained_on_is_a_duplicate_too_but_is_not_sorted() -> None:
    made = world()
    made["splits"][:20] = "train"
    found = sort(made)
    assert (found.twins[-COPIES:] == np.arange(COPIES)).all()
    assert (found.twins[:20] == -1).all()
    assert not found.looked_up[:20].any()
    assert not found.labels.wrong[:20].any()


def test_independent_images_have_no_duplicates() -> None:
    for seed in range(3):
        made = world(seed)
        keep = np.arange(N) < N - COPIES
        assert (sort({name: column[keep] for name, column in made.items()}).twins == -1).all()


def test_wrong_labels_are_listed_and_the_models_errors_are_not() -> None:
    hits = called = planted = 0
    for seed in range(3):
        made = world(seed, flipped=0.12)
        wrong = sort(made).labels.wrong
        visible = made["wrong"] & (made["labels"] != made["predictions"])
        hits, called, planted = hits + (wrong & visible).sum(), called + wrong.sum(), planted + visible.sum()
    assert hits >= 0.8 * called
    assert hits >= 0.4 * planted


def test_the_page_the_json_and_the_csv_say_the_same(audited: AuditResult) -> None:
    found = audited.findings.causes
    rows = list(csv.DictReader((audited.out / "causes.csv").read_text().splitlines()))
    stored = json.loads((audited.out / "audit.json").read_text())["causes"]
    for cause in Cause:
        of = [row for row in rows if row["cause"] == cause]
        assert len([row for row in of if row["correct"] == "False"]) == stored[f"n_{cause}"]
        assert [row["path"] for row in of] == [one["path"] for one in stored[cause]]
    made = world()
    errors = made["labels"] != made["predictions"]
    assert found.n_label + found.n_duplicate + found.n_model == errors.sum()
    assert sum(map(sum, found.by_class.values())) == errors.sum()
    assert found.n_right_duplicates + found.n_duplicate == 2 * COPIES
    assert "Is it the model, or the data?" in audited.page
    twin = next(row for row in rows if row["duplicate_of"])
    assert {twin["split"], twin["duplicate_split"]} == {"val", "test"}


def test_clean_fits_without_them_and_says_what_changes(audited: AuditResult) -> None:
    made = world()
    plain = run(made)
    assert plain.findings.cleaned == ()
    kept = sort(made).kept(check_inputs(made["labels"], made["predictions"], None, made["splits"]))
    val = made["splits"] == "val"
    for k, one in enumerate(audited.findings.cleaned):
        own = made["labels"] == k
        assert one.left_out == (own & val & ~kept).sum() > 0
        assert audited.findings.classes[k].n == (own & val & kept).sum()
        assert plain.findings.classes[k].n == (own & val).sum()
        assert (one.cv_score, one.cv_score_clean) == pytest.approx(
            (plain.findings.classes[k].cv_score, audited.findings.classes[k].cv_score), nan_ok=True
        )
        right = made["labels"] == made["predictions"]
        assert one.accuracy_clean == pytest.approx(right[own & ~val & kept].mean())
        assert -1 <= one.cosine <= 1
    assert audited.findings.causes.by_class == plain.findings.causes.by_class
    assert len(audited.decisions) == N
    assert np.isfinite(audited.decisions).all()  # of what was left out of the fit too


def test_clean_with_nothing_to_leave_out_says_so() -> None:
    made = {name: column[: N // 2] for name, column in world(flipped=0.0).items()}
    result = run(made, clean=True)
    assert result.findings.cleaned == ()
    assert any("nothing was left out" in note for note in result.findings.notes)


def test_clean_where_all_are_duplicates_fits_with_all_and_doubts() -> None:
    made = world(flipped=0.0)
    half = N // 2
    made["x"][half:], made["labels"][half:] = made["x"][:half], made["labels"][:half]
    made["predictions"][half:] = made["predictions"][:half]
    with pytest.warns(FdgpuWarning, match="All val images are duplicates"):
        result = run(made, clean=True)
    assert result.findings.classes[0].n > 0


def test_clean_is_true_or_false() -> None:
    with pytest.raises(InputError, match="clean is 'yes'"):
        run(world(), clean="yes")


@pytest.mark.parametrize("case", ["identical", "few", "one class", "all wrong"])
def test_what_nothing_can_be_said_of_is_the_models_own(case: str) -> None:
    made = world()
    if case == "identical":
        made["x"][:] = made["x"][0]
    elif case == "few":
        made = {name: column[:5] for name, column in made.items()}
    elif case == "one class":
        made["labels"][:] = 0
    else:
        made["labels"] = (made["predictions"] + 1) % K
    found = sort(made)
    assert not found.labels.wrong.any()
    assert found.labels.reason
    if case in ("identical", "few"):
        assert (found.twins == -1).all()


def test_conditions_are_sorted_one_by_one() -> None:
    made = world()
    rng = np.random.default_rng(0)
    truth = np.stack([made["labels"] == 0, made["labels"] == 1], axis=1).astype(int)
    answers = np.abs(truth - (rng.random(truth.shape) < 0.1)) * 0.8 + 0.1
    found = sort(made, labels=truth, predictions=answers)
    assert found.labels.wrong.shape == (2 * N,)
    assert (found.twins >= 0).sum() == 2 * COPIES


def test_more_images_than_time_allows_are_looked_up_errors_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    errors = made["labels"] != made["predictions"]
    most = int(errors.sum()) + 30
    monkeypatch.setitem(causes.MOST_PAIRS, "cpu", most * N)
    found = sort(made)
    assert found.looked_up.sum() == most
    assert found.looked_up[errors].all()
    assert f"{most} of {N} images" in found.note


def test_images_with_more_neighbours_than_were_looked_up_decide_nothing() -> None:
    """Of the first, more may be in the shell; the second's pair is far nearer than any other."""
    crowd, pair = np.full((1, 4), 1e-3), np.array([[1e-3, 0.5, 0.6, 0.7]])
    of, images = np.arange(1), np.zeros((1, 4), np.int64)
    assert duplicate_distance(Neighbours(of, images, crowd, np.array([1e-3]))) == 0
    assert 1e-3 < duplicate_distance(Neighbours(of, images, pair, np.array([0.7]))) <= 0.1


def test_vectors_are_asked_for_their_own_split_and_others() -> None:
    made = world()
    inputs = check_inputs(made["labels"], made["predictions"], None, made["splits"])
    rows = TensorRows(torch.from_numpy(made["x"]), finite=True)
    near, note = look_up(inputs, Embedded([""] * N, rows, np.ones(N, bool), (), {}, "", [None] * N, [None] * N))
    assert note == ""
    assert near.images.shape == (N, 2 * causes.LOOKED_AT)
    assert (np.diff(near.distances[:, :-1], axis=1) >= 0).all()
    assert np.isinf(near.distances).sum() == N  # each itself, last
