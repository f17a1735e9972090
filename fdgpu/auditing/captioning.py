"""Candidates of every class, encoded once, scored along each of the class's directions, and judged (paper, 2.2).

From a vocabulary of any size captions are grown instead, by a beam search along one direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host
from fdgpu.auditing.images import AuditImages
from fdgpu.captions.additive import WordEffects, word_effects
from fdgpu.captions.beam_search import BUDGET, GrownCaptions, grow
from fdgpu.captions.candidates import CaptionRecipe, pool_captions
from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.captions.reliability import Candidates, JudgedCaptions, ShownImages, judge_captions
from fdgpu.captions.sentences import SIDE, Captioner, write_sentences
from fdgpu.described import Described
from fdgpu.device import BatchSize, halving_batches
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.embedder import CaptionReader
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError, ModelError
from fdgpu.findings import ScoredCaption, Side, Split
from fdgpu.index import CaptionIndex
from fdgpu.kernels.alignments import alignments
from fdgpu.progress import OneBar, Reporter, silent

# Of the candidates that are judged at once: their vectors, and numbers of each and each resample.
BATCH_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}
NUMBERS = 6  # float64 numbers of each candidate and resample that judging holds at its peak
# Of an index, these become candidates: the captions farthest out on either side of a direction; those farthest out
# along each resample, and along what it adds to the direction, so that ranks and noise are those of the whole index;
# and some drawn from all of it, for the average.
FARTHEST = 100
OF_RESAMPLES = 10
DRAWN = 500
MOST_DESCRIBED = 50  # errors of a class, and as many right images, that a captioner is shown
LOADED = 500  # pictures for it that are in memory together: some 400 MB


@dataclass(frozen=True, repr=False)
class ModeCaptions(Described):
    """A class's candidates along one of its directions.

    ``texts`` m captions, the same for every direction of a class, with their ``scores`` (m,), NaN for the reference;
    ``hard`` and ``easy`` the captions that are shown, each a different thing, the most extreme first; ``nearest``, for
    each side that has one, whether the model was right, the image nearest to the first caption first; ``words`` what
    each word does to the alignments.
    """

    texts: list[str]
    scores: NDArray[np.float64]
    hard: tuple[ScoredCaption, ...]
    easy: tuple[ScoredCaption, ...]
    nearest: Mapping[Side, NDArray[np.bool_]]
    words: WordEffects

    def _described(self) -> dict[str, object]:
        return {"captions": len(self.texts), "hard": len(self.hard), "easy": len(self.easy)}


@dataclass(frozen=True, repr=False)
class CaptionedClasses(Described):
    """Class id → its captions by direction, where it has one; and captions left out, as they could not be read."""

    by_class: dict[int, tuple[ModeCaptions, ...]]
    unread: list[str]

    def _described(self) -> dict[str, object]:
        return {"classes": len(self.by_class), "unread": len(self.unread)}


@dataclass(frozen=True)
class _Described:
    """A class with a direction: its index in the fit, its id, its captions, and where their vectors are.

    ``texts`` m candidates that fit into the model's context, ``rows`` (m,) of their vectors, ``reference`` that of the
    reference caption, and ``at`` (m,) their indices in the ``grammar``, where they come from one.
    """

    index: int
    class_id: int
    grammar: CaptionGrammar | None
    texts: list[str]
    rows: NDArray[np.int64]
    reference: int
    at: NDArray[np.int64]


@dataclass(frozen=True)
class CaptionSource:
    """Where candidates come from: a recipe's grammars, and by class id the indexes that take their place.

    ``listed`` are captions that take the place of all grammars; each is a candidate of every class. ``written`` are
    by class id what a captioner wrote, which takes the place of the class's grammar; ``failed`` why it did not, by
    image.
    """

    recipe: CaptionRecipe
    indexes: Mapping[int, CaptionIndex]
    listed: tuple[str, ...] | None = None
    written: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def captions_of(self, class_id: int) -> Sequence[str]:
        """Return the candidates of a class that has no index."""
        return self.written.get(class_id) or self.listed or self.recipe.classes[class_id].grammar

    @classmethod
    def resolve(
        cls, given: object, class_names: Sequence[str], dimension: int, nouns: Mapping[str, str] | None = None
    ) -> CaptionSource:
        """Take what an audit is given.

        Args:
            given: a :class:`fdgpu.CaptionIndex` of all classes, a mapping of class name to index or grammar, or
                whatever :meth:`fdgpu.captions.CaptionRecipe.resolve` takes.
            class_names: of the audit.
            dimension: of the embedder's vectors.
            nouns: what general captions call a class, where that is not its name.

        Raises:
            InputError: for an index without captions, of other vectors or of differences, or what the recipe refuses.
        """
        if isinstance(given, CaptionIndex):
            given = dict.fromkeys(class_names, given)
        listed = given if isinstance(given, Mapping) else {}
        indexes = {k: listed[name] for k, name in enumerate(class_names) if isinstance(listed.get(name), CaptionIndex)}
        if not indexes:
            return cls(CaptionRecipe.resolve(given, class_names, nouns), {})
        _check_indexes(indexes.values(), dimension)
        grammars = {name: one for name, one in listed.items() if not isinstance(one, CaptionIndex)}
        recipe = CaptionRecipe.resolve(grammars or None, class_names, nouns)
        entries = [
            replace(entry, reference=_own_reference(indexes[k]) or entry.reference) if k in indexes else entry
            for k, entry in enumerate(recipe.classes)
        ]
        missing = tuple(name for name in recipe.fallen_back if not isinstance(listed.get(name), CaptionIndex))
        return cls(replace(recipe, classes=tuple(entries), fallen_back=missing), indexes)


def _check_indexes(indexes: Iterable[CaptionIndex], dimension: int) -> None:
    for index in indexes:
        if not len(index):
            raise InputError("an index of captions is empty: add captions, with CaptionIndex.from_captions say")
        if index.reference is not None:
            raise InputError(
                "an index holds differences from a reference, and every class has its own: make it without reference= "
                "and scale=, and it takes any"
            )
        if index.dimension != dimension:
            raise InputError(
                f"an index holds vectors of {index.dimension} numbers, the embedder gives {dimension}: make it with "
                "the same embedder"
            )


def _grammar_of(index: CaptionIndex) -> CaptionGrammar | None:
    """Return the grammar whose captions an index holds, where all are of one."""
    parts = index.names.parts
    return parts[0] if len(parts) == 1 and isinstance(parts[0], CaptionGrammar) else None


def _own_reference(index: CaptionIndex) -> str | None:
    """Return the reference caption of an index's grammar, if that is of one noun."""
    grammar = _grammar_of(index)
    nouns = [] if grammar is None else [word for word in grammar.slots.get("noun", ()) if word]
    return grammar.reference(noun=nouns[0]) if grammar is not None and len(nouns) == 1 else None


def written_for(
    source: CaptionSource,
    captioner: Captioner,
    fit: FailureDirections,
    images: AuditImages,
    pictures: ImageSource,
    report: Reporter,
    kept: NDArray[np.bool_] | None = None,
) -> CaptionSource:
    """Let a captioner describe errors that directions were fitted on, and of each class as many right images.

    Sentences that read alike are one. A class for which nothing was written keeps its captions.

    Args:
        source: of captions.
        captioner: as :func:`fdgpu.captions.sentences.as_captioner` returns it.
        fit: whose classes with a direction are described.
        images: of the audit.
        pictures: of which they are, to look at again.
        report: shows how many were described.
        kept: (N,) the samples that were fitted, where some were left out.

    Raises:
        InputError: for answers that are no sentence each.
        ModelError: where the captioner fails on every image, or no image can be had again.
    """
    fitted, inputs = fit.fitted, images.inputs
    of_fit = inputs.of_samples(images.readable & (inputs.splits == Split.VAL)) & (kept if kept is not None else True)
    chosen: dict[int, NDArray[np.int64]] = {}
    for k in (int(k) for k, n in zip(fitted.classes, fitted.n_directions, strict=True) if n):
        draw = np.random.default_rng([fitted.search_settings.random_state, k]).permutation
        own = of_fit & (inputs.labels == k)
        wrong = draw(np.flatnonzero(own & ~inputs.correct))[:MOST_DESCRIBED]
        right = draw(np.flatnonzero(own & inputs.correct))[: len(wrong)]
        chosen[k] = inputs.image_of(np.concatenate([wrong, right]))
    rows = np.unique(np.concatenate([*chosen.values(), np.empty(0, np.int64)]))
    by_image: dict[int, str | None] = {}
    failed: dict[str, str] = {}
    for start in range(0, len(rows), LOADED):
        part = rows[start : start + LOADED].tolist()
        found = write_sentences(
            captioner,
            pictures.pictures(part, SIDE),
            lambda stage, done, _, before=start: report(stage, before + done, len(rows)),
        )
        by_image |= zip(part, found.sentences, strict=True)
        failed |= {images.ids[part[row]]: reason for row, reason in found.reasons.items()}
    if len(rows) and not any(by_image.values()):
        raise ModelError("no image that it should describe can be had again")
    sentences = {k: tuple(dict.fromkeys(filter(None, map(by_image.get, own.tolist())))) for k, own in chosen.items()}
    return replace(source, written={k: own for k, own in sentences.items() if own}, failed=failed)


def caption_classes(
    fit: FailureDirections,
    embedder: CaptionReader,
    source: CaptionSource,
    report: Reporter,
    images: AuditImages | None = None,
) -> CaptionedClasses:
    """Score the candidates of every class along each of its directions; a text that classes share is encoded once.

    A caption that cannot be read whole is left out; a class whose reference cannot be has none.

    Args:
        fit: of the embedder's vectors, with its resamples.
        embedder: of the captions, whose vectors stay on its device.
        source: of the candidates of every class id.
        report: shows how many captions are encoded.
        images: those that are shown, to judge captions by; without any the rank alone decides.
    """
    fitted = fit.fitted
    classes = [(i, int(k)) for i, k in enumerate(fitted.classes) if fitted.n_directions[i]]
    entries = [source.recipe.classes[k] for _, k in classes]
    found = _found(fit, embedder, source, classes)
    groups = [
        [source.indexes[k].names[i] for i in found[k].tolist()] if k in found else source.captions_of(k)
        for _, k in classes
    ]
    pooled, members, firsts = pool_captions([*groups, [entry.reference for entry in entries]])
    fitting = {text: row for row, text in enumerate(filter(embedder.fits, pooled))}
    described = []
    for (i, k), entry, group, own_members, own_firsts in zip(
        classes, entries, groups, members[:-1], firsts[:-1], strict=True
    ):
        if entry.reference in fitting:
            listed = [pooled[member] for member in own_members]
            texts = [text for text in listed if text in fitting]
            rows = np.array([fitting[text] for text in texts], np.int64)
            at = own_firsts[[text in fitting for text in listed]]
            grammar = _grammar_of(source.indexes[k]) if k in found else group
            at = found[k][at] if k in found else at
            own_grammar = grammar if isinstance(grammar, CaptionGrammar) else None
            described.append(_Described(i, k, own_grammar, texts, rows, fitting[entry.reference], at))
    by_class: dict[int, tuple[ModeCaptions, ...]] = {one.class_id: () for one in described}
    if described:
        vectors = embedder.texts(list(fitting), report)
        for direction in range(int(fitted.n_directions.max())):
            along = [one for one in described if fitted.n_directions[one.index] > direction]
            for one, judged in _judged(fit, along, direction, vectors, images):
                by_class[one.class_id] += (_captions_of(one, judged),)
    return CaptionedClasses(by_class, [text for text in pooled if text not in fitting])


def _captions_of(one: _Described, judged: JudgedCaptions) -> ModeCaptions:
    return ModeCaptions(
        one.texts,
        judged.scores,
        hard=tuple(judged.sides[Side.HARD].values()),
        easy=tuple(judged.sides[Side.EASY].values()),
        nearest=judged.nearest,
        words=word_effects(one.grammar, judged.alignments, one.at) if one.grammar else WordEffects((), float("nan")),
    )


def _found(
    fit: FailureDirections, embedder: CaptionReader, source: CaptionSource, classes: Sequence[tuple[int, int]]
) -> dict[int, NDArray[np.int64]]:
    """Ask the indexes: by class id, the ids of the captions that become candidates, ascending."""
    by_index: dict[int, list[tuple[int, int]]] = {}
    for i, k in classes:
        if k in source.indexes and embedder.fits(source.recipe.classes[k].reference):
            by_index.setdefault(id(source.indexes[k]), []).append((i, k))
    found: dict[int, NDArray[np.int64]] = {}
    for own in by_index.values():
        references = embedder.texts([source.recipe.classes[k].reference for _, k in own])
        found |= _found_in(source.indexes[own[0][1]], fit, own, references)
    return found


def _found_in(
    index: CaptionIndex, fit: FailureDirections, classes: Sequence[tuple[int, int]], references: torch.Tensor
) -> dict[int, NDArray[np.int64]]:
    fitted, device = fit.fitted, references.device
    drawn = index.sample(min(DRAWN, len(index)), fitted.search_settings.random_state)
    ids = {k: [drawn] for _, k in classes}
    origins = fitted.caption_origins(references)
    for direction in range(int(fitted.n_directions.max())):
        rows = [row for row, (i, _) in enumerate(classes) if fitted.n_directions[i] > direction]
        own = [classes[row][0] for row in rows]
        w = to_device(fitted.shift[own, direction], device)
        resampled = fitted.resampled(direction, device)[to_device(np.array(own), device)]
        along = torch.cat([resampled, resampled - resampled.mean(dim=1, keepdim=True)], dim=1)  # (q, 2 B, d)
        asked = [(w[:, None], FARTHEST)] + ([(along, OF_RESAMPLES)] if along.shape[1] else [])
        for directions, count in asked:
            repeated = origins[to_device(np.array(rows).repeat(directions.shape[1]), device)]
            sides = index.extremes(directions.flatten(0, 1), repeated, fitted.scale, min(count, len(index)))
            both = torch.stack([side.ids for side in sides], dim=1).unflatten(0, directions.shape[:2])
            for row, of_class in zip(rows, to_host(both, "which captions of an index are farthest out"), strict=True):
                ids[classes[row][1]].append(of_class.ravel())
    return {k: np.unique(np.concatenate(parts)) for k, parts in ids.items()}


def _judged(
    fit: FailureDirections,
    classes: Sequence[_Described],
    direction: int,
    vectors: torch.Tensor,
    images: AuditImages | None,
) -> Iterator[tuple[_Described, JudgedCaptions]]:
    """Judge the captions of classes along one direction of each, as many classes at a time as fit into memory."""
    fitted = fit.fitted
    resampled = fitted.resampled(direction, vectors.device)
    chance = (fitted.search_settings.n_permutations > 0) & ~fitted.significant[:, direction]
    scale, intercepts = to_device(fitted.scale, vectors.device), fitted.caption_intercepts(direction)

    def judge(start: int, stop: int) -> list[JudgedCaptions]:
        own = classes[start:stop]
        rows = np.full((len(own), max(1, *(len(one.rows) for one in own))), -1)
        for row, one in zip(rows, own, strict=True):
            row[: len(one.rows)] = one.rows
        indices = [one.index for one in own]
        references = vectors[to_device(np.array([one.reference for one in own]), vectors.device)]
        candidates = Candidates(
            [one.texts for one in own], vectors, rows, references, scale, fitted.caption_origins(references)
        )
        shown = _shown(images, [one.class_id for one in own], vectors)
        return judge_captions(
            candidates,
            fitted.shift[indices, direction],
            resampled[to_device(np.array(indices), vectors.device)],
            shown,
            chance[indices],
            intercepts[indices],
        )

    most = max((len(one.rows) for one in classes), default=0)
    a_class = most * (4 * vectors.shape[1] + 8 * NUMBERS * (1 + resampled.shape[1]))
    batch = BatchSize(max(1, BATCH_BYTES.get(vectors.device.type, BATCH_BYTES["cuda"]) // max(1, a_class)))
    start = 0
    for stop, judged in halving_batches(judge, len(classes), batch):
        yield from zip(classes[start:stop], judged, strict=True)
        start = stop


def _shown(images: AuditImages | None, class_ids: Sequence[int], vectors: torch.Tensor) -> ShownImages:
    """Return the images that are shown of classes; none were fitted on, unless directions were fitted on all."""
    if images is None:
        return ShownImages.none(len(class_ids), vectors)
    samples = [images.rows_of(k) for k in class_ids]
    return ShownImages(
        images.vectors,
        [images.inputs.correct[own] for own in samples],
        [images.inputs.image_of(own) for own in samples],
        images.shown_from != Split.VAL,
    )


# --- from a vocabulary of any size -----------------------------------------------------------------------------------


def grow_captions(
    fit: FailureDirections,
    embedder: CaptionReader,
    class_id: int,
    grammar: CaptionGrammar,
    *,
    direction: int = 0,
    reference: str | None = None,
    beam: int = 32,
    top: int = 10,
    side: str | Side = Side.HARD,
    budget: int = BUDGET,
    progress: Reporter | None = None,
) -> GrownCaptions:
    """Grow the hardest captions of a class out of a grammar that may have 10^8 of them, few of which are encoded.

    The captions are found by :func:`fdgpu.captions.grow` and encoded over their prefix tree, some thousands at a time.

    Args:
        fit: fitted directions, in the embedder's space.
        embedder: of the captions.
        class_id: an entry of ``fit.classes_``.
        grammar: the template and each slot's words; a slot can only be left out where None is among them.
        direction: which of the class's directions.
        reference: the caption that describes the whole class; by default the first noun and nothing else.
        beam: captions that are extended at a time: more find more, for more time.
        top: captions to return.
        side: ``"hard"``, or ``"easy"`` for the other side of the direction.
        budget: captions to encode at most.
        progress: a reporter; by default a bar where a person watches standard error.

    Returns:
        The captions with their alignments, hardest (easiest) first. Captions that exceed the model's context are left
        out, and named.

    Raises:
        InputError: for a class without a direction, a reference that the model would cut, or what ``grow`` refuses.

    Example:
        >>> clip = fdgpu.ClipEmbedder.bundled("cpu")
        >>> grammar = fdgpu.CaptionGrammar("a photo of a {colour} {noun}", colour=[None, "blue", "red"], noun=["coat"])
        >>> vectors = clip.texts(["a photo of a blue coat", "a photo of a red coat"] * 20)  # in place of images
        >>> fit = fdgpu.FailureDirections(whiten=False).fit(vectors, [0] * 40, [False, True] * 20)
        >>> fdgpu.grow_captions(fit, clip, 0, grammar, top=1).captions[0].caption
        'a photo of a blue coat'
    """
    row = fit.index_of(class_id)
    fitted = fit.fitted
    kept = int(fitted.n_directions[row])
    if direction not in range(kept):
        raise InputError(
            f"class {class_id} has {kept} directions (status '{fitted.status[row]}'), direction is {direction}: "
            "captions need one to be scored along"
        )
    length = float(np.linalg.norm(fitted.shift[row, direction].astype(np.float64)))
    if not length:
        raise InputError(f"direction {direction} of class {class_id} has no length: it is zero, and points nowhere")
    if reference is None:
        reference = grammar.reference(noun=next(filter(None, grammar.slots["noun"])))
    base = fitted.caption_origins(embedder.texts(reference, silent)[0])

    w, scale = torch.from_numpy(fitted.shift[row, direction] / length), torch.from_numpy(fitted.scale)

    def alignment(captions: list[str]) -> torch.Tensor:
        return alignments(embedder.texts(captions, silent), base, w, scale)

    with OneBar(progress) as report:
        return grow(
            grammar, alignment, beam=beam, top=top, side=side, fits=embedder.fits, budget=budget, progress=report
        )
