"""The solver against the authors' loop, permutations against the CPU's, cuML against ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from torch.profiler import ProfilerActivity, profile

from benchmarks.device.record import Row, beside
from benchmarks.device.run import Setting
from benchmarks.speed.clock import seconds
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.measuring import Effort, Fitting, measure
from benchmarks.speed.peers import AllCores, AuthorsLoop, Coef, Costs, Peer, Right, Rows, Solved
from fdgpu.arrays import to_numpy
from fdgpu.device import Backend, cpu_count, why_no_cuml

LONGEST = 6  # kernels that are named
MOST_APART = 2e-3  # relative, of w: what two solvers that stop at a KKT violation of 1e-3 may differ by


def solver(setting: Setting) -> Iterator[Row]:
    """Fit every class from device to device, beside the authors' loop on all cores of the host and our CPU solver."""
    peers: list[Peer] = [AllCores(AuthorsLoop(), cpu_count())]
    for shape in setting.sizes.shapes:
        yield from _beside_peers("solver", shape, peers, setting)
        yield _beside_the_cpu(shape, setting)
        yield from _kernels(shape, setting)
    get_reusable_executor().shutdown()  # its processes would hold memory and cores for minutes


def _beside_peers(part: str, shape: Shape, peers: Sequence[Peer], setting: Setting) -> Iterator[Row]:
    fdgpu, *others = measure(shape, peers, setting.backend, Effort(setting.sizes.rounds, setting.sizes.budget_s))
    yield Row(part, f"{shape.name}, {setting.backend}", fdgpu.total_s, "s", note="whole fit, device to device")
    for row in others:
        yield Row(
            part, f"{shape.name}, a class", row.fdgpu_s, "s", row.line, row.peer_s, row.w_difference, row.ratio,
            note=f"scores differ by {row.score_difference:.1e}" + ("" if row.ratio else f"; {row.result}"),
        )  # fmt: skip


def _beside_the_cpu(shape: Shape, setting: Setting) -> Row:
    problem = make(shape)
    ours, theirs = Fitting(problem, setting.backend), Fitting(problem, Backend.NUMBA)
    apart = _apart(_coef(ours), _coef(theirs))  # which compiles both
    took, cpu_took = (seconds(fitting, fitting.device) for fitting in (ours, theirs))
    return beside("solver", shape.name, took, f"numba, {cpu_count()} cores", cpu_took, apart, MOST_APART)


def _kernels(shape: Shape, setting: Setting) -> Iterator[Row]:
    """Say what one fit spends its time on: the kernels that take longest, on the CPU torch's operations."""
    fitting = Fitting(make(shape), setting.backend)
    fitting()
    on_cuda = fitting.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as profiled:
        seconds(fitting, fitting.device)
    spent = {
        event.key: (event.self_device_time_total if on_cuda else event.self_cpu_time_total, event.count)
        for event in profiled.key_averages()
    }
    total = sum(microseconds for microseconds, _ in spent.values())
    for name, (microseconds, count) in sorted(spent.items(), key=lambda item: -item[1][0])[:LONGEST]:
        note = f"{count} times, {microseconds / total:.0%} of all kernels"
        yield Row("solver", f"{shape.name}: {name}", microseconds / 1e6, "s", note=note)


def _coef(fitting: Fitting) -> Any:
    return to_numpy(fitting()[0], "coef_")[:, 0]


def _apart(ours: Any, theirs: Any) -> float:
    """Return the largest relative difference of w over classes (k, d)."""
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


def permutations(setting: Setting) -> Iterator[Row]:
    """Test every class of a whole ImageNet; p-values of some classes are compared with those of the CPU's solver.

    Where a permuted class scores as high as the true one but for rounding, one permutation more or less counts.
    """
    shape, count = setting.sizes.permuted, setting.sizes.permutations
    problem = make(shape)
    some = problem.only(range(min(20, shape.classes)))
    on_cpu, own = (_p_values(some, backend, count) for backend in (Backend.NUMBA, setting.backend))
    cpu = Fitting(some, Backend.NUMBA, n_permutations=count)
    theirs = seconds(cpu, cpu.device) * shape.classes / len(some.sizes)
    whole = Fitting(problem, setting.backend, n_permutations=count)
    took = seconds(whole, whole.device)
    what = f"{count} permutations of {shape.name}"
    against = f"numba, {cpu_count()} cores, from {len(some.sizes)} classes"
    yield beside("permutations", what, took, against, theirs, float(np.abs(own - on_cpu).max()), 2.5 / (count + 1))


def _p_values(problem: Problem, backend: str, count: int) -> Any:
    fitting = Fitting(problem, backend, n_permutations=count)
    fitting()
    return to_numpy(fitting.estimator.p_value_, "p_value_")[:, 0]


# --- cuML -----------------------------------------------------------------------------------------------------------


def cuml(setting: Setting) -> Iterator[Row]:
    """Fit every class by cuML's two solvers in a loop, and by our backend that asks cuML's SVC."""
    missing = why_no_cuml()
    if missing:
        yield Row("cuml", "SVC, LinearSVC", note=missing)
        return
    shape = setting.sizes.cuml
    yield from _beside_peers("cuml", shape, cuml_loops(), setting)
    problem = make(shape)
    ours, theirs = Fitting(problem, setting.backend), Fitting(problem, Backend.CUML)
    apart = _apart(_coef(ours), _coef(theirs))
    took, cuml_took = (seconds(fitting, fitting.device) for fitting in (ours, theirs))
    yield beside("cuml", shape.name, took, 'backend="cuml"', cuml_took, apart, MOST_APART)


def cuml_loops() -> list[Peer]:
    """Return both loops; ``output_type`` is on the estimator, so that no global setting of cuML is touched.

    ``LinearSVC`` leaves its intercept free by default, unlike liblinear, but minimises the hinge by L-BFGS, which is
    made for smooth losses: whether it ends where the others do is for the comparison to say.
    """
    from cuml.svm import SVC, LinearSVC

    shared = {"class_weight": "balanced", "output_type": "numpy"}

    def put(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).cuda()

    return [
        EstimatorLoop("cuML SVC", lambda cost: SVC(kernel="linear", C=cost, **shared), put),
        EstimatorLoop("cuML LinearSVC, hinge", lambda cost: LinearSVC(loss="hinge", C=cost, **shared), put),
    ]


@dataclass(frozen=True)
class EstimatorLoop:
    """Fit ``make(C)`` on all folds but one for every fold and C, and on all samples for the best C.

    ``put`` brings rows and labels to where the estimator computes, once a class; a class of 256 x 512 is half a
    megabyte. Predictions come back to be scored.
    """

    name: str
    make: Callable[[float], Any]
    put: Callable[[np.ndarray], Any]
    same_objective: bool = True
    at_once: int = 1

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """Cross-validate every C and refit the best."""
        rows, labels = self.put(x), self.put(right.astype(np.float32))
        folds = [(self.put(train), self.put(held), held) for train, held in StratifiedKFold(cv).split(x, right)]
        scores = []
        for cost in costs:
            of_folds = []
            for train, held, on_host in folds:
                predicted = self.make(cost).fit(rows[train], labels[train]).predict(rows[held])
                of_folds.append(balanced_accuracy_score(right[on_host], np.asarray(predicted) > 0.5))
            scores.append(float(np.mean(of_folds)))
        best = costs[int(np.argmax(scores))]
        return Solved(np.array(scores), {best: self._fitted(rows, labels, best)})

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Fit once more."""
        return self._fitted(self.put(x), self.put(right.astype(np.float32)), cost)

    def _fitted(self, rows: Any, labels: Any, cost: float) -> Coef:
        return np.asarray(self.make(cost).fit(rows, labels).coef_, np.float64).reshape(-1)
