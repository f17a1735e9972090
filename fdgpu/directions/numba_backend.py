"""The CPU backend: a Gram matrix a class, every labelling, fold and C solved over it, all cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from fdgpu.device import cpu_count
from fdgpu.directions.batch import ClassBatch, Duals, NewtonBatch, SvmBatch, largest_violation
from fdgpu.directions.labellings import Classes, Layout, Tensor
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.errors import InputError
from fdgpu.kernels import libsvm_numba, smo_numba
from fdgpu.kernels.folds import folds_of_class
from fdgpu.rows import chunk_rows, runs

BATCH_BYTES = 1 << 28  # what a batch of several classes takes
CLASS_BYTES = 1 << 30  # what a class may take of its own, which then comes alone
PUBLISHED_BYTES = 1 << 33  # what it may take where the published code is reproduced, which has no other way
SMALL = 1500  # samples of a class that is multiplied by one thread
PIECES = 4  # pieces of work for each thread, so that none waits long for another
CPU = torch.device("cpu")
Labels = NDArray[np.int8]
Rows = NDArray[np.floating]  # (n, d) whitened rows of a class, or its (n, n) Gram matrix


@cache  # it looks through all libraries of the process
def blas() -> ThreadpoolController:
    """Return what sets the threads of the BLAS."""
    return ThreadpoolController().select(user_api="blas")


def one_blas_thread() -> AbstractContextManager[object]:
    """Have products take one thread each within a block: small ones spread over several take longer.

    Threads that wait for each other in every product suffer from what else runs. On two busy cores w of 20 resamples
    of 1000 classes of 50 samples, 512 dimensions, take 0.07 s by one thread, and 0.1 s to seconds by two.
    """
    limited: AbstractContextManager[object] = blas().limit(limits=1)
    return limited


class NumbaBackend:
    """Batched SMO on all cores; see :mod:`fdgpu.kernels.smo_numba` for the method."""

    name = "numba"
    at_once = 1

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or cpu_count()
        self._pool = ThreadPoolExecutor(self.threads)

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:
        """Refuse a class for which libsvm's steps would need too large a Gram matrix.

        Raises:
            InputError: says how large.
        """
        largest = max((one.n for one in classes), default=0)
        if settings.published and largest > (most := math.isqrt(PUBLISHED_BYTES // 8)):
            raise InputError(
                f"a class has {largest} samples: with published=True a Gram matrix in float64 is held, of at most "
                f"{most} samples; use published=False, or a subset of this class"
            )

    def capacity(self) -> int:
        """Bytes that one batch of several classes may take."""
        return BATCH_BYTES

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int | None:
        """Whitened rows, and what is held of the Gram matrix; None for a class that is solved without."""
        if one.n > self._largest_class(settings):
            return None
        itemsize = 8 if settings.published else settings.dtype.itemsize
        return one.n * one.embeddings.shape[1] * itemsize + self._gram_bytes(one.n, settings)

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> ClassBatch:
        """Whiten classes and multiply them; one that is too large for its Gram matrix comes alone."""
        if classes[0].n > self._largest_class(settings) and not settings.published:
            return NewtonBatch(classes[0], settings, CPU)
        return NumbaBatch(
            Layout.of(classes, CPU), *self._prepare(classes, settings), settings, self._pool, self.threads
        )

    def _prepare(self, batch: Sequence[ClassSamples], settings: SolverSettings) -> tuple[list[Rows], list[Rows]]:
        """Whiten and multiply: (n, d) rows and (n, n) Gram matrix of each class.

        Small classes take one thread each, large ones come one after the other with all threads of the BLAS. Small ones
        are gathered some thousand rows at a time, which a store reads faster than many times a few.

        A BLAS that spreads small products over its own threads, beside ours, takes up to six times as long. How a class
        is multiplied depends on its size alone, so that its numbers do not depend on the classes around it. Each row is
        taken once for a batch: in a fit, and once more in each look of a sequential test that is undecided about its
        class. That costs d numbers a sample, beside a quarter more permutations at least.
        """

        def gram(part: Rows) -> Rows:
            return libsvm_numba.gram_of(part) if settings.published else part @ part.T  # NumPy does half the work

        def prepare(own: Sequence[int]) -> list[tuple[int, Rows, Rows]]:
            classes = [batch[i] for i in own]
            x = whitened(classes, settings.dtype, CPU).numpy()
            if settings.published:  # float32 rows in float64, as scikit-learn takes them
                x = x.astype(np.float64)
            parts = np.split(x, np.cumsum([one.n for one in classes])[:-1])
            return [(i, part, gram(part)) for i, part in zip(own, parts, strict=True)]

        with one_blas_thread():
            prepared = [one for some in self._pool.map(prepare, self._runs(batch)) for one in some]
        prepared += [one for i in range(len(batch)) if batch[i].n > SMALL for one in prepare([i])]
        _, x, grams = zip(*sorted(prepared, key=lambda one: one[0]), strict=True)
        return list(x), list(grams)

    def _runs(self, batch: Sequence[ClassSamples]) -> list[list[int]]:
        """Divide the small classes into some for each thread, no more than a chunk of rows at a time."""
        small = [i for i, one in enumerate(batch) if one.n <= SMALL]
        sizes = [batch[i].n for i in small]
        most = min(chunk_rows(batch[0].embeddings), -(-sum(sizes) // (PIECES * self.threads)))
        return [small[run] for run in runs(sizes, most)]

    def _gram_bytes(self, n: int, settings: SolverSettings) -> int:
        """Bytes of a Gram matrix and of copies of parts of it: a thread makes one where most labels are zeros."""
        if settings.published:
            return 8 * n * n
        copies = min(self.threads, settings.cv) * ((settings.cv - 1) / settings.cv) ** 2
        return int(n * n * settings.dtype.itemsize * (1 + copies))

    def _largest_class(self, settings: SolverSettings) -> int:
        """Most samples whose Gram matrix and copies are held: 13 377 in float32 for two threads and folds.

        Measured on two cores, 512 dimensions: at 13 000 samples this takes 2.2 s and Newton steps 3.4 s, so that memory
        ends it just before speed would; with permutations, which share a Gram matrix, it is far ahead while it fits.
        """
        return math.isqrt(CLASS_BYTES * 10**6 // self._gram_bytes(1000, settings))


class NumbaBatch(SvmBatch):
    """Classes with their Gram matrices in host memory; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = Solver.GRAM

    def __init__(
        self,
        layout: Layout,
        x: Sequence[Rows],
        grams: Sequence[Rows],
        settings: SolverSettings,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        self.layout, self._x, self._grams = layout, x, grams
        self._costs = np.asarray(settings.Cs, np.float64)
        self.settings, self._pool, self._threads = settings, pool, threads
        self._steps = libsvm_numba if settings.published else smo_numba

    def cross_validate(self, labels: Tensor, classes: Classes = None) -> tuple[Tensor, Tensor]:
        """Hold out every fold of every labelling and class."""
        cv, k, p = self.settings.cv, len(self._x), len(labels)
        recalls = np.full((k, p, cv, len(self._costs), 2), np.nan)
        violation = np.full((k, p, cv), np.nan)

        def solve(i: int, own: Labels, first: int, last: int) -> None:
            part = slice(first // cv, -(-last // cv))  # the labellings of these jobs
            begin, end = first - part.start * cv, last - part.start * cv
            folds = folds_of_class(own[part], cv, self.layout.groups_of(i))
            self._steps.cross_validate_jobs(
                self._grams[i], own[part], folds, cv, begin, end, self._costs, *self._stop, recalls[i, part],
                violation[i, part],
            )  # fmt: skip

        self._spread(solve, labels, p * cv, classes)
        scores = torch.from_numpy(np.moveaxis(recalls.mean(axis=-1), 0, 1))
        return scores, largest_violation(torch.from_numpy(violation)).T

    def fit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Duals:
        """Fit every labelling on every class, warm-started from the smaller C."""
        k, p = len(self._x), len(labels)
        a, chosen = np.zeros(labels.shape), C_index.numpy()
        intercept, violation = np.full((k, p), np.nan), np.full((k, p), np.nan)
        n_iter = np.zeros((k, p), np.int64)

        def solve(i: int, own: Labels, first: int, last: int) -> None:
            dual = np.zeros(own.shape)
            self._steps.fit_jobs(
                self._grams[i], own, chosen[:, i], first, last, self._costs, *self._stop, dual, intercept[i],
                violation[i], n_iter[i],
            )  # fmt: skip
            a[first:last, self.layout.rows(i)] = dual[first:last]

        self._spread(solve, labels, p, classes)
        return Duals(*(torch.from_numpy(values) for values in (a, intercept.T, violation.T, n_iter.T)))

    def decide(self, duals: Duals) -> Tensor:
        """Return K a + b of all samples."""
        values = np.empty(tuple(duals.a.shape))
        self._multiply(duals, self._grams, [values[:, self.layout.rows(i)] for i in range(len(self._grams))])
        return torch.from_numpy(values) + self.layout.each(duals.intercept)

    def coef(self, duals: Duals) -> Tensor:
        """Return w = Xᵀ a."""
        w = np.empty((len(duals.a), len(self._x), self._x[0].shape[1]))
        self._multiply(duals, self._x, [w[:, i] for i in range(len(self._x))])
        return torch.from_numpy(w)

    def _multiply(self, duals: Duals, matrices: Sequence[Rows], into: Sequence[NDArray[np.float64]]) -> None:
        """Multiply the duals of each class with its matrix; small ones by one thread, as they were made."""
        a, small = duals.a.numpy(), [n <= SMALL for n in self.layout.sizes]

        def multiply(chosen: bool) -> None:
            for i, matrix in enumerate(matrices):
                if small[i] == chosen:
                    into[i][:] = a[:, self.layout.rows(i)].astype(matrix.dtype) @ matrix

        with one_blas_thread():
            multiply(True)
        multiply(False)

    @property
    def _stop(self) -> tuple[float, int]:
        return self.settings.tol, self.settings.max_iter

    def _spread(
        self, solve: Callable[[int, Labels, int, int], None], labels: Tensor, jobs: int, classes: Classes
    ) -> None:
        """Run ``solve(class, its labels, first job, last job)`` over all jobs of all classes, on all threads."""
        chosen, matrix = range(len(self._x)) if classes is None else classes, labels.numpy()
        pieces = min(jobs, max(1, -(-PIECES * self._threads // max(1, len(chosen)))))
        bounds = np.linspace(0, jobs, pieces + 1).round().astype(int).tolist()
        tasks = [
            partial(solve, i, np.ascontiguousarray(matrix[:, self.layout.rows(i)]), first, last)
            for i in chosen
            for first, last in pairwise(bounds)
        ]
        for _ in self._pool.map(lambda task: task(), tasks):
            pass  # an error in a thread is raised here
