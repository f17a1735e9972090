"""Means and their spread between seeds, and each rival against the latent directions, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from scipy.stats import t as student

from benchmarks.discovery.methods import ALONE, LATENT, OWN, PROBE
from benchmarks.discovery.running import Measured

COMPARED = ("precision@10", "precision@25", "found", "area", "discovered", "minority in top ")
NO_RIVALS = (LATENT, LATENT + ALONE, PROBE, PROBE + OWN, "random")  # variants, the ceiling, and chance
UNPLANTED = "cifar10"  # where the own loss says which samples are errors
LEVEL = 0.975  # of Student's distribution: beyond noise is outside the interval that holds 95 %

Key = tuple[str, str, str, str]  # setting, part or "" for all of them, line, measure
Seeds = dict[Key, dict[int, float]]


@dataclass(frozen=True)
class Difference:
    """Latent directions less a line, mean over the seeds that both have, and its standard error."""

    mean: float
    error: float
    seeds: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the line is better by more than seeds differ."""
        return self.seeds > 1 and -self.mean > max(0.0, float(student.ppf(LEVEL, self.seeds - 1)) * self.error)


def by_seed(rows: Iterable[Measured]) -> Seeds:
    """Return each seed's value of every measure and of the seconds; of whole settings the mean over their parts."""
    parts: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for line, measured in row.lines.items():
            for measure, value in (measured | {"seconds": row.seconds}).items():
                for part in {row.part, ""}:
                    parts[row.setting, part, line, measure][row.seed].append(value)
    return {key: {seed: float(np.mean(values)) for seed, values in seeds.items()} for key, seeds in parts.items()}


def difference(ours: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Compare two lines on the seeds that both have."""
    gaps = np.array([ours[seed] - other[seed] for seed in sorted(ours.keys() & other.keys())])
    if len(gaps) < 2:
        return Difference(float(gaps.mean()) if len(gaps) else np.nan, np.nan, len(gaps))
    return Difference(float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps))), len(gaps))


def compared(key: Key) -> bool:
    """Whether a measure is one that a rival may be better in: of a whole setting, and not of errors, see ``metric``."""
    setting, part, line, measure = key
    return setting != UNPLANTED and part == "" and line != LATENT and measure.startswith(COMPARED)


def stored_rows(seeds: Seeds) -> list[dict[str, object]]:
    """Return what is kept: a row for every setting, part, line and measure."""
    rows = []
    for key, values in seeds.items():
        setting, part, line, measure = key
        each = list(values.values())
        row: dict[str, object] = {
            "setting": setting, "part": part, "method": line, "measure": measure, "seeds": len(each),
            "mean": round(float(np.mean(each)), 4), "spread": _spread(each),
            "latent minus it": "", "standard error": "", "better than latent": "",
        }  # fmt: skip
        ours = seeds.get((setting, part, LATENT, measure))
        if ours is not None and compared(key):
            gap = difference(ours, values)
            error = round(gap.error, 4) if gap.seeds > 1 else ""
            row |= {"latent minus it": round(gap.mean, 4), "standard error": error}
            row |= {"better than latent": gap.beyond_noise}
        rows.append(row)
    return rows


def _spread(values: Sequence[float]) -> float | str:
    return round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else ""


def tables(seeds: Seeds) -> list[Table]:
    """Lay out a table a setting: mean ± deviation between seeds, with * where the line is better than ours."""
    result = []
    for setting in dict.fromkeys(key[0] for key in seeds):
        own = {key: values for key, values in seeds.items() if key[:2] == (setting, "")}
        measures = [*dict.fromkeys(key[3] for key in own if key[3] != "seconds"), "seconds"]
        count = max(len(values) for values in own.values())
        heads = [measure.replace("minority in ", "") for measure in measures]
        table = Table("method", *heads, title=f"{setting}, {count} seeds", title_justify="left")
        for line in dict.fromkeys(key[2] for key in own):
            fewer = len(own[setting, "", line, "seconds"])
            cells = [_cell(seeds, (setting, "", line, measure)) for measure in measures]
            table.add_row(f"{line} ({fewer})" if fewer < count else line, *cells)
        result.append(table)
    return result


def _cell(seeds: Seeds, key: Key) -> str:
    values = seeds.get(key)
    if values is None:
        return ""
    each, ours = list(values.values()), seeds.get((*key[:2], LATENT, key[3]))
    better = ours is not None and compared(key) and difference(ours, values).beyond_noise
    spread = f" ±{np.std(each, ddof=1):.3f}" if len(each) > 1 else ""
    return f"{np.mean(each):.3f}{spread}{'*' if better else ''}"


def rivals_ahead(seeds: Seeds) -> list[str]:
    """Say of each rival that is better than the latent directions beyond noise in what it is, and by how much."""
    if not any(key[2] == LATENT for key in seeds):
        return [f"{LATENT} was not measured: nothing is compared with it."]
    said = []
    for key, values in seeds.items():
        setting, _, line, measure = key
        ours = seeds.get((setting, "", LATENT, measure))
        if ours is None or not compared(key) or line in NO_RIVALS:
            continue
        gap = difference(ours, values)
        if gap.beyond_noise:
            said.append(f"{setting}, {measure}: {line} is better by {-gap.mean:.3f} ± {gap.error:.3f}")
    return said or ["No rival is better beyond noise."]
