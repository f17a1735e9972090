"""Commands that follow an audit: ``fdgpu compare``, ``repair``, ``finetune`` and ``export``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fdgpu.answering import Answer, ExitCode
from fdgpu.findings import Target
from fdgpu.options import (
    ClassifierName,
    ClassNamesFile,
    Columns,
    Device,
    Labels,
    Outside,
    Seed,
    check_device,
    check_images,
    class_names_of,
    renamed_columns,
    usage,
)

if TYPE_CHECKING:  # what does the work is imported when a command runs, so that --help is there at once
    from fdgpu.auditing.after.repairing import Manifest
    from fdgpu.embedding.embedder import ImageEmbedder
    from fdgpu.report.comparison import Comparison

Audit = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that fdgpu audit has written.")]


def compare(
    before: Audit,
    after: Audit,
    out: Annotated[Path, typer.Option(help="File for the page, such as compared.html.")],
    images: Annotated[str | None, typer.Option(help="What both audits were made of, for the page's pictures.")] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help=f"Exit with {ExitCode.WORSE} if an accuracy fell, or a failure grew or came, significantly.",
        ),
    ] = False,
) -> Answer:
    """Compare two audits of the same images, of a model before and after it was repaired: which failures went.

    Both models are tested on the same images: McNemar's exact test, with Benjamini and Hochberg's q-values. A change
    counts with q up to the false discovery rate of BEFORE.
    """
    if images is not None:
        check_images(images)
    from fdgpu.auditing.after.comparing import compare as run_compare
    from fdgpu.auditing.after.comparing import comparison_json

    found = run_compare(before, after, out=out, images=images)
    _summary(found)
    typer.echo(f"Page: {out}")
    code = ExitCode.WORSE if fail_if_worse and found.worse else ExitCode.DONE
    return Answer(lambda: {"page": str(out), "comparison": comparison_json(found)}, code)


class PaintOf(StrEnum):
    """What pictures are of."""

    CAPTIONS = "captions"
    DIRECTIONS = "directions"


def repair(
    audit: Audit,
    out: Annotated[Path, typer.Option(help="Folder for the manifests; made if it is not there.")],
    pool: Annotated[
        str | None,
        typer.Option(help="Images that the model was not trained on: the hardest of each failing class are chosen."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Images of a class to choose from the pool.")] = 100,
    weights: Annotated[
        bool, typer.Option("--weights", help="Weigh the losses of training images on the hard side.")
    ] = False,
    train: Annotated[
        str | None,
        typer.Option(help="Training images, for --weights; by default those whose embeddings the audit keeps."),
    ] = None,
    factor: Annotated[float, typer.Option(min=0, help="Weight of a loss on the hard side.")] = 2.0,
    paint: Annotated[
        str | None,
        typer.Option(help="Paint pictures of each failure: the folder of a diffusers pipeline, or bundled."),
    ] = None,
    paint_of: Annotated[
        PaintOf, typer.Option("--of", help="Paint hard captions, or along the directions (no caption is needed).")
    ] = PaintOf.CAPTIONS,
    per_class: Annotated[int, typer.Option(min=1, help="Pictures of a class to paint.")] = 100,
    labels: Labels = None,
    columns: Columns = None,
    allow_outside: Outside = False,
    model: Annotated[
        str | None, typer.Option("--model", help="The audit's embedder, where its name alone does not load it.")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> Answer:
    """Say what to train on to mend an audit's significant failures; each way leaves a CSV, and a JSON about it.

    --labels is of the pool, or else of the training images. fdgpu finetune --repair OUT trains on what is there.
    """
    if pool is None and not weights and paint is None:
        raise typer.BadParameter("say how: --pool POOL, --weights or --paint PIPELINE", param_hint="--pool")
    if train is not None and not weights:
        raise typer.BadParameter("training images are for --weights: add it, or leave this out", param_hint="--train")
    check_device(device)
    for images, option in ((pool, "--pool"), (train, "--train")):
        if images is not None:
            check_images(images, option)
    from fdgpu.auditing.after import repairing
    from fdgpu.auditing.result import PastAudit
    from fdgpu.embedding.features import named_embedder
    from fdgpu.progress import ProgressBars

    named = renamed_columns(columns)
    name = model or str(PastAudit.of(audit, "AUDIT").document["model"])

    @cache
    def embedder() -> ImageEmbedder:
        return named_embedder(name, device)

    made: list[Manifest] = []
    of_images: dict[str, Any] = {"columns": named, "allow_outside": allow_outside}
    with ProgressBars() as progress:
        shared: dict[str, Any] = {"embedder": embedder, "progress": progress}
        if pool is not None:
            made.append(repairing.repair_by_pool(audit, pool, out, k=k, labels=labels, **of_images, **shared))
        if weights:
            about = {"labels": labels, **of_images} if pool is None else {}
            made.append(repairing.repair_by_weights(audit, out, train, factor=factor, **about, **shared))
        if paint is not None:
            from fdgpu.auditing.after.picturing import repair_by_painting

            made.append(
                repair_by_painting(
                    audit, paint, out, of=paint_of.value, per_class=per_class, seed=seed, device=device, **shared
                )
            )
    for one in made:
        _say_chosen(one)
    return Answer(
        lambda: {
            "manifests": [{"file": str(one.file), "rows": one.rows, "counts": dict(one.counts)} for one in made],
        }
    )


class Layers(StrEnum):
    """What of a network is trained."""

    LAST = "last"
    ALL = "all"


def finetune(
    classifier: ClassifierName,
    images: Annotated[str, typer.Option(help="Training images, with labels: a folder of classes, or with --labels.")],
    out: Annotated[Path, typer.Option(help="File for the trained weights, such as tuned.safetensors.")],
    repair_folder: Annotated[
        Path | None,
        typer.Option(
            "--repair",
            exists=True,
            file_okay=False,
            help="Folder of fdgpu repair, whose images are added, and weights taken.",
        ),
    ] = None,
    layers: Annotated[Layers, typer.Option(help="The last linear layer, or all.")] = Layers.LAST,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe of the paper; by default cifar_last_layer, or cifar for all layers.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs in place of the recipe's.")] = None,
    peak_lr: Annotated[float | None, typer.Option(help="Peak learning rate in place of the recipe's.")] = None,
    labels: Labels = None,
    columns: Columns = None,
    class_names: ClassNamesFile = None,
    allow_outside: Outside = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    device: Device = "auto",
    seed: Seed = 0,
) -> Answer:
    """Train a classifier of yours further, its last layer or all, by the paper's recipe.

    The weights go into OUT; CLASSIFIER:OUT is the trained model for fdgpu audit --classifier.
    """
    check_device(device)
    check_images(images)
    names, named = class_names_of(class_names), renamed_columns(columns)
    from fdgpu.auditing.after.finetuning import RECIPES
    from fdgpu.auditing.after.finetuning import finetune as run_finetune
    from fdgpu.progress import ProgressBars
    from fdgpu.repair.training_recipe import as_recipe

    with usage("--recipe"):
        settings = as_recipe(recipe or RECIPES[layers.value])
        if epochs is not None:
            settings = replace(settings, epochs=epochs, peak_epoch=min(settings.peak_epoch, epochs))
        if peak_lr is not None:
            settings = replace(settings, peak_lr=peak_lr)
    with ProgressBars() as progress:
        found = run_finetune(
            classifier,
            images,
            labels,
            repair=repair_folder,
            layers=layers.value,
            recipe=settings,
            out=out,
            class_names=names,
            columns=named,
            allow_outside=allow_outside,
            device=device,
            workers=workers,
            seed=seed,
            progress=progress,
        )
    typer.echo(
        f"Trained on {found.n:,} images and {found.n_added:,} that were added; {found.n_weighed:,} were weighed."
    )
    typer.echo(f"Weights: {out}")
    about: dict[str, object] = {
        "weights": str(out),
        "n": found.n,
        "n_added": found.n_added,
        "n_weighed": found.n_weighed,
    }
    return Answer(lambda: about)


def export(
    audit: Audit,
    to: Annotated[Target, typer.Option(help="The program that it is for, or the format.")],
    out: Annotated[Path, typer.Option(help="File to write; for fiftyone and huggingface a folder, new or empty.")],
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder that the paths of the images start from.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Folder of their embeddings. auto: those in AUDIT, if any; none: leave vectors out.")
    ] = "auto",
) -> Answer:
    """Give an audit to another program: each image with its answer, decision value, cause, tags and vector.

    docs/exports.md says how each program opens it.
    """
    from fdgpu.auditing.after.exporting import audit_frame, export_frame

    frame = audit_frame(audit, images, store)
    export_frame(frame, to.value, out)
    typer.echo(f"{out}: {frame.num_rows:,} rows for {to.value}")
    columns = frame.column_names
    return Answer(lambda: {"to": to.value, "out": str(out), "rows": frame.num_rows, "frame": columns})


def _say_chosen(made: Manifest) -> None:
    counts = ", ".join(f"{n} {name}" for name, n in made.counts.items())
    typer.echo(f"{made.file}: {made.rows:,} images ({counts})")


def _summary(found: Comparison) -> None:
    """Print what became of the failures, and of accuracy in all."""
    from fdgpu.report.wording import chance, percent, signed

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
