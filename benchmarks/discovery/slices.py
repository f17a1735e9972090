"""Known columns: are planted slices found, and what else is? Beside enumeration without correction.

    python -m benchmarks.discovery.slices --seeds A-B [--worlds A,B] [--write]
    python -m benchmarks.discovery.slices --speed [--write]

*one*, *two* and *three* plant a slice of so many values in one of four classes, among twelve columns: its error rate is
40 % (the others' 10 %), and it is a twelfth to a half of its class. Of the columns, five have two to six values, five
lie beside these (each a copy with a fifth of its rows exchanged), and two are numbers. In *null* errors have nothing to
do with any column. *bundled* is the demo's world: ten classes, six of which a trained model fails on by a colour, a
background or a size that it saw too little of; all attributes are columns.

What is reported is *right* if its values are among those that were planted in its class: the slice, or a part of it.
Whatever has another value is *false*, a copy of a planted column too where the planted one is reported beside it.

``fdgpu`` counts what follows from no other; *against the class* is the same Fisher test without the test against parts;
*slice finder* goes through the lattice as Chung et al. (ICDE 2019) do, breadth first, by effect size (.4 at least) and
Welch's t at .05, does not go on within what it has found, and corrects nothing. *effect size alone* asks for no test.

``--speed`` is 50 000 rows, 20 columns of two to five values, 1000 classes; conjunctions of two.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_ind_from_stats

from benchmarks.discovery.__main__ import seeds_of
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.auditing.columns.one_column import Value, read_known
from fdgpu.auditing.slices import Candidates, SliceSearch, excess_p, followed, search
from fdgpu.demo.base_model import predict, train_base_model
from fdgpu.demo.world import ATTRIBUTES, make_split, world_settings
from fdgpu.directions.testing import false_discovery_rates
from fdgpu.findings import Split

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Found = set[tuple[int, frozenset[Value]]]  # slices by class
WORLDS = ("null", "one", "two", "three", "bundled")
ROWS, CLASSES, COLUMNS, NUMBERS = 6000, 4, 5, 2
INSIDE, OUTSIDE, LEAST, MOST = 0.4, 0.1, 1 / 12, 1 / 2
LEVEL, EFFECT = 0.05, 0.4
CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """Answers with columns beside them.

    Attributes:
        columns: a name → (n,) values.
        labels: (n,) classes.
        wrong: (n,) errors.
        planted: the slices, by class.
    """

    columns: dict[str, NDArray[np.generic]]
    labels: Ints
    wrong: Bools
    planted: Found


def synthetic(name: str, seed: int) -> World:
    """Draw a world with a slice of one, two or three values, or none; again, until it has values for such a slice."""
    order = WORLDS.index(name)
    rng = np.random.default_rng([17, order, seed])
    while True:
        columns, labels = _columns(rng), rng.integers(0, CLASSES, ROWS)
        large = [values for values in _values(columns, order) if LEAST <= _share(values, columns, labels) <= MOST]
        if large or not order:
            break
    rate, planted = np.full(ROWS, OUTSIDE), Found()
    if order:
        values = large[int(rng.integers(len(large)))]
        rate[(labels == 0) & _inside(values, columns)] = INSIDE
        planted = {(0, frozenset(values))}
    return World(columns, labels, rng.random(ROWS) < rate, planted)


def _columns(rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    columns: dict[str, NDArray[np.generic]] = {}
    for j in range(COLUMNS):
        sizes = rng.dirichlet(np.full(int(rng.integers(2, 7)), 5.0))
        columns[f"noise {j}"] = rng.choice(np.array(list("uvwxyz"))[: len(sizes)], ROWS, p=sizes)
    for j in range(COLUMNS):
        own = columns[f"noise {j}"]
        columns[f"beside {j}"] = np.where(rng.random(ROWS) < 0.2, rng.permutation(own), own)
    return columns | {f"number {j}": rng.normal(size=ROWS) for j in range(NUMBERS)}


def _values(columns: dict[str, NDArray[np.generic]], order: int) -> Iterator[tuple[Value, ...]]:
    """Yield every combination of so many values of as many of the columns that others lie beside."""
    for names in combinations([f"noise {j}" for j in range(COLUMNS)], order):
        yield from product(*([(name, str(value)) for value in np.unique(columns[name])] for name in names))


def _inside(values: tuple[Value, ...], columns: dict[str, NDArray[np.generic]]) -> Bools:
    inside = np.ones(ROWS, bool)
    for name, value in values:
        inside &= columns[name] == value
    return inside


def _share(values: tuple[Value, ...], columns: dict[str, NDArray[np.generic]], labels: Ints) -> float:
    """Return the share of the first class that a slice is."""
    return float(_inside(values, columns)[labels == 0].mean())


def bundled(seed: int) -> World:
    """Train the demo's model, and take its answers to val with all attributes of the pictures."""
    settings = world_settings()
    train, val = (make_split(name, seed) for name in (Split.TRAIN, Split.VAL))
    answers = predict(train_base_model(train.pictures, train.labels, seed), val.pictures, val.labels)
    columns = {name: np.array(settings.names(name))[getattr(val.attributes, name).numpy()] for name in ATTRIBUTES}
    planted = {
        (settings.class_names.index(one.class_name), frozenset({(one.attribute, one.hard)})) for one in settings.plants
    }
    labels = val.labels.numpy()
    return World(columns, labels, np.asarray(answers.prediction != labels), planted)


# --- what finds slices ------------------------------------------------------------------------------------------------


def named(found: Candidates, chosen: Bools, values: tuple[Value, ...]) -> Found:
    """Return slices by their values."""
    return {
        (int(found.class_of[i]), frozenset(values[v] for v in found.values[i] if v >= 0))
        for i in np.flatnonzero(chosen)
    }


def by_fdgpu(world: World) -> tuple[Found, Found]:
    """Return what an audit reports, and what of it follows from no other."""
    known = read_known(world.columns, len(world.labels))
    found = search(known.members, world.wrong, world.labels, SliceSearch(), CPU)
    chosen = found.q <= LEVEL
    alone = np.zeros(len(chosen), bool)
    for k in np.unique(found.class_of[chosen]):
        at = np.flatnonzero(chosen & (found.class_of == k))
        of_class = world.labels == k
        inside = [known.members[of_class][:, found.values[i][found.values[i] >= 0]].all(axis=1) for i in at]
        alone[np.delete(at, list(followed(inside, world.wrong[of_class])))] = True
    return named(found, chosen, known.values), named(found, alone, known.values)


def by_enumeration(world: World) -> dict[str, Found]:
    """Go through all conjunctions of at least ten images, breadth first, and return what each plain rule reports."""
    known = read_known(world.columns, len(world.labels))
    found: dict[str, Found] = {"slice finder": set(), "effect size alone": set()}
    slices: list[tuple[int, frozenset[Value]]] = []
    counts: list[Ints] = []
    for k in np.unique(world.labels).tolist():
        x, wrong = known.members[world.labels == k].T.astype(np.float32), world.wrong[world.labels == k]
        for order in (1, 2, 3):
            for part in combinations(range(len(x)), order - 1):
                later = np.arange(part[-1] + 1 if part else 0, len(x))
                inside = x[list(part)].prod(axis=0)
                own = np.stack([x[later] @ (inside * wrong), x[later] @ inside], axis=1).astype(np.int64)
                large = (own[:, 1] >= 10) & (own[:, 1] < len(wrong))
                slices += [(k, frozenset(known.values[v] for v in (*part, last))) for last in later[large]]
                counts.append(np.column_stack([own[large], np.full((large.sum(), 2), (wrong.sum(), len(wrong)))]))
    e, n, errors, of = np.concatenate(counts).T
    effect, t = effects(e, n, errors, of)
    for name, passes in (("slice finder", (effect >= EFFECT) & (t <= LEVEL)), ("effect size alone", effect >= EFFECT)):
        for i in np.flatnonzero(passes):
            k, values = slices[i]
            parts = (frozenset(part) for m in range(1, len(values)) for part in combinations(values, m))
            if not any((k, part) in found[name] for part in parts):
                found[name].add(slices[i])
    p = excess_p(e, n, errors, of, CPU)
    for name, level in (("against the class", false_discovery_rates(p)), ("against the class, uncorrected", p)):
        found[name] = {slices[i] for i in np.flatnonzero(level <= LEVEL)}
    return found


def effects(e: Ints, n: Ints, errors: Ints, of: Ints) -> tuple[Floats, Floats]:
    """Return effect sizes of slices against their counterparts, and p-values of Welch's t."""
    one, other = e / n, (errors - e) / (of - n)
    variances = one * (1 - one), other * (1 - other)
    both = np.maximum(variances[0] + variances[1], 1e-12)
    t = ttest_ind_from_stats(one, variances[0] ** 0.5, n, other, variances[1] ** 0.5, of - n, False, "greater")
    return np.sqrt(2 / both) * (one - other), np.asarray(t.pvalue)


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(found: Found, world: World) -> dict[str, float]:
    """Count planted slices that were found as they are, and what is right and false of all that was reported."""
    right = {one for one in found if any(one[0] == k and one[1] <= values for k, values in world.planted)}
    return {
        "planted": len(world.planted),
        "found": len(found & world.planted),
        "reported": len(found),
        "false": len(found - right),
    }


def measure(name: str, seed: int) -> Iterator[dict[str, object]]:
    """Yield a row a method."""
    world = bundled(seed) if name == "bundled" else synthetic(name, seed)
    start = time.perf_counter()
    every, alone = by_fdgpu(world)
    seconds = {"fdgpu": time.perf_counter() - start}
    start = time.perf_counter()
    others = by_enumeration(world)
    seconds["by enumeration"] = time.perf_counter() - start
    for method, found in {"fdgpu": alone, "fdgpu, with what follows": every, **others}.items():
        spent = seconds["fdgpu" if method.startswith("fdgpu") else "by enumeration"]
        yield {"world": name, "seed": seed, "method": method, **judge(found, world), "seconds": round(spent, 3)}


def speed() -> dict[str, object]:
    """Search 50 000 rows with 20 columns of two to five values and 1000 classes for conjunctions of two."""
    rng = np.random.default_rng(0)
    n, classes = 50_000, 1000
    columns = {f"c{j}": rng.choice(list("abcde")[: 2 + j % 4], n) for j in range(20)}
    labels, wrong = rng.integers(0, classes, n), rng.random(n) < 0.25
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    known = read_known(columns, n)
    read = time.perf_counter() - start
    found = search(known.members, wrong, labels, SliceSearch(conjunctions=2), CPU)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": n, "columns": 20, "classes": classes, "conjunctions": 2, "fewest": 10, "tested": len(found.p),
        "significant": int((found.q <= LEVEL).sum()), "seconds": round(seconds, 2), "of which reading": round(read, 2),
        "memory beyond before, MB": round((after - before) / 1024),
    }  # fmt: skip


def main() -> None:
    """Measure, print, and with ``--write`` store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, metavar="A-B")
    parser.add_argument("--worlds", type=lambda text: text.split(","), default=list(WORLDS))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    asked = parser.parse_args()
    about, console = machine(), Console(width=160)
    if asked.speed:
        row = speed()
        console.print(row)
        if asked.write:
            store("slices_speed", about, [row])
        return
    rows: list[dict[str, object]] = []
    for name in asked.worlds:
        for seed in asked.seeds:
            rows += measure(name, seed)
            console.print(f"{name}, seed {seed}", style="dim")
    table = Table("world", "method", "seeds", "planted", "found", "reported", "false", "worlds with a false one")
    for name, method in dict.fromkeys((str(row["world"]), str(row["method"])) for row in rows):
        own = [row for row in rows if (row["world"], row["method"]) == (name, method)]
        sums = [str(sum(row[key] for row in own)) for key in ("planted", "found", "reported", "false")]  # type: ignore[misc]
        table.add_row(name, method, str(len(own)), *sums, str(sum(row["false"] != 0 for row in own)))
    console.print(table)
    if asked.write:
        worlds = "" if len(asked.worlds) == len(WORLDS) else "_" + "_".join(asked.worlds)
        store(f"slices{worlds}_{asked.seeds.start}-{asked.seeds.stop - 1}", about, rows)


if __name__ == "__main__":
    main()
