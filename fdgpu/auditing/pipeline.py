"""``audit``: embed, fit, caption, show. Read downward to follow one audit from images to the page."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_host
from fdgpu.auditing.captioning import CaptionedClasses, CaptionSource, caption_classes
from fdgpu.auditing.class_names import ClassNames
from fdgpu.auditing.drawing import DrawnClasses, draw_classes
from fdgpu.auditing.gathering import class_findings, thumbnails
from fdgpu.auditing.images import AuditImages, Embedded, Together, check_some_usable, chosen_rows, none_usable
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.laying import Model, lay
from fdgpu.auditing.notes import Notes
from fdgpu.auditing.outputs import expected_bytes, write_audit
from fdgpu.auditing.truth import Planted, check_planted
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.checks import check_kind, check_seed, check_text
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.fingerprint import weights_digest
from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.parameters import AUDIT, SolverSettings
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.sources import ImageSource
from fdgpu.findings import Findings, Split, Thumbnails
from fdgpu.folders import StagedFolder, check_folder, replaced_folder
from fdgpu.packages import versions
from fdgpu.progress import OneBar, Reporter
from fdgpu.report.page import render_report
from fdgpu.version import __version__


@dataclass(frozen=True)
class AuditResult:
    """An audit in memory.

    Attributes:
        findings: everything the report shows, as plain data.
        directions: the fit.
        mode_decisions: (n, r) decision value of every image along each direction of its class, the strongest first;
            NaN where its class has no such direction or it was skipped. (n, k, r) where images have k conditions.
        captions: candidates and scores of every class, by direction.
        page: the report as HTML.
        out: the folder it was written to, or None.
    """

    findings: Findings
    directions: FailureDirections
    mode_decisions: NDArray[np.float64]
    captions: CaptionedClasses
    page: str
    out: Path | None

    @property
    def decisions(self) -> NDArray[np.float64]:
        """(n,) decision values along the strongest direction of each image's class; (n, k) of k conditions."""
        return self.mode_decisions[..., 0]


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that a block takes to those of its stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def audit(
    images: object,
    labels: Array = None,
    predictions: Array = None,
    *,
    model: Model | None = None,
    preprocess: Callable[[Any], object] | None = None,
    class_names: ClassNames | None = None,
    embedder: ClipEmbedder | str | Callable[[], ClipEmbedder] | None = None,
    grammar: object = None,
    decoder: Decoder | None = None,
    out: str | Path | StagedFolder | None = None,
    splits: Array = None,
    confidence: Array = None,
    groups: Array = "auto",
    order: str | None = None,
    allow_outside: bool = False,
    directions: FailureDirections | None = None,
    planted: Mapping[str, Planted] | None = None,
    title: str = "Where the model fails",
    seed: int = 0,
    timings: Mapping[str, float] | None = None,
    progress: Reporter | None = None,
) -> AuditResult:
    """Find where a classifier fails, and say and show what the failures share.

    Directions are fitted on the ``val`` images (never on training images), whitened by the ``train`` images where
    there are any, and examples and captions are shown from ``test`` (from ``val`` where there is none).

    Args:
        images: n images: a folder, paths, a tensor, any iterable of pictures or of pairs (image, label), a torch
            ``Dataset`` or ``DataLoader``, or what else :func:`~fdgpu.embedding.image_source` takes.
        labels: (n,) true classes, as names or as integers that count into ``class_names``; by default those that come
            with the images, and for a folder the names of its folders. For a folder, or a list of paths, better by
            path: a mapping of path to label, with the columns below as mappings too; or a table that
            holds them all as ``path``, ``label``, ``prediction``, ``split``, ``confidence`` and ``group``: a data frame
            of pandas, polars or pyarrow, a CSV, or what :func:`~fdgpu.auditing.read_predictions` returns. The images
            that it names are audited, others are left alone.
        predictions: (n,) what the model predicted, likewise; None beside a table or ``model``.
        model: the classifier, which answers the images in the same pass, each decoded once: a torch module, a name such
            as ``"torchvision:resnet50"``, ``"timm:NAME"`` or ``"FILE.py:FUNCTION"``, or a :class:`~fdgpu.Classifier`.
        preprocess: what a module takes of a PIL image, such as ``weights.transforms()``; by default the transform of
            the Dataset. A model by name has its own.
        class_names: every class in the order of its id, or a mapping of id to name; by default those of the images'
            source or of the model, or those that occur.
        embedder: a CLIP, by name such as ``"ViT-B-32:openai"``, or a function that loads one, which is called when all
            that can be checked was checked.
            Default the bundled CLIP, which knows the demo's world only: the audit says so.
        grammar: candidate captions: a recipe's name, a TOML file, a :class:`~fdgpu.CaptionGrammar` for all classes, a
            :class:`~fdgpu.CaptionIndex` of millions of captions, made without a reference, or a mapping of class name
            to grammar or index. By default the demo's recipe with the bundled CLIP, and the general recipe with any
            other.
        decoder: draws the clearest directions, from easy over neutral to hard, on the page and into ``decoded/``;
            its CLIP space has to be the embedder's. None draws nothing.
        out: folder to write ``report.html``, ``audit.json``, ``directions.safetensors``, ``examples.parquet``,
            ``captions.parquet`` and ``effects.parquet`` into; None writes nothing. It appears whole when all is done,
            and replaces an earlier audit's files; what fdgpu did not write is kept.
        splits: (n,) of "train", "val" and "test"; None means that all images are for validation.
        confidence: (n,) the model's confidence in its prediction, in [0, 1].
        groups: (n,) ids of images that belong together, such as frames of one video or images of one patient: the test
            takes a group as one piece of evidence, see :meth:`fdgpu.FailureDirections.fit`. ``"auto"`` takes
            near-duplicates for groups, found in the audit's own vectors by a fixed rule, see
            :func:`fdgpu.directions.near_duplicates`; ``"none"`` takes each image as evidence of its own.
        order: "sorted" says that columns beside a folder, without paths, follow its sorted listing; else that they may
            not is a doubt, with the first pairs.
        allow_outside: take paths that lead out of the folder of images.
        directions: an estimator with settings of your own; default ``FailureDirections(random_state=seed,
            n_permutations=200, stop_after=10, n_resamples=20)``. Without permutations nothing is tested; without
            resamples a caption is trusted by its accuracy gap alone.
        planted: what is known to be hard, by class name, to judge the audit by.
        title: heading of the report.
        seed: seed of everything random; of no effect beside ``directions``, which have their own.
        timings: seconds of stages that went before, for the report.
        progress: a reporter; by default a bar where a person watches standard error.

    Raises:
        InputError: names what was expected, what came, and the remedy. An image that cannot be read is no error:
            it is left out and listed.
    """
    seed = check_seed(seed)
    _check_kinds(embedder, decoder, directions, title, timings, progress)
    notes = Notes()
    columns = {
        "labels": labels, "predictions": predictions, "splits": splits, "confidence": confidence, "groups": groups,
    }  # fmt: skip
    laid = lay(images, columns, class_names, order, allow_outside, model, preprocess, notes)
    source, inputs = laid.source, laid.inputs
    if out is not None:
        where = out.out if isinstance(out, StagedFolder) else out
        check_folder(where, expected_bytes(source.count or 0, len(inputs.class_names) if inputs else 0))
    if inputs is not None:
        check_planted({} if planted is None else planted, inputs.class_names, len(inputs))
    check_some_usable(source, inputs)
    embedder = _loaded(embedder, decoder, notes)
    recipe = _default_grammar(embedder) if grammar is None else grammar
    if isinstance(recipe, (str, Path)):
        recipe = CaptionRecipe.named(str(recipe))  # what is wrong with it is said before the images are embedded
    candidates = _candidates(recipe, inputs, embedder) if inputs else None
    fit = directions or FailureDirections.from_settings(SolverSettings(), replace(AUDIT, random_state=seed))
    seconds = dict(timings or {})
    captions, drawn, pictures = CaptionedClasses({}, []), DrawnClasses({}, {}), Thumbnails({})
    missing: list[str] = []
    with _written_to(out, source) as folder, OneBar(progress) as report:
        with timed(seconds, "embed images"):
            embedded = Embedded.of(source, embedder, report, laid.answering)
        inputs, embedded = laid.completed(embedded, notes)
        check_planted(planted or {}, inputs.class_names, len(inputs))
        candidates = candidates or _candidates(recipe, inputs, embedder)
        notes.about_treatments(embedded.treated, len(inputs))
        with timed(seconds, "fit directions"):
            audited = _fit(fit, inputs, embedded, isinstance(groups, str) and groups == "auto", report)
        if fit.n_permutations:
            seconds["test directions"] = fit.test_seconds_
            seconds["fit directions"] -= fit.test_seconds_
        with timed(seconds, "score captions"), notes.instead_of("There are no captions"):
            captions = caption_classes(fit, embedder, candidates, report, audited)
        if decoder is not None:
            into = folder.path if folder else None
            with timed(seconds, "decode directions"), notes.instead_of("No direction was decoded"):
                drawn = draw_classes(decoder, fit, audited, embedder, candidates.recipe, into, report)
            for doubt in drawn.doubts:
                notes.doubt(doubt)
            if into and not drawn.by_class:
                shutil.rmtree(into / "decoded", ignore_errors=True)  # what there is of it
        with timed(seconds, "gather findings"):
            classes = class_findings(fit.fitted, audited, captions, planted or {}, drawn.by_class)
            with notes.instead_of("The page has no photographs"):
                pictures, missing = thumbnails(classes, source, audited.ids)
            pictures.pixels.update(drawn.pixels)
        notes.in_the_end(audited, embedded.skipped, captions.too_long, candidates, missing)
        findings = replace(
            _about(embedder, fit, audited, title),
            classes=classes,
            input_fingerprint=inputs.fingerprint(audited.ids, embedded.fingerprint),
            timings=seconds,  # finished: the page and audit.json give the same, and neither counts its own writing
            skipped=embedded.skipped,
            notes=tuple(notes.said),
        )
        page = render_report(findings, pictures)
        if folder is not None:
            write_audit(folder.path, findings, fit.fitted, page, audited, captions)
    return AuditResult(
        findings, fit, inputs.by_image(audited.decisions), captions, page, folder.out if folder else None
    )


def _loaded(
    embedder: ClipEmbedder | str | Callable[[], ClipEmbedder] | None, decoder: Decoder | None, notes: Notes
) -> ClipEmbedder:
    loaded = partial(ClipEmbedder.from_name, embedder) if isinstance(embedder, str) else embedder
    loaded = loaded or ClipEmbedder.bundled
    if not isinstance(loaded, ImageEmbedder):
        loaded = loaded()
    for doubt in loaded.doubts:
        notes.doubt(doubt)
    if decoder is not None:
        decoder.check(loaded)
    return loaded


def _written_to(
    out: str | Path | StagedFolder | None, source: ImageSource
) -> AbstractContextManager[StagedFolder | None]:
    return nullcontext() if out is None else replaced_folder(out, getattr(source, "paths", ()))


def _check_kinds(
    embedder: object, decoder: object, directions: object, title: object, timings: object, progress: object
) -> None:
    """Refuse what an argument cannot be, before any work."""
    loads = callable(embedder) and not isinstance(embedder, (type, torch.nn.Module))
    embeds = embedder is None or isinstance(embedder, (ImageEmbedder, str)) or loads
    check_kind(embedder, "embedder", embeds, "an fdgpu.ClipEmbedder, its name, or a function that loads one")
    if isinstance(embedder, str):
        check_text(embedder, "embedder")
    check_kind(decoder, "decoder", decoder is None or isinstance(decoder, Decoder), "an fdgpu.Decoder")
    own = directions is None or isinstance(directions, FailureDirections)
    check_kind(directions, "directions", own, "an fdgpu.FailureDirections")
    check_text(title, "title")
    check_kind(progress, "progress", progress is None or callable(progress), "a function of stage, done and total")
    timed = isinstance(timings, Mapping) and all(
        isinstance(stage, str) and isinstance(seconds, Real) and math.isfinite(seconds)
        for stage, seconds in timings.items()
    )
    check_kind(timings, "timings", timings is None or timed, "seconds by the name of a stage")


def _candidates(recipe: object, inputs: AuditInputs, embedder: ClipEmbedder) -> CaptionSource:
    return CaptionSource.resolve(recipe, inputs.given_names, embedder.dimension, inputs.nouns)


def _default_grammar(embedder: ClipEmbedder) -> str | None:
    return "demo" if embedder.name == "bundled" else None


def _fit(fit: FailureDirections, inputs: AuditInputs, embedded: Embedded, look: bool, report: Reporter) -> AuditImages:
    """Fit on val; return every image with its decision values."""
    vectors, readable = embedded.vectors, embedded.readable
    val, train = (readable & (inputs.splits == split) for split in (Split.VAL, Split.TRAIN))
    if not val.any():
        of_val = {embedded.ids[row] for row in np.flatnonzero(inputs.splits == Split.VAL)}
        raise none_usable([(one.path, one.reason) for one in embedded.skipped if one.path in of_val])
    whitened_by = Split.TRAIN if train.sum() >= 2 else Split.VAL
    reference = chosen_rows(vectors, train) if whitened_by is Split.TRAIN else None
    every, correct = inputs.by_image(inputs.labels), inputs.by_image(inputs.correct)
    fitted, labels = chosen_rows(vectors, val), every[val]
    together = Together.of(None if inputs.groups is None else inputs.groups[val], fitted, labels, look)
    fit.fit(fitted, labels, correct[val], reference, together.groups, report)
    along = [fit.decision_function(vectors, every, direction).flatten() for direction in range(fit.n_directions)]
    decisions = to_host(torch.stack(along, dim=1), "decision values")
    decisions[inputs.of_samples(~readable)] = np.nan
    fit.as_numpy()  # vectors are on a device, and what was found is read on the host
    shown_from = inputs.first_split(readable, Split.TEST, Split.VAL)
    return AuditImages(inputs, embedded.ids, vectors, readable, decisions, shown_from, whitened_by, together)


def _about(embedder: ClipEmbedder, fit: FailureDirections, images: AuditImages, title: str) -> Findings:
    """Say what ran on what; what was found comes later."""
    placement = embedder.placement
    return Findings(
        version=__version__,
        seed=fit.random_state,
        model=embedder.name,
        backend=fit.backend_,
        backend_reason=fit.backend_reason_,
        text_method=embedder.text_method_.name,
        text_method_reason=embedder.text_method_.reason,
        activation=embedder.activation_.name,
        activation_reason=embedder.activation_.reason,
        device=f"{placement.device} ({placement.reason})",
        precision=f"{str(placement.dtype).removeprefix('torch.')} ({placement.precision_reason})",
        preprocessing=embedder.preprocessing,
        versions=versions(placement.device),
        model_fingerprint=weights_digest({"model": embedder.model}),
        title=title,
        classes=(),
        conditions=images.inputs.conditions,
        timings={},
        n_images={str(split): int((images.inputs.splits == split).sum()) for split in Split},
        fitted_on=Split.VAL,
        whitened_by=images.whitened_by if fit.whiten else "nothing (normalised only)",
        shown_from=images.shown_from,
        C_grid=fit.Cs,
        n_directions=fit.n_directions,
        n_permutations=fit.n_permutations,
        most_permutations=fit.fitted.most_permutations,
        fdr=fit.fdr,
        grouped_by=images.together.grouped_by,
        n_grouped=images.together.n_grouped,
        n_groups=images.together.n_groups,
    )
