"""The page of results, ``benchmarks/paper/README.md``, and its plots, from the stored figures alone.

    python -m benchmarks.paper.page

Every table, plot and verdict is read from ``benchmarks/results/paper``; what has not been measured is marked as such.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.charts import draw
from benchmarks.paper.claims import Claim, Verdict, claims_of, unasked, verdicts
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.prose import filled, tried
from benchmarks.paper.tables import claims_table, figures_tables
from benchmarks.stored import FOLDER

PAGE = Path(__file__).parent / "README.md"
PLOTS = "../results/paper"
ON_FILES = "_files"  # after the name of an experiment that was measured on the data set's own files


def main() -> None:
    """Draw the plots and write the page."""
    for experiment in EXPERIMENTS.values():
        for mode in ("", ON_FILES):
            path = FOLDER / "paper" / f"{experiment.name}{mode}.json"
            if path.is_file():
                draw(path.with_suffix(".svg"), experiment.stored(path)[1], experiment.panels)
    PAGE.write_text(page(EXPERIMENTS.values(), FOLDER / "paper"), encoding="utf-8")
    print(PAGE)


def page(experiments: Iterable[Experiment], results: Path) -> str:
    """Return the page of all experiments, in their order."""
    offline: list[Verdict] = []
    on_files: list[Verdict] = []
    lines: list[str] = []
    left_out = 0
    for experiment in experiments:
        left_out += len(unasked(experiment.document))
        own, judged = _offline(experiment, results)
        offline += judged
        further, judged = _on_files(experiment, results)
        on_files += judged
        lines += [*own, *further]
    return "\n".join([*_head(offline, on_files, left_out), *lines])


def _head(offline: Sequence[Verdict], on_files: Sequence[Verdict], left_out: int) -> list[str]:
    words = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return [
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
        _counts("", offline),
        f"{left_out} more are not counted, as here they could not fail, or could not hold: each stands below its",
        "experiment's table, with the reason.",
        "",
        *filled(words["given"], {}),
        "",
        *([_counts(" on the data sets' own files", on_files), ""] if on_files else []),
        "Means are over seeds. A seed draws the photographs, how they are rendered, and where every model starts; ± is",
        "one deviation of a sample over seeds. A figure *of means* follows from the means, its ± from each seed alone.",
        "A verdict *within one deviation* would turn if a figure moved by the larger deviation of the two compared.",
        "",
        *filled(words["spread"], {}),
        "",
    ]


def _counts(where: str, judged: Sequence[Verdict]) -> str:
    counts = Counter(verdict.holds for verdict in judged)
    close = sum(verdict.close for verdict in judged)
    waiting = f", {counts[None]} wait" if counts[None] else ""
    return (
        f"Of {len(judged)} claims{where} {counts[True]} hold, {counts[False]} do not{waiting}; "
        f"{close} of these verdicts are within one deviation."
    )


def _offline(experiment: Experiment, results: Path) -> tuple[list[str], list[Verdict]]:
    """What is measured on the bundled world."""
    about, settings = experiment.document["page"], experiment.document["offline"]
    path, claims = results / f"{experiment.name}.json", claims_of(experiment.document)
    lines = [f"## {about['title']}", "", *filled(about["text"], settings), ""]
    lines += [*filled(f"Settings: {about['settings'].strip()}", settings), ""]
    if not path.is_file():
        return [*lines, "Not measured yet.", ""], verdicts(claims, [])
    judged, tables, rest = _measured(experiment, path, claims)
    tables += _not_asked(experiment, settings)
    return [*lines, *tables, *tried(about.get("tried", []), judged, settings), *rest], judged


def _not_asked(experiment: Experiment, settings: Mapping[str, Any]) -> list[str]:
    """Say which claims are not asked offline, and why."""
    lines: list[str] = []
    for text, why in unasked(experiment.document).items():
        lines += [*filled(f"Not asked: *{text}*. {why}", settings), ""]
    return lines


def _on_files(experiment: Experiment, results: Path) -> tuple[list[str], list[Verdict]]:
    """What is measured on the data set's own files, or how it would be."""
    about: Mapping[str, str] = experiment.document["page"]
    command = f"`python -m benchmarks.paper {experiment.name} --data FOLDER --write`, FOLDER holds {about['files']}."
    path = results / f"{experiment.name}{ON_FILES}.json"
    if not path.is_file():
        return [f"Not measured on the data set's own files: {command}", ""], []
    judged, tables, rest = _measured(experiment, path, claims_of(experiment.document, on_files=True))
    lines = [f"### {about['title'].split(':')[0]}, on the data set's own files", "", f"By {command}", ""]
    return [*lines, *tables, *rest], judged


def _measured(
    experiment: Experiment, path: Path, claims: Sequence[Claim]
) -> tuple[list[Verdict], list[str], list[str]]:
    """Return the verdicts on what a file holds, their table, and plot, figures and machine."""
    machine, summaries = experiment.stored(path)
    judged = verdicts(claims, summaries)
    rest = [f"![{experiment.document['page']['title']}]({PLOTS}/{path.stem}.svg)", ""]
    rest += ["<details><summary>All figures</summary>", "", *figures_tables(summaries), "</details>", ""]
    return judged, claims_table(judged), [*rest, f"Measured on {_machine(machine)}.", ""]


def _machine(about: Mapping[str, str]) -> str:
    device = "no GPU" if about["device"] == "none" else about["device"]
    return f"{about['processor']} ({about['cores']} cores, {device}), torch {about['torch']}, commit {about['commit']}"


if __name__ == "__main__":
    main()
