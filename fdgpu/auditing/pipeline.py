"""``audit``: embed, fit, caption, show. Read downward to follow one audit from images to the page."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from fdgpu.arrays import Array
from fdgpu.auditing.captioning import CaptionedClasses, caption_classes, written_for
from fdgpu.auditing.causes import SortedErrors, cause_column, causes, cleaned, sort_errors, sorted_images
from fdgpu.auditing.columns.class_names import ClassNames
from fdgpu.auditing.columns.inputs import AuditInputs
from fdgpu.auditing.columns.one_column import KnownColumns
from fdgpu.auditing.columns.tables import ColumnNames
from fdgpu.auditing.drawing import DrawnClasses, draw_classes
from fdgpu.auditing.gathering import class_findings, image_table, thumbnails
from fdgpu.auditing.images import (
    AuditImages,
    Chosen,
    Embedded,
    check_method,
    check_some_usable,
    choose_method,
    fit_images,
)
from fdgpu.auditing.laying import Laid, Model, lay
from fdgpu.auditing.notes import Notes
from fdgpu.auditing.outputs import STORE, cause_table, example_table, expected_bytes, write_audit
from fdgpu.auditing.result import AuditResult
from fdgpu.auditing.slices import FoundSlices, SliceSearch, find_slices
from fdgpu.auditing.space import Embedder, Space, check_space, doubt_vectors, loaded_embedder
from fdgpu.auditing.truth import Planted, check_planted
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.captions.sentences import as_captioner, check_captioner
from fdgpu.checks import check_kind, check_seed, check_text
from fdgpu.cluster import Cluster
from fdgpu.decoding.decoder import Decoder
from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.parameters import AUDIT, SolverSettings
from fdgpu.embedding.embedder import CaptionReader, ImageEmbedder
from fdgpu.embedding.given import GivenVectors
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError
from fdgpu.findings import INTERFACE, CleanedClass, Findings, ImageTable, SortedImage, Split, Thumbnails
from fdgpu.fingerprint import versions, weights_digest
from fdgpu.folders import StagedFolder, check_folder, replaced_folder
from fdgpu.progress import OneBar, Reporter, timed
from fdgpu.store.embedding_store import EmbeddingStore
from fdgpu.store.manifest import keeps_apart
from fdgpu.store.pieces import Workers
from fdgpu.store.stored import StoredVectors, columns_of_store
from fdgpu.version import __version__


def audit(
    images: object = None,
    labels: Array = None,
    predictions: Array = None,
    *,
    model: Model | None = None,
    preprocess: Callable[[Any], object] | None = None,
    class_names: ClassNames | None = None,
    embedder: Embedder = None,
    embeddings: Array = None,
    captions: object = None,
    grammar: object = None,
    captioner: object = None,
    decoder: Decoder | None = None,
    out: str | Path | StagedFolder | None = None,
    store: str | Path = "auto",
    cluster: Cluster | str | None = None,
    splits: Array = None,
    confidence: Array = None,
    true_probability: Array = None,
    groups: Array = "auto",
    slices: SliceSearch | Mapping[str, Array] | Sequence[str] | str = "auto",
    columns: ColumnNames | None = None,
    order: str | None = None,
    allow_outside: bool = False,
    method: str | None = None,
    directions: FailureDirections | None = None,
    clean: bool = False,
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
            path: a mapping of path to label, with the columns below as mappings too; or a table that holds them all as
            ``path``, ``label``, ``prediction``, ``split``, ``confidence``, ``true_probability`` and ``group``: a data
            frame of pandas, polars or pyarrow, a CSV or Parquet file, or what
            :func:`~fdgpu.auditing.read_predictions` returns. The images that it names are audited, others are left
            alone.
        predictions: (n,) what the model predicted, likewise; or (n, k) scores of every class, logits or probabilities
            (rows that sum to 1), columns in the order of ``class_names``; None beside a table or ``model``.
        model: the classifier, which answers the images in the same pass, each decoded once: a torch module, a name such
            as ``"torchvision:resnet50"``, ``"timm:NAME"`` or ``"FILE.py:FUNCTION"``, or a :class:`~fdgpu.Classifier`.
        preprocess: what a module takes of a PIL image, such as ``weights.transforms()``; by default the transform of
            the Dataset. A model by name has its own.
        class_names: every class in the order of its id, or a mapping of id to name; by default those of the images'
            source or of the model, or those that occur.
        embedder: a CLIP, by name such as ``"ViT-B-32:openai"``, or a function that loads one, which is called when all
            that can be checked was checked. Default the bundled CLIP, which knows the demo's world only: the audit says
            so. Another network, as :class:`~fdgpu.embedding.FeatureEmbedder` or ``"features:torchvision:resnet50"``,
            has a space without captions: failures are then shown in pictures only (paper, B.1.6).
        embeddings: vectors of the images that are there already, (n, d) in the order of the images (of the labels where
            there are no images, or a folder and labels by path), or a mapping of path to vector, or
            :class:`~fdgpu.embedding.GivenVectors` with the name of what made them. They stay where they lie and are
            made unit vectors; nothing is embedded. Or an :class:`fdgpu.EmbeddingStore`, to whose ids those of the
            images belong; without images they are all of its own, with its labels, splits and groups. ``images`` are
            for the page's pictures then, and may be left out; ``embedder`` is the CLIP that made the vectors, and reads
            captions.
        captions: vectors of captions in the space of the images', where no embedder reads them: a mapping of caption to
            vector, or captions and their vectors (m, d). The candidates are those of ``grammar``, or else all for every
            class, whose reference caption, such as "a photo of a coat", has to be among them.
        grammar: candidate captions: a recipe's name, a TOML file, a :class:`~fdgpu.CaptionGrammar` for all classes, a
            list or a file of sentences (docs/api.md), a :class:`~fdgpu.CaptionIndex` of millions of captions, made
            without a reference, or a mapping of class name to grammar, sentences or index. By default the demo's recipe
            with the bundled CLIP, and the general recipe with any other.
        captioner: writes the candidates instead: a function of a list of PIL images that returns a sentence each, a
            pipeline of transformers, or the name of its model. It describes errors of the fit, at most 50 a class, and
            as many right images.
        decoder: draws the clearest directions, from easy over neutral to hard, on the page and into ``decoded/``;
            its CLIP space has to be the embedder's. None draws nothing.
        out: folder to write ``report.html``, ``audit.json``, ``directions.safetensors``, ``examples.parquet``,
            ``captions.parquet``, ``effects.parquet``, ``causes.csv`` and, where columns were tested, ``slices.csv``
            into; None writes nothing. It appears whole when all is done, and replaces an earlier audit's files; what
            fdgpu did not write is kept.
        store: folder that keeps the embeddings: images that it holds are not embedded again, so that an audit that was
            killed goes on, and another with other settings or of another model takes them from there. See
            :class:`fdgpu.EmbeddingStore`. ``"auto"`` is ``embeddings`` in ``out``; ``"none"`` keeps nothing.
        cluster: whose workers embed into the store and solve the classes: a :class:`~fdgpu.Cluster` or its address, as
            :meth:`fdgpu.Cluster.connect` takes it. Each loads the embedder itself, where it is a name or a function.
        splits: (n,) of "train", "val" and "test"; None means that all images are for validation.
        confidence: (n,) the model's confidence in its prediction, in [0, 1].
        true_probability: (n,) its probability of the true class, in [0, 1]: never the same as ``confidence`` where the
            prediction is wrong.
        groups: (n,) ids of images that belong together, such as frames of one video or images of one patient: the test
            takes a group as one piece of evidence, see :meth:`fdgpu.FailureDirections.fit`. ``"auto"`` takes
            near-duplicates for groups, found in the audit's own vectors by a fixed rule, see
            :func:`fdgpu.directions.near_duplicates`; ``"none"`` takes each image as evidence of its own.
        slices: what else is known of the images, such as camera, site or age, is tested beside directions: single
            values and up to three together, see :class:`fdgpu.SliceSearch` and ``docs/method.md``. ``"auto"`` takes
            every further column of the table, ``"none"`` none; or names of some of them, or a mapping of a name to (n,)
            values. Columns must be known without the model's answers.
        columns: what the table calls its columns, such as ``{"path": "filename", "label": "target"}``; by default our
            names and some that are common.
        order: "sorted" says that columns beside a folder, without paths, follow its sorted listing; else that they may
            not is a doubt, with the first pairs.
        allow_outside: take paths that lead out of the folder of images.
        method: ``"svm"``, the paper's, or ``"latent"``, hidden classes on which the model does worse
            (:class:`fdgpu.FailureDirections`). That one listens to the probability of the true class where it is known:
            from ``true_probability``, from scores or from ``model``. ``"auto"`` takes it there, and the SVM elsewhere;
            the page and ``audit.json`` say which ran and why. By default that of ``directions``, and without these
            ``"auto"``.
        directions: an estimator with settings of your own; default ``FailureDirections(random_state=seed,
            n_permutations=200, stop_after=10, n_resamples=20)``. Without permutations nothing is tested; without
            resamples a caption is trusted by its accuracy gap alone.
        clean: fit directions without errors whose label is likely wrong, and without duplicates of another split or
            label; the page and ``audit.json`` say what that changes. Everything is fitted and tested twice. The errors
            of val and test are sorted in any case, and listed in ``causes.csv``.
        planted: what is known to be hard, by class name, to judge the audit by.
        title: heading of the report.
        seed: seed of everything random; of no effect beside ``directions``, which have their own.
        timings: seconds of stages that went before, for the report.
        progress: a reporter; by default a bar where a person watches standard error.

    Raises:
        InputError: names what was expected, what came, and the remedy. An image that cannot be read is no error:
            it is left out and listed.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(400, 8))  # what CLIP made of 400 images
        >>> labels = np.repeat(["cat", "dog"], 200)
        >>> predictions = np.where(vectors[:, 0] < -0.5, "dog", labels)  # the model takes some cats for dogs
        >>> result = fdgpu.audit(None, labels, predictions, embeddings=vectors)
        >>> [(one.name, str(one.status), one.significant) for one in result.findings.classes]
        [('cat', 'ok', True), ('dog', 'no_errors', False)]
    """
    seed = check_seed(seed)
    check_space(embedder, embeddings, images)
    _check_kinds(decoder, directions, cluster, title, timings, progress, clean)
    check_captioner(captioner, grammar)
    method, asked, notes = check_method(method, directions), SliceSearch.of(slices), Notes()
    given = {
        "labels": labels, "predictions": predictions, "splits": splits, "confidence": confidence,
        "true_probability": true_probability, "groups": groups,
    }  # fmt: skip
    if isinstance(embeddings, EmbeddingStore):
        images, given = columns_of_store(embeddings, images, given)
    laid = lay(images, given, columns, class_names, order, allow_outside, model, preprocess, notes, asked)
    _check_beforehand(laid, out, planted, method, directions, embeddings is None)
    space = Space.of(embedder, embeddings, captions, laid.source)
    for doubt in space.doubts:
        notes.doubt(doubt)
    grammar = space.grammar(grammar, decoder, captioner)
    writer = None if captioner is None else as_captioner(captioner)
    candidates = space.candidates(grammar, laid.inputs) if laid.inputs else None
    fit = directions or FailureDirections.from_settings(SolverSettings(), replace(AUDIT, random_state=seed))
    kept, seconds = _store_of(store, out, laid.source, space.images, cluster), dict(timings or {})
    with _connected(cluster) as joined, _written_to(out, laid.source) as folder, OneBar(progress) as report:
        workers = None if joined is None else Workers(joined, partial(loaded_embedder, embedder))
        embedded = _embedded(space, laid, kept, workers, seconds, report, notes)
        with timed(seconds, "check columns", report):
            inputs, embedded = laid.completed(embedded, notes)
            known = laid.known(embedded.ids)
        check_planted(planted or {}, inputs.class_names, len(inputs))
        candidates = candidates or space.candidates(grammar, inputs)
        notes.about_treatments(embedded.treated, len(inputs))
        chosen = choose_method(method, directions, inputs, embedded.readable & (inputs.splits == Split.VAL))
        with timed(seconds, "sort errors", report):
            errors = sort_errors(inputs, embedded)
        if errors.note:
            notes.add(errors.note)
        fit, look = chosen.of(fit), isinstance(groups, str) and groups == "auto"
        fitted = partial(fit_images, inputs, embedded, chosen.loss, look, seconds, report, joined)
        audited = fitted(fit)
        changed: tuple[CleanedClass, ...] = ()
        if clean and _leaves_some(errors, inputs, embedded, notes):
            before, fit = fit.fitted, FailureDirections.from_settings(fit.solver_settings, fit.search_settings)
            audited = fitted(fit, errors.kept(inputs))
            changed = cleaned(before, fit.fitted, audited, errors.kept(inputs))
        if writer is not None and candidates is not None:
            lost = "Captions are the recipe's, and not the captioner's"
            with timed(seconds, "write captions", report), notes.instead_of(lost):
                of_fit = errors.kept(inputs) if changed else None
                candidates = written_for(candidates, writer, fit, audited, laid.source, report, of_fit)
        tested = _tested_columns(audited, known, asked, fit, seconds, report, notes)
        captioned, drawn = CaptionedClasses({}, []), DrawnClasses({}, {})
        if candidates is not None and space.reader is not None:
            with timed(seconds, "score captions", report), notes.instead_of("There are no captions"):
                captioned = caption_classes(fit, space.reader, candidates, report, audited)
            if decoder is not None:
                into = folder.path if folder else None
                drawn = _drawn(decoder, fit, audited, space.reader, candidates.recipe, into, seconds, report, notes)
        about = _about(space, laid, fit, chosen, audited, embedded, title, seconds, changed, tested)
        with timed(seconds, "gather findings", report):
            findings, pictures, missing, listed = _gathered(
                about, fit, audited, captioned, drawn, errors, planted or {}, laid.source, notes
            )
        notes.about_captions(space, candidates, captioned.unread)
        notes.in_the_end(audited, embedded.skipped, missing, pictures.only_names)
        findings = replace(findings, notes=tuple(notes.said))
        return _finished(findings, pictures, listed, fit, audited, captioned, tested, folder, report)


def _connected(cluster: Cluster | str | None) -> AbstractContextManager[Cluster | None]:
    """Connect by an address; a cluster that was given stays as it is."""
    return Cluster.connect(cluster) if isinstance(cluster, str) else nullcontext(cluster)


def _written_to(
    out: str | Path | StagedFolder | None, source: ImageSource
) -> AbstractContextManager[StagedFolder | None]:
    return nullcontext() if out is None else replaced_folder(out, getattr(source, "paths", ()))


def _store_of(
    store: str | Path,
    out: str | Path | StagedFolder | None,
    source: ImageSource,
    embedder: ImageEmbedder,
    cluster: Cluster | str | None,
) -> Path | None:
    """Return the folder that keeps the embeddings: as given, or in that of the audit where they can be told apart."""
    check_kind(store, "store", isinstance(store, (str, Path)) and str(store) != "", "the path of a folder")
    given = isinstance(embedder, (GivenVectors, StoredVectors))
    if given and store not in ("auto", "none"):
        raise InputError("store is given beside embeddings, which are there already: leave it out")
    kept = None
    if store == "auto":
        if out is not None and not given and keeps_apart(embedder) and not source.once:
            kept = Path(out.out if isinstance(out, StagedFolder) else out) / STORE
    elif store != "none":
        kept = Path(store)
    if cluster is not None and not given and kept is None:
        raise InputError("the workers of a cluster embed into a store, and there is none: pass out or store")
    return kept


def _check_kinds(
    decoder: object,
    directions: object,
    cluster: object,
    title: object,
    timings: object,
    progress: object,
    clean: object,
) -> None:
    """Refuse what an argument cannot be, before any work."""
    check_kind(decoder, "decoder", decoder is None or isinstance(decoder, Decoder), "an fdgpu.Decoder")
    own = directions is None or isinstance(directions, FailureDirections)
    check_kind(directions, "directions", own, "an fdgpu.FailureDirections")
    if isinstance(directions, FailureDirections):
        directions.check()
    check_kind(cluster, "cluster", cluster is None or isinstance(cluster, (Cluster, str)), "a Cluster or its address")
    check_text(title, "title")
    check_kind(progress, "progress", progress is None or callable(progress), "a function of stage, done and total")
    by_stage = isinstance(timings, Mapping) and all(
        isinstance(stage, str) and isinstance(seconds, Real) and math.isfinite(seconds)
        for stage, seconds in timings.items()
    )
    check_kind(timings, "timings", timings is None or by_stage, "seconds by the name of a stage")
    check_kind(clean, "clean", isinstance(clean, bool), "True or False")


def _check_beforehand(
    laid: Laid,
    out: str | Path | StagedFolder | None,
    planted: Mapping[str, Planted] | None,
    method: str | None,
    directions: FailureDirections | None,
    embeds: bool,
) -> None:
    """Refuse what is known to be wrong before a model is loaded."""
    source, inputs = laid.source, laid.inputs
    if out is not None:
        where = out.out if isinstance(out, StagedFolder) else out
        check_folder(where, expected_bytes(source.count or 0, len(inputs.class_names) if inputs else 0))
    if inputs is not None:
        check_planted({} if planted is None else planted, inputs.class_names, len(inputs))
        choose_method(method, directions, inputs, inputs.splits == Split.VAL)
    if embeds:
        check_some_usable(source, inputs)


# --- one step each, in the order of the audit -----------------------------------------------------------------------


def _embedded(
    space: Space,
    laid: Laid,
    store: Path | None,
    workers: Workers | None,
    seconds: dict[str, float],
    report: Reporter,
    notes: Notes,
) -> Embedded:
    """Embed the images, and let a model answer them; or take vectors that are there, and look whether they fit."""
    given = isinstance(space.images, (GivenVectors, StoredVectors))
    with timed(seconds, "take vectors" if given else "embed images"):
        embedded = Embedded.of(laid.source, space.images, report, laid.answering, store, workers)
        doubt = doubt_vectors(space, laid.source, embedded)
    if doubt:
        notes.doubt(doubt)
    return embedded


def _leaves_some(errors: SortedErrors, inputs: AuditInputs, embedded: Embedded, notes: Notes) -> bool:
    """Whether there is something to leave out of the fit, and something left."""
    of_val = inputs.of_samples(embedded.readable & (inputs.splits == Split.VAL)) & (inputs.labels >= 0)
    kept = errors.kept(inputs)[of_val]
    if not kept.any():
        notes.doubt("All val images are duplicates or have wrong labels: directions were fitted with all of them.")
    elif kept.all():
        notes.add("No val image is a duplicate or an error with a wrong label: nothing was left out of the fit.")
    return bool(kept.any() and not kept.all())


def _tested_columns(
    images: AuditImages,
    known: KnownColumns,
    asked: SliceSearch,
    fit: FailureDirections,
    seconds: dict[str, float],
    report: Reporter,
    notes: Notes,
) -> FoundSlices | None:
    """Test what else is known of the images; None where nothing is."""
    if not known.values and not known.left_out:
        return None
    with timed(seconds, "test known columns", report):
        tested = find_slices(images, known, asked, fit.fdr, fit.random_state)
    for note in tested.notes:
        (notes.add if asked.columns == "auto" else notes.doubt)(note)
    return tested


def _drawn(
    decoder: Decoder,
    fit: FailureDirections,
    images: AuditImages,
    reader: CaptionReader,
    recipe: CaptionRecipe,
    into: Path | None,
    seconds: dict[str, float],
    report: Reporter,
    notes: Notes,
) -> DrawnClasses:
    """Decode the clearest directions; where that fails, nothing of it is left."""
    drawn = DrawnClasses({}, {})
    with timed(seconds, "decode directions"), notes.instead_of("No direction was decoded"):
        drawn = draw_classes(decoder, fit, images, reader, recipe, into, report)
    for doubt in drawn.doubts:
        notes.doubt(doubt)
    if into and not drawn.by_class:
        shutil.rmtree(into / "decoded", ignore_errors=True)  # what there is of it
    return drawn


def _about(
    space: Space,
    laid: Laid,
    fit: FailureDirections,
    chosen: Chosen,
    images: AuditImages,
    embedded: Embedded,
    title: str,
    seconds: dict[str, float],
    changed: tuple[CleanedClass, ...],
    tested: FoundSlices | None,
) -> Findings:
    """Say what ran on what; what was found of the classes comes later."""
    embedder, placement = space.images, space.images.placement
    solver, search = fit.fitted.solver_settings, fit.fitted.search_settings
    texts, activation = space.reader and space.reader.text_method_, embedder.activation_
    return Findings(
        version=__version__,
        seed=search.random_state,
        model=space.name,
        method=chosen.method,
        method_reason=chosen.reason,
        uses_loss=chosen.loss is not None,
        backend=fit.backend_,
        backend_reason=fit.backend_reason_,
        text_method=texts.name if texts else "",
        text_method_reason=texts.reason if texts else "",
        activation=activation.name if activation else "",
        activation_reason=activation.reason if activation else "",
        device=f"{placement.device} ({placement.reason})",
        precision=f"{str(placement.dtype).removeprefix('torch.')} ({placement.precision_reason})",
        preprocessing=embedder.preprocessing,
        versions=versions(placement.device),
        model_fingerprint=weights_digest({"model": embedder.model}) if embedder.model is not None else "",
        title=title,
        classes=(),
        conditions=images.inputs.conditions,
        timings=seconds,  # they grow until all is gathered; neither page nor audit.json counts its own writing
        n_images={str(split): int((images.inputs.splits == split).sum()) for split in Split},
        fitted_on=Split.VAL,
        whitened_by=images.whitened_by if solver.whiten else "nothing (normalised only)",
        shown_from=images.shown_from,
        C_grid=tuple(solver.Cs),
        published=solver.published,
        n_directions=search.n_directions,
        n_permutations=search.n_permutations,
        most_permutations=fit.fitted.most_permutations,
        fdr=search.fdr,
        grouped_by=images.together.grouped_by,
        n_grouped=images.together.n_grouped,
        n_groups=images.together.n_groups,
        interface=INTERFACE.get(),
        classifier=laid.answering.asked() if laid.answering is not None else None,
        cleaned=changed,
        slices=() if tested is None else tested.significant,
        slices_tested=None if tested is None else tested.tested,
        input_fingerprint=images.inputs.fingerprint(images.ids, embedded.fingerprint),
        skipped=embedded.skipped,
    )


def _gathered(
    about: Findings,
    fit: FailureDirections,
    images: AuditImages,
    captions: CaptionedClasses,
    drawn: DrawnClasses,
    errors: SortedErrors,
    planted: Mapping[str, Planted],
    source: ImageSource,
    notes: Notes,
) -> tuple[Findings, Thumbnails, list[str], list[SortedImage]]:
    """Return what was found, with small pictures of it, those that are missing, and every error by its cause."""
    classes = class_findings(fit.fitted, images, captions, planted, drawn.by_class)
    listed = sorted_images(errors, images)
    why = causes(errors, listed, images.inputs.class_names)
    table: ImageTable | None = None
    pictures, missing = Thumbnails({}), list[str]()
    with notes.instead_of("The page lists its examples alone"):
        table = image_table(fit.fitted, images, cause_column(errors, images))
    with notes.instead_of("The page has no photographs"):
        pictures, missing = thumbnails(classes, why, table, source, images.ids)
    pictures.pixels.update(drawn.pixels)
    return replace(about, classes=classes, images=table, causes=why), pictures, missing, listed


def _finished(
    findings: Findings,
    pictures: Thumbnails,
    listed: list[SortedImage],
    fit: FailureDirections,
    images: AuditImages,
    captions: CaptionedClasses,
    tested: FoundSlices | None,
    folder: StagedFolder | None,
    report: Reporter,
) -> AuditResult:
    """Gather the result, and write everything where there is a folder for it."""
    result = AuditResult(
        findings=findings,
        directions=fit,
        mode_decisions=images.inputs.by_image(images.decisions),
        captions=captions,
        examples=example_table(images),
        errors=cause_table(listed),
        pictures=pictures,
        out=folder.out if folder else None,
    )
    if folder is not None:
        report("write the report", 0, 1)
        write_audit(folder.path, findings, fit.fitted, result.page, result.examples, captions, listed, tested)
        report("write the report", 1, 1)
    return result
