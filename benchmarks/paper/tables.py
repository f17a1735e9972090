"""Claims and figures as tables in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmarks.paper.claims import Verdict
from benchmarks.paper.results import Summary

MARKS = {True: "yes", False: "**no**", None: "not measured"}


def claims_table(judged: Sequence[Verdict]) -> list[str]:
    """Return a row a claim; nothing for none."""
    if not judged:
        return []
    rows = [f"| {v.claim.text} | {_measured(v.figure)} | {v.against} | {_mark(v)} |" for v in judged]
    return ["| claim | measured | it has to be | holds |", "|---|---|---|---|", *rows, ""]


def figures_tables(summaries: Sequence[Summary]) -> list[str]:
    """Return a table of the measures of one number, and one of each other measure: methods down, its K across."""
    lines: list[str] = []
    flat = [s for s in summaries if s.at is None]
    if flat:
        lines += _flat(flat)
    groups: dict[str, list[Summary]] = defaultdict(list)
    for s in summaries:
        if s.at is not None:
            groups[s.measure].append(s)
    for measure, own in groups.items():
        lines += _over_ks(measure, own)
    return lines


def _mark(verdict: Verdict) -> str:
    return MARKS[verdict.holds] + (", within one deviation" if verdict.close else "")


def _measured(figure: Summary | None) -> str:
    return "–" if figure is None else _mean(figure)


def _flat(summaries: Sequence[Summary]) -> list[str]:
    rows = [
        f"| {s.measure} | {s.method} | {_mean(s)} | {len(s.values)} | {'' if s.paper is None else f'{s.paper:.3f}'} |"
        for s in summaries
    ]
    return ["| measure | method | mean | seeds | paper |", "|---|---|---|---|---|", *rows, ""]


def _over_ks(measure: str, summaries: Sequence[Summary]) -> list[str]:
    ks = sorted({s.at for s in summaries if s.at is not None})
    lines = [f"**{measure}**, {len(summaries[0].values)} seeds", ""]
    lines += ["| | " + " | ".join(f"{k:g}" for k in ks) + " |", "|---" * (len(ks) + 1) + "|"]
    for method in dict.fromkeys(s.method for s in summaries):
        own = {s.at: s for s in summaries if s.method == method}
        lines.append(f"| {method} | " + " | ".join(_mean(own[p]) if p in own else "" for p in ks) + " |")
        if any(s.paper is not None for s in own.values()):
            paper = ["" if p not in own or own[p].paper is None else f"{own[p].paper:.3f}" for p in ks]
            lines.append(f"| the paper's {method} | " + " | ".join(paper) + " |")
    return [*lines, ""]


def _mean(summary: Summary) -> str:
    return f"{summary.mean:.3f} ± {summary.deviation:.3f}" if len(summary.values) > 1 else f"{summary.mean:.3f}"
