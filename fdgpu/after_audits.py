"""Commands that follow an audit: ``fdgpu compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdgpu.usage import check_images

if TYPE_CHECKING:  # what does the work is imported when a command runs, so that --help is there at once
    from fdgpu.report.comparison import Comparison

WORSE = 3  # the exit code of a comparison that says so
Audit = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that fdgpu audit has written.")]


def compare(
    before: Audit,
    after: Audit,
    out: Annotated[Path, typer.Option(help="File for the page, such as compared.html.")],
    json: Annotated[Path | None, typer.Option("--json", help="File for the same as JSON.")] = None,
    images: Annotated[str | None, typer.Option(help="What both audits were made of, for the page's pictures.")] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse", help=f"Exit with {WORSE} if an accuracy fell, or a failure grew or came, significantly."
        ),
    ] = False,
) -> None:
    """Compare two audits of the same images, of a model before and after it was repaired: which failures went.

    Both models are tested on the same images: McNemar's exact test, with Benjamini and Hochberg's q-values. A change
    counts with q up to the false discovery rate of BEFORE.
    """
    if images is not None:
        check_images(images)
    from fdgpu.auditing.comparing import compare as run_compare

    found = run_compare(before, after, out=out, json=json, images=images)
    _summary(found)
    typer.echo(f"Page: {out}")
    if fail_if_worse and found.worse:
        raise typer.Exit(WORSE)


def _summary(found: Comparison) -> None:
    """Print what became of the failures, and of accuracy in all."""
    from fdgpu.report.formats import chance, percent, signed

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, justify in (("class", "left"), ("verdict", "left"), ("images", "right"), ("before", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("after", "q"):
        table.add_column(column, justify="right")
    table.add_column("hardest caption")
    for one in found.failures:
        side = one.hard_side
        accuracies = (percent(side.accuracy_before), percent(side.accuracy_after), chance(side.q_value))
        table.add_row(
            escape(one.class_name), one.verdict or "not new", str(side.n), *accuracies, escape(one.caption or "–")
        )
    if found.failures:
        typer.echo("Accuracy on the hard side of each failure:")
        Console().print(table)
    typer.echo(f"Failures: {found.in_words}." if found.in_words else "There was no significant failure.")
    overall = found.overall
    typer.echo(
        f"In all {percent(overall.accuracy_before)} became {percent(overall.accuracy_after)} of {overall.n:,} images "
        f"({signed(100 * overall.change.low, 1)} to {signed(100 * overall.change.high, 1)} points)."
    )
    for sentence in found.worse:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]worse:[/bold red] {escape(sentence)}")
    for note in found.notes:
        Console(stderr=True, soft_wrap=True).print(f"[bold]note:[/bold] {escape(note)}")
