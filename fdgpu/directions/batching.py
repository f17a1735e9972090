"""Which classes are held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fdgpu.directions.problem import ClassTask


def in_batches(
    classes: Sequence[ClassTask], size_of: Callable[[ClassTask], int], capacity: int, largest: int
) -> Iterator[list[ClassTask]]:
    """Yield classes in order, as many at once as ``capacity`` bytes hold, and one at least.

    A class of more than ``largest`` samples, which has to be solved in another way, comes alone.
    """
    batch: list[ClassTask] = []
    held = 0
    for task in classes:
        size, alone = size_of(task), task.n > largest
        if batch and (alone or held + size > capacity):
            yield batch
            batch, held = [], 0
        if alone:
            yield [task]
            continue
        batch.append(task)
        held += size
    if batch:
        yield batch
