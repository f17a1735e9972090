"""fdgpu and its peers in turn on one shape."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.speed.clock import seconds
from benchmarks.speed.comparison import Comparison, Fitted, Oracle, compare
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.peers import Costs, Peer, Solved
from benchmarks.speed.rows import DIFFERENT, OTHER_OBJECTIVE, Row, duration
from fdgpu import FailureDirections

WARM_UP = Shape.even("", 1, 64, 16)


def device_of(backend: str) -> torch.device:
    """Return where a backend computes."""
    return torch.device("cpu" if backend == "numba" else "cuda")


class Fitting:
    """fdgpu's side: fits of one problem, from arrays on the device to arrays on the device.

    Rows are unit vectors, and both sides get them as they are (``whiten=False``): the solvers are compared.
    """

    def __init__(self, problem: Problem, backend: str, **settings: Any) -> None:
        self.estimator = FailureDirections(backend=backend, **{"whiten": False, **settings})
        self.device = device_of(backend)
        self.x, self.labels, self.right = (
            torch.from_numpy(array).to(self.device) for array in (problem.x, problem.labels, problem.right)
        )
        self.classes = len(problem.sizes)

    def __call__(self) -> tuple[torch.Tensor, ...]:
        """Fit, and read what was found: w, b, C and score of every class, on the device."""
        fit = self.estimator.fit(self.x, self.labels, self.right)
        return fit.coef_, fit.intercept_, fit.C_, fit.cv_score_


@dataclass(frozen=True)
class Effort:
    """Rounds, and the seconds after which a peer takes no further part in them; it takes part in one at least."""

    rounds: int
    budget_s: float


@dataclass
class Timed:
    """What a peer took on the timed classes in each round, what it found, and how long all of that was."""

    peer: Peer
    times: list[float] = field(default_factory=list)
    solved: dict[int, Solved] = field(default_factory=dict)
    spent_s: float = 0.0

    def take_part(self, problem: Problem, shape: Shape, costs: Costs, cv: int) -> None:
        """Solve the timed classes one after another."""

        def solve() -> None:
            for k in shape.timed:
                rows = problem.rows(k)
                self.solved[k] = self.peer.solve(problem.x[rows], problem.right[rows], costs, cv)

        elapsed = seconds(solve, torch.device("cpu"))  # a peer on a device has its results on the host by then
        self.spent_s += elapsed
        self.times.append(elapsed / self.peer.at_once)


def measure(shape: Shape, peers: Sequence[Peer], backend: str, effort: Effort) -> list[Row]:
    """Time every side in turn (peer, peer, …, fdgpu, peer, …), so that a machine that slows down slows all of them.

    fdgpu fits all classes, and its time is divided by their number. Where classes differ in size, it fits the peers'
    classes once more by themselves, and these two times are compared.
    """
    problem = make(shape)
    whole = Fitting(problem, backend)
    same = Fitting(problem.only(shape.timed), backend) if shape.ragged else whole
    costs, cv = tuple(whole.estimator.Cs), whole.estimator.cv
    warm_up(peers, costs, cv)
    whole()
    same()
    timed = [Timed(peer) for peer in peers]
    of_whole, of_same = [], []
    for _ in range(effort.rounds):
        for side in timed:
            if side.spent_s < effort.budget_s:
                side.take_part(problem, shape, costs, cv)
        of_whole.append(seconds(whole, whole.device))
        of_same.append(seconds(same, same.device) if same is not whole else of_whole[-1])
    oracle, fitted = Oracle(problem, costs, cv), Fitted.of(whole.estimator)
    computed = device_name(whole.device)
    total, own_s = statistics.median(of_whole), statistics.median(of_same) / same.classes
    rows = [
        Row(
            shape.name, f"fdgpu, {whole.estimator.backend_}", "fdgpu", computed, f"all {shape.classes}", effort.rounds,
            fdgpu_s=total / shape.classes, total_s=total, result=f"{duration(total)} in all",
        )
    ]  # fmt: skip
    for side in timed:
        compared = compare(oracle, fitted, side.peer, side.solved, whole.estimator.tol)
        rows.append(peer_row(shape, side, own_s, compared, computed))
    return rows


def warm_up(peers: Sequence[Peer], costs: Costs, cv: int) -> None:
    """Solve something small, so that neither processes nor libraries are started while the clock runs."""
    small = make(WARM_UP)
    for peer in peers:
        peer.solve(small.x, small.right, costs, cv)


def peer_row(shape: Shape, side: Timed, own_s: float, compared: Comparison, device: str) -> Row:
    """Return a peer's line: a ratio only where it solves the same problem and found the same."""
    peer_s = statistics.median(side.times) / len(shape.timed)
    comparable = side.peer.same_objective and compared.equal
    ratio = peer_s / own_s if comparable else None
    verdict = DIFFERENT if side.peer.same_objective else OTHER_OBJECTIVE
    return Row(
        shape=shape.name,
        line=side.peer.name,
        kind="peer",
        device=device,
        timed=timed_classes(shape),
        rounds=len(side.times),
        peer_s=peer_s,
        fdgpu_s=own_s,
        w_difference=compared.w,
        score_difference=compared.score,
        scores_compared=compared.scores_compared,
        ratio=ratio,
        result=verdict if ratio is None else f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x",
    )


def timed_classes(shape: Shape) -> str:
    """Say which classes peers were timed on; their sizes too where these differ."""
    sizes = f" ({', '.join(str(shape.sizes[k]) for k in shape.timed)})" if shape.ragged else ""
    return f"{len(shape.timed)} of {shape.classes}{sizes}"


def permutation_row(shape: Shape, backend: str, permutations: int) -> Row:
    """Fit once with so many permutations a class, after a fit with two that compiles."""
    problem = make(shape)
    Fitting(problem, backend, n_permutations=2)()
    fitting = Fitting(problem, backend, n_permutations=permutations)
    took = seconds(fitting, fitting.device)
    return Row(
        shape=shape.name,
        line=f"fdgpu with {permutations} permutations a class",
        kind="fdgpu",
        device=device_name(fitting.device),
        timed=f"all {shape.classes}",
        rounds=1,
        fdgpu_s=took / shape.classes,
        total_s=took,
        result=f"{duration(took)} in all",
    )


def device_name(device: torch.device) -> str:
    """Return what fdgpu computes on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
