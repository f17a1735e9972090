"""A fit on a pretended device: what comes down and how often, and that nothing else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.device import Choice
from fdgpu.directions import modes, parameters, triton_backend
from fdgpu.rows import Rows, as_rows
from tests.conftest import make_class
from tests.counted_rows import CountedRows, read_in_blocks
from tests.directions.planting import plant_modes
from tests.pretend_cuda import CUDA, inner, pretend_cuda, solve_by_twins

D = 12
EVERYTHING = {"n_permutations": 5, "nested": True, "n_resamples": 3, "Cs": (1e-3, 1e-1)}


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[FailureDirections, list[Crossing]]]:
    """Fit on the pretended device; returns the estimator, and what came down."""
    solve_by_twins(monkeypatch)
    monkeypatch.setattr(parameters, "choose_backend", lambda name: Choice(name, "asked for by name"))
    monkeypatch.setattr(modes, "ROUNDS", 4)
    monkeypatch.setattr(modes, "POLISH_ROUNDS", 2)
    monkeypatch.setattr(modes, "STARTS", 4)

    def run(
        x: np.ndarray | Rows,
        labels: np.ndarray,
        right: np.ndarray,
        groups: np.ndarray | None = None,
        **settings: object,
    ) -> tuple[FailureDirections, list[Crossing]]:
        fit = FailureDirections(backend="triton", **(EVERYTHING | settings))
        with pretend_cuda(monkeypatch), counted_crossings() as crossings:
            fit.fit(torch.from_numpy(x).to("cuda") if isinstance(x, np.ndarray) else x, labels, right, groups=groups)
        return fit, crossings

    return run


def data(classes: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [make_class(n + k % 3, D, 0.3, 1.0, seed=k) for k in range(classes)]
    labels = np.repeat(np.arange(classes), [n + k % 3 for k in range(classes)])
    return np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts])


def table(crossings: list[Crossing]) -> Counter[str]:
    return Counter(one.why for one in crossings)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("settings", [{}, {"stop_after": 2}], ids=str)
def test_it_finds_what_the_cpu_finds_with_the_same_draws(on_a_device, grouped: bool, settings: dict) -> None:
    x, labels, right = data(3, 30)
    groups = np.arange(len(x)) // 2 if grouped else None
    fit, _ = on_a_device(x, labels, right, groups, **settings)
    plain = FailureDirections(backend="numba", **(EVERYTHING | settings)).fit(x, labels, right, groups=groups)
    assert np.array_equal(fit.fitted.C, plain.C_)
    assert np.allclose(fit.fitted.coef, plain.coef_, atol=5e-3 * np.abs(plain.coef_).max())
    assert np.allclose(fit.fitted.cv_scores, plain.cv_scores_, atol=0.04)  # a value near zero may change sides
    assert np.abs(fit.fitted.p_value - plain.p_value_).max() <= 0.34
    assert np.allclose(fit.fitted.nested_score, plain.nested_score_, atol=0.1)
    resampled = inner(fit.fitted.resampled_coef).numpy()
    assert np.allclose(resampled, plain.resampled_coef_, atol=5e-3 * np.abs(plain.resampled_coef_).max())


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_rows_that_come_in_blocks_are_fitted_as_their_tensor_is(
    on_a_device, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    x, labels, right = data(3, 30)
    x = x.astype(kind)
    read_in_blocks(monkeypatch, 7, D)
    (plain, crossings), (found, of_rows) = (
        on_a_device(given, labels, right) for given in (x, CountedRows(torch.from_numpy(x), CUDA))
    )
    for name in ("coef", "intercept", "C", "cv_scores", "p_value", "nested_score"):
        np.testing.assert_array_equal(getattr(found.fitted, name), getattr(plain.fitted, name), err_msg=name)
    assert table(crossings) - table(of_rows) == {"whether all embeddings are finite": 1}
    with pretend_cuda(monkeypatch):
        one, other = (
            inner(plain.fitted.decisions(as_rows(given, "x"), labels, [0]))
            for given in (torch.from_numpy(x).to("cuda"), CountedRows(torch.from_numpy(x), CUDA))
        )
        assert torch.equal(one, other)


def test_what_comes_down_does_not_depend_on_the_number_of_samples_and_classes(on_a_device) -> None:
    found = {size: on_a_device(*data(*size))[1] for size in ((2, 24), (8, 24), (2, 96))}
    counts = [table(crossings) for crossings in found.values()]
    assert counts[0] == counts[1] == counts[2]
    assert counts[0] == {
        "whether all embeddings are finite": 1,
        "mean and deviation of the reference": 1,
        "what was found": 1,
    }
    for (classes, _), crossings in found.items():
        by_reason = {one.why: one.bytes for one in crossings}
        assert by_reason["mean and deviation of the reference"] == 8 * 2 * D
        # of a class: p, its permutations, its nested score; w, two scores, and five numbers of its direction
        assert by_reason["what was found"] == 8 * classes * (3 + D + 2 + 5 + 7)


def test_a_sequential_test_asks_once_a_round_and_modes_once_each(on_a_device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.directions.testing.ROUND", 4)
    planted = plant_modes(90, D, [0.25, 0.25], strength=2.0, seed=1)
    labels = np.zeros(90, int)
    fit, crossings = on_a_device(
        planted.x, labels, planted.right, n_permutations=8, stop_after=8, n_directions=2, fdr=0.5
    )
    counts = table(crossings)
    assert counts["which classes' permutations are settled"] == 2
    assert (
        counts["p-values of one more failure mode"]
        == counts["p-values, by which more failure modes are looked for"]
        == 1
    )
    assert fit.fitted.n_directions[0] in (1, 2)
    assert max(one.bytes for one in crossings if "failure mode" in one.why or "settled" in one.why) == 8


def test_a_class_beyond_one_program_brings_a_byte_a_problem_down(on_a_device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_backend, "LARGEST_CLASS", 40)
    x, labels, right = data(1, 60)
    fit, crossings = on_a_device(x, labels, right, n_permutations=2)
    assert fit.solver_ == ["newton"]
    plain = FailureDirections(backend="numba", **(EVERYTHING | {"n_permutations": 2})).fit(x, labels, right)
    assert np.allclose(fit.fitted.coef, plain.coef_, atol=5e-3 * np.abs(plain.coef_).max())
    asked = [one for one in crossings if one.why == "which problems are not solved yet"]
    assert asked
    assert max(one.bytes for one in asked) <= 4 * 2  # labellings times folds, at the most


def test_decisions_are_taken_without_waiting(on_a_device, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, right = data(3, 30)
    fit, _ = on_a_device(x, labels, right)
    expected = FailureDirections(backend="numba", **EVERYTHING).fit(x, labels, right).decision_function(x, labels)
    with pretend_cuda(monkeypatch), counted_crossings() as crossings:
        values = fit.fitted.decide(fit.fitted.whitening(torch.from_numpy(x).to("cuda")), labels, 0)
    assert not crossings
    assert np.allclose(inner(values).numpy(), expected, atol=1e-2)
