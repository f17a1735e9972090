"""How each stage grows: with the images of the reference, and with classes of a thousand validation images each.

Every size is audited in a process of its own, from a store that is written for it. Seconds are of cores, which depend
less on who else has them than those of the clock, and the least of the rounds count. A law is fitted to three sizes and
tried on the fourth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.imagenet_scale.job import Job, audit_store, warm_up
from benchmarks.imagenet_scale.law import Law, Prediction, exponent
from benchmarks.imagenet_scale.meter import Meter, Usage
from benchmarks.imagenet_scale.stages import GB, REPORTS
from benchmarks.imagenet_scale.synthetic import World, write_store
from benchmarks.memory import in_a_process

WRITE = "write the store"


@dataclass(frozen=True)
class Series:
    """Worlds of four sizes, of which the last is held out, and the stages that grow with what the series is called."""

    name: str
    worlds: tuple[World, ...]
    stages: tuple[str, ...]

    @property
    def sizes(self) -> list[int]:
        """How many images, or classes, each world has."""
        return [getattr(world, self.name) for world in self.worlds]


SERIES = (
    Series(
        "images",
        tuple(World(train=n - 5000, val=5000, classes=100) for n in (100_000, 300_000, 600_000, 1_000_000)),
        (WRITE, "reread", "check columns", "fit", "decisions"),
    ),
    Series(
        "classes",
        tuple(World(train=100 * k, val=1000 * k, classes=k) for k in (10, 20, 40, 80)),
        ("near-duplicates", "fit", "permutations", "captions", "page"),
    ),
)


@dataclass(frozen=True)
class Growth:
    """One line: a stage at four sizes, the law of three of them, and how it did on the fourth.

    Attributes:
        series: what grows.
        stage: of the audit.
        sizes: of the series.
        core_seconds: at each size.
        law: of all sizes but the last.
        predicted: by it for the last.
        error: of that, as a share of what was measured.
        fixed: seconds of the law at size 0.
        each: seconds of the law for one more.
        power: of the size.
    """

    series: str
    stage: str
    sizes: str
    core_seconds: str
    law: str
    predicted: float
    error: float
    fixed: float
    each: float
    power: float

    @classmethod
    def of(cls, series: Series, stage: str, seconds: Sequence[float]) -> Growth:
        """Fit a law, and try it."""
        found = Prediction.of(series.sizes, seconds)
        return cls(
            series.name,
            stage,
            ", ".join(f"{size:,}" for size in series.sizes),
            ", ".join(f"{one:.3g}" for one in seconds),
            str(found.law),
            found.predicted,
            found.error,
            found.law.fixed,
            found.law.each,
            found.law.power,
        )

    def at(self, size: float) -> float:
        """Return the seconds of a size."""
        return Law(self.fixed, self.each, self.power)(size)


@dataclass(frozen=True)
class Memory:
    """What the process held at most, beyond its base, at each size of a series, and how that grows."""

    series: str
    sizes: str
    host_gb: str
    exponent: float
    bytes_of_one: float

    @classmethod
    def of(cls, series: Series, peaks: Sequence[int]) -> Memory:
        """Return how peaks grow with the sizes; ``bytes_of_one`` is the slope between the first and the last."""
        slope = (peaks[-1] - peaks[0]) / (series.sizes[-1] - series.sizes[0])
        listed = ", ".join(f"{peak / GB:.3f}" for peak in peaks)
        return cls(series.name, ", ".join(f"{n:,}" for n in series.sizes), listed, exponent(series.sizes, peaks), slope)


def grown(series: Series, job: Job, rounds: int) -> tuple[list[Growth], Memory]:
    """Measure all sizes of a series: a line for each of its stages, and one for memory."""
    usage = [in_a_process(best_of, world, job, rounds) for world in series.worlds]
    lines = [Growth.of(series, stage, [one[stage].cores for one in usage]) for stage in series.stages]
    peaks = [max(1, *(one.host for stage, one in own.items() if stage != WRITE)) for own in usage]
    return lines, Memory.of(series, peaks)


def best_of(world: World, job: Job, rounds: int) -> dict[str, Usage]:
    """Audit a world a few times from its store; return the least seconds and the highest peak of each stage."""
    with TemporaryDirectory(dir=job.out) as folder:
        own = replace(job, out=Path(folder))
        warm_up(own)
        store, every = own.out / "store", list[dict[str, Usage]]()
        for _ in range(rounds):
            meter = Meter(job.device, {**REPORTS, "embed images": "reread"})
            if not store.exists():
                meter.begin(WRITE)
                predictions = write_store(world, store)
                meter.end()
            meter.begin("reread")
            audit_store(store, world, predictions, own, meter)
            every.append(meter.usage)
    return {stage: _best([one[stage] for one in every if stage in one]) for stage in every[0]}


def _best(usages: Sequence[Usage]) -> Usage:
    return replace(min(usages, key=lambda one: one.cores), host=max(one.host for one in usages))
