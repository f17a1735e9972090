"""Where the time of one fit goes: cProfile's cumulative seconds of the functions that begin and end a stage.

On the CPU the pool's threads are not profiled; what they do appears where the main thread waits for them, which is the
stage that gave them the work. On CUDA a stage may end before its kernels do, and the next one that brings something to
the host waits for them: Gram matrices are waited for in the cross-validation. Every call costs the profiler something,
so that stages of many small calls, which are the host's, look longer than they are.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.speed.data import Problem, Shape
from benchmarks.speed.measuring import Fitting

Function = tuple[str, str]  # the last parts of its file's path, its name

WHOLE: Function = ("directions/estimator.py", "fit")
OPEN: Sequence[Function] = (("directions/numba_backend.py", "open"), ("directions/triton_backend.py", "open"))


@dataclass(frozen=True)
class Stage:
    """Functions whose time is this stage's, and those inside of them whose time is another's."""

    name: str
    functions: Sequence[Function]
    without: Sequence[Function] = ()


SOLVED = [
    (f"directions/{backend}_backend.py", function)
    for backend in ("numba", "triton")
    for function in ("cross_validate", "fit", "coef")
]
STAGES = (
    Stage("check of the input", [("directions/samples.py", "check_samples")]),
    Stage("whitening: mean and deviation", [("directions/estimator.py", "_fit_whitening")]),
    Stage("group by class", [("directions/samples.py", "group_by_class"), ("directions/samples.py", "rows_by_class")]),
    Stage("gather, whiten and Gram matrices", OPEN),
    Stage("cross-validation", [one for one in SOLVED if one[1] == "cross_validate"]),
    Stage("choice of C", [("directions/batch.py", "choose_costs")]),
    Stage("refit", [one for one in SOLVED if one[1] == "fit"]),
    Stage("w of every class", [one for one in SOLVED if one[1] == "coef"]),
    Stage(
        "assemble",
        [("directions/distilling.py", "distil"), ("directions/distilling.py", "gather")],
        without=[*SOLVED, ("directions/batch.py", "choose_costs")],
    ),
)


@dataclass(frozen=True)
class Profile:
    """Seconds of each stage of one fit, and of the whole."""

    shape: str
    whole: float
    stages: dict[str, float]


def profile(shape: Shape, problem: Problem, backend: str) -> Profile:
    """Profile one fit, whitening and all, of a shape that was fitted before, so that nothing is compiled."""
    return stages_of(Fitting(problem, backend, whiten=True), shape.name)


def stages_of(run: Callable[[], object], shape: str) -> Profile:
    """Run under cProfile and read off the stages."""
    profiler = cProfile.Profile()
    profiler.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    found = {stage.name: _seconds(stats, stage.functions) - _seconds(stats, stage.without) for stage in STAGES}
    whole = _seconds(stats, [WHOLE])
    return Profile(shape, whole, {**found, "rest": whole - sum(found.values())})


def _seconds(stats: dict[Any, Any], functions: Sequence[Function]) -> float:
    return sum(
        float(cumulative)
        for (file, _, function), (_, _, _, cumulative, _) in stats.items()
        if any(file.endswith(path) and function == name for path, name in functions)
    )


def profile_table(profiles: Sequence[Profile]) -> Table:
    """Lay out stages by shapes: milliseconds, and the share of the fit."""
    names = [profile.shape.partition(":")[0] for profile in profiles]
    table = Table("stage", *names, title="where the time of one fit goes, ms")
    for name in profiles[0].stages:
        cells = [(profile.stages[name], profile.whole) for profile in profiles]
        table.add_row(name, *(f"{took * 1e3:.1f} ({took / whole:.0%})" for took, whole in cells))
    table.add_row("whole", *(f"{profile.whole * 1e3:.1f}" for profile in profiles))
    return table
