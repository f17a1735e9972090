"""Classes that are dealt to workers: none is lost, and each is sent as it is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.device import Choice
from fdgpu.directions import dealing
from fdgpu.directions.dealing import ROUNDS, Dealt, Hand, dealt_out, solver
from fdgpu.directions.distilling import distil
from fdgpu.directions.estimator import backend_named
from fdgpu.directions.parameters import SearchSettings, SolverSettings
from fdgpu.directions.samples import whitened
from fdgpu.errors import BackendError
from fdgpu.progress import silent
from tests.directions.planting import class_samples, make_classes

CPU = torch.device("cpu")
DISTIL = partial(distil, search=SearchSettings())


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40), workers=st.integers(1, 8), most=st.integers(8, 2000)
)
def test_every_class_is_dealt_once_in_hands_of_about_the_same_work(sizes: list[int], workers: int, most: int) -> None:
    x = np.zeros((sum(sizes), 2), np.float32)
    classes = class_samples(x, np.ones(len(x), bool), sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "HAND_BYTES", most)
        hands = list(dealt_out(classes, workers))
    assert [one.index for hand in hands for one in hand] == list(range(len(sizes)))
    share = sum(n**2 for n in sizes) / (ROUNDS * workers)
    for hand in hands:
        assert len(hand) == 1 or sum(one.n**2 for one in hand) <= share
        assert len(hand) == 1 or sum(one.n * 8 for one in hand) <= most
    for hand, following in pairwise(hands):  # none could have taken one more
        together = [*hand, following[0]]
        assert sum(one.n**2 for one in together) > share or sum(one.n * 8 for one in together) > most


def test_nothing_is_dealt_of_no_classes() -> None:
    assert list(dealt_out([], 2)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_hand_holds_its_classes_and_no_other_vectors(dtype: torch.dtype) -> None:
    classes = make_classes([30, 20, 40], 8)
    classes[0].embeddings.tensor = classes[0].embeddings.tensor.to(dtype)  # type: ignore[attr-defined]
    hand = Hand.of(classes[1:], distil)
    sent = hand.samples()
    assert hand.vectors.shape == (60, 8)
    assert [(one.index, one.n) for one in sent] == [(1, 20), (2, 40)]
    assert torch.equal(whitened(sent, torch.float64, CPU), whitened(classes[1:], torch.float64, CPU))
    assert all(np.array_equal(one.right, own.right) for one, own in zip(sent, classes[1:], strict=True))


class Cluster:
    """Does the tasks here, and says that others were done by another backend."""

    share = SimpleNamespace(workers=2)

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def deal(self, make: Any, tasks: Any, _: Any) -> Iterator[Any]:
        solve = make()
        for number, (task, name) in enumerate(zip(tasks, self.names, strict=True)):
            choice, found = solve(task)
            assert choice.name == "numba"
            yield number, (Choice(name, "so it said"), found)


def dealt(names: list[str]) -> Dealt:
    settings = SolverSettings(backend="numba")
    return Dealt(Cluster(names), settings, backend_named, CPU, silent)  # type: ignore[arg-type]


def test_the_choice_of_the_workers_is_the_fits() -> None:
    solve = dealt(["numba", "numba"])
    assert solve.choice is None
    solutions = list(solve(make_classes([30, 30], 8), DISTIL))
    assert solve.choice == Choice("numba", "so it said")
    assert [one.indices for one in solutions] == [(0,), (1,)]


def test_workers_of_several_backends_are_refused() -> None:
    solve = dealt(["numba", "triton"])
    with pytest.raises(BackendError, match=r"workers solve by numba .* and by triton .*: name a backend"):
        list(solve(make_classes([30, 30], 8), DISTIL))


def test_a_backend_that_a_worker_lacks_is_said_there() -> None:
    with pytest.raises(BackendError, match="backend 'cuml' was asked for, but cannot run here"):
        solver(SolverSettings(backend="cuml"), backend_named)
