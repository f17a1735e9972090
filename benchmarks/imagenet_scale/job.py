"""From ImageNet's files to the report, each stage metered; and from vectors of that size alone, from the fit on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import fdgpu
from benchmarks.imagenet_scale.layout import imagenet
from benchmarks.imagenet_scale.meter import Meter
from benchmarks.imagenet_scale.stages import REPORTS, Row
from benchmarks.imagenet_scale.synthetic import World, captions, write_store
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.directions.parameters import AUDIT, SolverSettings
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.features import named_embedder
from fdgpu.files import writable_folder

RECIPE = "imagenet"
WARM = World(train=400, val=100, classes=2)


@dataclass(frozen=True)
class Job:
    """What is audited with, and where results go.

    Attributes:
        out: folder of the store, the report and the table.
        model: that embeds, as ``--model`` of the command line.
        classifier: that answers in the same pass, by name; None where ``predictions`` are given.
        predictions: table of what a classifier said; None beside ``classifier``.
        device: where images are embedded and classes solved.
        precision: of embedding.
        batch_size: images at a time.
        permutations: of each class's test.
    """

    out: Path
    model: str = "ViT-B-32:openai"
    classifier: str | None = "torchvision:resnet50"
    predictions: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int = 256
    permutations: int = 200

    def directions(self) -> fdgpu.FailureDirections:
        """Return the estimator of an audit, which is fitted once."""
        search = replace(AUDIT, n_permutations=self.permutations)
        return fdgpu.FailureDirections.from_settings(SolverSettings(), search)


def audit_images(place: Path, fraction: float, job: Job) -> list[Row]:
    """Audit a share of ImageNet from its files, and once more from the store that the first audit has left.

    Raises:
        RuntimeError: if the second found anything else.
    """
    meter = Meter(job.device, REPORTS)
    meter.begin("list")
    source = imagenet(place, fraction)
    meter.begin("load models")
    embedder = named_embedder(job.model, job.device, job.batch_size, job.precision)
    table = None if job.predictions is None else read_predictions(job.predictions)
    asked = None if job.classifier is None else Classifier.from_name(job.classifier, job.device)
    run = partial(fdgpu.audit, source, table, model=asked, embedder=embedder, grammar=RECIPE, store=job.out / "store")
    meter.begin("embed")
    result = run(directions=job.directions(), out=job.out / "report", progress=meter)
    meter.end()
    again = Meter(job.device, {**REPORTS, "embed images": "reread", "compare images": "reread"})
    again.begin("reread")
    run(directions=job.directions(), out=job.out / "again", progress=again)
    again.end()
    if _found(job.out / "again") != _found(job.out / "report"):
        raise RuntimeError(
            f"{job.out / 'again'}, the audit from the store, found something else than that from the images"
        )
    shutil.rmtree(job.out / "again")
    divide(meter, result)
    meter.usage["reread"] = again.usage["reread"]
    return rows_of(meter, result)


def _found(report: Path) -> dict[str, object]:
    """Return all that an audit wrote of what it found."""
    written: dict[str, object] = json.loads((report / "audit.json").read_text(encoding="utf-8"))
    return {name: value for name, value in written.items() if name != "timings"}


def audit_vectors(world: World, job: Job) -> list[Row]:
    """Write the vectors of a world into a store, and audit from it; the store is deleted at the end."""
    warm_up(job)
    store = writable_folder(job.out) / "store"
    meter = Meter(job.device, {**REPORTS, "embed images": "reread"})
    meter.begin("write the store")
    try:
        predictions = write_store(world, store)
        meter.begin("reread")
        return rows_of(meter, audit_store(store, world, predictions, job, meter))
    finally:
        shutil.rmtree(store)


def warm_up(job: Job) -> None:
    """Audit a small world: what is compiled and imported with it is not counted."""
    with TemporaryDirectory() as folder:
        own = replace(job, out=Path(folder), permutations=20)
        store = own.out / "store"
        audit_store(store, WARM, write_store(WARM, store), own, Meter(job.device, REPORTS))


def audit_store(store: Path, world: World, predictions: Sequence[str], job: Job, meter: Meter) -> fdgpu.AuditResult:
    """Audit the vectors of a world from their store."""
    recipe = CaptionRecipe.resolve(RECIPE, world.names)
    result = fdgpu.audit(
        embeddings=fdgpu.EmbeddingStore.open(store),
        predictions=predictions,
        class_names=world.names,
        captions=captions(world, recipe),
        grammar=recipe,
        out=job.out / "report",
        directions=job.directions(),
        progress=meter,
    )
    meter.end()
    divide(meter, result)
    return result


def divide(meter: Meter, result: fdgpu.AuditResult) -> None:
    """Divide the fit's stage by its own clock: batches of classes are fitted and tested in turns."""
    tested = result.findings.timings.get("test directions")
    if tested is not None:
        meter.divide("fit", "permutations", tested)


def rows_of(meter: Meter, result: fdgpu.AuditResult) -> list[Row]:
    """Return a line for each stage that was metered."""
    by_split, classes = result.findings.n_images, len(result.findings.classes)
    n = sum(by_split.values())
    scored = sum(len(modes[0].texts) for modes in result.captions.by_class.values() if modes)
    counts = {
        "list": (n, "images"),
        "load models": (1, "time"),
        "write the store": (n, "images"),
        "embed": (n, "images"),
        "reread": (n, "images"),
        "check columns": (n, "images"),
        "near-duplicates": (by_split["val"], "images"),
        "fit": (by_split["val"], "images"),
        "permutations": (classes * result.findings.n_permutations, "permutations at most"),
        "decisions": (n, "images"),
        "captions": (scored, "captions"),
        "page": (classes, "classes"),
    }
    return [Row.of(stage, *counts[stage], meter.usage[stage]) for stage in counts if stage in meter.usage]
