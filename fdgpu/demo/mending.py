"""The demo's model mended in every way, and audited and compared each time: ``fdgpu demo --repair``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdgpu.arrays import to_host
from fdgpu.auditing.after.comparing import compare, paired_change
from fdgpu.auditing.after.finetuning import repaired_rows
from fdgpu.auditing.after.picturing import repair_by_painting
from fdgpu.auditing.after.repairing import repair_by_pool, repair_by_weights
from fdgpu.auditing.outputs import document_of, write_json
from fdgpu.auditing.result import AuditResult
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.synthetic import SyntheticImages
from fdgpu.demo.base_model import answer, halved
from fdgpu.demo.world import RenderedSplit, make_pool, world_settings
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.classifier import Answered
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.sources import TensorSource
from fdgpu.files import write_atomically
from fdgpu.progress import Reporter
from fdgpu.repair.training_loop import fine_tune
from fdgpu.repair.training_recipe import TrainingRecipe
from fdgpu.report.comparison import Mended, PairedChange, render_mended

K = 50  # images of a class that are chosen or painted
STEPS = 10  # of the decoder
RECIPE = TrainingRecipe.named("demo")
FOLDER = "mended"  # of manifests, pictures and pages


@dataclass(frozen=True)
class Mendable:
    """What the demo has when its audit is done: the model, the three splits, its answers, and how to audit another."""

    model: nn.Module
    splits: list[RenderedSplit]
    answers: list[Answered]
    audited: AuditResult
    embedder: ImageEmbedder
    store: str  # of its pictures' embeddings
    audit: Callable[[list[Answered], FailureDirections], AuditResult]
    seed: int
    every: int  # which photographs were taken
    device: torch.device


@dataclass(frozen=True)
class Addition:
    """What a way of repair changes: images (m, 3, h, w) uint8 to be added, their labels, and weights of the others."""

    pictures: Tensor | None = None
    labels: Tensor | None = None
    weights: NDArray[np.float32] | None = None


def mend(world: Mendable, out: Path, report: Reporter) -> tuple[Mended, ...]:
    """Mend the model in each way, audit it, compare, and write ``mended.html`` and ``mended.json``.

    Every model goes through the same further training of all layers. One is trained on nothing else than before, and
    one on images that were drawn from the pool by lot: what these gain no audit has earned.
    """
    pool = make_pool(world.seed, world.device, every=4 * world.every)
    truth, inputs = minority_of(world.splits[-1]), [halved(split.pictures) for split in world.splits]
    found: list[Mended] = []
    ways: dict[str, Callable[[Path], Addition]] = {
        "further training alone": lambda _: Addition(),
        "random choice": lambda _: _by_lot(world, pool),
        "hardest of a pool": lambda folder: _from_pool(world, pool, folder, report),
        "up-weighting": lambda folder: _weighted(world, folder, report),
    }
    if find_spec("diffusers") is not None:
        ways["painted pictures"] = lambda folder: _painted(world, folder, report)
    true = np.array(world.splits[-1].labels.tolist())
    before = world.answers[-1].prediction == true
    for number, (name, way) in enumerate(ways.items()):
        report("mend the model", number, len(ways))
        folder, start = out / FOLDER / name.replace(" ", "-"), time.perf_counter()
        folder.mkdir(parents=True)
        model = _trained(world, inputs[0], way(folder))
        answers = [answer(model, own, split.labels) for own, split in zip(inputs, world.splits, strict=True)]
        seconds = time.perf_counter() - start
        result = world.audit(answers, _same_settings(world.audited))
        after = answers[-1].prediction == true
        compared = compare(world.audited, result, out=folder / "compared.html", images=_test_pictures(world))
        found.append(
            Mended(
                name,
                _tested(before[truth], after[truth]),
                _tested(before, after),
                compared.in_words,
                (folder / "compared.html").relative_to(out).as_posix(),
                seconds,
            )
        )
    report("mend the model", len(ways), len(ways))
    write_atomically(out / "mended.html", render_mended(found))
    write_json(out / "mended.json", {"ways": [document_of(one) for one in found]})
    return tuple(found)


def written_by_mending(out: Path) -> list[str]:
    """Return the files that :func:`mend` wrote."""
    within = [path.relative_to(out).as_posix() for path in (out / FOLDER).rglob("*") if path.is_file()]
    return ["mended.html", "mended.json", *within]


def minority_of(split: RenderedSplit) -> NDArray[np.bool_]:
    """(n,) pictures that show what the model was taught to fail on."""
    flags = torch.stack([split.minority(plant) for plant in world_settings().plants]).any(dim=0)
    return np.asarray(to_host(flags, "pictures of minorities"), bool)


# --- the ways ---------------------------------------------------------------------------------------------------------


def _from_pool(world: Mendable, pool: RenderedSplit, folder: Path, report: Reporter) -> Addition:
    source, names = TensorSource(pool.pictures, pool.paths), world_settings().class_names
    labels = [names[k] for k in pool.labels.tolist()]
    made = repair_by_pool(
        world.audited, source, folder, k=min(K, _fewest(world, pool)), labels=labels, embedder=world.embedder,
        progress=report,
    )  # fmt: skip
    row = {path: i for i, path in enumerate(pool.paths)}
    rows = torch.tensor([row[one["path"]] for one in repaired_rows(made.file)])
    return Addition(pool.pictures[rows], pool.labels[rows])


def _by_lot(world: Mendable, pool: RenderedSplit) -> Addition:
    """As many images of the same classes, whatever they show."""
    k, rng, names = min(K, _fewest(world, pool)), np.random.default_rng(world.seed), world_settings().class_names
    labels = np.array(pool.labels.tolist())
    chosen = [rng.permutation(np.flatnonzero(labels == names.index(name)))[:k] for name in _failing(world)]
    rows = torch.from_numpy(np.concatenate(chosen))
    return Addition(pool.pictures[rows], pool.labels[rows])


def _weighted(world: Mendable, folder: Path, report: Reporter) -> Addition:
    train, names = world.splits[0], world_settings().class_names
    made = repair_by_weights(
        world.audited, folder, TensorSource(train.pictures, train.paths),
        labels=[names[k] for k in train.labels.tolist()], embedder=world.embedder, store=world.store, progress=report,
    )  # fmt: skip
    return Addition(weights=np.array([float(row["weight"]) for row in repaired_rows(made.file)], np.float32))


def _painted(world: Mendable, folder: Path, report: Reporter) -> Addition:
    repair_by_painting(
        world.audited, Decoder.bundled(world.device), folder, per_class=K, seed=world.seed, embedder=world.embedder,
        progress=report, steps=STEPS,
    )  # fmt: skip
    painted, names = SyntheticImages.load(folder / "painted"), world_settings().class_names
    return Addition(painted.pictures(), torch.tensor([names.index(name) for name in painted.class_names]))


def _failing(world: Mendable) -> list[str]:
    return [one.name for one in world.audited.findings.classes if one.significant]


def _fewest(world: Mendable, pool: RenderedSplit) -> int:
    names = world_settings().class_names
    return min(int((pool.labels == names.index(name)).sum()) for name in _failing(world))


# --- training and testing ---------------------------------------------------------------------------------------------


def _trained(world: Mendable, pictures: Tensor, addition: Addition) -> nn.Module:
    """Return the model trained further on its training set, whose halved pictures are given, and what is added."""
    labels, weights = world.splits[0].labels, addition.weights
    if addition.pictures is not None and addition.labels is not None:
        small = addition.pictures.shape[-1] == pictures.shape[-1]  # as the bundled decoder paints them
        pictures = torch.cat([pictures, addition.pictures.float() / 255 if small else halved(addition.pictures)])
        labels = torch.cat([labels, addition.labels])
    return fine_tune(
        world.model, pictures, labels, recipe=RECIPE, layers="all", weights=weights, seed=world.seed,
        device=world.device,
    )  # fmt: skip


def _tested(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> PairedChange:
    change = paired_change(before, after)
    return replace(change, q_value=change.p_value)


def _same_settings(audited: AuditResult) -> FailureDirections:
    fit = audited.directions
    return FailureDirections.from_settings(fit.solver_settings, fit.search_settings)


def _test_pictures(world: Mendable) -> TensorSource:
    test = world.splits[-1]
    return TensorSource(test.pictures, test.paths)
