"""Problems of every setting, and each method measured on each: what was measured once is read again.

A record is a file of JSON lines, to which every measurement is added when it is made, so that an interrupted run goes
on where it was. Measurements count as long as the source is what they were made by: fdgpu's own methods are measured
again when its directions change, everything when the protocol does.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

import fdgpu
from benchmarks.discovery import garments, spotcheck
from benchmarks.discovery.garments import EXPERIMENTS
from benchmarks.discovery.methods import METHODS, OURS
from benchmarks.discovery.metric import judge
from benchmarks.discovery.problem import Problem
from benchmarks.discovery.worlds import WORLDS
from fdgpu.errors import FdgpuWarning

TRAINED: dict[str, Callable[[int], Iterator[Problem]]] = {  # networks are, so that problems are kept in a folder
    "spotcheck": spotcheck.problems,
    **{name: partial(garments.problems, name) for name in EXPERIMENTS},
}
SETTINGS = (*WORLDS, *TRAINED)
SOURCES = [Path(__file__).parent, Path(__file__).parent.parent / "baselines"]
OWN_SOURCES = [Path(fdgpu.__file__).parent / "directions", Path(fdgpu.__file__).parent / "kernels"]
BESIDE = ("__main__.py", "causes.py", "comparing.py", "misses.py", "running.py")  # of no influence on a measurement


@dataclass(frozen=True)
class Measured:
    """One method on one problem.

    Attributes:
        setting: of the problem.
        part: of the problem.
        seed: of the problem.
        method: its key in ``METHODS``.
        lines: of each line that it gives, names of measures and their values.
        seconds: of fitting and ranking.
        source: that the measurement was made by, see :func:`source_of`.
    """

    setting: str
    part: str
    seed: int
    method: str
    lines: dict[str, dict[str, float]]
    seconds: float
    source: str


def problems(setting: str, seed: int, folder: Path) -> Iterator[Problem]:
    """Yield the problems of a setting and seed, from ``folder`` where their networks have been trained before."""
    if setting in WORLDS:
        yield from WORLDS[setting](seed)
        return
    prepare(setting, seed, folder)
    stored = folder / setting
    for path in sorted(stored.glob(f"{seed}_*.safetensors"), key=lambda one: int(one.stem.partition("_")[2])):
        yield Problem.load(path)


def prepare(setting: str, seed: int, folder: Path) -> None:
    """Train what a setting and seed need, and keep its problems: ``SETTING/SEED_i.safetensors``, then ``SEED.done``."""
    done = folder / setting / f"{seed}.done"
    if setting in WORLDS or done.exists():
        return
    for i, problem in enumerate(TRAINED[setting](seed)):
        problem.save(folder / setting / f"{seed}_{i}.safetensors")
    done.touch()


def measure(problem: Problem, method: str) -> Measured:
    """Time a method on a problem, and judge what it gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FdgpuWarning)  # a class without a direction shows in the figures
        start = time.perf_counter()
        found = METHODS[method](problem)
        seconds = time.perf_counter() - start
    tops = _tops(problem.setting)
    lines = {name: judge(one, problem, tops) for name, one in found.items()}
    return Measured(problem.setting, problem.part, problem.seed, method, lines, seconds, source_of(method))


def run(setting: str, seed: int, methods: Sequence[str], folder: Path, record: Path) -> None:
    """Measure methods on all problems of a setting and seed, but for what the record has, and add to the record."""
    wanted = [name for name in methods if setting != "null" or name in OURS]  # nobody else tests
    whole = {(row.part, row.method) for row in read(record) if (row.setting, row.seed) == (setting, seed)}
    wanted = [name for name in wanted if ("", f"all of {name}") not in whole]
    if not wanted:
        return
    for problem in problems(setting, seed, folder):
        for name in wanted:
            if (problem.part, name) not in whole:
                _add(record, measure(problem, name))
    for name in wanted:
        _add(record, Measured(setting, "", seed, f"all of {name}", {}, 0.0, source_of(name)))


def read(record: Path) -> list[Measured]:
    """Return what was measured by the source as it is; of a line that was broken off in the middle, nothing."""
    rows = []
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        try:
            row = Measured(**json.loads(line))
        except ValueError:
            continue
        if row.source == source_of(row.method.removeprefix("all of ")):
            rows.append(row)
    return rows


def measurements(rows: Iterable[Measured]) -> list[Measured]:
    """Leave out the marks that a setting is through."""
    return [row for row in rows if row.method in METHODS]


def limit_threads(threads: int) -> None:
    """Let a process that shares the cores with others compute with so many."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _add(record: Path, row: Measured) -> None:
    """Add a line in one write, so that several processes may; it starts anew after one that was broken off."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{json.dumps(asdict(row))}\n")


def _tops(setting: str) -> list[int] | None:
    return EXPERIMENTS[setting].document["offline"]["top"] if setting in EXPERIMENTS else None


@cache
def source_of(method: str) -> str:
    """Return a digest of the files that decide what a method's measurements are."""
    folders = SOURCES + (OWN_SOURCES if method in OURS else [])
    files = sorted(path for folder in folders for path in folder.glob("*.py") if path.name not in BESIDE)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
