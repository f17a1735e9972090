"""The command line: ``fdgpu demo``, ``audit``, ``embed``, ``predict`` and ``doctor``; and what follows an audit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdgpu import after_audits, options
from fdgpu.answering import Answer, ExitCode, Program, answering, complain, show_warning
from fdgpu.options import check_device, check_images, class_names_of, renamed_columns, usage
from fdgpu.version import __version__

if TYPE_CHECKING:  # what does the work is imported when a command runs, so that --help is there at once
    from fdgpu.auditing.columns.tables import Predictions
    from fdgpu.captions.candidates import CaptionRecipe
    from fdgpu.cluster import Cluster
    from fdgpu.directions.estimator import FailureDirections
    from fdgpu.findings import ClassFindings, Findings

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find where an image classifier fails, say in words what the failures share, and show them.",
    epilog="Start with [bold]fdgpu demo[/bold]: it needs no data and shows what an audit finds. Exit codes: 0 done, 1 "
    "failed, 2 wrong usage, 3 a comparison that says worse (--fail-if-worse), 130 interrupted.",
)

MOST_ROWS = 30  # of the summary: the report has them all


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fdgpu {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version, and exit.")
    ] = False,
) -> None:
    """Take what stands before a command."""


def demo(
    out: options.Out = Path("fdgpu-demo"),
    seed: options.Seed = 0,
    permutations: options.Permutations = options.PERMUTATIONS,
    directions: options.Directions = 1,
    stop_after: options.StopAfter = options.STOP_AFTER,
    nested: options.Nested = False,
    method: options.MethodOption = options.Method.AUTO,
    decode: options.Decode = False,
    repair: options.RepairDemo = False,
    backend: options.Backend = "auto",
    device: options.Device = "auto",
) -> Answer:
    """Audit a model with planted failures, on real photographs that ship with fdgpu.

    Renders pictures with known attributes, trains a small model on training data in which six classes go with a
    colour, a background or a size, audits it, and compares what the audit says with what was planted. Takes about
    five minutes on two cores. OUT then also holds truth.json, and images/ and predictions.csv to try the audit on:

        fdgpu audit --images OUT/images --predictions OUT/predictions.csv --model bundled --out again
    """
    estimator = _estimator(permutations, directions, stop_after, 0, nested, backend, seed, method)
    check_device(device)
    from fdgpu.demo.run import demo as run_demo
    from fdgpu.progress import ProgressBars

    with ProgressBars() as progress:
        result, accuracy = run_demo(
            out,
            seed,
            method=method.value,
            directions=estimator,
            decode=decode,
            repair=repair,
            device=device,
            progress=progress,
        )
    _summary(result.findings)
    typer.echo(f"The base model is right on {accuracy:.1%} of the test images.")
    typer.echo(f"Report: {out / 'report.html'}")
    if repair:
        typer.echo(f"Before and after: {out / 'mended.html'}")
    mended = str(out / "mended.html") if repair else None
    return Answer(lambda: _audit_in(out) | {"accuracy": accuracy, "mended": mended})


def audit(
    images: options.Images,
    out: options.Out,
    predictions: options.PredictionsFile = None,
    classifier: options.ClassifierInPlace = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    model: options.Embedder = None,
    grammar: options.Grammar = None,
    captioner: options.CaptionerName = None,
    class_names: options.ClassNamesFile = None,
    store: options.Store = "auto",
    ray: options.Ray = None,
    ray_gpus: options.RayGpus = None,
    groups: options.GroupsOption = options.Groups.AUTO,
    slices: options.Slices = "auto",
    conjunctions: options.Conjunctions = 3,
    slice_unknown: options.SliceUnknown = False,
    allow_outside: options.Outside = False,
    permutations: options.Permutations = options.PERMUTATIONS,
    directions: options.Directions = 1,
    stop_after: options.StopAfter = options.STOP_AFTER,
    min_errors: options.MinErrors = 0,
    nested: options.Nested = False,
    method: options.MethodOption = options.Method.AUTO,
    published: options.Published = False,
    clean: options.Clean = False,
    decode: options.Decode = False,
    backend: options.Backend = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 256,
    reduced_decoding: options.ReducedDecoding = False,
    seed: options.Seed = 0,
) -> Answer:
    """Audit a model of yours: images, and a table of its predictions or the model itself.

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
    estimator = _estimator(permutations, directions, stop_after, min_errors, nested, backend, seed, method, published)
    check_device(device, precision)
    check_images(images)
    recipe = _recipe(grammar)
    from fdgpu.captions.sentences import as_captioner, check_captioner

    with usage("--captioner"):
        check_captioner(captioner, grammar)
    from fdgpu.auditing.pipeline import audit as run_audit
    from fdgpu.auditing.slices import SliceSearch
    from fdgpu.decoding.decoder import Decoder
    from fdgpu.embedding.classifier import Classifier
    from fdgpu.embedding.features import named_embedder
    from fdgpu.folders import check_folder, replaced_folder
    from fdgpu.progress import ProgressBars

    check_folder(out)
    names, named = class_names_of(class_names), renamed_columns(columns)
    known = slices if slices in ("auto", "none") else [one.strip() for one in slices.split(",")]
    with usage("--slices"):
        asked = SliceSearch(known, conjunctions, unknown=slice_unknown)
    given = predictions or labels
    table = _table(predictions, classifier, labels, named)
    if model is None:  # what is wrong with the CSV is said first
        _refuse_no_model(table, names)
    answering = None if classifier is None else Classifier.from_name(classifier, device)
    decoder = Decoder.bundled(device) if decode else None
    writer = None if captioner is None else as_captioner(captioner, device)
    root = Path(images)
    paths = root.rglob("*") if table is None else (root / path for path in table.paths)
    kept_from = chain([given] if given else [], [root] if root.is_file() else paths)
    with (
        _cluster(ray, ray_gpus) as cluster,
        ProgressBars() as progress,
        replaced_folder(out, kept_from) as folder,
    ):
        result = run_audit(
            images,
            table,
            model=answering,
            class_names=names,
            embedder=partial(named_embedder, model, device, batch_size, precision, reduced_decoding),
            grammar=recipe,
            captioner=writer,
            decoder=decoder,
            out=folder,
            store=store,
            cluster=cluster,
            groups=groups.value,
            slices=asked,
            allow_outside=allow_outside,
            method=method.value,
            directions=estimator,
            clean=clean,
            seed=seed,
            progress=progress,
        )
    _summary(result.findings)
    typer.echo(f"Report: {out / 'report.html'}")
    return Answer(lambda: _audit_in(out))


def embed(
    source: Annotated[
        str, typer.Argument(help="Folder of images; or a Parquet, tar, zip or .beton file, tar shards, an address.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the store: made if it is not there, gone on with if it is.")],
    model: options.EmbedderNeeded,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 256,
    reduced_decoding: options.ReducedDecoding = False,
    shard_rows: options.ShardRows = None,
    ray: options.Ray = None,
    ray_gpus: options.RayGpus = None,
) -> Answer:
    """Embed images into a store: Parquet files that an audit and other programs read.

    A run that was killed goes on where it was; run again with more images, it embeds those. Images that changed or
    went, another model or another preprocessing are refused.
    """
    check_device(device, precision)
    check_images(source, "SOURCE")
    from fdgpu.embedding.features import named_embedder
    from fdgpu.embedding.opening import class_folders_or_images
    from fdgpu.progress import ProgressBars
    from fdgpu.store.filling import fill
    from fdgpu.store.pieces import Workers

    images = class_folders_or_images(source)
    make = partial(named_embedder, model, device, batch_size, precision, reduced_decoding)
    with _cluster(ray, ray_gpus) as cluster, ProgressBars() as progress:
        embedder, workers = make(), None if cluster is None else Workers(cluster, make)
        found = fill(out, images, embedder, progress, whole=True, shard_rows=shard_rows, workers=workers)
    typer.echo(f"Store: {out}, {len(found.ids):,} images, vectors of {embedder.dimension} numbers")
    _warn_of_skipped(found.unreadable)
    about = {"store": str(out), "images": len(found.ids), "dimension": embedder.dimension}
    return Answer(lambda: about | {"skipped": dict(found.unreadable)})


def predict(
    images: options.Images,
    classifier: options.ClassifierName,
    out: Annotated[Path, typer.Option(help="Table to write: Parquet, or CSV where its name ends in .csv.")],
    labels: options.Labels = None,
    columns: options.Columns = None,
    class_names: options.ClassNamesFile = None,
    allow_outside: options.Outside = False,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 256,
) -> Answer:
    """Ask a model of yours about images, and write a table for fdgpu audit --predictions.

    The table has path, label, prediction, confidence, true_probability, and split, as the folders or the table of
    labels say it, else val.
    """
    check_device(device)
    check_images(images)
    names, named = class_names_of(class_names), renamed_columns(columns)
    from fdgpu.auditing.predicting import predict as run_predict
    from fdgpu.embedding.classifier import Classifier
    from fdgpu.progress import ProgressBars

    with ProgressBars() as progress:
        predicted = run_predict(
            images,
            Classifier.from_name(classifier, device),
            labels,
            class_names=names,
            columns=named,
            allow_outside=allow_outside,
            batch_size=batch_size,
            progress=progress,
        )
    predicted.write(out)
    typer.echo(f"The model is right on {predicted.accuracy:.1%} of {predicted.table.num_rows:,} images.")
    typer.echo(f"Table: {out}")
    about = {"table": str(out), "rows": predicted.table.num_rows, "accuracy": predicted.accuracy}
    return Answer(lambda: about | {"skipped": predicted.skipped})


def doctor() -> Answer:
    """Say what is installed, what will run, and why."""
    from fdgpu.doctor import examine, healthy

    marks = {"ok": "[green]✓[/green]", "absent": "[yellow]–[/yellow]", "broken": "[red]✗[/red]"}
    lines = examine()
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in lines:
        table.add_row(marks[line.state], line.name, escape(line.detail))
    Console().print(table)
    return Answer(
        lambda: {"healthy": healthy(lines), "lines": [asdict(line) for line in lines]},
        ExitCode.DONE if healthy(lines) else ExitCode.FAILED,
    )


COMMANDS: tuple[Callable[..., Answer], ...] = (
    demo, audit, embed, predict, after_audits.compare, after_audits.repair, after_audits.finetune, after_audits.export,
    doctor,
)  # fmt: skip
for _command in COMMANDS:
    app.command()(answering(_command))


def main() -> None:
    """Run the command line."""
    from fdgpu.findings import INTERFACE, Interface

    warnings.showwarning = show_warning
    before = INTERFACE.set(Interface.COMMAND_LINE)
    try:
        app()
    finally:
        INTERFACE.reset(before)


def _estimator(
    permutations: int,
    directions: int,
    stop_after: int,
    min_errors: int,
    nested: bool,
    backend: str,
    seed: int,
    method: options.Method,
    published: bool = False,
) -> FailureDirections:
    """Build the estimator first, whose settings may not go together; where the audit chooses, by the paper's method."""
    from fdgpu.checks import check_seed
    from fdgpu.directions.estimator import FailureDirections
    from fdgpu.directions.parameters import AUDIT

    with usage("--seed"):
        check_seed(seed, "seed")
    with usage():
        return FailureDirections(
            n_permutations=permutations,
            n_resamples=AUDIT.n_resamples,
            min_errors=min_errors,
            n_directions=directions,
            stop_after=stop_after,
            nested=nested,
            backend=backend,
            random_state=seed,
            published=published,
            method=(options.Method.SVM if method is options.Method.AUTO else method).value,
        ).check()


@contextmanager
def _cluster(address: str | None, gpus: float | None) -> Iterator[Cluster | None]:
    """Connect to a cluster, if one is asked for, before any work."""
    if address is None:
        if gpus is not None:
            raise typer.BadParameter("there is no cluster: pass --ray too, or leave it out", param_hint="--ray-gpus")
        yield None
        return
    from fdgpu.cluster import Cluster

    with usage("--ray"):
        cluster = Cluster.connect(address, gpus_per_worker=gpus)
    with cluster:
        yield cluster


def _table(
    predictions: Path | None,
    classifier: str | None,
    labels: Path | None,
    named: dict[str, str] | None,
) -> Predictions | None:
    """Read the table of what the model said, or of labels beside a model; None where folders are classes."""
    from fdgpu.auditing.columns.predictions import read_predictions
    from fdgpu.auditing.columns.tables import REQUIRED

    if (predictions is None) is (classifier is None) or (labels is not None and classifier is None):
        raise typer.BadParameter(
            "pass --predictions, a table of what the model said, or --classifier, the model itself, and beside it "
            "--labels where folders are no classes",
            param_hint="--predictions, --classifier",
        )
    given = predictions or labels
    if given is None and named:
        raise typer.BadParameter("there is no table whose columns it names: leave it out", param_hint="--columns")
    needed = REQUIRED if classifier is None else ("path", "label")
    return None if given is None else read_predictions(given, named, needed)


def _refuse_no_model(table: Predictions | None, names: list[str] | None) -> NoReturn:
    """Say what is wrong with the table, or else which models there are."""
    from fdgpu.auditing.columns.inputs import check_inputs

    if table is not None and table.answers is not None:
        check_inputs(table.labels, table.answers, names, table.splits, table.confidence)
    raise typer.BadParameter(
        "name the CLIP that embeds the images: ViT-B-32:openai (the paper's), ViT-L-14:openai or another model and "
        "tag of open_clip, MODEL:FILE for weights on this disk, local-dir:FOLDER, hf-hub:NAME, or bundled, which "
        "knows the demo's ten garments only. Another network has directions and no captions: "
        "features:torchvision:resnet50, features:timm:NAME",
        param_hint="--model",
    )


def _recipe(grammar: str | None) -> CaptionRecipe | None:
    from fdgpu.captions.candidates import CaptionRecipe

    with usage("--grammar"):
        return None if grammar is None else CaptionRecipe.named(grammar)


def _audit_in(out: Path) -> dict[str, object]:
    from fdgpu.files import parse_json

    document = parse_json((out / "audit.json").read_text(encoding="utf-8"))
    return {"out": str(out), "report": str(out / "report.html"), "audit": document}


def _summary(findings: Findings) -> None:
    """Print the overview, the clearest failure first; what was tested with p and q, the significant before the rest."""
    from fdgpu.report.wording import duration

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("class", "status"):
        table.add_column(column)
    tests = ("p", "q") if findings.tested else ()
    modes = ("modes",) if findings.n_directions > 1 else ()
    explained = ("explained",) if findings.method == "latent" else ()
    for column in ("samples", "errors", *modes, "CV score", *explained, *tests):
        table.add_column(column, justify="right")
    table.add_column("hardest caption")
    for entry in (findings.classes[i] for i in findings.ranking()[:MOST_ROWS]):
        status = _status(entry)
        numbers = [str(entry.n), str(entry.n_errors)] + [str(len(entry.modes)) for _ in modes]
        values = [entry.cv_score, *[entry.errors_explained for _ in explained]]
        values += [entry.p_value, entry.q_value] if tests else []
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
    if findings.method_reason:
        typer.echo(f"Method: {findings.method} ({findings.method_reason}).")
    _slices(findings)
    _warn_of_skipped({one.path: one.reason for one in findings.skipped})


def _slices(findings: Findings) -> None:
    """Print a line of each slice of known columns that follows from no other."""
    from fdgpu.report.wording import chance, percent, slice_words

    found = [one for one in findings.slices if not one.follows_from]
    for one in found[:MOST_ROWS]:
        right, n = percent(one.accuracy.value, 0), f"{one.shown.n} {findings.shown_from} images"
        between = f"{percent(one.accuracy.low, 0)} to {percent(one.accuracy.high, 0)}"
        words = "; ".join(
            filter(None, [f"{right} right ({between}) of {n}", f"q {chance(one.q_value)}", slice_words(one)])
        )
        typer.echo(f"{one.class_name}, {one.name}: {words}")
    if len(found) > MOST_ROWS:
        typer.echo(f"{len(found) - MOST_ROWS} further slices of known columns are in slices.csv.")


def _warn_of_skipped(reasons: Mapping[str, str]) -> None:
    if reasons:
        path, reason = next(iter(reasons.items()))
        complain("warning", f"{len(reasons)} images were skipped; the first is {path}: {reason}")


def _status(entry: ClassFindings) -> str:
    if not entry.found:
        return entry.status
    if not entry.tested:
        return "fitted, not tested"
    return "significant" if entry.significant else "not significant"


def _three_digits(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
