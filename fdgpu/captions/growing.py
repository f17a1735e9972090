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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import to_numpy
from fdgpu.captions.grammar import CaptionGrammar, Word
from fdgpu.errors import InputError
from fdgpu.progress import Reporter, silent

Score = Callable[[list[str]], Any]

BUDGET = 1_000_000  # captions; what is kept of each takes some 200 bytes
BATCH = 8192  # captions scored at a time: neighbours in the grammar, which share most of their beginnings
NARROW = 8  # the beam over this is how many are extended of those that fill the same slots, at least one
ENDS = {"hard": 1.0, "easy": -1.0}  # of a score: which of its signs is sought


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
    end: str = "hard",
    fits: Callable[[str], bool] | None = None,
    budget: int = BUDGET,
    progress: Reporter = silent,
) -> GrownCaptions:
    """Search a grammar for its most extreme captions, without going through it.

    The same grammar and scores give the same captions; ties go to the first in the grammar.

    Args:
        grammar: slots of any number of words; what they make together is never listed.
        score: takes up to :data:`BATCH` captions, gives (m,) alignments; NaN for one that has none, which is left out.
        start: words of the caption to start from. By default every slot is left out, or holds its first word where the
            grammar never leaves it out.
        beam: captions that are extended at a time, and an eighth as many of those that fill each set of slots.
        top: captions to return.
        end: ``"hard"`` for the lowest scores, ``"easy"`` for the highest.
        fits: whether a caption can be scored; by default all can.
        budget: captions to score at most, for time and memory; the search then ends where it is.
        progress: takes the number of captions scored.

    Raises:
        InputError: for a slot or word that the grammar lacks, a number below 1, a score that is infinite or not one a
            caption, or if no caption gets a score.
    """
    for name, value in (("beam", beam), ("top", top), ("budget", budget)):
        if value < 1:
            raise InputError(f"{name} is {value}: use at least 1")
    if end not in ENDS:
        raise InputError(f"end is {end!r}: use 'hard' for the lowest scores or 'easy' for the highest")
    first = np.array([_start(grammar, start or {})], np.int64)
    search = _Search(grammar, score, fits or (lambda _: True), ENDS[end], first, beam, top, budget, progress)
    passes = search.run()
    if not len(search.places):
        why = f"none of the {search.n_scored} captions tried has a score"
        raise InputError(f"{why}: does every one equal the reference, or exceed the model's context?")
    return GrownCaptions(
        tuple(
            GrownCaption(grammar[place], grammar.words_at(place), ENDS[end] * value)
            for place, value in zip(search.places[:top].tolist(), search.values[:top].tolist(), strict=True)
        ),
        search.n_scored,
        len(grammar),
        tuple(search.left_out),
        passes,
        not search.spent,
    )


class _Search:
    """The best captions so far, by their places in the grammar, and which changes of theirs were tried.

    ``places`` and ``values`` are the lowest of everything scored, ascending, and ``extended`` those to change. A
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
        self.start, self.started = start, grammar.word_places(start)
        self.places, self.values = np.empty(0, np.int64), np.empty(0)
        self.extended = self.places
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

    def _change(self, slot: int, places: NDArray[np.int64]) -> bool:
        """Offer these captions with every word in one slot; False if that was done for all of them."""
        stride, size = self.strides[slot], self.sizes[slot]
        others = np.unique(places - places // stride % size * stride)
        new = [place for place in others.tolist() if (slot, place) not in self._tried]
        self._tried.update((slot, place) for place in new)
        if not new or self.spent:
            return False
        lines = np.array(new, np.int64)[:, None] + stride * np.arange(size, dtype=np.int64)
        self._offer(np.unique(lines))
        return True

    def _offer(self, places: NDArray[np.int64]) -> None:
        for texts in self._batches(places):
            values = self.sign * _checked(self.score(list(texts)), texts)
            self.n_scored += len(texts)
            scored = ~np.isnan(values)
            new = np.fromiter(texts.values(), np.int64, len(texts))[scored]
            self._keep(np.concatenate([self.places, new]), np.concatenate([self.values, values[scored]]))
            self.progress("grow captions", self.n_scored, None)

    def _keep(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Keep the best of these, and of those that fill the same slots a few."""
        order = np.lexsort((places, values))
        places, values = places[order], values[order]
        filled = (self.grammar.word_places(places) != self.started) @ (1 << np.arange(len(self.sizes)))
        rank = np.arange(len(places))
        extended = (rank < self.beam) | (_rank_within(filled) < max(1, self.beam // NARROW))
        kept = extended | (rank < self.top)
        self.places, self.values, self.extended = places[kept], values[kept], places[extended]

    def _batches(self, places: NDArray[np.int64]) -> Iterator[dict[str, int]]:
        """Yield captions that are new and fit, with their places, as many at a time as are scored together."""
        batch: dict[str, int] = {}
        for place in places.tolist():
            text = self.grammar[place]
            if text in self._seen:
                continue
            if self.n_scored + len(batch) >= self.budget:
                self.spent = True
                break
            self._seen.add(text)
            if not self.fits(text):
                self.left_out.append(text)
                continue
            batch[text] = place
            if len(batch) == BATCH:
                yield batch
                batch = {}
        if batch:
            yield batch


def _rank_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each entry how many of its group stand before it."""
    order = np.argsort(groups, kind="stable")
    together = groups[order]
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(together, together)
    return rank


def _start(grammar: CaptionGrammar, words: Mapping[str, Word]) -> int:
    """Return the place of the caption to start from."""
    odd = [name for name in words if name not in grammar.slots]
    if odd:
        raise InputError(f"start has words for {odd[0]!r}: the slots are {', '.join(grammar.slots)}")
    place = 0
    for name, listed in grammar.slots.items():
        word = words.get(name, None if None in listed else listed[0])
        if word not in listed:
            raise InputError(f"start has {word!r} for {name!r}, which is not among its words: use one of them")
        place = place * len(listed) + listed.index(word)
    return place


def _checked(scores: Any, texts: Mapping[str, int]) -> NDArray[np.float64]:
    values = np.asarray(to_numpy(scores, "scores"), np.float64)
    if values.shape != (len(texts),):
        raise InputError(f"score gave an array of shape {values.shape} for {len(texts)} captions: give one a caption")
    if np.isinf(values).any():
        odd = list(texts)[int(np.isinf(values).argmax())]
        raise InputError(f"score gave an infinite value for {odd!r}: give NaN to a caption that has no score")
    return values
