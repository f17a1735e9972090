"""What batches are sized by, against what is allocated: tensor by tensor, as long as any of them holds its memory."""

from __future__ import annotations

import tracemalloc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fdgpu.directions import labellings, triton_backend
from fdgpu.directions.batch import PERMUTED_BYTES, SCORED_BYTES
from fdgpu.directions.labellings import Layout, permuted_labels
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.triton_backend import TritonBackend
from fdgpu.directions.whitening import Whitening
from fdgpu.kernels import smo_triton
from fdgpu.kernels.draws import choose_reference
from fdgpu.kernels.folds import assign_folds_reference
from fdgpu.kernels.smo_batch import GramBatch, Solutions
from fdgpu.rows import CHUNK_BYTES
from tests.directions.planting import make_classes

CPU = torch.device("cpu")


class Allocations(TorchDispatchMode):
    """Counts the bytes that tensors made inside hold at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._users: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._hold(tensor)
        return result

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        at, size = storage.data_ptr(), storage.nbytes()
        if not self._users[at]:
            self.held += size
            self.peak = max(self.peak, self.held)
        self._users[at] += 1
        weakref.finalize(tensor, self._let_go, at, size)

    def _let_go(self, at: int, size: int) -> None:
        self._users[at] -= 1
        if not self._users[at]:
            self.held -= size


@contextmanager
def counted() -> Iterator[Allocations]:
    with Allocations() as allocations:
        yield allocations


def grams_of(_: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Allocate what the launcher does: one flat buffer."""
    counts = starts.diff()
    gram_starts = torch.nn.functional.pad((counts * counts).cumsum(0), (1, 0))
    return torch.zeros(sum(n * n for n in sizes)), gram_starts


def solved(batch: GramBatch, labels: torch.Tensor, C_index: torch.Tensor, *_: object, **__: object) -> Solutions:
    assert len(batch.diagonal) == labels.shape[1]
    return Solutions.empty(labels, tuple(C_index.shape), torch.float32)


@pytest.mark.parametrize(("sizes", "d"), [((300, 200, 250), 64), ((40,) * 30, 200), ((600,), 8)], ids=str)
def test_a_batch_on_a_device_takes_what_it_is_sized_by(
    sizes: tuple[int, ...], d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_backend, "gram_matrices", grams_of)
    monkeypatch.setattr(smo_triton, "fit_labels", solved)
    monkeypatch.setattr(Whitening, "__call__", Whitening.through_torch)
    backend, settings, classes = TritonBackend(CPU), SolverSettings(), make_classes(sizes, d)
    with counted() as allocations:
        batch = backend.open(classes, settings)
        duals = batch.fit(batch.layout.labels, torch.zeros((1, len(sizes)), dtype=torch.int64))
        batch.coef(duals)
    sized = sum(backend.bytes_of(one, settings) or 0 for one in classes)
    same_for_any_number = 3 * min(CHUNK_BYTES["cpu"], 8 * sum(sizes) * d)  # which capacity() leaves room for
    few_a_sample = 200 * sum(sizes)
    assert sized <= allocations.peak + 4 * sum(sizes) * d  # no more than the copy that a device would be given
    assert allocations.peak <= sized + same_for_any_number + few_a_sample


def test_a_round_of_permutations_takes_what_it_is_sized_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labellings, "choose", lambda *args: choose_reference(*args[:6]))  # as on a device
    layout = Layout.of(make_classes((300, 200, 250), 4), CPU)
    with counted() as allocations:
        labels = permuted_labels(layout, 0, 0, 20)
        assign_folds_reference(labels, layout.segments, 2)
    a_label = allocations.peak / labels.numel()
    assert 0.5 * PERMUTED_BYTES["cuda"] < a_label <= PERMUTED_BYTES["cuda"]
    assert np.isfinite(a_label)


def test_the_scores_of_a_round_take_what_they_are_sized_by() -> None:
    settings = SolverSettings()
    batch = NumbaBackend().open(make_classes((20,) * 40, 4), settings)
    labels = permuted_labels(batch.layout, 0, 0, 50)
    batch.cross_validate(labels[:1])  # compiled
    tracemalloc.start()
    batch.cross_validate(labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scored = len(labels) * SCORED_BYTES * 40 * settings.cv * len(settings.Cs)
    assert 0.8 * scored < peak <= scored + PERMUTED_BYTES["cpu"] * labels.numel()
