"""Two audits of the same images: what went, eased, stayed, grew and came, and what cannot be compared."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import fdgpu
from fdgpu.auditing import AuditResult
from fdgpu.auditing.after import comparing
from fdgpu.auditing.after.comparing import accuracy_gap, compare, paired_change
from fdgpu.embedding import GivenVectors
from fdgpu.errors import InputError
from fdgpu.findings import Skipped
from fdgpu.report.comparison import Comparison, Verdict
from tests.report.parsing import read

N = 1200  # images: two classes, half val and half test
RATE = 0.7  # of errors in a hidden group
Model = Callable[..., AuditResult]


@pytest.fixture(scope="module")
def model() -> Model:
    """Return a function that audits a model: it fails on cats low on axis 0 by ``one``, low on axis 1 by ``other``."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)).astype(np.float32)
    x[:, :2] += 1.5 * rng.choice([-1, 1], size=(N, 2))
    labels = np.arange(N) % 2
    splits = np.where(np.arange(N) % 4 < 2, "val", "test")
    luck = rng.random((2, N))

    def made(
        one: float = 0.0, other: float = 0.0, noise: float = 0.05, seed: int = 0, **changes: object
    ) -> AuditResult:
        rate = np.where(labels == 0, np.maximum(one * (x[:, 0] < 0), other * (x[:, 1] < 0)), 0)
        wrong = luck[seed] < np.maximum(rate, noise)
        given = {"embeddings": GivenVectors(x, "our model"), "splits": splits, "class_names": ["cat", "dog"]} | changes
        fit = fdgpu.FailureDirections(n_permutations=99, whiten=False)
        return fdgpu.audit(None, labels, np.where(wrong, 1 - labels, labels), directions=fit, **given)

    return made


@pytest.fixture(scope="module")
def failing(model: Model) -> AuditResult:
    result = model(RATE)
    assert [one.significant for one in result.findings.classes] == [True, False]
    return result


def verdicts(found: Comparison) -> list[str]:
    return [str(one.verdict) for one in found.failures]


def test_a_failure_that_is_mended_went(failing: AuditResult, model: Model) -> None:
    found = compare(failing, model(0.0))
    assert verdicts(found) == ["went"]
    (failure,) = found.failures
    assert failure.class_name == "cat"
    assert failure.hard_side.accuracy_after > 0.9 > 0.6 > failure.hard_side.accuracy_before
    assert failure.gap_before.low > 0.2
    assert failure.gap_after.low <= 0 <= failure.gap_after.high
    assert found.classes[0].accuracy.rose(found.fdr)
    assert not found.classes[1].accuracy.rose(found.fdr)
    assert found.worse == ()
    assert found.in_words == "1 went"


@pytest.mark.parametrize(
    ("after", "expected"),
    [((0.4, 0.0), ["eased"]), ((RATE, 0.0), ["stayed"]), ((0.95, 0.0), ["grew", "came"])],
)
def test_what_is_left_of_a_failure(failing: AuditResult, model: Model, after: tuple, expected: list[str]) -> None:
    found = compare(failing, model(*after))
    assert verdicts(found) == expected
    assert bool(found.worse) is ("grew" in expected)


def test_a_failure_of_a_class_that_had_none_is_named_though_it_may_be_old(failing: AuditResult, model: Model) -> None:
    """The same model, whose failure the old audit did not call significant."""
    (cat, dog), again = failing.findings.classes, model(RATE)
    unsure = replace(cat, modes=tuple(replace(mode, significant=False) for mode in cat.modes))
    found = compare(replace(failing, findings=replace(failing.findings, classes=(unsure, dog))), again)
    assert verdicts(found) == ["None"]
    assert found.in_words == ""
    assert found.worse == ()


def test_one_failure_goes_and_another_comes(failing: AuditResult, model: Model) -> None:
    found = compare(failing, model(0.0, RATE))
    assert verdicts(found) == ["went", "came"]
    assert found.failures[1].hard_side.fell(found.fdr)
    assert [re.sub(r"\d.*", "", sentence) for sentence in found.worse] == [
        "a failure of the class cat came: on its hard side accuracy fell from "
    ]


def test_another_model_that_is_as_good_changes_nothing(failing: AuditResult, model: Model) -> None:
    """Errors of the same rate on the same group, drawn anew: images turn both ways, and no verdict follows."""
    found = compare(failing, model(RATE, seed=1))
    assert found.overall.turned_right > 20
    assert found.overall.turned_wrong > 20
    assert verdicts(found) == ["stayed"]
    assert found.worse == ()


def test_a_model_that_got_worse_everywhere_is_said_to_be(failing: AuditResult, model: Model) -> None:
    found = compare(failing, model(RATE, noise=0.3))
    assert [sentence.partition(" fell")[0] for sentence in found.worse[:3]] == [
        "accuracy on all images", "accuracy on the class cat", "accuracy on the class dog",
    ]  # fmt: skip


def test_images_that_turned_are_listed_the_hardest_first(failing: AuditResult, model: Model) -> None:
    after = model(0.0)
    found = compare(failing, after)
    old, new = (
        dict(zip(r.examples["path"].to_pylist(), r.examples["correct"].to_pylist(), strict=True))
        for r in (failing, after)
    )
    assert {one.path for one in found.turned_right} == {path for path in old if not old[path] and new[path]}
    assert {one.path for one in found.turned_wrong} == {path for path in old if old[path] and not new[path]}
    hardness = [one.decision for one in found.turned_right]
    known = [value for value in hardness if not np.isnan(value)]
    assert hardness[: len(known)] == sorted(known)
    one = found.turned_right[0]
    assert (one.class_name, one.prediction_before, one.prediction_after) == ("cat", "dog", "cat")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_paired_test_is_the_exact_binomial_one_and_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    before, after = np.array(pairs).T
    one, other = paired_change(before, after), paired_change(after, before)
    turned = one.turned_right + one.turned_wrong
    expected = binomtest(one.turned_right, turned, 0.5).pvalue if turned else 1.0
    assert one.p_value == pytest.approx(expected)
    assert other.p_value == pytest.approx(one.p_value)
    assert (other.change.low, other.change.high) == pytest.approx((-one.change.high, -one.change.low))
    assert one.right_after == after.sum()
    assert one.accuracy_after - one.accuracy_before == pytest.approx(one.change.value)
    assert -1 <= one.change.low <= one.change.high <= 1


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    n, trials = 80, 2000
    paired, gaps = 0, 0
    for _ in range(trials):
        before = rng.random(n) < 0.6
        after = np.where(before, rng.random(n) < 0.9, rng.random(n) < 0.4)  # 0.7 in all
        change = paired_change(before, after).change
        paired += change.low <= 0.1 <= change.high
        gap = accuracy_gap(before, rng.random(50) < 0.9)
        gaps += gap.low <= -0.3 <= gap.high
    assert 0.94 <= paired / trials <= 0.97
    assert 0.94 <= gaps / trials <= 0.97


def test_a_side_without_an_image_has_no_figure() -> None:
    change = paired_change(np.empty(0, bool), np.empty(0, bool))
    assert np.isnan([change.p_value, change.accuracy_before, change.change.low]).all()
    assert not change.fell(1.0)
    assert np.isnan(accuracy_gap(np.ones(3, bool), np.empty(0, bool)).value)


# --- files ------------------------------------------------------------------------------------------------------------


def test_folders_give_what_results_give(model: Model, failing: AuditResult, tmp_path: Path) -> None:
    after = model(0.0, RATE, out=tmp_path / "after")
    before = model(RATE, out=tmp_path / "before")
    out, data = tmp_path / "page.html", tmp_path / "comparison.json"
    found = compare(before.out, str(after.out), out=out, json=data)
    memory = compare(failing, model(0.0, RATE))
    assert replace(found, page="", before="", after="") == replace(memory, page="", before="", after="")
    assert (found.before, found.after) == ("before", "after")
    assert out.read_text() == found.page
    document = json.loads(data.read_text())
    assert document["schema"] == "fdgpu.comparison/1"
    assert [one["verdict"] for one in document["failures"]] == ["went", "came"]
    assert document["overall"]["n"] == N // 2
    assert document["worse"] == list(found.worse)
    assert "page" not in document


def test_the_json_is_what_its_documentation_says(model: Model, failing: AuditResult, tmp_path: Path) -> None:
    compare(failing, model(0.0, RATE), json=tmp_path / "c.json")
    text = (Path(__file__).parents[2] / "docs" / "repair.md").read_text()
    document = json.loads((tmp_path / "c.json").read_text())
    for heading, entry in [
        ("A comparison", document), ("A change", document["overall"]),
        ("A failure that changed", document["failures"][0]),
        ("A class that changed", document["classes"][0]), ("An image that turned", document["turned_right"][0]),
    ]:  # fmt: skip
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(entry), heading


def test_the_page_says_it_in_one_look(model: Model, failing: AuditResult) -> None:
    page = compare(failing, model(0.0, RATE)).page
    assert "Failures: 1 went, 1 came" in page
    assert "<script" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    root = read(page)
    assert [one.text for one in root.find("td", "verdict")] == ["went", "came"]


def test_hostile_names_stay_text(model: Model) -> None:
    names = ["<script>alert(1)</script>", "\u202eكلب"]
    page = compare(model(RATE, class_names=names), model(0.0, class_names=names)).page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<bdi>\u202eكلب</bdi>" in page


def test_pictures_are_shown_where_they_are_given(model: Model, failing: AuditResult, photos: Path) -> None:
    paths = sorted((photos / "photos").iterdir())
    names = [path.name for path in paths]
    n = len(names)

    def of(result: AuditResult) -> AuditResult:
        kept = result.examples.slice(0, n).set_column(0, "path", pa.array(names))
        return replace(result, examples=kept)

    found = compare(of(failing), of(model(0.0)), images=photos / "photos")
    assert found.turned_right
    assert found.page.count("<img") == min(8, len(found.turned_right)) + len(found.turned_wrong)
    assert compare(of(failing), of(model(0.0))).page.count("<img") == 0


# --- what cannot be compared ------------------------------------------------------------------------------------------


def test_audits_that_do_not_go_together_are_refused(model: Model, failing: AuditResult) -> None:
    other = model(0.0)
    fewer = replace(other, examples=other.examples.slice(1))
    with pytest.raises(InputError, match=r"are of different images \(1 are in one alone"):
        compare(failing, fewer)
    with pytest.raises(InputError, match=r"are of other classes .* such as 'bird'"):
        compare(failing, model(0.0, class_names=["cat", "bird"]))
    with pytest.raises(InputError, match="embedder's model 'our model', after 'another'"):
        compare(failing, replace(other, findings=replace(other.findings, model="another")))
    with pytest.raises(InputError, match="shown from"):
        compare(failing, replace(other, findings=replace(other.findings, shown_from="val")))
    swapped = pa.array(np.roll(other.examples["class"].to_numpy(zero_copy_only=False), 1))
    with pytest.raises(InputError, match="600 images differ"):
        compare(failing, replace(other, examples=other.examples.set_column(1, "class", swapped)))


def test_what_is_no_audit_is_refused(failing: AuditResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no audit\.json"):
        compare(tmp_path, failing)
    (tmp_path / "audit.json").write_text("[]")
    with pytest.raises(InputError, match="does not hold an audit"):
        compare(tmp_path, failing)
    with pytest.raises(InputError, match="before is 3"):
        compare(3, failing)  # type: ignore[arg-type]


def test_an_image_that_one_audit_skipped_is_left_out_and_said(model: Model, failing: AuditResult) -> None:
    other = model(0.0)
    path = other.examples["path"][0].as_py()
    less = replace(
        other, examples=other.examples.slice(1), findings=replace(other.findings, skipped=(Skipped(path, "broken"),))
    )
    found = compare(failing, less)
    assert found.overall.n == N // 2 - 1
    assert found.notes == ("1 images that one of the audits skipped are left out.",)


def test_images_that_were_fitted_on_are_a_note(model: Model) -> None:
    splits = np.full(N, "val")
    found = compare(model(RATE, splits=splits), model(0.0, splits=splits))
    assert "chosen by the old model's own errors" in found.notes[0]


def test_the_example_in_the_docstring_runs(failing: AuditResult) -> None:
    flags = doctest.ELLIPSIS
    failed, attempted = doctest.testmod(comparing, extraglobs={"audited": failing}, optionflags=flags)
    assert attempted >= 6
    assert failed == 0


def test_verdicts_are_a_closed_set() -> None:
    assert list(Verdict) == ["went", "eased", "stayed", "grew", "came"]
