"""Growing captions: what it finds, how little it scores, and what it refuses. Plain twin: score the whole grammar."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import GrownCaptions, grow
from fdgpu.captions.beam_search import _rank_within
from fdgpu.errors import InputError


def grammar_of(*sizes: int, left_out: bool = True) -> CaptionGrammar:
    """Slots s0, s1, … and a noun; words s0w0, s0w1, …"""
    slots = {
        f"s{s}": [*([None] if left_out else []), *(f"s{s}w{w}" for w in range(size))] for s, size in enumerate(sizes)
    }
    return CaptionGrammar(" ".join(f"{{{name}}}" for name in [*slots, "noun"]), **slots, noun=["cat"])


class Scorer:
    """A value a word, summed; and, with ``together`` > 0, one for each pair of words. The noun alone has no score."""

    def __init__(self, seed: int, together: float = 0.0) -> None:
        self.seed, self.together = seed, together
        self.known: dict[str, float] = {}
        self.asked: list[str] = []
        self.largest = 0

    def value(self, *words: str) -> float:
        key = " ".join(words)
        if key not in self.known:
            self.known[key] = float(np.random.default_rng([self.seed, *key.encode()]).normal())
        return self.known[key]

    def one(self, caption: str) -> float:
        words = caption.split()[:-1]
        if not words:
            return float("nan")
        pairs = [(a, b) for i, a in enumerate(words) for b in words[i + 1 :]] if self.together else []
        return sum(self.value(word) for word in words) + self.together * sum(self.value(*pair) for pair in pairs)

    def __call__(self, captions: list[str]) -> list[float]:
        self.asked += captions
        self.largest = max(self.largest, len(captions))
        return [self.one(caption) for caption in captions]


def exhaustive(grammar: CaptionGrammar, scorer: Scorer, top: int, sign: float = 1) -> list[str]:
    """Score all of the grammar."""
    scored = [(sign * scorer.one(caption), i, caption) for i, caption in enumerate(grammar)]
    return [caption for value, _, caption in sorted(s for s in scored if not np.isnan(s[0]))][:top]


def captions_of(grown: GrownCaptions) -> list[str]:
    return [one.caption for one in grown.captions]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 10**6), st.integers(1, 6),
    st.sampled_from(["hard", "easy"]), st.booleans(),
)  # fmt: skip
def test_where_words_only_add_up_the_best_are_found_exactly(
    sizes: list[int], seed: int, top: int, side: str, left_out: bool
) -> None:
    grammar, scorer = grammar_of(*sizes, left_out=left_out), Scorer(seed)
    grown = grow(grammar, scorer, beam=top, top=top, side=side)
    assert captions_of(grown) == exhaustive(grammar, scorer, top, 1 if side == "hard" else -1)
    assert [one.alignment for one in grown.captions] == [scorer.one(one.caption) for one in grown.captions]
    assert all(grammar.template.format(**{k: v or "" for k, v in one.words.items()}).split() == one.caption.split()
               for one in grown.captions)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_no_change_of_a_word_betters_what_it_returns_and_none_is_scored_twice(seed: int, beam: int) -> None:
    grammar, scorer = grammar_of(5, 4, 5), Scorer(seed, together=1.0)
    grown = grow(grammar, scorer, beam=beam, top=1)
    assert len(scorer.asked) == len(set(scorer.asked)) == grown.n_scored
    best = grown.captions[0]
    for name, listed in grammar.slots.items():
        for word in listed:
            words = {**best.words, name: word}
            other = scorer.one(" ".join(filter(None, words.values())))
            assert not other < best.alignment


def test_a_beam_as_wide_as_the_grammar_finds_everything() -> None:
    grammar, scorer = grammar_of(5, 4, 3), Scorer(3, together=2.0)
    grown = grow(grammar, scorer, beam=len(grammar), top=20)
    assert captions_of(grown) == exhaustive(grammar, scorer, 20)


@given(st.lists(st.integers(0, 4), max_size=20))
def test_ranks_within_groups(groups: list[int]) -> None:
    expected = [groups[:i].count(group) for i, group in enumerate(groups)]
    assert _rank_within(np.array(groups, np.int64)).tolist() == expected


def test_two_words_that_are_little_alone_are_found_beside_many_that_are_something() -> None:
    grammar = grammar_of(4, 4, 60)

    def score(captions: list[str]) -> list[float]:
        together = {"s0w1 s1w2 cat": -0.2, "s0w1 s1w2 s2w3 cat": -9.0}
        alone = {f"s2w{w}": -1.0 - w / 100 for w in range(60)} | {"s0w1": 0.4, "s1w2": 0.4}
        return [together.get(c, alone.get(c.split()[-2], 0.5)) if " " in c else np.nan for c in captions]

    grown = grow(grammar, score, beam=8, top=1)
    assert captions_of(grown) == ["s0w1 s1w2 s2w3 cat"]


def test_a_wider_beam_finds_more_where_words_work_together() -> None:
    grammar = grammar_of(12, 12, 12)
    reached = {}
    for beam in (1, 8, 64):
        found = [set(captions_of(grow(grammar, Scorer(seed, 1.0), beam=beam, top=5))) for seed in range(10)]
        best = [set(exhaustive(grammar, Scorer(seed, 1.0), 5)) for seed in range(10)]
        reached[beam] = np.mean([len(one & other) / 5 for one, other in zip(found, best, strict=True)])
    assert reached[1] < reached[8] < reached[64]
    assert reached[64] > 0.9


def test_a_grammar_of_a_hundred_million_is_searched_without_being_listed() -> None:
    grammar, scorer = grammar_of(400, 500, 500), Scorer(0, together=0.3)
    assert len(grammar) > 10**8
    tracemalloc.start()
    grown = grow(grammar, scorer, beam=4, top=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown.n_combinations == len(grammar)
    assert grown.n_scored < 25_000
    assert peak < 30e6
    assert grown.finished
    additive = grow(grammar, Scorer(0), beam=3, top=3)
    lowest = [min(listed[1:], key=Scorer(0).value) for name, listed in grammar.slots.items() if name != "noun"]
    assert additive.captions[0].caption == " ".join([*lowest, "cat"])


def test_slots_that_are_never_left_out_and_several_nouns() -> None:
    grammar = CaptionGrammar("{size} {noun}", size=["big", "small", "huge"], noun=["cat", "dog"])
    values = {"big cat": 0.0, "small cat": -1.0, "huge cat": 1.0, "big dog": 2.0, "small dog": -3.0, "huge dog": 9.0}
    grown = grow(grammar, lambda texts: [values[text] for text in texts], beam=1, top=2)
    assert captions_of(grown) == ["small dog", "small cat"]
    first: list[str] = []
    grow(
        grammar, lambda texts: first.extend(texts) or [values[t] for t in texts], start={"noun": "dog", "size": "huge"}
    )
    assert set(first[:3]) == {"big dog", "small dog", "huge dog"}


def test_captions_that_do_not_fit_are_left_out_and_named() -> None:
    grammar, scorer = grammar_of(3, 3), Scorer(1)
    best = exhaustive(grammar, scorer, 2)
    grown = grow(grammar, scorer, fits=lambda caption: caption != best[0], top=1)
    assert grown.left_out == (best[0],)
    assert captions_of(grown) == [best[1]]
    assert best[0] not in scorer.asked


def test_captions_that_read_alike_are_scored_once() -> None:
    grammar = CaptionGrammar("{a} {b} {noun}", a=[None, "dark", "dark red"], b=[None, "red"], noun=["cat", "red cat"])
    scorer = Scorer(0)
    grown = grow(grammar, scorer, beam=20, top=20)
    assert len(scorer.asked) == len(set(scorer.asked)) == grown.n_scored
    assert sorted(captions_of(grown)) == sorted(set(grammar) - {"cat"})


def test_a_budget_ends_the_search_and_says_so() -> None:
    grammar, scorer = grammar_of(20, 20, 20), Scorer(0, together=1.0)
    grown = grow(grammar, scorer, budget=50)
    assert (grown.n_scored, len(scorer.asked), grown.finished) == (50, 50, False)
    assert grow(grammar, scorer, budget=10**5).finished


def test_batches_are_bounded_and_progress_counts_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.captions.beam_search.BATCH", 7)
    grammar, scorer = grammar_of(6, 6, 6), Scorer(2, together=1.0)
    reported: list[tuple[str, int, int | None]] = []
    grown = grow(grammar, scorer, beam=5, progress=lambda *args: reported.append(args))
    assert scorer.largest == 7
    assert reported[-1] == ("grow captions", grown.n_scored, None)
    assert [done for _, done, _ in reported] == sorted(done for _, done, _ in reported)
    monkeypatch.setattr("fdgpu.captions.beam_search.BATCH", 8192)
    assert grow(grammar, scorer, beam=5).captions == grown.captions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam": 0}, "beam is 0: use a whole number of at least 1"),
        ({"top": -1}, "top is -1"),
        ({"budget": 0}, "budget is 0"),
        ({"side": "hardest"}, "side is 'hardest': use one of hard, easy"),
        ({"start": {"colour": "red"}}, "start has words for 'colour': the slots are s0, noun"),
        ({"start": {"s0": "red"}}, "start has 'red' for 's0'"),
        ({"score": lambda _: [1.0]}, r"score gave an array of shape \(1,\) for 4 captions"),
        ({"score": lambda texts: np.zeros((len(texts), 1))}, r"shape \(4, 1\)"),
        ({"score": lambda texts: [np.inf] * len(texts)}, "infinite value for 'cat'"),
        ({"score": lambda texts: [np.nan] * len(texts)}, "none of the 4 captions tried has a score"),
        ({"fits": lambda _: False}, "none of the 0 captions tried has a score"),
    ],
)
def test_what_cannot_work_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grow(grammar_of(3), **{"score": Scorer(0), **arguments})
