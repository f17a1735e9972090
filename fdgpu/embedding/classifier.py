"""A user's model with its own preprocessing, run on images as it is, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdgpu.arrays import bring_down, to_device
from fdgpu.checks import check_kind, shown
from fdgpu.described import Described
from fdgpu.device import BatchSize, choose_device, halving_batches, out_of_memory
from fdgpu.embedding.loading import View
from fdgpu.embedding.named_networks import LIBRARIES, called, fill_weights, preprocess_of_timm
from fdgpu.embedding.preprocess import Memory, Preprocess
from fdgpu.errors import LONGEST_REASON, FdgpuError, InputError, ModelError, one_line
from fdgpu.networks import as_input, device_of, dtype_of, evaluating, scores_of

# What is kept of an image's scores: the column of the highest, whether all are finite, whether they sum to 1; of the
# softmax the highest and that of the true class, and the same of the scores themselves.
KEPT = ("prediction", "finite", "sums_to_one", "confidence", "true_probability", "highest_score", "true_score")
SUM_TO_ONE = 1e-3  # how far the sum of a row of probabilities may be off
FORMS = "torchvision:NAME[:WEIGHTS], timm:NAME[:WEIGHTS] or FILE.py:FUNCTION[:WEIGHTS]"
OWN_FILE = re.compile(r"(.+\.py):([^:]+)(?::(.+))?")


class Classifier(Described):
    """A model as it was given, with its own preprocessing; made by :meth:`from_model` or :meth:`from_name`.

    Attributes:
        name: as reports show it.
        class_names: of its outputs in their order, where it knows them.
        view: what it sees of each decoded image; None where nobody said how images are preprocessed, so that only
            images that their source has transformed can be answered.
        preprocessing: the same in a sentence, for the record.
        doubts: sentences: what could make its answers wrong.
        outputs: how many scores it gives an image; known after the first batch.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> model = fdgpu.Classifier.from_model(network, preprocess=lambda image: ..., class_names=["cat", "dog"])
        >>> model.answer(torch.zeros(5, 3, 2, 2)).shape  # fdgpu.audit(images, model=model) asks it of every image
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Preprocess | Callable[[Any], object] | None,
        name: str,
        class_names: Sequence[str] | None = None,
        doubts: tuple[str, ...] = (),
    ) -> None:
        self.model, self.name, self.doubts = model, name, doubts
        self.class_names = None if class_names is None else tuple(class_names)
        self.outputs: int | None = None
        self._ours: Preprocess | None = None
        self._fitting: BatchSize | None = None
        self._memory = Memory()
        self.view: View | None = None
        self.preprocessing = "by the source of the images"
        if isinstance(preprocess, Preprocess):
            self._ours = preprocess
            self.view, self.preprocessing = View(preprocess.resize), str(preprocess)
        elif preprocess is not None:
            self.view, self.preprocessing = View(preprocess, takes_image=True), _in_words(preprocess)

    def _described(self) -> dict[str, object]:
        classes = {} if self.class_names is None else {"classes": len(self.class_names)}
        return {"name": self.name, **classes, "preprocessing": self.preprocessing}

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        preprocess: Preprocess | Callable[[Any], object] | None = None,
        class_names: Sequence[str] | None = None,
        name: str = "",
    ) -> Classifier:
        """Take a model where it is and in its own precision.

        Args:
            model: images (b, c, h, w) → scores (b, k), or an object that has them as ``logits``.
            preprocess: a function of a PIL image that returns what the model takes, (c, h, w): what
                ``weights.transforms()`` of torchvision, ``timm.data.create_transform`` or an image processor of Hugging
                Face is. By default what a network of timm says itself; of any other model, what the images' source
                does.
            class_names: of its outputs in their order; by default what the model says itself (``config.id2label``).
            name: for reports; by default the model's class.

        Raises:
            InputError: for anything else.
        """
        check_kind(model, "model", isinstance(model, nn.Module), "a torch.nn.Module that gives one score a class")
        if preprocess is None and type(model).__module__.startswith("timm."):
            preprocess = preprocess_of_timm(model)
        fits = preprocess is None or isinstance(preprocess, Preprocess) or callable(preprocess)
        check_kind(preprocess, "preprocess", fits, "a function of a PIL image, such as weights.transforms()")
        return cls(model, preprocess, name or type(model).__name__, class_names or _own_names(model))

    @classmethod
    def from_name(cls, name: str, device: str | torch.device = "auto") -> Classifier:
        """Load a model by name.

        Args:
            name: ``"torchvision:resnet50"``, with weights behind it, ``:IMAGENET1K_V1``, a file with a state_dict, or
                ``:none``; ``"timm:NAME"`` likewise; or ``"FILE.py:FUNCTION"``, a function without arguments that
                returns a model, (model, preprocess), or a :class:`Classifier`; behind it, too, ``:WEIGHTS``, a file
                with a state_dict that takes the place of its weights.
            device: where it runs; what a function of the user's returns stays where it is.

        Raises:
            InputError: for a name of another form.
            ModelError: for a model or weights that cannot be had, or a function that raises: says where.
        """
        check_kind(name, "classifier", isinstance(name, str), FORMS)
        library, _, rest = name.partition(":")
        if library in LIBRARIES and rest:
            own, _, weights = rest.partition(":")
            network = LIBRARIES[library](own, weights or "DEFAULT")
            network.model.to(choose_device(device, "float32").device)
            return cls(network.model, network.preprocess, name, network.class_names, network.doubts)
        parts = OWN_FILE.fullmatch(name)
        if parts is None or not Path(parts[1]).is_file():
            lacking = f", and there is no file {parts[1]}" if parts else ""
            raise InputError(f"classifier is {shown(name)}{lacking}: use {FORMS}")
        file, function, weights = parts.groups()
        made = called(Path(file), function)
        model, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if weights is not None:
            fill_weights(made.model if isinstance(made, Classifier) else model, Path(weights), f"{function} of {file}")
        if isinstance(made, Classifier):
            return made
        if not isinstance(model, nn.Module):
            wanted = "return a torch.nn.Module, (model, preprocess) or a Classifier"
            raise InputError(f"{function} of {file} returns {shown(made)}: {wanted}")
        return cls.from_model(model, preprocess, name=name)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation that are still to be applied to its view, in [0, 1]; None where its view is its input."""
        return None if self._ours is None else (self._ours.mean, self._ours.std)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    def answer(self, inputs: Tensor) -> Tensor:
        """Return the model's scores, (b, k) float32 where the model is; nothing is waited for.

        Args:
            inputs: (b, c, h, w) of its view, on any device.

        Raises:
            InputError: unless the model gives k ≥ 2 scores an image, the same k for every batch and as many as there
                are class names.
            ModelError: for what the model itself raises, from that.
        """
        device, dtype = self.device, dtype_of(self.model)
        self._fitting = self._fitting or BatchSize(len(inputs))

        def run(start: int, stop: int) -> Tensor:
            some = to_device(inputs[start:stop], device)
            some = (
                as_input(some, dtype)
                if self._ours is None
                else self._ours.normalise(some, dtype, self._memory.of(some))
            )
            try:
                return scores_of(self.model, some).float()
            except Exception as error:
                if out_of_memory(error) or isinstance(error, FdgpuError):
                    raise
                raise ModelError(
                    f"{self.name} raises {type(error).__name__} ({one_line(error)}) for images {tuple(some.shape)} of "
                    f"{dtype}: is this its preprocessing? {self.preprocessing}"
                ) from error

        with evaluating(self.model), torch.no_grad():
            parts, start = list[Tensor](), 0
            for stop, scores in halving_batches(run, len(inputs), self._fitting):
                self._check(scores, stop - start)
                parts.append(scores)
                start = stop
        return torch.cat(parts)

    def _check(self, scores: Tensor, n: int) -> None:
        if scores.ndim != 2 or len(scores) != n:
            raise InputError(
                f"{self.name} gives {tuple(scores.shape)} for {n} images: it has to give one score a class, (images, "
                "classes)"
            )
        k = scores.shape[1]
        if k < 2:
            raise InputError(
                f"{self.name} gives {k} score an image: it has to give one a class. Where z is the score of the second "
                "of two classes, return torch.cat([torch.zeros_like(z), z], dim=1)"
            )
        known = self.outputs or (len(self.class_names) if self.class_names is not None else k)
        if k != known:
            was = "gave before" if self.outputs else "has class names"
            raise InputError(
                f"{self.name} gives {k} scores an image, and {was} {known}: pass class_names of this model's outputs, "
                "in their order"
            )
        self.outputs = k


def _in_words(function: object) -> str:
    """Return a transform in one line, without addresses of memory."""
    said = function.__qualname__ if isinstance(function, FunctionType) else repr(function)
    words = " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", said).split())
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]} …"


def _own_names(model: nn.Module) -> tuple[str, ...] | None:
    """Return the names of the outputs that Hugging Face's models have; None where they are placeholders."""
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        return None
    own = tuple(str(names[column]) for column in range(len(names)))
    return None if own == tuple(f"LABEL_{column}" for column in range(len(own))) else own


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """What a model answered, one entry an image, on the host.

    Attributes:
        prediction: (n,) int64, the column of the highest score; −1 of an image that was not read.
        confidence: (n,) float64, the probability of that column.
        true_probability: (n,) float64, the probability of the true class; NaN where that is not known.
        usable: (n,) bool, False where scores are not finite, so that there is no answer.
        were_probabilities: whether the scores are probabilities already: every row is in [0, 1] and sums to 1. Else
            the softmax was taken. Of several labels an image: whether all lie in [0, 1]; else the sigmoid was taken.
        each: (n, k) float64, the probability of each class by itself, where several may be true; None unless kept.
    """

    prediction: NDArray[np.int64]
    confidence: NDArray[np.float64]
    true_probability: NDArray[np.float64]
    usable: NDArray[np.bool_]
    were_probabilities: bool
    each: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class AnswerPart:
    """What a model said of b images in a row, where it runs.

    Attributes:
        rows: (7, b) float64, see :data:`KEPT`; of an image that was not read the first is −1, and others NaN.
        true: (b,) int64 on the host, the column of the true class; of k conditions (b, k), those that hold.
        scores: (b, k) float32, of several conditions an image; None for classes.
        outputs: k, how many scores the model gives an image; 0 as long as none was read.
    """

    rows: Tensor
    true: NDArray[Any]
    scores: Tensor | None = None
    outputs: int = 0

    @classmethod
    def of(cls, scores: Tensor | None, read: Sequence[int], true: NDArray[Any]) -> AnswerPart:
        """Keep what counts of the scores (m, k) of those images that were ``read``; nothing is waited for."""
        several = true.ndim == 2
        b = len(true)
        if scores is None:
            rows = torch.full((len(KEPT), b), torch.nan, dtype=torch.float64)
            rows[0] = -1
            return cls(rows, true, torch.full((b, true.shape[1]), torch.nan) if several else None)
        scores = scores.float()
        rows, each = _summary(scores, None if several else true[list(read)]), scores if several else None
        if len(read) < b:
            at = to_device(torch.tensor(read), scores.device)
            every = rows.new_full((len(KEPT), b), torch.nan)
            every[0] = -1
            rows = every.index_copy_(1, at, rows)
            each = each if each is None else each.new_full((b, each.shape[1]), torch.nan).index_copy_(0, at, each)
        return cls(rows, true, each, scores.shape[1])

    def part(self, first: int, last: int) -> AnswerPart:
        """Return what was said of some of the images."""
        scores = None if self.scores is None else self.scores[first:last]
        return AnswerPart(self.rows[:, first:last], self.true[first:last], scores, self.outputs)

    @classmethod
    def joined(cls, parts: Sequence[AnswerPart]) -> AnswerPart:
        """Put parts one after the other, on one device."""
        device = next((one.rows.device for one in parts if one.rows.device.type != "cpu"), parts[0].rows.device)
        scores = [to_device(one.scores, device) for one in parts if one.scores is not None]
        return cls(
            torch.cat([to_device(one.rows, device) for one in parts], dim=1),
            np.concatenate([one.true for one in parts]),
            torch.cat(scores) if scores else None,
            max(one.outputs for one in parts),
        )


class Answers:
    """Collects a model's answers where it runs; they come down together in the end.

    Whether scores are logits or probabilities is decided by all of them.

    Args:
        part: what is there already.
    """

    def __init__(self, part: AnswerPart | None = None) -> None:
        self._rows = [] if part is None else [part.rows]
        self._scores = [] if part is None or part.scores is None else [part.scores]

    def add(self, scores: Tensor, true_columns: Tensor | NDArray[np.int64] | None = None) -> None:
        """Take a batch; nothing is waited for.

        Args:
            scores: (b, k), logits or probabilities. A logit of minus infinity is a class that cannot be.
            true_columns: (b,) the column of each true class, on any device; −1 where that is none of them.
        """
        self._rows.append(_summary(scores.float(), true_columns))

    def finish(self) -> Answered:
        """Bring all answers down, for which the host waits once."""
        if not self._rows:
            none = np.empty(0)
            return Answered(none.astype(np.int64), none, none, none.astype(bool), False)
        kept = _each(torch.cat(self._scores)) if self._scores else ()
        rows, *each = bring_down("the model's answers", torch.cat(self._rows, dim=1), *kept)
        prediction, finite, sums_to_one, *probabilities = rows
        usable = finite > 0
        as_they_are = bool(usable.any() and sums_to_one[usable].all())
        highest, true = probabilities[2:] if as_they_are else probabilities[:2]
        if each:
            as_they_are = bool(each.pop())
        return Answered(prediction.astype(np.int64), highest.clip(0, 1), true.clip(0, 1), usable, as_they_are, *each)


def _summary(scores: Tensor, true_columns: Tensor | NDArray[np.int64] | None) -> Tensor:
    """Return what is kept of scores (b, k): (7, b) float64, see :data:`KEPT`."""
    softmax, predicted = scores.softmax(dim=1), scores.argmax(dim=1)
    in_range = ((scores >= 0) & (scores <= 1 + SUM_TO_ONE)).all(dim=1)
    parts = [
        predicted,
        softmax.isfinite().all(dim=1),
        in_range & ((scores.sum(dim=1) - 1).abs() <= SUM_TO_ONE),
    ]
    true = torch.full_like(predicted, -1) if true_columns is None else to_device(true_columns, scores.device)
    for probabilities in (softmax, scores):
        of_true = probabilities.gather(1, true.clamp(min=0)[:, None])[:, 0]
        parts += [probabilities.amax(dim=1), of_true.masked_fill(true < 0, torch.nan)]
    return torch.stack([part.double() for part in parts])


def _each(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of each class by itself, the sigmoid unless all scores lie in [0, 1]; and whether so."""
    in_range = (((scores >= 0) & (scores <= 1)) | scores.isnan()).all()
    return torch.where(in_range, scores, scores.sigmoid()), in_range
