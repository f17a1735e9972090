"""Offline, an experiment's sets are what it says: of other photographs each, and with their shares of the minority.

The experiments themselves would give figures all the same on other data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.offline import composed, garments, tinted
from benchmarks.paper.offline.garments import Part, photographs
from benchmarks.paper.sets import Seen
from fdgpu import Decoder
from fdgpu.demo.world import world_settings
from tests.benchmarks.paper.test_experiments import FEW

CLIP = SimpleNamespace(images=lambda images: torch.zeros(len(images), 4))  # these tests look at nothing but the sets
KEPT = {"boot": 0.25, "bag": 0.25}

SETS: dict[str, dict[str, Callable[[Any], Seen]]] = {
    "celeba": {"train": lambda w: w.train(4), "pool": lambda w: w.pool(4)},
    "cifar100": {"train": lambda w: w.train(KEPT), "pool": lambda w: w.pool()},
    "cifar10": {"train": lambda w: w.train(), "pool": lambda w: w.pool()},
    "imagenet": {"train": lambda w: w.train(), "pool": lambda w: w.pool()},
    "coloured_mnist": {"train": lambda w: w.train(0.9)},
    "imagenet_c": {"train": lambda w: w.train()},
    "chestxray14": {"train": lambda w: w.train()},
}
HELD_OUT: dict[str, Callable[[Any], Seen]] = {"val": lambda w: w.val(), "test": lambda w: w.test()}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every photograph that a set is made of, as it is taken."""
    taken: list[bytes] = []

    def spy(names: Any, part: Part) -> tuple[Tensor, Tensor]:
        pixels, kinds = photographs(names, part)
        taken.extend(photograph.numpy().tobytes() for photograph in pixels)
        return pixels, kinds

    for module in (garments, tinted, composed):
        monkeypatch.setattr(module, "photographs", spy)
    monkeypatch.setattr(Decoder, "bundled", lambda: None)
    return taken


def world(name: str, seed: int = 0) -> Any:
    experiment = EXPERIMENTS[name]
    return experiment.offline(CLIP, copy.deepcopy(experiment.document["offline"]) | FEW[name])(seed)


def share(seen: Seen) -> float:
    return float(seen.minority.float().mean())


@pytest.mark.parametrize("name", SETS)
def test_no_photograph_is_in_two_sets_and_another_seed_draws_others(name: str, shown: list[bytes]) -> None:
    of: dict[tuple[str, int], set[bytes]] = {}
    for seed in (0, 1):
        own = world(name, seed)
        for part, make in {**SETS[name], **HELD_OUT}.items():
            shown.clear()
            make(own)
            of[part, seed] = set(shown)
    parts = [*SETS[name], *HELD_OUT]
    assert all(of.values())
    for seed in (0, 1):
        assert [pair for pair in combinations(parts, 2) if of[pair[0], seed] & of[pair[1], seed]] == []
    for part in parts:
        assert len(of[part, 0] & of[part, 1]) < 0.9 * len(of[part, 0])


@pytest.mark.parametrize("name", SETS)
def test_nor_are_they_where_the_experiment_is_run_for_good(name: str) -> None:
    settings = EXPERIMENTS[name].document["offline"]
    ranges = [settings[part] for part in ("train", "whole", "pool") if part in settings]
    stops = [(own["start"], own["stop"]) if isinstance(own, dict) and "start" in own else own for own in ranges]
    training, pool = stops[:-1] if "pool" in settings else stops, stops[-1]
    if "pool" in settings:
        assert max(stop for _, stop in training) <= pool[0] < pool[1] <= 2000  # photographs of a garment in "base"


def test_celebas_sets_have_the_minoritys_shares(shown: list[bytes]) -> None:
    own = world("celeba")
    few = {"train": own.train(4), "pool": own.pool(4), "val as training": own.val_as_training(4)}
    assert {name: share(seen) for name, seen in few.items()} == {name: pytest.approx(0.2) for name in few}
    assert share(own.val()) == share(own.test()) == 0.5
    assert len(own.val_as_training(4)) == len(own.val())
    for seen in own.unaltered():
        one, other = (float(seen.minority[seen.labels == label].float().mean()) for label in (0, 1))
        assert one == pytest.approx(1 / 2.8, abs=0.03)  # majority over minority 1.8 and 2.2
        assert other == pytest.approx(1 / 3.2, abs=0.03)
    assert shown


def test_cifar100_without_a_pool_trains_on_more_and_cuts_as_much(shown: list[bytes]) -> None:
    own = world("cifar100")
    train = own.train(KEPT)
    few = set(shown)
    shown.clear()
    whole = own.whole(KEPT)
    assert few < set(shown)
    for seen, each in ((train, 20), (whole, 30)):
        count = {name: int((seen.kinds == list(own.names).index(name)).sum()) for name in ("t-shirt", "boot", "bag")}
        assert count == {"t-shirt": each, "boot": round(each / 4), "bag": round(each / 4)}
        assert set(seen.kinds[seen.minority].tolist()) == {list(own.names).index(name) for name in KEPT}


def test_training_is_less_noisy_than_what_is_judged(shown: list[bytes]) -> None:
    own = world("imagenet_c")
    assert share(own.train()) == pytest.approx(0.1)
    assert share(own.val()) == share(own.test()) == pytest.approx(0.5)
    for seen in (own.train(), own.val(), own.test()):
        steps = (seen.inputs[:, :, 1:] - seen.inputs[:, :, :-1]).abs().mean((1, 2, 3))
        assert steps[seen.minority].min() > steps[~seen.minority].max()
    assert shown


def test_a_tint_tells_the_label_in_training_alone(shown: list[bytes]) -> None:
    own = world("coloured_mnist")
    assert share(own.train(0.9)) == pytest.approx(0.1, abs=0.01)
    assert share(own.val()) == pytest.approx(0.5, abs=0.01)
    assert share(own.test()) == pytest.approx(0.5, abs=0.01)
    second = torch.tensor([world_settings().class_names.index(name) for name in own.settings["groups"][1]])
    wrong = [
        float((seen.labels != torch.isin(seen.kinds, second).long()).float().mean())
        for seen in (own.train(0.9), own.val(), own.test())
    ]
    assert wrong[0] == pytest.approx(0.25, abs=0.1)
    assert wrong[1:] == [0, 0]
    assert shown


@pytest.mark.parametrize("names", [["boot", "bag"], ["bag", "coat", "boot"]])
def test_which_photographs_of_a_garment_are_drawn_does_not_depend_on_the_others(names: list[str]) -> None:
    alone, _ = photographs(["boot"], Part("base", 3, 9, seed=5))
    pixels, kinds = photographs(names, Part("base", 3, 9, seed=5))
    code = kinds[6 * names.index("boot")]
    assert torch.equal(pixels[kinds == code], alone)
    other, _ = photographs(["boot"], Part("base", 3, 9, seed=6))
    assert not torch.equal(other, alone)
