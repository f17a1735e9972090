"""``audit``: embed, fit, caption, show. Read downward to follow one audit from images to the page."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, rows_finite, to_host
from fdgpu.auditing.captioning import CaptionedClasses, CaptionSource, caption_classes
from fdgpu.auditing.classes import ClassNames
from fdgpu.auditing.drawing import DrawnClasses, draw_classes
from fdgpu.auditing.gathering import class_findings, thumbnails
from fdgpu.auditing.inputs import AuditImages, AuditInputs, check_inputs, chosen_rows
from fdgpu.auditing.outputs import expected_bytes, write_audit
from fdgpu.auditing.pairing import pair
from fdgpu.auditing.truth import Planted, check_planted
from fdgpu.checks import check_kind, check_seed, check_text
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.fingerprint import weights_digest
from fdgpu.device import out_of_memory
from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.groups import near_duplicates
from fdgpu.directions.parameters import AUDIT, SolverSettings
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import Embeddings, ImageEmbedder
from fdgpu.embedding.sources import FileSource, ImageSource, IterableSource
from fdgpu.errors import FdgpuError, FdgpuWarning, InputError
from fdgpu.findings import Findings, GroupedBy, Skipped, Split, Thumbnails
from fdgpu.folders import StagedFolder, check_folder, replaced_folder
from fdgpu.packages import versions
from fdgpu.progress import OneBar, Reporter
from fdgpu.report.page import render_report
from fdgpu.version import __version__

LOOKED_AT = 8  # images, before a model is loaded; where none of these can be used, all others are looked at too
MOST_REASONS = 3  # in an error


@dataclass(frozen=True)
class AuditResult:
    """An audit in memory.

    Attributes:
        findings: everything the report shows, as plain data.
        directions: the fit.
        mode_decisions: (n, r) decision value of every image along each direction of its class, the strongest first;
            NaN where its class has no such direction or it was skipped.
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
        """(n,) decision values along the strongest direction of each image's class."""
        return self.mode_decisions[:, 0]


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that a block takes to those of its stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def audit(
    images: object,
    labels: Array,
    predictions: Array = None,
    *,
    class_names: ClassNames | None = None,
    embedder: ClipEmbedder | Callable[[], ClipEmbedder] | None = None,
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
        images: n images: a folder, paths, a tensor, any iterable of pictures, or an
            :class:`~fdgpu.embedding.ImageSource`.
        labels: (n,) true classes, as names or as integers that count into ``class_names``. For a folder, or a list of
            paths, better by path: a mapping of path to label, with the columns below as mappings too; or a table that
            holds them all as ``path``, ``label``, ``prediction``, ``split``, ``confidence`` and ``group``: a data frame
            of pandas, polars or pyarrow, a CSV, or what :func:`~fdgpu.auditing.read_predictions` returns. The images
            that it names are audited, others are left alone.
        predictions: (n,) what the model predicted, likewise; None beside a table.
        class_names: every class in the order of its id, or a mapping of id to name; by default those that occur.
        embedder: a CLIP, or a function that loads one, which is called when all that can be checked was checked.
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
    notes: list[str] = []
    columns = {
        "labels": labels,
        "predictions": predictions,
        "splits": splits,
        "confidence": confidence,
        "groups": None if isinstance(groups, str) else groups,
    }
    if isinstance(groups, str) and groups not in ("auto", "none"):
        raise InputError(f"groups is {groups!r}: pass one id an image, or 'auto' or 'none'")
    paired = pair(images, columns, order, allow_outside)
    told = paired.columns if groups != "none" else {**paired.columns, "groups": None}
    inputs = check_inputs(**told, class_names=class_names)
    source = paired.source
    if source.count not in (None, len(inputs)):
        raise InputError(f"images has {source.count} entries, labels has {len(inputs)}: pass one label an image")
    for doubt in (*([paired.doubt(inputs)] if paired.by_listing else ()), *inputs.doubts):
        _warn(notes, doubt)
    check_planted({} if planted is None else planted, inputs.class_names, len(inputs))
    if out is not None:
        where = out.out if isinstance(out, StagedFolder) else out
        check_folder(where, expected_bytes(len(inputs), len(inputs.class_names)))
    _check_some_readable(source, inputs)
    embedder = embedder or ClipEmbedder.bundled
    if not isinstance(embedder, ImageEmbedder):
        embedder = embedder()
    for doubt in embedder.doubts:
        _warn(notes, doubt)
    if decoder is not None:
        decoder.check(embedder)
    recipe = _default_grammar(embedder) if grammar is None else grammar
    candidates = CaptionSource.resolve(recipe, inputs.given_names, embedder.dimension)
    fit = directions or FailureDirections.from_settings(SolverSettings(), replace(AUDIT, random_state=seed))
    seconds = dict(timings or {})
    captions, drawn, pictures = CaptionedClasses({}, []), DrawnClasses({}, {}), Thumbnails({})
    missing: list[str] = []
    with _written_to(out, source) as folder, OneBar(progress) as report:
        with timed(seconds, "embed images"):
            embeddings, vectors, readable, skipped = _embed(source, embedder, report)
        for treatment, n in embeddings.treated.items():
            said = f"{n:,} of {len(inputs):,} images: {treatment}."
            _warn(notes, said) if treatment.doubtful else notes.append(said)
        with timed(seconds, "fit directions"):
            audited, whitened_by, together = _fit(
                fit, inputs, embeddings.ids, vectors, readable, skipped, groups == "auto", report
            )
        if fit.n_permutations:
            seconds["test directions"] = fit.test_seconds_
            seconds["fit directions"] -= fit.test_seconds_
        with timed(seconds, "score captions"), _or_doubt(notes, "There are no captions"):
            captions = caption_classes(fit, embedder, candidates, report, audited)
        if decoder is not None:
            into = folder.path if folder else None
            with timed(seconds, "decode directions"), _or_doubt(notes, "No direction was decoded"):
                drawn = draw_classes(decoder, fit, audited, embedder, candidates.recipe, into, report)
            for doubt in drawn.doubts:
                _warn(notes, doubt)
            if into and not drawn.by_class:
                shutil.rmtree(into / "decoded", ignore_errors=True)  # what there is of it
        with timed(seconds, "gather findings"):
            classes = class_findings(fit.fitted, audited, captions, planted or {}, drawn.by_class)
            with _or_doubt(notes, "The page has no photographs"):
                pictures, missing = thumbnails(classes, source, embeddings.ids)
            pictures.pixels.update(drawn.pixels)
        findings = replace(
            _about(embedder, fit, audited, title, whitened_by),
            classes=classes,
            grouped_by=together.grouped_by,
            n_grouped=together.n_grouped,
            n_groups=together.n_groups,
            input_fingerprint=inputs.fingerprint(embeddings.ids, embeddings.fingerprint),
            timings=seconds,  # finished: the page and audit.json give the same, and neither counts its own writing
            skipped=skipped,
            notes=(*notes, *_notes(audited, skipped, captions.too_long, candidates, whitened_by, missing, together)),
        )
        page = render_report(findings, pictures)
        if folder is not None:
            write_audit(folder.path, findings, fit.fitted, page, audited, captions)
    return AuditResult(findings, fit, audited.decisions, captions, page, folder.out if folder else None)


def _warn(notes: list[str], text: str) -> None:
    """Say at once what could make the report wrong, and keep it for the page and ``audit.json``."""
    warnings.warn(text, FdgpuWarning, stacklevel=3)
    notes.append(text)


def _written_to(
    out: str | Path | StagedFolder | None, source: ImageSource
) -> AbstractContextManager[StagedFolder | None]:
    return nullcontext() if out is None else replaced_folder(out, getattr(source, "paths", ()))


@contextmanager
def _or_doubt(notes: list[str], lost: str) -> Iterator[None]:
    """Go on where a stage fails that comes after the fit: what was made before it is worth having."""
    try:
        yield
    except (FdgpuError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not (isinstance(error, FdgpuError) or out_of_memory(error)):
            raise
        _warn(notes, f"{lost}: {str(error) or 'memory ran out'}.")


def _check_kinds(
    embedder: object, decoder: object, directions: object, title: object, timings: object, progress: object
) -> None:
    """Refuse what an argument cannot be, before any work."""
    loads = callable(embedder) and not isinstance(embedder, (type, torch.nn.Module))
    embeds = embedder is None or isinstance(embedder, ImageEmbedder) or loads
    check_kind(embedder, "embedder", embeds, "an fdgpu.ClipEmbedder, or a function that loads one")
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


def _check_some_readable(source: ImageSource, inputs: AuditInputs) -> None:
    """Look at validation images, spread over all, until one can be used: a model is loaded for these."""
    if not isinstance(source, (FileSource, IterableSource)):
        return
    rows = np.flatnonzero(inputs.splits == Split.VAL)
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)]
    reasons: list[tuple[str, str]] = []
    for row in dict.fromkeys((*spread.tolist(), *rows.tolist())):
        reason = source.reason(row)
        if reason is None:
            return
        reasons.append((source.ids[row] if isinstance(source, FileSource) else str(row), reason))
    raise _none_usable(reasons)


def _none_usable(reasons: Sequence[tuple[str, str]]) -> InputError:
    """Say why images, each with its reason, cannot be used: the commonest reason first, with an example each."""
    example = {reason: path for path, reason in reversed(reasons)}
    counts = Counter(reason for _, reason in reasons).most_common(MOST_REASONS)
    said = "; ".join(f"{n:,} × {reason} (such as {example[reason]})" for reason, n in counts)
    return InputError(f"no image of the split 'val' can be used: {said}")


def _default_grammar(embedder: ClipEmbedder) -> str | None:
    return "demo" if embedder.name == "bundled" else None


def _embed(
    source: ImageSource, embedder: ClipEmbedder, report: Reporter
) -> tuple[Embeddings, torch.Tensor, NDArray[np.bool_], tuple[Skipped, ...]]:
    """Return the embeddings, (n, d) vectors on the embedder's device, which can be used, and why others not.

    The vector of an image that was skipped is zero.
    """
    embeddings = embedder.embed(source, report, fingerprint=True)
    vectors = embeddings.vectors
    finite = rows_finite(vectors)
    readable = to_host(finite, "which images have a vector").astype(bool)
    reasons = dict(embeddings.unreadable)
    for row in np.flatnonzero(~readable):
        reasons.setdefault(embeddings.ids[row], "its embedding is not finite")
    if reasons:
        vectors = vectors.masked_fill(~finite[:, None], 0.0)
    skipped = tuple(Skipped(path, reason) for path, reason in reasons.items())
    return embeddings, vectors, readable, skipped


@dataclass(frozen=True)
class _Together:
    """Which of the fit's images belong together: m ids, or None where each is alone, and by what they were told."""

    groups: NDArray[np.int64] | None
    grouped_by: GroupedBy

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Images of each group of several."""
        counts = np.empty(0, np.int64) if self.groups is None else np.unique(self.groups, return_counts=True)[1]
        return np.asarray(counts[counts > 1])

    @property
    def n_groups(self) -> int:
        """Groups of several images."""
        return len(self.sizes)

    @property
    def n_grouped(self) -> int:
        """Images in them."""
        return int(self.sizes.sum())

    @classmethod
    def of(
        cls, given: NDArray[np.int64] | None, vectors: torch.Tensor, labels: NDArray[np.int64], look: bool
    ) -> _Together:
        """Take what was given, or look for near-duplicates among the images of each class."""
        if given is not None:
            return cls(given, GroupedBy.GIVEN)
        if not look:
            return cls(None, GroupedBy.NOTHING)
        return cls(near_duplicates(vectors, labels), GroupedBy.NEAR_DUPLICATES)


def _fit(
    fit: FailureDirections,
    inputs: AuditInputs,
    ids: list[str],
    vectors: torch.Tensor,
    readable: NDArray[np.bool_],
    skipped: Sequence[Skipped],
    look: bool,
    report: Reporter,
) -> tuple[AuditImages, Split, _Together]:
    """Fit on val; return every image with its decision values, the split that whitened, and what belongs together."""
    if len(vectors) != len(inputs):
        raise InputError(f"images gave {len(vectors)} pictures, labels has {len(inputs)}: pass one label an image")
    val, train = (readable & (inputs.splits == split) for split in (Split.VAL, Split.TRAIN))
    if not val.any():
        of_val = {ids[row] for row in np.flatnonzero(inputs.splits == Split.VAL)}
        raise _none_usable([(one.path, one.reason) for one in skipped if one.path in of_val])
    whitened_by = Split.TRAIN if train.sum() >= 2 else Split.VAL
    reference = chosen_rows(vectors, train) if whitened_by is Split.TRAIN else None
    fitted, labels = chosen_rows(vectors, val), inputs.labels[val]
    together = _Together.of(None if inputs.groups is None else inputs.groups[val], fitted, labels, look)
    fit.fit(fitted, labels, inputs.correct[val], reference, together.groups, report)
    along = [fit.decision_function(vectors, inputs.labels, direction) for direction in range(fit.n_directions)]
    decisions = to_host(torch.stack(along, dim=1), "decision values")
    decisions[~readable] = np.nan
    fit.as_numpy()  # vectors are on a device, and what was found is read on the host
    shown_from = inputs.first_split(readable, Split.TEST, Split.VAL)
    return AuditImages(inputs, ids, vectors, readable, decisions, shown_from), whitened_by, together


def _about(
    embedder: ClipEmbedder, fit: FailureDirections, images: AuditImages, title: str, whitened_by: Split
) -> Findings:
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
        versions=versions(placement.device),
        model_fingerprint=weights_digest({"model": embedder.model}),
        title=title,
        classes=(),
        timings={},
        n_images={str(split): int((images.inputs.splits == split).sum()) for split in Split},
        fitted_on=Split.VAL,
        whitened_by=whitened_by if fit.whiten else "nothing (normalised only)",
        shown_from=images.shown_from,
        C_grid=fit.Cs,
        n_directions=fit.n_directions,
        n_permutations=fit.n_permutations,
        most_permutations=fit.fitted.most_permutations,
        fdr=fit.fdr,
    )


def _notes(
    images: AuditImages,
    skipped: Sequence[Skipped],
    too_long: Sequence[str],
    candidates: CaptionSource,
    whitened_by: Split,
    missing: Sequence[str],
    together: _Together,
) -> tuple[str, ...]:
    """What the reader should know before believing a number."""
    notes, recipe = [], candidates.recipe
    if images.shown_from is Split.VAL:
        notes.append(
            "There is no usable test image: examples, captions and figures come from the images that the directions "
            "were fitted on, and look better than they are. A caption is then trusted by its rank alone."
        )
    if whitened_by is Split.VAL:
        notes.append("There are no two usable training images: embeddings were whitened by the validation images.")
    if together.n_groups and together.grouped_by is GroupedBy.NEAR_DUPLICATES:
        notes.append(
            f"{together.n_grouped:,} {Split.VAL} images are near-duplicates of others, and form {together.n_groups:,} "
            "groups. Each group counts as one piece of evidence. If they are independent, pass groups='none' "
            "(--groups none); if you know which images belong together, pass their groups."
        )
    if recipe.fallen_back:
        notes.append(f"The recipe has no captions for {_some(recipe.fallen_back)}: general ones were used.")
    if recipe.ambiguous:
        notes.append(
            f"The recipe has several classes named {_some(recipe.ambiguous)}: general captions were used. Name the "
            "class by another of its names, such as its WordNet id."
        )
    if candidates.indexes:
        most = max(map(len, candidates.indexes.values()))
        notes.append(
            f"Candidates are the captions of an index of up to {most:,} that are farthest out along each direction and "
            "its resamples, and some drawn from all of it; ranks are among these."
        )
    if too_long:
        notes.append(
            f"{len(too_long)} captions were left out, such as {too_long[0]!r}: they exceed the model's context, "
            "or hold characters that it cannot read."
        )
    if skipped:
        notes.append(f"{len(skipped)} of {len(images.ids)} images could not be used; they are listed below.")
    if missing:
        notes.append(
            f"{len(missing):,} of the pictures to show could not be read again, such as {missing[0]}: files are gone, "
            "or the images came from a generator, which is read once. Their tiles are empty."
        )
    return tuple(notes)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
