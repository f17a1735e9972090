"""Known columns beside directions: what is tested, that the tests hold, and what an audit says of a slice."""

from __future__ import annotations

import csv
import json
from datetime import date
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

import fdgpu
from fdgpu.arrays import counted_crossings
from fdgpu.auditing import AuditResult, SliceSearch
from fdgpu.auditing import slices as module
from fdgpu.auditing.columns.one_column import KnownColumns, read_known
from fdgpu.auditing.slices import (
    Candidates,
    excess_p,
    excess_within,
    followed,
    search,
    search_plainly,
    strata_of,
)
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.findings import Split
from tests.pretend_cuda import CUDA, pretend_cuda

CPU = torch.device("cpu")
N, D = 900, 8


def drawn(seed: int, n: int, values: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values that overlap, repeat and nest, and errors that follow some of them."""
    rng = np.random.default_rng(seed)
    members = rng.random((n, values)) < rng.uniform(0.1, 0.9, values)
    if values > 2:
        members[:, 2] = members[:, 0] if seed % 3 == 0 else members[:, 0] & members[:, 1]
    wrong = rng.random(n) < 0.1 + 0.4 * members[:, : 1 + seed % 3].all(axis=1)
    return members, wrong, rng.integers(0, classes, n)


def in_order(found: Candidates) -> tuple[np.ndarray, ...]:
    order = np.lexsort((*found.values.T, found.class_of))
    return tuple(column[order] for column in (found.class_of, found.values, found.n, found.n_errors, found.p))


def planted(seed: int = 0, shift: float = 0.0, n: int = N, rate: float = 0.6) -> dict[str, Any]:
    """One class and another; of camera A at site north the model is wrong, which vectors show by ``shift``."""
    rng = np.random.default_rng(seed)
    camera, site, noise = (rng.choice(list(values), n) for values in ("ABC", ("north", "south"), "xyz"))
    slice_ = (camera == "A") & (site == "north")
    x = rng.normal(size=(n, D))
    x[:, 0] += shift * slice_
    labels = rng.integers(0, 2, n)
    wrong = rng.random(n) < np.where(slice_, rate, 0.08)
    return {
        "x": x.astype(np.float32), "labels": labels, "predictions": np.where(wrong, 1 - labels, labels),
        "splits": np.where(np.arange(n) % 2, "val", "test"), "camera": camera, "site": site, "noise": noise,
    }  # fmt: skip


def run(made: dict[str, Any], slices: object = None, **change: Any) -> AuditResult:
    known = {name: made[name] for name in ("camera", "site", "noise")}
    given_ = {name: made[name] for name in ("labels", "predictions", "splits")} | change
    fit = fdgpu.FailureDirections(Cs=(0.1,), cv=3, n_permutations=20)
    return fdgpu.audit(embeddings=made["x"], directions=fit, slices=known if slices is None else slices, **given_)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return run(planted(), out=tmp_path_factory.mktemp("slices"))


# --- the search and its tests -----------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 120), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_the_search_is_the_enumeration(seed: int, n: int, values: int, classes: int, conjunctions: int) -> None:
    asked = SliceSearch(conjunctions=conjunctions, fewest=2)
    fast, plain = (
        in_order(found)
        for found in (
            search(*drawn(seed, n, values, classes), asked, CPU),
            search_plainly(*drawn(seed, n, values, classes), asked),
        )
    )
    for one, other in zip(fast[:-1], plain[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(fast[-1], plain[-1], rtol=1e-9, atol=1e-300)


def test_small_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = drawn(4, 400, 7, 5)
    whole = in_order(search(*made, SliceSearch(), CPU))
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 1 << 13)
    for one, other in zip(whole, in_order(search(*made, SliceSearch(), CPU)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_many_conjunctions_are_not_tried_and_the_shorter_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    made = drawn(4, 400, 7, 1)
    monkeypatch.setitem(module.MOST_PRODUCTS, "cpu", 400 * 7 * 7)
    found = search(*made, SliceSearch(), CPU)
    assert found.untried == 3
    assert set(found.order) == {1, 2}


def test_on_a_device_the_host_waits_twice_a_level_whatever_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    for classes in (1, 6):
        made = drawn(4, 400, 6, classes)
        expected = in_order(search(*made, SliceSearch(), CPU))
        with pretend_cuda(monkeypatch), counted_crossings() as crossings:
            found = in_order(search(*made, SliceSearch(), CUDA))
        monkeypatch.undo()
        assert [one.why for one in crossings] == 3 * ["sizes and errors of slices", "p-values of slices"]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


@given(st.data())
def test_the_tail_is_fisher_s(data: st.DataObject) -> None:
    of = data.draw(st.integers(1, 3000))
    n, errors = (data.draw(st.integers(0, of)) for _ in range(2))
    e = data.draw(st.integers(max(0, n + errors - of), min(n, errors)))
    found = excess_p(*(np.array([one]) for one in (e, n, errors, of)), CPU)
    np.testing.assert_allclose(found, hypergeom.sf(e - 1, of, errors, n), rtol=1e-8, atol=1e-300)


def test_within_strata_the_tail_is_that_of_exchanging_answers_within_them() -> None:
    inside = np.array([1, 1, 0, 0, 1, 0, 0, 1], bool)
    wrong = np.array([1, 0, 0, 1, 1, 0, 0, 1], bool)
    stratum = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    seen = (inside & wrong).sum()
    sums = [
        (inside[:4] & wrong[list(one)]).sum() + (inside[4:] & wrong[list(other)]).sum()
        for one in permutations(range(4))
        for other in permutations(range(4, 8))
    ]
    found = excess_within(inside, wrong, stratum)
    assert found.p == pytest.approx(np.mean(np.array(sums) >= seen))
    assert found.errors == pytest.approx(seen - np.mean(sums))
    alone = excess_within(inside, wrong, np.zeros(8, int))
    assert alone.p == pytest.approx(hypergeom.sf(seen - 1, 8, 4, 4))


def test_every_number_of_values_has_the_same_weight_among_q() -> None:
    def of(p: list[float], orders: list[int]) -> np.ndarray:
        values = np.array([[*range(r), *[-1] * (3 - r)] for r in orders])
        zeros = np.zeros(len(p), int)
        return Candidates(zeros, values, zeros, zeros, np.array(p)).q

    p = [0.01, 0.02, 0.5, 0.9]
    np.testing.assert_allclose(of(p, [1, 1, 1, 1]), np.maximum(p, false_discovery_control(p)))
    # Of two single values and two hundred pairs each of one p: a single value pays for four tests, a pair for 400.
    q = of([1e-3, 1.0, 1e-3, *[1.0] * 199], [1, 1, *[2] * 200])
    assert q[0] == pytest.approx(4e-3)
    assert q[2] == pytest.approx(0.2)
    assert (q >= np.array([1e-3, 1.0, 1e-3, *[1.0] * 199])).all()


def test_where_answers_are_random_nothing_is_found_more_often_than_asked_for() -> None:
    found = 0
    for seed in range(30):
        rng = np.random.default_rng([5, seed])
        known = read_known({str(j): rng.integers(0, 3, 400).astype(str) for j in range(5)}, 400)
        wrong = rng.random(400) < 0.2
        found += bool((search(known.members, wrong, np.zeros(400, int), SliceSearch(), CPU).q <= 0.05).any())
    assert found <= 4  # of 30 at a rate of .05: 5 or more have a chance of 2 %


def test_what_follows_is_told_from_what_stands_alone() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.random(3000) < share for share in (0.3, 0.4, 0.3))
    wrong = rng.random(3000) < np.where(a & b, 0.6, np.where(c, 0.3, 0.05))
    assert followed([a, b, a & b, c], wrong) == {0: 2, 1: 2}
    assert followed([], wrong) == {}


def test_strata_follow_the_decision_value() -> None:
    decisions = np.random.default_rng(0).normal(size=230)
    stratum = strata_of(decisions)
    assert np.bincount(stratum).tolist() == [21, 21, 21, 21, 21, 20, 21, 21, 21, 21, 21][
        : len(np.bincount(stratum))
    ] or (np.ptp(np.bincount(stratum)) <= 1)
    assert all(decisions[stratum == i].max() <= decisions[stratum == i + 1].min() for i in range(stratum.max()))
    assert np.unique(strata_of(np.zeros(3))).tolist() == [0, 1]


# --- columns ----------------------------------------------------------------------------------------------------------


def values_of(column: Any, n: int | None = None, **options: Any) -> dict[str, list[int]] | str:
    """Value → its rows; or why the column is left out."""
    known = read_known({"c": column}, len(column) if n is None else n, **options)
    if known.left_out:
        return known.left_out["c"]
    return {value: np.flatnonzero(own).tolist() for (_, value), own in zip(known.values, known.members.T, strict=True)}


TEXT = ["b", " a", "b ", "", None]


@pytest.mark.parametrize(
    "column",
    [
        TEXT, np.array(TEXT, object), pd.Series(TEXT), pd.Series(TEXT, dtype="string"), pl.Series(TEXT), pa.array(TEXT),
        pa.chunked_array([TEXT[:2], TEXT[2:]]), pa.array(TEXT).dictionary_encode(), pd.Categorical(TEXT), tuple(TEXT),
    ],
    ids=lambda column: type(column).__name__,
)  # fmt: skip
def test_text_of_any_kind_is_its_values_and_empty_is_unknown(column: Any) -> None:
    assert values_of(column) == {"a": [1], "b": [0, 2]}
    assert values_of(column, unknown=True) == {"a": [1], "b": [0, 2], "unknown": [3, 4]}


@pytest.mark.parametrize(
    "column",
    [
        [0, 1, 1, None], np.array([0, 1, 1, np.nan]), np.ma.masked_array([0, 1, 1, 9], [0, 0, 0, 1]),
        [*torch.tensor([0, 1, 1]), None], torch.tensor([0, 1, 1, float("nan")]), ["0", 1, 1.0, pd.NA],
        ["0", "1", "1.0", "nan"], pa.array([0, 1, 1, None], pa.int8()), pl.Series([0, 1, 1, None]),
        pd.Series([0, 1, 1, None], dtype="Int64"),
    ],
    ids=lambda column: type(column).__name__,
)  # fmt: skip
def test_few_numbers_are_values_and_nan_is_unknown(column: Any) -> None:
    assert values_of(column) == {"0": [0], "1": [1, 2]}


def test_many_numbers_are_cut_at_quartiles() -> None:
    ages = np.arange(40) / 2
    found = values_of(ages)
    assert isinstance(found, dict)
    assert list(found) == ["below 4.5", "4.5 to 9.5", "9.5 to 14.5", "14.5 and above"]
    assert [rows[0] for rows in found.values()] == [0, 9, 19, 29]
    assert sorted(row for rows in found.values() for row in rows) == list(range(40))
    tied = values_of(np.maximum(0, np.arange(40) - 25) / 2)
    assert list(tied) == ["below 2", "2 and above"]
    assert values_of([True, False, True]) == {"false": [1], "true": [0, 2]}


def test_tags_may_be_several_an_image() -> None:
    tags = [["snow", "night"], ["snow"], [], None]
    assert values_of(tags) == {"night": [0], "snow": [0, 1]}


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (["a"] * 4, "one value only"),
        ([None, "", "nan"], "no value"),
        ([f"{i}.png" for i in range(5)], "as ids have"),
        (np.arange(50), "as ids have"),
        ([f"v{i // 2}" for i in range(100_000)], "50,000 values"),
        (["2024-01-02", "2024-01-03", "2024-01-02"], "dates"),
        ([date(2024, 1, 2)] * 3, "dates"),
        (["word " * 30, "a", "a"], "more than 100 characters"),
        ([[f"t{i}", f"t{i}"] for i in range(101)], "101 tags"),
        (pa.array([b"x", b"y", b"y"]), "of type binary"),
    ],
)
def test_a_column_that_cannot_be_tested_is_left_out_with_the_reason(column: Any, why: str) -> None:
    found = values_of(column)
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ({"camera": ["A"]}, "has 1 entries, and there are 900 images"),
        ({"camera": np.zeros((N, 2))}, r"has shape \(900, 2\)"),
        ({"camera": 3}, "is 3: pass"),
        ({"label": ["A"] * N}, "a column 'label', which is one of ours"),
        (["camera"], "names 'camera', and the further columns of the table are none"),
        ("camera", "slices is 'camera': pass 'auto', 'none', or a list"),
        (7, "slices is 7"),
        ([7], r"slices is \[7\]"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(slices: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(planted(), slices)


@pytest.mark.parametrize("wrong", [{"conjunctions": 4}, {"conjunctions": 0}, {"fewest": 1}, {"unknown": "no"}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        SliceSearch(**wrong)


def test_a_column_that_is_the_answer_is_left_out() -> None:
    wrong = np.arange(60) % 4 == 0
    known = read_known({"correct": ~wrong, "half": np.arange(60) % 2}, 60)
    found = known.without_answers(wrong)
    assert list(found.left_out) == ["correct"]
    assert found.values == (("half", "0"), ("half", "1"))
    assert known.without_answers(np.arange(60) % 5 == 0).values == known.values


def test_too_many_values_together_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.auditing.columns.one_column.MOST_TOGETHER", 3)
    known = read_known({"a": list("xyxy"), "b": list("xyxy"), "c": [1, None, 1, 1]}, 4)
    assert list(known.left_out) == ["b"]
    assert isinstance(known, KnownColumns)


# --- whole audits -----------------------------------------------------------------------------------------------------


def test_a_planted_pair_is_found_and_its_parts_follow_from_it(audited: AuditResult) -> None:
    found = audited.findings.slices
    pairs = [one for one in found if len(one.values) == 2]
    assert {one.name for one in pairs} == {"camera = A and site = north"}
    assert {one.class_name for one in pairs} == {"0", "1"}
    assert {one.follows_from for one in pairs} == {None}
    assert {one.follows_from for one in found if len(one.values) == 1} == {"camera = A and site = north"}
    assert all("noise" not in one.name for one in found)
    assert all(one.q_value <= 0.05 and one.q_value >= one.p_value for one in found)


def test_a_slice_is_found_on_val_and_shown_on_test(audited: AuditResult) -> None:
    made, one = planted(), audited.findings.slices[0]
    inside = np.logical_and.reduce([made[column] == value for column, value in one.values])
    own = inside & (made["labels"] == int(one.class_name))
    wrong = made["labels"] != made["predictions"]
    val, test = (own & (made["splits"] == split) for split in (Split.VAL, Split.TEST))
    assert (one.n, one.n_errors) == (val.sum(), wrong[val].sum())
    assert (one.shown.n, one.shown.n_errors) == (test.sum(), wrong[test].sum())
    assert one.accuracy.low < one.accuracy.value == (~wrong[test]).mean() < one.accuracy.high
    tested = audited.findings.slices_tested
    assert tested is not None
    assert dict(tested.columns) == {"camera": 3, "site": 2, "noise": 3}
    assert tested.n_tested[0] == 2 * 8  # values of both classes


def test_a_direction_explains_what_vectors_show_and_nothing_else() -> None:
    blind, seeing = (
        [one for one in run(planted(shift=shift, n=2400)).findings.slices if not one.follows_from]
        for shift in (0.0, 6.0)
    )
    assert blind
    assert seeing
    assert all(one.explained_by is None and one.explained < 0.35 for one in blind)
    assert all(one.explained_by == 0 and one.explained > 0.8 for one in seeing)


def test_without_a_test_split_no_direction_is_judged() -> None:
    made = planted(shift=6.0)
    found = run(made, splits=np.full(N, "val")).findings.slices
    assert found
    assert all(one.explained_by is None and np.isnan(one.explained) for one in found)


def test_frames_of_one_video_are_one_piece_of_evidence() -> None:
    """Six frames each, alike in all but the picture: as single images they would find what is chance."""
    alone = together = 0
    for seed in range(6):
        made = planted(seed, n=150, rate=0.08)
        frames = {name: np.repeat(column, 6, axis=0) for name, column in made.items()}
        wrong = np.random.default_rng([3, seed]).random(150) < 0.25
        frames["predictions"] = np.where(np.repeat(wrong, 6), 1 - frames["labels"], frames["labels"])
        frames["splits"] = np.full(900, "val")
        groups = np.repeat(np.arange(150), 6)
        alone += len(run(frames, groups="none").findings.slices)
        found = run(frames, groups=groups)
        together += len(found.findings.slices)
        assert all(one.n <= 150 for one in found.findings.slices)
    assert alone > 0
    assert together == 0


def test_the_folder_has_them_for_programs(audited: AuditResult) -> None:
    assert audited.out is not None
    document = json.loads((audited.out / "audit.json").read_text())
    assert "slices.csv" in document["files"]
    assert document["slices_tested"]["columns"] == {"camera": 3, "site": 2, "noise": 3}
    first = audited.findings.slices[0]
    assert document["slices"][0]["name"] == first.name
    assert document["slices"][0]["values"] == [list(one) for one in first.values]
    with (audited.out / "slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sum(row["significant"] == "True" for row in rows) == len(audited.findings.slices)
    assert {row["slice"] for row in rows} >= {"noise = x", "noise = y", "noise = z"}  # tested, and no finding
    assert {row["class"] for row in rows} == {"0", "1"}


def as_table(made: dict[str, Any]) -> dict[str, list[Any]]:
    columns = {"path": [f"{i}.png" for i in range(len(made["x"]))], "label": made["labels"].astype(str).tolist()}
    columns |= {"prediction": made["predictions"].astype(str).tolist(), "split": made["splits"].tolist()}
    return columns | {name: made[name].tolist() for name in ("camera", "site", "noise")}


@pytest.mark.parametrize("kind", ["csv", "parquet", "pandas", "polars", "pyarrow", "by path", "named"])
def test_columns_come_with_a_table_of_any_kind_or_by_path(kind: str, audited: AuditResult, tmp_path: Path) -> None:
    made, slices = planted(), "auto"
    columns = as_table(made)
    vectors = dict(zip(columns["path"], made["x"], strict=True))
    table: Any = pa.table(columns | {"vector": [[0.5]] * N, "row": range(N)})
    more: dict[str, Any] = {}
    if kind == "csv":
        table = tmp_path / "p.csv"
        pd.DataFrame(columns | {"row": range(N)}).to_csv(table, index=False)
    elif kind == "parquet":
        pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet")
        table = tmp_path / "p.parquet"
    elif kind == "pandas":
        table = pd.DataFrame(columns | {"vector": list(made["x"])})
    elif kind == "polars":
        table = pl.DataFrame(columns | {"vector": made["x"].tolist()})
    elif kind == "by path":
        by = {name: dict(zip(columns["path"], column, strict=True)) for name, column in columns.items()}
        table, slices = by["label"], {name: by[name] for name in ("camera", "site", "noise")}
        more = {"predictions": by["prediction"], "splits": by["split"]}
    elif kind == "named":
        slices = ["camera", "site", "noise"]
    fit = fdgpu.FailureDirections(Cs=(0.1,), cv=3, n_permutations=20)
    result = fdgpu.audit(None, table, embeddings=vectors, directions=fit, slices=slices, **more)
    found = [(one.class_name, one.values, one.n, one.p_value) for one in result.findings.slices]
    assert found == [(one.class_name, one.values, one.n, one.p_value) for one in audited.findings.slices]
    assert any("not tested" in note for note in result.findings.notes) == (
        kind in ("csv", "pyarrow", "pandas", "polars")
    )


def test_none_tests_none_and_a_named_column_that_cannot_be_tested_is_a_warning() -> None:
    made = planted()
    table = pa.table(as_table(made) | {"row": range(N)})
    fit = fdgpu.FailureDirections(Cs=(0.1,), cv=3, n_permutations=20)
    result = fdgpu.audit(None, table, embeddings=made["x"], directions=fit, slices="none")
    assert result.findings.slices_tested is None
    with pytest.warns(FdgpuWarning, match="not tested: row: it has as many values as images"):
        fdgpu.audit(None, table, embeddings=made["x"], directions=fit, slices=["row"])
    with pytest.raises(InputError, match="slices holds values beside a table"):
        fdgpu.audit(None, table, embeddings=made["x"], slices={"camera": made["camera"]})


def test_a_condition_has_slices_of_its_own() -> None:
    made = planted(n=1800)
    labels = np.stack([made["labels"], np.arange(1800) % 3 == 0], axis=1).astype(int)
    answers = labels.copy()
    answers[:, 0] = made["predictions"]
    answers[::9, 1] = 1 - answers[::9, 1]
    result = run(made, labels=labels, predictions=answers, class_names=["mass", "fluid"])
    assert {one.class_name for one in result.findings.slices} == {"mass", "no mass"}
