"""Captions grown where they pay: a beam search through a grammar that is too large to go through (paper, A.6).

From the caption that leaves every slot out, the best captions so far are extended slot by slot: one slot at a time
takes each of its words, the others stay as they are. Slots are visited again and again, since words work together,
until no change of a single word in any of the best captions gives one that is new.

Captions that fill other slots do not push each other out: of those that fill the same ones a few are extended, however
they compare with the rest. What two words do together is else never seen where each alone does little.

Where the words of a score only add up, this finds the best captions of all, however narrow the beam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_numpy
from fdgpu.captions.grammar import CaptionGrammar, Word
from fdgpu.checks import check_name, check_whole
from fdgpu.errors import InputError
from fdgpu.findings import Side
from fdgpu.progress import Reporter, silent

Score = Callable[[list[str]], Array]

BUDGET = 1_000_000  # captions; what is kept of each takes some 200 bytes
BATCH = 8192  # captions scored at a time: neighbours in the grammar, which share most of their beginnings
NARROW = 8  # the beam over this is how many are extended of those that fill the same slots, at least one
SIGNS = {Side.HARD: 1.0, Side.EASY: -1.0}  # of a score: which of its signs is sought


@dataclass(frozen=True)
class GrownCaption:
    """A caption that was found, the words of its slots, and its score."""

    caption: str
    words: Mapping[str, Word]
    alignment: float


@dataclass(frozen=True)
class GrownCaptions:
    """What a search found, the most extreme first, and what it took.

    ``n_scored`` captions of ``n_combinations`` were scored, each once; ``left_out`` names those that the model cannot
    read whole, which were not scored. ``passes`` counts the rounds over all slots. ``finished`` is False where the
    budget ended the search.
    """

    captions: tuple[GrownCaption, ...]
    n_scored: int
    n_combinations: int
    left_out: tuple[str, ...]
    passes: int
    finished: bool


def grow(
    grammar: CaptionGrammar,
    score: Score,
    *,
    start: Mapping[str, Word] | None = None,
    beam: int = 32,
    top: int = 10,
    side: str | Side = Side.HARD,
    fits: Callable[[str], bool] | None = None,
    budget: int = BUDGET,
    progress: Reporter = silent,
) -> GrownCaptions:
    """Search a grammar for its most extreme captions, without going through it.

    The same grammar and scores give the same captions; ties go to the first in the grammar.

    Example:
        >>> grammar = CaptionGrammar("a {size} {noun}", size=[None, "big", "small"], noun=["cat"])
        >>> grow(grammar, lambda captions: [len(caption) for caption in captions], top=1).captions[0].caption
        'a cat'

    Args:
        grammar: slots of any number of words; what they make together is never listed.
        score: takes up to :data:`BATCH` captions, gives (m,) alignments; NaN for one that has none, which is left out.
        start: words of the caption to start from. By default every slot is left out, or holds its first word where the
            grammar never leaves it out.
        beam: captions that are extended at a time, and an eighth as many of those that fill each set of slots.
        top: captions to return.
        side: ``"hard"`` for the lowest scores, ``"easy"`` for the highest.
        fits: whether a caption can be scored; by default all can.
        budget: captions to score at most, for time and memory; the search then ends where it is.
        progress: takes the number of captions scored.

    Raises:
        InputError: for a slot or word that the grammar lacks, a number below 1, a score that is infinite or not one a
            caption, or if no caption gets a score.
    """
    for name, value in (("beam", beam), ("top", top), ("budget", budget)):
        check_whole(value, name, 1)
    check_name(side, "side", SIGNS)
    sign = SIGNS[Side(side)]
    first = np.array([_start(grammar, start or {})], np.int64)
    search = _Search(grammar, score, fits or (lambda _: True), sign, first, beam, top, budget, progress)
    passes = search.run()
    if not len(search.indices):
        why = f"none of the {search.n_scored} captions tried has a score"
        raise InputError(f"{why}: does every one equal the reference, or exceed the model's context?")
    return GrownCaptions(
        tuple(
            GrownCaption(grammar[index], grammar.words_at(index), sign * value)
            for index, value in zip(search.indices[:top].tolist(), search.values[:top].tolist(), strict=True)
        ),
        search.n_scored,
        len(grammar),
        tuple(search.left_out),
        passes,
        not search.spent,
    )


class _Search:
    """The best captions so far, by their indices in the grammar, and which changes of theirs were tried.

    ``indices`` and ``values`` are the lowest of everything scored, ascending, and ``extended`` those to change. A
    caption that is not among them once will never be, so that each is offered once and only its text remembered.
    """

    def __init__(
        self,
        grammar: CaptionGrammar,
        score: Score,
        fits: Callable[[str], bool],
        sign: float,
        start: NDArray[np.int64],
        beam: int,
        top: int,
        budget: int,
        progress: Reporter,
    ) -> None:
        self.grammar, self.score, self.fits, self.sign = grammar, score, fits, sign
        self.beam, self.top, self.budget, self.progress = beam, top, budget, progress
        self.sizes = [len(words) for words in grammar.slots.values()]
        self.strides = [int(np.prod(self.sizes[slot + 1 :], dtype=np.int64)) for slot in range(len(self.sizes))]
        self.start, self.started = start, grammar.word_indices(start)
        self.indices, self.values = np.empty(0, np.int64), np.empty(0)
        self.extended = self.indices
        self.left_out: list[str] = []
        self.n_scored = 0
        self.spent = False
        self._seen: set[str] = set()
        self._tried: set[tuple[int, int]] = set()

    def run(self) -> int:
        """Try each word alone, then change the best captions until none of them changes; return the passes."""
        for slot in range(len(self.sizes)):
            self._change(slot, self.start)
        passes = 1
        while self._pass():
            passes += 1
        return passes

    def _pass(self) -> bool:
        """Change each slot of the best captions in turn; return whether there was anything left to try."""
        return sum(self._change(slot, self.extended) for slot in range(len(self.sizes))) > 0

    def _change(self, slot: int, indices: NDArray[np.int64]) -> bool:
        """Offer these captions with every word in one slot; False if that was done for all of them."""
        stride, size = self.strides[slot], self.sizes[slot]
        others = np.unique(indices - indices // stride % size * stride)
        new = [index for index in others.tolist() if (slot, index) not in self._tried]
        self._tried.update((slot, index) for index in new)
        if not new or self.spent:
            return False
        lines = np.array(new, np.int64)[:, None] + stride * np.arange(size, dtype=np.int64)
        self._offer(np.unique(lines))
        return True

    def _offer(self, indices: NDArray[np.int64]) -> None:
        for texts in self._batches(indices):
            values = self.sign * _checked(self.score(list(texts)), texts)
            self.n_scored += len(texts)
            scored = ~np.isnan(values)
            new = np.fromiter(texts.values(), np.int64, len(texts))[scored]
            self._keep(np.concatenate([self.indices, new]), np.concatenate([self.values, values[scored]]))
            self.progress("grow captions", self.n_scored, None)

    def _keep(self, indices: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Keep the best of these, and of those that fill the same slots a few."""
        order = np.lexsort((indices, values))
        indices, values = indices[order], values[order]
        filled = (self.grammar.word_indices(indices) != self.started) @ (1 << np.arange(len(self.sizes)))
        rank = np.arange(len(indices))
        extended = (rank < self.beam) | (_rank_within(filled) < max(1, self.beam // NARROW))
        kept = extended | (rank < self.top)
        self.indices, self.values, self.extended = indices[kept], values[kept], indices[extended]

    def _batches(self, indices: NDArray[np.int64]) -> Iterator[dict[str, int]]:
        """Yield captions that are new and fit, with their indices, as many at a time as are scored together."""
        batch: dict[str, int] = {}
        for index in indices.tolist():
            text = self.grammar[index]
            if text in self._seen:
                continue
            if self.n_scored + len(batch) >= self.budget:
                self.spent = True
                break
            self._seen.add(text)
            if not self.fits(text):
                self.left_out.append(text)
                continue
            batch[text] = index
            if len(batch) == BATCH:
                yield batch
                batch = {}
        if batch:
            yield batch


def _rank_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each entry how many of its group come before it."""
    order = np.argsort(groups, kind="stable")
    together = groups[order]
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(together, together)
    return rank


def _start(grammar: CaptionGrammar, words: Mapping[str, Word]) -> int:
    """Return the index of the caption to start from."""
    odd = [name for name in words if name not in grammar.slots]
    if odd:
        raise InputError(f"start has words for {odd[0]!r}: the slots are {', '.join(grammar.slots)}")
    index = 0
    for name, listed in grammar.slots.items():
        word = words.get(name, None if None in listed else listed[0])
        if word not in listed:
            raise InputError(f"start has {word!r} for {name!r}, which is not among its words: use one of them")
        index = index * len(listed) + listed.index(word)
    return index


def _checked(scores: Array, texts: Mapping[str, int]) -> NDArray[np.float64]:
    values = np.asarray(to_numpy(scores, "scores"), np.float64)
    if values.shape != (len(texts),):
        raise InputError(f"score gave an array of shape {values.shape} for {len(texts)} captions: give one a caption")
    if np.isinf(values).any():
        odd = list(texts)[int(np.isinf(values).argmax())]
        raise InputError(f"score gave an infinite value for {odd!r}: give NaN to a caption that has no score")
    return values
