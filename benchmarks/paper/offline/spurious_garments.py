"""CelebA's matching form: two garments, and a colour that goes with each (see ``experiments/celeba.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from torch import Tensor

from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.another_network import AnotherNetwork
from benchmarks.paper.offline.garments import Pair, Part, spurious_pair
from benchmarks.paper.sets import Seen
from benchmarks.paper.spaces import OTHER
from benchmarks.paper.synthetic import Painter, Words
from fdgpu import CaptionGrammar, Decoder
from fdgpu.errors import ModelError

TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed
BALANCED = (0.5, 0.5)


@dataclass(frozen=True)
class Garments:
    """The sets of one seed; ``another`` and ``decoder`` are those of all seeds."""

    lab: Lab
    settings: Mapping[str, Any]
    another: AnotherNetwork
    decoder: Decoder | None
    seed: int

    def val(self) -> Seen:
        """Render validation."""
        return self._val(BALANCED)

    def test(self) -> Seen:
        """Render test, each photograph several times."""
        return self._test(BALANCED)

    def train(self, strength: float) -> Seen:
        """Render a training set."""
        return self._train(_shares(strength, strength))

    def pool(self, strength: float) -> Seen:
        """Render other photographs."""
        return self._set(POOL, "base", self.settings["pool"], _shares(strength, strength))

    def val_as_training(self, strength: float) -> Seen:
        """Render validation with the training set's correlation."""
        return self._val(_shares(strength, strength))

    def unaltered(self) -> tuple[Seen, Seen, Seen]:
        """Render training, validation and test, all with one weak correlation."""
        shares = _shares(*self.settings["unaltered"])
        return self._train(shares), self._val(shares), self._test(shares)

    def spaces(self) -> dict[str, AnotherNetwork]:
        """Return a network's that was trained on other photographs."""
        return {OTHER: self.another}

    def words(self) -> list[Words]:
        """Return the demo's captions; a garment's minority has the other one's colour."""
        grammars, values = CaptionGrammar.recipe("demo"), self.settings["values"]
        own = [grammars[name] for name in self.settings["garments"]]
        rare = zip(own, reversed(values), strict=True)
        return [Words(grammar, grammar.reference(), grammar.reference(adjective=colour)) for grammar, colour in rare]

    def painter(self) -> Painter | None:
        """Return the bundled decoder; its pictures are of the base model's resolution."""
        return None if self.decoder is None else partial(_paint, self.decoder, self.settings["steps"])

    def _train(self, shares: tuple[float, float]) -> Seen:
        return self._set(TRAIN, "base", self.settings["train"], shares)

    def _val(self, shares: tuple[float, float]) -> Seen:
        return self._set(VAL, "val", (0, self.settings["held_out"]), shares)

    def _test(self, shares: tuple[float, float]) -> Seen:
        return self._set(TEST, "test", (0, self.settings["held_out"]), shares, self.settings["renderings"])

    def _set(
        self, stream: int, split: str, rows: Sequence[int], shares: tuple[float, float], renderings: int = 1
    ) -> Seen:
        pair = Pair(tuple(self.settings["garments"]), self.settings["attribute"], tuple(self.settings["values"]))
        start, stop = rows
        part = Part(split, start, stop, self.seed)
        return self.lab.see(spurious_pair(pair, part, shares, 4 * self.seed + stream, renderings))


def garments(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    lab = Lab.offline(clip, recipe_of(settings))
    return partial(Garments, lab, settings, AnotherNetwork(lab, settings["another"]), _decoder())


def _paint(decoder: Decoder, steps: int, vectors: Tensor, seed: int) -> Tensor:
    pictures: Tensor = decoder.sample(vectors, steps=steps, seed=seed)
    return pictures.cpu()


def _decoder() -> Decoder | None:
    try:
        return Decoder.bundled()
    except ModelError as error:
        Console().print(f"without pictures of the decoder: {error}")
        return None


def _shares(*strengths: float) -> tuple[float, float]:
    """Return the majority's share of each class, that is so many times its minority."""
    one, other = (strength / (1 + strength) for strength in strengths)
    return one, other
