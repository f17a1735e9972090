"""The page of results, ``benchmarks/paper/README.md``, and its plots, from the stored figures alone.

    python -m benchmarks.paper.page

Every table, plot and verdict is read from ``benchmarks/results/paper``; what has not been measured is said to be so.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.charts import draw
from benchmarks.paper.claims import Verdict, claims_of, verdicts
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.results import Summary
from benchmarks.stored import FOLDER

PAGE = Path(__file__).parent / "README.md"
PLOTS = "../results/paper"
MARKS = {True: "yes", False: "**no**", None: "not measured"}


def main() -> None:
    """Draw the plots and write the page."""
    for experiment in EXPERIMENTS.values():
        path = FOLDER / "paper" / f"{experiment.name}.json"
        if path.is_file():
            draw(path.with_suffix(".svg"), _read(path)[1], experiment.panels)
    PAGE.write_text(page(EXPERIMENTS.values(), FOLDER / "paper"), encoding="utf-8")
    print(PAGE)


def page(experiments: Iterable[Experiment], results: Path) -> str:
    """Return the page of all experiments, in their order."""
    parts = [_section(experiment, results) for experiment in experiments]
    judged = [verdict for _, own in parts for verdict in own]
    counts = Counter(verdict.holds for verdict in judged)
    said = f"{counts[True]} hold, {counts[False]} do not" + (f", {counts[None]} wait" if counts[None] else "")
    head = [
        "# The paper's experiments, on the bundled world",
        "",
        "Each experiment of *Distilling Model Failures as Directions in Latent Space*, in its matching form on what",
        "ships with fdgpu: rendered garments, a CLIP of under a million parameters, a base model that trains in",
        "seconds. The numbers are not the paper's and are not expected to equal them: what is compared is who wins,",
        "and whether what the paper claims holds here. Where the paper states a number, it stands beside ours.",
        "",
        "```bash",
        f"python -m benchmarks.paper {' '.join(EXPERIMENTS)} --offline --write",
        "python -m benchmarks.paper.page                  # this page, from what was written",
        "```",
        "",
        f"Of {len(judged)} claims {said}. Means are over seeds; ± is one deviation of a sample.",
        "",
    ]
    return "\n".join([*head, *(line for lines, _ in parts for line in lines)])


def _section(experiment: Experiment, results: Path) -> tuple[list[str], list[Verdict]]:
    about = experiment.document["page"]
    path = results / f"{experiment.name}.json"
    lines = [f"## {about['title']}", "", *_wrapped(about["text"]), "", *_files(experiment.name, about)]
    if not path.is_file():
        return [*lines, "Not measured yet.", ""], verdicts(claims_of(experiment.document), [])
    about_machine, summaries = _read(path)
    judged = verdicts(claims_of(experiment.document), summaries)
    lines += _claims(judged)
    lines += [f"![{about['title']}]({PLOTS}/{experiment.name}.svg)", ""]
    lines += ["<details><summary>All figures</summary>", "", *_tables(summaries), "</details>", ""]
    lines += [f"Measured on {_machine(about_machine)}.", ""]
    return lines, judged


def _read(path: Path) -> tuple[dict[str, str], list[Summary]]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return stored["machine"], [Summary.of_row(row) for row in stored["rows"]]


def _files(name: str, about: Mapping[str, str]) -> list[str]:
    """What ``--data`` has to hold; nothing for an experiment that reads no files."""
    if "files" not in about:
        return []
    return [f"On the real data, `python -m benchmarks.paper {name} --data FOLDER`, FOLDER holds {about['files']}.", ""]


def _wrapped(text: str) -> list[str]:
    return text.strip().splitlines()


def _claims(judged: Sequence[Verdict]) -> list[str]:
    if not judged:
        return []
    rows = [
        f"| {v.text} | {'–' if v.value is None else f'{v.value:.3f}'} | {v.against} | {MARKS[v.holds]} |"
        for v in judged
    ]
    return ["| claim | measured | it has to be | holds |", "|---|---|---|---|", *rows, ""]


def _tables(summaries: Sequence[Summary]) -> list[str]:
    """One table for each set of measures with the same places: methods or places across, measures down."""
    lines: list[str] = []
    flat = [s for s in summaries if s.at is None]
    if flat:
        lines += _flat(flat)
    groups: dict[str, list[Summary]] = defaultdict(list)
    for s in summaries:
        if s.at is not None:
            groups[s.measure].append(s)
    for measure, own in groups.items():
        lines += _over_places(measure, own)
    return lines


def _flat(summaries: Sequence[Summary]) -> list[str]:
    rows = [
        f"| {s.measure} | {s.method} | {_mean(s)} | {len(s.values)} | {'' if s.paper is None else f'{s.paper:.3f}'} |"
        for s in summaries
    ]
    return ["| measure | method | mean | seeds | paper |", "|---|---|---|---|---|", *rows, ""]


def _over_places(measure: str, summaries: Sequence[Summary]) -> list[str]:
    places = sorted({s.at for s in summaries if s.at is not None})
    lines = [f"**{measure}**, {len(summaries[0].values)} seeds", ""]
    lines += ["| | " + " | ".join(f"{place:g}" for place in places) + " |", "|---" * (len(places) + 1) + "|"]
    for method in dict.fromkeys(s.method for s in summaries):
        own = {s.at: s for s in summaries if s.method == method}
        lines.append(f"| {method} | " + " | ".join(_mean(own[p]) if p in own else "" for p in places) + " |")
        if any(s.paper is not None for s in own.values()):
            paper = ["" if p not in own or own[p].paper is None else f"{own[p].paper:.3f}" for p in places]
            lines.append(f"| the paper's {method} | " + " | ".join(paper) + " |")
    return [*lines, ""]


def _mean(summary: Summary) -> str:
    return f"{summary.mean:.3f} ± {summary.deviation:.3f}" if len(summary.values) > 1 else f"{summary.mean:.3f}"


def _machine(about: dict[str, str]) -> str:
    device = "no GPU" if about["device"] == "none" else about["device"]
    return f"{about['processor']} ({about['cores']} cores, {device}), torch {about['torch']}, commit {about['commit']}"


if __name__ == "__main__":
    main()
