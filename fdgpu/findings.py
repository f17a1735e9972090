"""What an audit found, as plain data: written by ``audit``, read by ``report``, stored as ``audit.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fdgpu.described import Described

Z = 1.959963984540054  # of a 95 % interval


class Status(StrEnum):
    """Whether a class has a direction, or why not."""

    OK = "ok"
    NO_SAMPLES = "no_samples"
    NO_ERRORS = "no_errors"
    ALL_ERRORS = "all_errors"
    TOO_FEW_ERRORS = "too_few_errors"
    TOO_FEW_CORRECT = "too_few_correct"
    NO_THRESHOLD = "no_threshold"  # of a condition, by which answers to it would be cut


class Split(StrEnum):
    """Which part of the data an image belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    @classmethod
    def named(cls, name: str) -> Split | None:
        """Return the split of a name in any case; None for "valid" and "dev" too: a flag, and maybe a machine."""
        longer = {"training": cls.TRAIN, "validation": cls.VAL, "testing": cls.TEST}
        folded = name.casefold()
        return cls(folded) if folded in list(cls) else longer.get(folded)


class Side(StrEnum):
    """A side of a direction; neutral is the reference, which lies on neither."""

    EASY = "easy"
    NEUTRAL = "neutral"
    HARD = "hard"


class DecidedBy(StrEnum):
    """What decided whether a caption is reliable: by the first three it is reliable, by the others withheld."""

    RANK = "rank"
    GAP = "gap"
    RANK_AND_GAP = "rank and gap"
    NEITHER = "neither"
    CONTRADICTED = "contradicted"
    CHANCE = "chance"


class GroupedBy(StrEnum):
    """What images that belong together were told by, which the test takes as one piece of evidence."""

    GIVEN = "given"
    NEAR_DUPLICATES = "near-duplicates"  # which the audit found in its own vectors
    NOTHING = "nothing"


class Cause(StrEnum):
    """Why an answer is wrong."""

    LABEL = "label"  # it is likely wrong
    DUPLICATE = "duplicate"  # of an image of another split, or with another label
    MODEL = "model"


class AnswerKind(StrEnum):
    """What a model's answers to conditions are."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    DECISIONS = "decisions"


class Interface(StrEnum):
    """How the audit was asked for, which decides what its page may advise."""

    PYTHON = "python"
    COMMAND_LINE = "command line"

    def advice(self, command_line: str, python: str) -> str:
        """Return the one that this interface offers."""
        return command_line if self is Interface.COMMAND_LINE else python


class CurveRole(StrEnum):
    """What orders the images of a curve, and so its colour."""

    HARD_CAPTION = "hard_caption"
    EASY_CAPTION = "easy_caption"
    DECISION_VALUE = "decision_value"
    CONFIDENCE = "confidence"
    CHANCE = "chance"


class Target(StrEnum):
    """Whose data an export is."""

    FIFTYONE = "fiftyone"
    RENUMICS = "renumics"
    CLEANLAB = "cleanlab"
    ATLAS = "atlas"
    HUGGINGFACE = "huggingface"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True)
class CaptionEvidence:
    """Whether a caption is reliable, and the figures that decided; NaN where there was nothing to compute one from.

    Attributes:
        reliable: its rank is stable or its gap holds, its gap does not contradict it, and its mode is distinguishable
            from chance, where that was tested.
        decided_by: what of this decided.
        rank: from 1 on its side, of ``candidates``.
        rank_median, rank_low, rank_high: over the resamples; 5th to 95th percentile.
        top_share: share of the resamples in which it, or one that says the same, is among the first ``top`` ranks.
        noise_p: how often the noise of resampling alone lifts any of the candidates as far.
        nearest: K, of the images that are nearest to it.
        nearest_accuracy: the accuracy on those.
        gap: that minus the accuracy of the class, with the bounds of its interval.
    """

    reliable: bool
    decided_by: DecidedBy
    rank: int
    candidates: int
    rank_median: float
    rank_low: float
    rank_high: float
    top: int
    top_share: float
    noise_p: float
    nearest: int
    nearest_accuracy: float
    gap: float
    gap_low: float
    gap_high: float


@dataclass(frozen=True)
class ScoredCaption:
    """A caption and its score w·d: the lower, the harder.

    ``alignment`` is the score over ‖w‖, the cosine between the direction and the caption's difference from the
    reference: comparable between classes, whose w differ in length with C. ``also`` are captions that say the same, by
    rank; ``evidence`` is None where nobody judged it.
    """

    caption: str
    score: float
    alignment: float
    also: tuple[str, ...] = ()
    evidence: CaptionEvidence | None = None

    @property
    def withheld(self) -> bool:
        """Whether it was judged, and found unreliable."""
        return self.evidence is not None and not self.evidence.reliable


@dataclass(frozen=True)
class WordEffect:
    """What a word adds to the alignment of the captions that have it: ``effect`` ± ``half_width`` (95 %).

    ``against`` is what it is measured against: ``"mean"`` (of what its slot may hold) or ``"left out"`` (its slot left
    empty). ``n`` captions have the word; ``half_width`` is NaN where these are too few.
    """

    slot: str
    word: str
    effect: float
    half_width: float
    n: int
    against: str = "mean"


@dataclass(frozen=True)
class Example:
    """One image of the class.

    ``decision`` is the value by which the direction ranks it (> 0 easy, < 0 hard): its decision value, and what its own
    loss adds where the method listens to that. ``confidence`` is the model's confidence in its own prediction, and
    ``true_probability`` its probability of the true class, where these are known.
    """

    path: str
    correct: bool
    prediction: str
    decision: float
    confidence: float | None = None
    true_probability: float | None = None


@dataclass(frozen=True)
class SortedImage:
    """An error, or a right image that is a duplicate, and why it is on a list.

    ``label`` is its class and ``chance`` the probability that this is wrong: NaN of what is right or a duplicate. Of a
    duplicate, ``twin`` is the image that it is one of, with that one's class and split.
    """

    example: Example
    label: str
    split: Split
    cause: Cause
    chance: float = float("nan")
    twin: str = ""
    twin_label: str = ""
    twin_split: str = ""


@dataclass(frozen=True)
class Causes:
    """Is it the model, or the data? The errors of val and test by cause, with the first of each list.

    ``n_right_duplicates`` counts right images that are duplicates, which are listed beside the wrong ones.
    ``estimated_label`` is how many errors have a wrong label, listed or not, ``expected_false`` the share of the listed
    that are the model's own after all, and ``reason`` says why none are listed. ``by_class`` counts label, duplicate
    and model.
    """

    n_label: int
    n_duplicate: int
    n_model: int
    n_right_duplicates: int
    estimated_label: float
    expected_false: float
    reason: str
    label: tuple[SortedImage, ...]
    duplicate: tuple[SortedImage, ...]
    model: tuple[SortedImage, ...]
    by_class: dict[str, tuple[int, int, int]]

    @property
    def lists(self) -> dict[Cause, tuple[SortedImage, ...]]:
        """The lists by cause."""
        return {Cause.LABEL: self.label, Cause.DUPLICATE: self.duplicate, Cause.MODEL: self.model}


@dataclass(frozen=True)
class CleanedClass:
    """What a class is with all images, and ``clean``, without duplicates and wrong labels.

    ``accuracy`` is of the shown images; ``left_out`` counts samples of the fit; ``cosine`` is between both directions.
    """

    name: str
    left_out: int
    accuracy: float
    accuracy_clean: float
    cv_score: float
    cv_score_clean: float
    significant: bool
    significant_clean: bool
    cosine: float


@dataclass(frozen=True, repr=False)
class Curve(Described):
    """A quantity over the number of images K: ``value[i]`` belongs to ``k[i]``; ``role`` says how K were chosen."""

    name: str
    role: CurveRole
    k: tuple[int, ...]
    value: tuple[float, ...]

    def _described(self) -> dict[str, object]:
        return {"name": self.name, "points": len(self.k)}


@dataclass(frozen=True, repr=False)
class Histogram(Described):
    """Decision values of right and of wrong samples, counted in the same bins (``len(edges) == len(right) + 1``)."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    def _described(self) -> dict[str, object]:
        return {"bins": len(self.right), "right": sum(self.right), "wrong": sum(self.wrong)}


@dataclass(frozen=True)
class PlantedTruth:
    """What the demo planted in a class and how well the audit found it (the paper's figure 2).

    ``named_at`` is the rank, from 1, of the first hard caption that names the hard attribute; None if none does.
    ``shares`` are the share of the minority among the top K by decision value, by confidence and by chance.
    """

    attribute: str
    easy: str
    hard: str
    named_at: int | None
    shares: tuple[Curve, ...]
    top: int
    share_by_decision: float
    share_by_confidence: float
    share_by_chance: float
    named_but_withheld: bool = False  # the caption that names it was not found reliable


@dataclass(frozen=True)
class DecodedPictures:
    """Pictures decoded from a class's reference caption, rotated by a share ``alpha`` of the angle towards a side.

    ``end`` is that side, as ``audit.json`` calls it; neutral has ``alpha`` 0. ``paths`` are one a noise, the same
    noises for every rotation.
    """

    end: Side
    alpha: float
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """An estimate, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of_share(cls, hits: int, n: int) -> Interval:
        """Return a share with Wilson's 95 % interval; NaN of none.

        >>> Interval.of_share(8, 10)
        Interval(value=0.8, low=0.49..., high=0.94...)
        """
        if not n:
            return cls(math.nan, math.nan, math.nan)
        share = hits / n
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        return cls(share, middle - half, middle + half)


@dataclass(frozen=True)
class Tally:
    """Images on one side of a direction, and how many of them the model gets wrong."""

    n: int = 0
    n_errors: int = 0

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN without images."""
        return 1 - self.n_errors / self.n if self.n else float("nan")


@dataclass(frozen=True)
class Slice:
    """Images of a class with a known value, or with up to three, on which the model may be wrong more often.

    Attributes:
        class_name: the class.
        values: each with its column: ``(("camera", "A"), ("site", "north"))``.
        n, n_errors: images that were tested, of the fit; of several that belong together one.
        p_value, q_value: of having no more errors than its class and than each of its parts; q over all that was tried.
        significant: q is at most the false discovery rate.
        shown: images of the split that is shown.
        accuracy: on these, with Wilson's interval.
        follows_from: another slice of the class, without which it has no more errors than others.
        explained_by: the direction of the class that explains it, from 0; None where none does, or it cannot be told.
        explained: share of its excess of errors that is gone among images of like decision value; NaN likewise.
    """

    class_name: str
    values: tuple[tuple[str, str], ...]
    n: int
    n_errors: int
    p_value: float
    q_value: float
    significant: bool
    shown: Tally = Tally()
    accuracy: Interval = Interval(math.nan, math.nan, math.nan)
    follows_from: str | None = None
    explained_by: int | None = None
    explained: float = math.nan

    @property
    def name(self) -> str:
        """Its values in words.

        >>> Slice("boot", (("camera", "A"), ("site", "north")), 20, 9, 0.001, 0.01, True).name
        'camera = A and site = north'
        """
        return " and ".join(f"{column} = {value}" for column, value in self.values)


@dataclass(frozen=True)
class SlicesTested:
    """What was looked through for slices.

    Attributes:
        columns: each with how many values it has.
        left_out: columns that were not tested, and why.
        conjunctions: most values that were taken together.
        fewest: images that a slice has to have.
        n_tested: slices that were tested of one value, of two, of three.
        tested_on: split.
    """

    columns: Mapping[str, int]
    left_out: Mapping[str, str]
    conjunctions: int
    fewest: int
    n_tested: tuple[int, ...]
    tested_on: Split


@dataclass(frozen=True, repr=False)
class ModeFindings(Described):
    """One failure mode of a class: a direction, how sure it is, and what it shows.

    ``n_errors`` counts the errors of the fit that belong to this mode: all of the class's where it has one.
    ``hard_side`` and ``easy_side`` tell the class's shown images by the sign of their decision value, by the vector
    alone: what a side's own losses say would make its accuracy a matter of course.
    ``share`` is that of the class's samples in the hidden class, and ``errors_explained`` that of its errors that the
    hidden class explains: NaN and None with the SVM. ``share`` is NaN too where there is too little evidence to tell
    the samples.
    ``significant`` is False, and p and q are NaN, where nothing was permuted.
    """

    cv_score: float = float("nan")
    p_value: float = float("nan")
    q_value: float = float("nan")
    significant: bool = False
    C: float = float("nan")
    C_at_edge: bool = False
    C_tied: bool = False  # the next C of the grid scores the same: the direction no longer changes
    converged: bool = True
    n_errors: int = 0
    share: float = float("nan")
    errors_explained: Interval | None = None
    hard_captions: tuple[ScoredCaption, ...] = ()
    easy_captions: tuple[ScoredCaption, ...] = ()
    word_effects: tuple[WordEffect, ...] = ()  # the strongest first
    explained_by_words: float = float("nan")  # R² of the captions' alignments by their words, without combinations
    hard_examples: tuple[Example, ...] = ()
    easy_examples: tuple[Example, ...] = ()
    hard_side: Tally = Tally()
    easy_side: Tally = Tally()
    decisions: Histogram | None = None
    nearest_accuracy: tuple[Curve, ...] = ()  # accuracy of the K images nearest to the hard and easy caption
    planted: PlantedTruth | None = None

    def _described(self) -> dict[str, object]:
        score, q = round(self.cv_score, 3), round(self.q_value, 4)
        return {"cv_score": score, "q_value": q, "n_errors": self.n_errors, "hardest_caption": self.hardest_caption}

    @property
    def reliable_hard_captions(self) -> tuple[ScoredCaption, ...]:
        """Hard captions that were not withheld."""
        return tuple(caption for caption in self.hard_captions if not caption.withheld)

    @property
    def reliable_easy_captions(self) -> tuple[ScoredCaption, ...]:
        """Easy captions that were not withheld."""
        return tuple(caption for caption in self.easy_captions if not caption.withheld)

    @property
    def hardest_caption(self) -> str:
        """The first reliable hard caption, or :data:`NO_RELIABLE_CAPTION`; nothing where there are no captions."""
        if self.reliable_hard_captions:
            return self.reliable_hard_captions[0].caption
        return NO_RELIABLE_CAPTION if self.hard_captions else ""


NO_RELIABLE_CAPTION = "no reliable caption"
NO_MODE = ModeFindings()


@dataclass(frozen=True, repr=False)
class ClassFindings(Described):
    """One class and its failure modes, the strongest first.

    ``n`` and ``n_errors`` count the samples that the directions were fitted on. A class without a direction
    (``status`` is not OK) has no mode, and a ``remedy``. What the overview shows of the strongest mode are properties:
    NaN and empty where there is none.
    """

    name: str
    status: Status
    remedy: str
    n: int
    n_errors: int
    modes: tuple[ModeFindings, ...] = ()
    n_permutations: int = 0  # drawn for this class: fewer than asked for where its p-value was settled early
    p_value_reason: str = ""  # why the p-value is not a number, where too few samples can be exchanged
    nested_score: float = float("nan")  # by nested cross-validation, which does not choose C on what it scores
    solver: str = ""  # "gram", "newton" for a class whose Gram matrix does not fit, "cuml", or "latent"
    n_shown: int = 0
    accuracy_shown: float = float("nan")
    unsure_examples: tuple[Example, ...] = ()  # sure and wrong first: the hardest by the model's own confidence
    decoded: tuple[DecodedPictures, ...] = ()  # the strongest mode's direction, from easy over neutral to hard
    condition: str = ""  # that it is a side of, where images have several

    def _described(self) -> dict[str, object]:
        counts = {"n": self.n, "n_errors": self.n_errors}
        return {"name": self.name, "status": str(self.status), **counts, "modes": len(self.modes)}

    @property
    def found(self) -> bool:
        """Whether the class has a direction."""
        return bool(self.modes)

    @property
    def strongest(self) -> ModeFindings:
        """The first mode; an empty one where there is none."""
        return self.modes[0] if self.modes else NO_MODE

    @property
    def tested(self) -> bool:
        """Whether its score was compared with those of permuted labels."""
        return math.isfinite(self.p_value)

    @property
    def significant(self) -> bool:
        """Whether any mode is distinguishable from chance; False without permutations."""
        return any(mode.significant for mode in self.modes)

    @property
    def examples(self) -> tuple[Example, ...]:
        """Every image that is shown of the class; one may occur several times."""
        of_modes = (e for mode in self.modes for e in (*mode.hard_examples, *mode.easy_examples))
        return (*of_modes, *self.unsure_examples)

    @property
    def cv_score(self) -> float:
        """Score of the strongest mode."""
        return self.strongest.cv_score

    @property
    def p_value(self) -> float:
        """p-value of the strongest mode."""
        return self.strongest.p_value

    @property
    def q_value(self) -> float:
        """q-value of the strongest mode."""
        return self.strongest.q_value

    @property
    def errors_explained(self) -> float:
        """Share of the errors that the strongest mode's hidden class explains; NaN where that cannot be told."""
        explained = self.strongest.errors_explained
        return explained.value if explained and math.isfinite(self.strongest.share) else float("nan")

    @property
    def C(self) -> float:  # noqa: N802 - the SVM's own name
        """C of the strongest mode."""
        return self.strongest.C

    @property
    def hard_captions(self) -> tuple[ScoredCaption, ...]:
        """Hard captions of the strongest mode."""
        return self.strongest.hard_captions

    @property
    def hard_examples(self) -> tuple[Example, ...]:
        """Hardest images by the strongest mode."""
        return self.strongest.hard_examples

    @property
    def planted(self) -> PlantedTruth | None:
        """What was planted, judged by the strongest mode."""
        return self.strongest.planted


@dataclass(frozen=True)
class Condition:
    """A condition of a multi-label audit, whose two classes are the images without it and with it (paper, C.3).

    Attributes:
        name: the condition.
        answers: what the model's are.
        threshold: the probability from which on an answer is yes, of the best F1; NaN where answers are decisions.
        f1: of the answers, on ``split``; NaN without.
        split: the one that threshold and F1 are of; None where neither train nor val holds both classes.
        n_unknown: images of which it is not known, which are left out of both classes.
    """

    name: str
    answers: AnswerKind
    threshold: float
    f1: float
    split: Split | None
    n_unknown: int = 0

    @property
    def left_out(self) -> bool:
        """Whether no threshold could be chosen."""
        return self.split is None and self.answers is not AnswerKind.DECISIONS


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class AskedModel:
    """The classifier that an audit asked, and how.

    ``preprocessing`` is what became of an image before it, ``outputs`` how many scores it gave, ``scores`` what these
    are: "logits" or "probabilities"; ``fingerprint`` is of its weights.
    """

    name: str
    preprocessing: str
    outputs: int
    scores: str
    device: str
    precision: str
    fingerprint: str


@dataclass(frozen=True, eq=False, repr=False)
class ImageTable(Described):
    """The images that the page can list, class after class, in columns of N rows; with conditions, one a condition.

    Attributes:
        paths: their ids.
        labels: (N,) true class, an index into ``Findings.classes``, ascending.
        predictions: (N,) the model's.
        decisions: (N, r) decision value along each direction of their class; NaN where it has none.
        across: (N,) where each lies along the next most telling axis of its class; NaN without a direction.
        neighbours: (N, K) the rows of the images of its class that are most like each, the nearest first; -1 where
            there are fewer.
        confidence: (N,) the model's in its prediction; None where unknown.
        true_probability: (N,) of the true class; None where unknown.
        why: (N,) in a word what an error may be instead of the model's own, such as "label"; () where nobody looked.
        left_out: images beyond these, of which the page has no row.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    decisions: NDArray[np.float64]
    across: NDArray[np.float64]
    neighbours: NDArray[np.int64]
    confidence: NDArray[np.float64] | None = None
    true_probability: NDArray[np.float64] | None = None
    why: tuple[str, ...] = ()
    left_out: int = 0

    def _described(self) -> dict[str, object]:
        return {"images": len(self.paths), "left_out": self.left_out}


@dataclass(frozen=True, repr=False)
class Findings(Described):
    """A whole audit. It is finished before it is rendered or written: ``timings`` are the stages until then."""

    version: str
    seed: int
    model: str
    backend: str
    backend_reason: str
    device: str
    title: str
    classes: tuple[ClassFindings, ...]
    timings: dict[str, float]
    n_images: dict[str, int]  # images by split
    fitted_on: Split
    whitened_by: str  # a split, or why none
    shown_from: Split
    C_grid: tuple[float, ...]
    method: str = "svm"  # or "latent"
    method_reason: str = ""
    uses_loss: bool = False  # -log of the probability of the true class
    n_directions: int = 1  # modes looked for in each class
    n_permutations: int = 0  # asked for
    most_permutations: int = 0  # that a class may be given: more than asked for where it takes more for one to pass
    fdr: float = 0.05
    grouped_by: GroupedBy = GroupedBy.NOTHING
    n_grouped: int = 0  # images of the fit that belong together with another one
    n_groups: int = 0  # that these form
    text_method: str = ""  # how captions were encoded: "prefix_tree", "cut_context" or "encode_text"
    text_method_reason: str = ""
    activation: str = ""  # of the embedder: "quick_gelu", "gelu" or "other"
    activation_reason: str = ""
    causes: Causes | None = None
    cleaned: tuple[CleanedClass, ...] = ()  # where directions were fitted without what the data is to blame for
    conditions: tuple[Condition, ...] = ()  # each with two classes, in this order; none where images have one class
    skipped: tuple[Skipped, ...] = ()
    interface: Interface = Interface.PYTHON
    notes: tuple[str, ...] = ()  # what the reader should know: fallbacks, missing classes
    precision: str = ""  # that the embedder computed in, and why
    preprocessing: str = ""  # of an image before the embedder
    classifier: AskedModel | None = None  # where predictions were not given
    versions: Mapping[str, str] = field(default_factory=dict)  # of what computed
    model_fingerprint: str = ""  # of the embedder's weights
    published: bool = False  # whether the published code was reproduced, in the choice of C and in captions
    images: ImageTable | None = None  # what the page lists of each; audit.json has not these, examples.parquet has all
    input_fingerprint: str = ""  # of the images as the embedder saw them, and of the columns beside them
    slices: tuple[Slice, ...] = ()  # those that are significant, class by class, the surest first
    slices_tested: SlicesTested | None = None  # where there were columns to test

    def _described(self) -> dict[str, object]:
        found = sum(one.significant if self.tested else one.found for one in self.classes)
        what = "significant" if self.tested else "with a direction"
        return {
            "title": self.title,
            "classes": len(self.classes),
            what.replace(" ", "_"): found,
            "images": sum(self.n_images.values()),
            "model": self.model,
            "method": self.method,
        }

    @property
    def tested(self) -> bool:
        """Whether scores were compared with those of permuted labels."""
        return self.n_permutations > 0

    @property
    def p_value_min(self) -> float:
        """Smallest p-value that so many permutations can show; NaN without any."""
        return 1 / (1 + max(self.n_permutations, self.most_permutations)) if self.tested else float("nan")

    def ranking(self) -> list[int]:
        """Return the indices of the classes, the clearest failure first and those without a direction last.

        By cross-validation score; where classes were tested, the significant ones come first, by q and then by score.
        """
        return sorted(range(len(self.classes)), key=lambda i: self._rank(self.classes[i]))

    def _rank(self, one: ClassFindings) -> tuple[bool, bool, float, float]:
        scored = math.isfinite(one.cv_score)
        q = one.q_value if self.tested and math.isfinite(one.q_value) else math.inf
        return not scored, self.tested and not one.significant, q, -one.cv_score if scored else 0.0


INTERFACE: ContextVar[Interface] = ContextVar("interface", default=Interface.PYTHON)  # the command line sets it


@dataclass(repr=False)
class Thumbnails(Described):
    """Small pictures for the page, by path: uint8 arrays (height, width, 3).

    ``only_names`` says that there never were any: the page then names the images.
    """

    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    only_names: bool = False

    def _described(self) -> dict[str, object]:
        return {"pictures": len(self.pixels)}
