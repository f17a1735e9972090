"""The command line: ``fdgpu demo``, ``fdgpu audit``, ``fdgpu doctor``.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdgpu.errors import FdgpuError, FdgpuWarning

if TYPE_CHECKING:  # what does the work is imported when a command runs, so that --help is there at once
    from fdgpu.captions.candidates import CaptionRecipe
    from fdgpu.directions.estimator import FailureDirections
    from fdgpu.findings import ClassFindings, Findings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find where an image classifier fails, say in words what the failures share, and show them.",
    epilog="Start with [bold]fdgpu demo[/bold]: it needs no data and shows what an audit finds.",
)

Out = Annotated[Path, typer.Option(help="Folder for the report and its data; made if it is not there.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random: the same seed gives the same answer.")]
Permutations = Annotated[
    int, typer.Option(min=0, help="Permutations of right and wrong that test every class; 0 tests none.")
]
Directions = Annotated[int, typer.Option(min=1, help="Failure modes to look for in each class.")]
StopAfter = Annotated[
    int,
    typer.Option(
        min=0,
        help="End a class's permutations after that many scores as high as its own, and draw on where they do not "
        "decide; 0 to draw just as many as asked for.",
    ),
]
MinErrors = Annotated[int, typer.Option(min=0, help="Fewest errors of a class that is looked at.")]
Nested = Annotated[bool, typer.Option("--nested", help="Also an unbiased score, by nested cross-validation.")]
Backend = Annotated[str, typer.Option(help="Solver: auto, numba, triton or cuml. One asked for by name runs or fails.")]
Decode = Annotated[
    bool, typer.Option("--decode", help="Draw the clearest directions with the bundled decoder (model bundled only).")
]
Device = Annotated[str, typer.Option(help="Where to embed: auto, cpu, cuda, cuda:1, …")]
Precision = Annotated[
    str,
    typer.Option(help="What to embed in: auto (float16 on CUDA, float32 elsewhere), float16, bfloat16 or float32."),
]

# The folder is read, not the recipes: to import what reads them takes seconds.
RECIPES = sorted(
    entry.name.removesuffix(".toml")
    for entry in (resources.files("fdgpu") / "captions" / "recipes").iterdir()
    if entry.name.endswith(".toml")
)

PERMUTATIONS, STOP_AFTER = 200, 10  # an audit's (fdgpu.directions.parameters.AUDIT), whose import takes seconds too


class Groups(StrEnum):
    """What is done about images that belong together."""

    AUTO = "auto"
    NONE = "none"


MOST_ROWS = 30  # of the summary: the report has them all

_said: set[str] = set()  # warnings that were printed: what was doubted while loading, an audit says again


@app.command()
def demo(
    out: Out = Path("fdgpu-demo"),
    seed: Seed = 0,
    permutations: Permutations = PERMUTATIONS,
    directions: Directions = 1,
    stop_after: StopAfter = STOP_AFTER,
    nested: Nested = False,
    decode: Decode = False,
    backend: Backend = "auto",
    device: Device = "auto",
) -> None:
    """Audit a model with planted failures, on real photographs that ship with fdgpu.

    Renders pictures with known attributes, trains a small model on training data in which six classes go with a
    colour, a background or a size, audits it, and compares what the audit says with what was planted. Takes about
    two minutes on two cores. OUT then also holds truth.json, and images/ and predictions.csv to try the audit on:

        fdgpu audit --images OUT/images --predictions OUT/predictions.csv --model bundled --out again
    """
    estimator = _estimator(permutations, directions, stop_after, 0, nested, backend, seed)
    _check_device(device)
    from fdgpu.demo.run import demo as run_demo
    from fdgpu.progress import ProgressBars

    with ProgressBars() as progress:
        result, accuracy = run_demo(out, seed, directions=estimator, decode=decode, device=device, progress=progress)
    _summary(result.findings)
    typer.echo(f"The base model is right on {accuracy:.1%} of the test images.")
    typer.echo(f"Report: {out / 'report.html'}")


@app.command()
def audit(
    images: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder that the paths in the CSV start from.")
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="CSV with the columns path,label,prediction,split and optionally confidence and group.",
        ),
    ],
    out: Out,
    model: Annotated[
        str | None,
        typer.Option(
            help="Needed: an open_clip model, ViT-B-32:openai, or bundled, which knows the demo's garments only."
        ),
    ] = None,
    grammar: Annotated[
        str | None,
        typer.Option(help=f"Candidate captions: a TOML file of your own, or a recipe: {', '.join(RECIPES)}."),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Text file with one class name a line, if the CSV has class numbers."
        ),
    ] = None,
    groups: Annotated[
        Groups,
        typer.Option(
            help="auto: the CSV's column group, or else near-duplicates, count as one piece of evidence; none: every "
            "image counts as its own."
        ),
    ] = Groups.AUTO,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Take paths that lead out of the folder of images.")
    ] = False,
    permutations: Permutations = PERMUTATIONS,
    directions: Directions = 1,
    stop_after: StopAfter = STOP_AFTER,
    min_errors: MinErrors = 0,
    nested: Nested = False,
    decode: Decode = False,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; halved when memory runs out.")] = 256,
    reduced_decoding: Annotated[
        bool,
        typer.Option(
            "--reduced-decoding", help="Decode JPEGs much larger than the model's input at a fraction of their size."
        ),
    ] = False,
    seed: Seed = 0,
) -> None:
    """Audit a model of yours: a folder of images and a CSV of its predictions.

    split is train, val or test. Directions are fitted on val, which the model must not have been trained on;
    embeddings are whitened by train (by val where there is none), and examples are shown from test (from val where
    there is none). An image that cannot be read is left out and listed in the report.
    """
    if decode and model not in (None, "bundled"):
        raise typer.BadParameter(
            f"the bundled decoder draws directions of the bundled CLIP, not of {model}: leave it out, or pass "
            "fdgpu.audit a decoder of that CLIP (fdgpu.Decoder.from_diffusers)",
            param_hint="--decode",
        )
    estimator = _estimator(permutations, directions, stop_after, min_errors, nested, backend, seed)
    _check_device(device, precision)
    recipe = _recipe(grammar)
    from fdgpu.auditing.inputs import check_inputs
    from fdgpu.auditing.pipeline import audit as run_audit
    from fdgpu.auditing.predictions import read_predictions
    from fdgpu.decoding.decoder import Decoder
    from fdgpu.embedding.features import named_embedder
    from fdgpu.folders import check_folder, replaced_folder
    from fdgpu.progress import ProgressBars

    check_folder(out)
    table = read_predictions(predictions)
    names = _class_names(class_names)
    if model is None:  # what is wrong with the CSV is said first
        check_inputs(table.labels, table.predictions, names, table.splits, table.confidence)
        raise typer.BadParameter(
            "name the CLIP that embeds the images: ViT-B-32:openai (the paper's), ViT-L-14:openai or another model and "
            "tag of open_clip, MODEL:FILE for weights on this disk, local-dir:FOLDER, hf-hub:NAME, or bundled, which "
            "knows the demo's ten garments only",
            param_hint="--model",
        )
    decoder = Decoder.bundled(device) if decode else None
    paths = [images / path for path in table.paths]
    with ProgressBars() as progress, replaced_folder(out, (predictions, *paths)) as folder:
        result = run_audit(
            images,
            table,
            class_names=names,
            embedder=partial(named_embedder, model, device, batch_size, precision, reduced_decoding),
            grammar=recipe,
            decoder=decoder,
            out=folder,
            groups=groups.value,
            allow_outside=allow_outside,
            directions=estimator,
            seed=seed,
            progress=progress,
        )
    _summary(result.findings)
    typer.echo(f"Report: {out / 'report.html'}")


@app.command()
def doctor() -> None:
    """Say what is installed, what will run, and why."""
    from fdgpu.doctor import examine, healthy

    marks = {"ok": "[green]✓[/green]", "absent": "[yellow]–[/yellow]", "broken": "[red]✗[/red]"}
    lines = examine()
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in lines:
        table.add_row(marks[line.state], line.name, escape(line.detail))
    Console().print(table)
    raise typer.Exit(0 if healthy(lines) else 1)


def main() -> None:
    """Run the command line; an error of ours is one message, not a traceback."""
    _said.clear()
    warnings.showwarning = _show_warning
    try:
        app()
    except FdgpuError as error:
        _complain("error", str(error))
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print our own warnings as one line, each once, and none of other libraries'."""
    if issubclass(category, FdgpuWarning) and str(message) not in _said:
        _said.add(str(message))
        _complain("warning", str(message))


def _complain(kind: str, message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]{kind}:[/bold red] {escape(message)}")


@contextmanager
def _usage(option: str | None = None) -> Iterator[None]:
    """Make an error of ours wrong usage, of an option where that is known: nothing was done yet."""
    try:
        yield
    except FdgpuError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _estimator(
    permutations: int, directions: int, stop_after: int, min_errors: int, nested: bool, backend: str, seed: int
) -> FailureDirections:
    """Build the estimator first, whose settings may not go together."""
    from fdgpu.checks import check_seed
    from fdgpu.directions.estimator import FailureDirections
    from fdgpu.directions.parameters import AUDIT

    with _usage("--seed"):
        check_seed(seed, "seed")
    with _usage():
        return FailureDirections(
            n_permutations=permutations,
            n_resamples=AUDIT.n_resamples,
            min_errors=min_errors,
            n_directions=directions,
            stop_after=stop_after,
            nested=nested,
            backend=backend,
            random_state=seed,
        )


def _check_device(device: str, precision: str = "auto") -> None:
    from fdgpu.device import choose_device

    with _usage("--device"):
        choose_device(device)
    with _usage("--precision"):
        choose_device(device, precision)


def _recipe(grammar: str | None) -> CaptionRecipe | None:
    from fdgpu.captions.candidates import CaptionRecipe

    with _usage("--grammar"):
        return None if grammar is None else CaptionRecipe.named(grammar)


def _class_names(file: Path | None) -> list[str] | None:
    from fdgpu.auditing.class_names import read_class_names

    with _usage("--class-names"):
        return None if file is None else read_class_names(file)


def _summary(findings: Findings) -> None:
    """Print the overview, the clearest failure first; what was tested with p and q, the significant before the rest."""
    from fdgpu.report.formats import duration

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("class", "status"):
        table.add_column(column)
    tests = ("p", "q") if findings.tested else ()
    modes = ("modes",) if findings.n_directions > 1 else ()
    for column in ("samples", "errors", *modes, "CV score", *tests):
        table.add_column(column, justify="right")
    table.add_column("hardest caption")
    for entry in (findings.classes[i] for i in findings.ranking()[:MOST_ROWS]):
        status = _status(entry)
        numbers = [str(entry.n), str(entry.n_errors)] + [str(len(entry.modes)) for _ in modes]
        values = [entry.cv_score, *((entry.p_value, entry.q_value) if tests else ())]
        caption = entry.strongest.hardest_caption or "–"
        table.add_row(escape(entry.name), status, *numbers, *map(_three_digits, values), escape(caption))
    Console().print(table)
    if not tests:
        typer.echo("Nothing was tested: these failures may be chance (--permutations 200 tests them).")
    else:
        significant = sum(entry.significant for entry in findings.classes)
        typer.echo(
            f"{significant} of {len(findings.classes)} classes are significant at a false discovery rate of "
            f"{findings.fdr:g}. The test took {duration(findings.timings.get('test directions', 0.0))}, with up to "
            f"{max(entry.n_permutations for entry in findings.classes)} permutations a class."
        )
    skipped = findings.skipped
    if skipped:
        _complain("warning", f"{len(skipped)} images were skipped; the first is {skipped[0].path}: {skipped[0].reason}")


def _status(entry: ClassFindings) -> str:
    if not entry.found:
        return entry.status
    if not entry.tested:
        return "fitted, not tested"
    return "significant" if entry.significant else "not significant"


def _three_digits(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
