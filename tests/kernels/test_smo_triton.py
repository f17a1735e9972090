from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu.kernels.smo_batch import GramBatch, Solutions, cross_validate_reference, fit_reference
from fdgpu.kernels.smo_triton import cross_validate_labels, fit_labels
from tests.kernels.interpreting import DEVICE, INTERPRETED, comparison
from tools.kernel_usage import ARCHITECTURES, SHARED_LIMITS, solver_programs

COSTS = torch.tensor([1e-3, 0.1, 1.0])
STOP: dict[str, Any] = {"tol": 1e-4, "max_iter": 100_000}


def batch_of(sizes: list[int], device: str, d: int = 6, seed: int = 0) -> tuple[GramBatch, torch.Tensor]:
    """Ragged classes of unit rows, and one labelling (1, N): a third wrong, shifted along an axis."""
    rng = np.random.default_rng(seed)
    right = np.arange(sum(sizes)) % 3 > 0
    x = rng.normal(size=(sum(sizes), d))
    x[:, 0] += np.where(right, 0.8, -0.8)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return gram_batch(x, sizes, device), torch.tensor(np.where(right, 1, -1)[None], dtype=torch.int8, device=device)


def gram_batch(x: np.ndarray, sizes: list[int], device: str) -> GramBatch:
    starts = np.cumsum([0, *sizes])
    grams = [x[a:b] @ x[a:b].T for a, b in pairwise(starts)]
    flat = np.concatenate([gram.ravel() for gram in grams])
    gram_starts = np.cumsum([0, *(n * n for n in sizes)])
    return GramBatch(
        torch.tensor(flat, dtype=torch.float32, device=device),
        torch.tensor(gram_starts, device=device),
        torch.tensor(starts, device=device),
        sizes,
    )


def objective(batch: GramBatch, labels: torch.Tensor, a: torch.Tensor) -> list[float]:
    """yᵀa − aᵀKa/2 of each class under one labelling: what both sides maximise."""
    values = []
    for k, n in enumerate(batch.sizes):
        gram = batch.grams[int(batch.gram_starts[k]) :][: n * n].view(n, n).double()
        rows = slice(int(batch.starts[k]), int(batch.starts[k]) + n)
        own, y = a[rows].double(), labels[rows].double()
        values.append(float(y @ own - own @ gram @ own / 2))
    return values


def hold_together(batch: GramBatch, labels: torch.Tensor, found: Solutions, expected: Solutions, tol: float) -> None:
    """The KKT gap, the constraint, the objective, and what is decided of every sample."""
    asked = ~expected.violation.isnan()
    assert torch.equal(found.violation.cpu().isnan(), ~asked)
    assert (found.violation.cpu()[asked] <= tol).all()
    assert (found.n_iter.cpu()[asked] >= 0).all()
    for p in range(len(labels)):
        ours = objective(batch, labels[p].cpu(), found.a[p].cpu().nan_to_num())
        theirs = objective(batch, labels[p].cpu(), expected.a[p].nan_to_num())
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
        assert found.a[p].nan_to_num().sum().abs() < 1e-4
    close = (found.decisions.cpu() - expected.decisions).abs().nan_to_num()
    assert close.max() <= 20 * tol
    outside = (labels == 0).cpu() & ~expected.a.isnan()
    assert (found.a.cpu()[outside] == 0).all()


@comparison
@pytest.mark.parametrize("sizes", [[8], [17, 33], [61, 16, 9]], ids=str)
def test_fits_are_the_references(sizes: list[int]) -> None:
    batch, labels = batch_of(sizes, DEVICE)
    C_index = torch.full((1, len(sizes)), 2, dtype=torch.int32, device=DEVICE)
    found = fit_labels(batch, labels, C_index, COSTS.to(DEVICE), **STOP)
    expected = fit_reference(_on_cpu(batch), labels.cpu(), C_index.cpu(), COSTS, tol=1e-6, max_iter=100_000)
    hold_together(_on_cpu(batch), labels, found, expected, STOP["tol"])


@comparison
def test_a_matrix_of_which_some_take_no_part_and_a_choice_of_classes() -> None:
    batch, labels = batch_of([21, 18, 33], DEVICE, seed=1)
    matrix = labels.repeat(2, 1)
    matrix[1, ::4] = 0
    C_index = torch.tensor([[0, 2, 1], [2, -1, 1]], dtype=torch.int32, device=DEVICE)
    found = fit_labels(batch, matrix, C_index, COSTS.to(DEVICE), classes=[0, 1], **STOP)
    host = _on_cpu(batch), matrix.cpu(), C_index.cpu()
    expected = fit_reference(*host, COSTS, tol=1e-6, max_iter=100_000, classes=[0, 1])
    assert expected.violation[:, 2].isnan().all()
    assert expected.violation[1, 1].isnan()
    hold_together(host[0], host[1], found, expected, STOP["tol"])


@comparison
@pytest.mark.parametrize("cv", [2, 3])
def test_held_out_scores_are_the_references(cv: int) -> None:
    batch, labels = batch_of([24, 35], DEVICE, seed=2)
    labels = torch.cat([labels, labels.roll(1, dims=1)])
    folds = (torch.arange(labels.shape[1]) // 3 % cv).to(torch.int8).repeat(2, 1)
    stop = {"tol": 1e-5, "max_iter": 100_000}
    scores, violation = cross_validate_labels(batch, labels, folds.to(DEVICE), cv, COSTS.to(DEVICE), **stop)
    expected, _ = cross_validate_reference(_on_cpu(batch), labels.cpu(), folds, cv, COSTS, tol=1e-7, max_iter=100_000)
    assert scores.shape == (2, 2, cv, 3)
    assert (violation <= 1e-5).all()
    # one held-out sample of a kind may fall on either side of zero
    assert (scores.cpu() - expected).abs().max() <= 0.5 / 3
    assert (scores.cpu() - expected).abs().mean() <= 0.01


@comparison
def test_equal_rows_with_opposite_labels_and_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    batch = gram_batch(np.concatenate([x, x, x[:3]]), [27], DEVICE)
    labels = torch.tensor([[1] * 12 + [-1] * 12 + [1] * 3], dtype=torch.int8, device=DEVICE)
    C_index = torch.full((1, 1), 2, dtype=torch.int32, device=DEVICE)
    found = fit_labels(batch, labels, C_index, COSTS.to(DEVICE), **STOP)
    expected = fit_reference(_on_cpu(batch), labels.cpu(), C_index.cpu(), COSTS, tol=1e-6, max_iter=100_000)
    assert objective(_on_cpu(batch), labels[0].cpu(), found.a[0].cpu()) == pytest.approx(
        objective(_on_cpu(batch), labels[0].cpu(), expected.a[0]), rel=1e-4
    )
    assert found.violation.item() <= STOP["tol"]


@comparison
def test_a_bound_on_the_steps_is_reported() -> None:
    batch, labels = batch_of([33], DEVICE, seed=4)
    C_index = torch.full((1, 1), 2, dtype=torch.int32, device=DEVICE)
    found = fit_labels(batch, labels, C_index, COSTS.to(DEVICE), tol=1e-4, max_iter=2)
    assert found.n_iter.item() == 2
    assert found.violation.item() > 1e-4


@comparison
def test_a_labelling_with_one_kind_of_label_has_no_solution() -> None:
    batch, labels = batch_of([9, 12], DEVICE)
    labels[0, :9] = 1
    C_index = torch.zeros((1, 2), dtype=torch.int32, device=DEVICE)
    found = fit_labels(batch, labels, C_index, COSTS.to(DEVICE), **STOP)
    assert found.violation.isnan().tolist() == [[True, False]]
    assert found.decisions[0, :9].isnan().all()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize(("n", "spilled"), [(256, 0), (1000, 0), (8192, 1280)])
@pytest.mark.parametrize("cc", ARCHITECTURES)
def test_they_compile(cc: int, n: int, spilled: int) -> None:
    for program in solver_programs(n):
        usage = program.compile_for(cc)
        print(f"sm_{cc}, {n} samples, {program.fn.__name__}: {usage}")
        assert usage.spill_bytes <= spilled
        assert usage.shared_bytes <= SHARED_LIMITS[cc]


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on the CPU")
def test_a_cpu_tensor_is_refused_not_computed_elsewhere() -> None:
    batch, labels = batch_of([9], "cpu")
    with pytest.raises(RuntimeError, match="numba"):
        fit_labels(batch, labels, torch.zeros((1, 1), dtype=torch.int32), COSTS, **STOP)


def test_bad_input_is_named() -> None:
    batch, labels = batch_of([9], "cpu")
    C_index = torch.zeros((1, 1), dtype=torch.int32)
    with pytest.raises(ValueError, match="tol is 1e-07"):
        fit_labels(batch, labels, C_index, COSTS, tol=1e-7, max_iter=10)
    with pytest.raises(ValueError, match="max_iter is 0"):
        fit_labels(batch, labels, C_index, COSTS, tol=1e-3, max_iter=0)
    with pytest.raises(ValueError, match="labels is"):
        fit_labels(batch, labels.float(), C_index, COSTS, **STOP)
    with pytest.raises(ValueError, match="C_index is"):
        fit_labels(batch, labels, C_index.long(), COSTS, **STOP)
    large = GramBatch(batch.grams, batch.gram_starts, batch.starts, [9000])
    with pytest.raises(ValueError, match="a class has 9000 samples"):
        fit_labels(large, labels, C_index, COSTS, **STOP)


def _on_cpu(batch: GramBatch) -> GramBatch:
    return GramBatch(batch.grams.cpu(), batch.gram_starts.cpu(), batch.starts.cpu(), batch.sizes)
