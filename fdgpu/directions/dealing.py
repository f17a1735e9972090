"""Who solves the classes: a backend here, as many at once as it holds, or the workers of a cluster.

A worker is dealt classes with their vectors, and sends back what it found. What is found of a class does not depend on
the classes beside it, nor on where it is solved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host, to_torch
from fdgpu.cluster import Cluster
from fdgpu.device import Choice, out_of_memory
from fdgpu.directions.batch import ClassBatch, SolverBackend, Work
from fdgpu.directions.distilling import BatchSolution
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import BackendError
from fdgpu.progress import Reporter, silent
from fdgpu.rows import TensorRows

T = TypeVar("T")
BackendNamed = Callable[[str, torch.device], SolverBackend]

ROUNDS = 4  # times that a worker is given classes, so that none waits long for another in the end
HAND_BYTES = 1 << 28  # most of the vectors that are sent at once, but for a class that has more


# --- here -------------------------------------------------------------------------------------------------------------


def over_batches(
    backend: SolverBackend,
    classes: Sequence[ClassSamples],
    settings: SolverSettings,
    work: Callable[[ClassBatch], T],
) -> Iterator[T]:
    """Do ``work`` on all classes in their order, as many at once as the backend holds; if memory ends, on half as many.

    What is found of a class does not depend on the classes beside it.

    Raises:
        Exception: if a single class does not fit, whatever said so.
    """
    backend.check(classes, settings)
    if backend.at_once > 1 and len(classes) > 1:
        yield from _side_by_side(backend, classes, settings, work)
        return
    capacity, first, most = backend.capacity(), 0, len(classes)
    while first < len(classes):
        last = first + min(most, _that_fit([backend.bytes_of(one, settings) for one in classes[first:]], capacity))
        try:
            done = work(backend.open(classes[first:last], settings))
        except Exception as error:
            if last - first == 1 or not out_of_memory(error):
                raise
        else:
            yield done
            first = last
            continue
        most = (last - first) // 2
        torch.cuda.empty_cache()  # here, where the error no longer holds the tensors that did not fit


def _side_by_side(
    backend: SolverBackend,
    classes: Sequence[ClassSamples],
    settings: SolverSettings,
    work: Callable[[ClassBatch], T],
) -> Iterator[T]:
    """Do ``work`` on batches in as many threads as the backend wants; how they are cut depends on nothing else.

    Each thread does its small products alone. Two that share every product wait for each other, and the longer the
    more else is running.
    """
    capacity, most, parts = backend.capacity(), -(-len(classes) // backend.at_once), [0]
    while (first := parts[-1]) < len(classes):
        sizes = [backend.bytes_of(one, settings) for one in classes[first : first + most]]
        parts.append(first + _that_fit(sizes, capacity))
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(backend.at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(
                lambda part: work(backend.open(classes[part[0] : part[1]], settings)), list(pairwise(parts))
            )
        finally:
            torch.set_num_threads(threads)  # a thread sets that of its BLAS for all


@dataclass(frozen=True)
class Here:
    """Solves in this process; a :class:`Solve`."""

    choice: Choice
    backend: SolverBackend
    settings: SolverSettings
    progress: Reporter

    def __call__(self, classes: Sequence[ClassSamples], work: Work[T]) -> Iterator[T]:
        """Yield what the work returns of each batch."""
        return over_batches(self.backend, classes, self.settings, partial(work, progress=self.progress))


def _that_fit(sizes: Sequence[int | None], capacity: int) -> int:
    """Return how many of the first classes fit together; one at least."""
    held = 0
    for count, size in enumerate(sizes):
        if count and (size is None or held + size > capacity):
            return count
        if size is None:
            return 1
        held += size
    return len(sizes)


# --- on a cluster -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """Some classes with their own vectors (n, d), class by class, as a worker is sent them."""

    vectors: NDArray[np.floating]
    classes: tuple[ClassSamples, ...]  # without vectors and whitening, which are the same for all
    whitening: Whitening
    work: Work[object]

    @classmethod
    def of(cls, classes: Sequence[ClassSamples], work: Work[object]) -> Hand:
        """Take the vectors of classes."""
        rows = classes[0].embeddings.take(np.concatenate([one.rows for one in classes]))
        starts = np.cumsum([0, *(one.n for one in classes)])
        bare = tuple(
            replace(one, rows=np.arange(start, start + one.n), embeddings=None, whitening=None)  # type: ignore[arg-type]
            for one, start in zip(classes, starts[:-1].tolist(), strict=True)
        )
        return cls(to_host(rows, "vectors for the workers of a cluster"), bare, classes[0].whitening, work)

    def samples(self) -> list[ClassSamples]:
        """Return the classes as they were, over their own vectors."""
        rows = TensorRows(to_torch(self.vectors, "vectors"), finite=True)
        return [replace(one, embeddings=rows, whitening=self.whitening) for one in self.classes]


def solver(settings: SolverSettings, backend_named: BackendNamed) -> Callable[[Hand], tuple[Choice, list[object]]]:
    """Choose a backend on a worker, and return what does the work on the classes of a hand."""
    choice = settings.choose_backend()
    backend = backend_named(choice.name, torch.device("cpu"))  # where the vectors arrive

    def solve(hand: Hand) -> tuple[Choice, list[object]]:
        work = partial(hand.work, progress=silent)
        return choice, [_on_host(one) for one in over_batches(backend, hand.samples(), settings, work)]

    return solve


def _on_host(found: object) -> object:
    """Return what was found as it can be sent: the resamples are left on the device, where they were not waited for."""
    if not isinstance(found, BatchSolution):
        return found
    down = [torch.from_numpy(to_host(one, "resamples for the driver of a cluster")) for one in found.resampled]
    return replace(found, resampled=down)


class Dealt:
    """Solves classes on a cluster; a :class:`~fdgpu.directions.batch.Solve`.

    Args:
        cluster: whose workers solve.
        settings: the solver's.
        backend_named: opens a backend on a worker.
        device: where resamples are wanted.
        progress: is told how many classes are done.

    Attributes:
        choice: of the backend, by the workers; None before the first has answered.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: SolverSettings,
        backend_named: BackendNamed,
        device: torch.device,
        progress: Reporter,
    ) -> None:
        self.cluster, self.device, self.progress = cluster, device, progress
        self.make = partial(solver, settings, backend_named)
        self.choice: Choice | None = None

    def __call__(self, classes: Sequence[ClassSamples], work: Work[T]) -> Iterator[T]:
        """Yield what the work returns of each batch, as it comes.

        Raises:
            BackendError: if one worker solves by another backend than others.
        """
        hands, done = list(dealt_out(classes, self.cluster.share.workers)), 0
        tasks = (Hand.of(some, work) for some in hands)
        with closing(self.cluster.deal(self.make, tasks, _named)) as solved:
            for number, (choice, found) in solved:
                self._agree(choice)
                yield from cast(Iterator[T], map(self._taken, found))
                done += len(hands[number])
                self.progress("solve on the cluster", done, len(classes))

    def _agree(self, choice: Choice) -> None:
        if self.choice is not None and self.choice.name != choice.name:
            raise BackendError(
                f"workers solve by {self.choice.name} ({self.choice.reason}) and by {choice.name} ({choice.reason}): "
                "name a backend that all nodes have"
            )
        self.choice = choice

    def _taken(self, found: object) -> object:
        if not isinstance(found, BatchSolution):
            return found
        return replace(
            found,
            resampled=[to_device(one, self.device) for one in found.resampled],
            test_seconds=found.test_seconds / self.cluster.share.workers,  # which work at the same time
        )


def dealt_out(classes: Sequence[ClassSamples], workers: int) -> Iterator[Sequence[ClassSamples]]:
    """Yield classes in hands of about the same work, which grows with the square of a class's samples."""
    if not classes:
        return
    first, rows = 0, classes[0].embeddings
    a_row = rows.shape[1] * rows.dtype.itemsize
    most = sum(one.n**2 for one in classes) / (ROUNDS * workers)
    squares, size = 0, 0
    for at, one in enumerate(classes):
        if at > first and (squares + one.n**2 > most or size + one.n * a_row > HAND_BYTES):
            yield classes[first:at]
            first, squares, size = at, 0, 0
        squares, size = squares + one.n**2, size + one.n * a_row
    yield classes[first:]


def _named(hand: Hand) -> str:
    return f"the classes with the indices {hand.classes[0].index} to {hand.classes[-1].index}"
