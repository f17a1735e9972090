"""The demo: plant correlations, train a model that falls for them, audit it, and compare with the truth."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdgpu.auditing.outputs import write_json
from fdgpu.auditing.pipeline import audit
from fdgpu.auditing.result import AuditResult
from fdgpu.auditing.truth import Planted
from fdgpu.checks import check_seed
from fdgpu.decoding.decoder import Decoder
from fdgpu.demo.base_model import predict, train_base_model
from fdgpu.demo.mending import Mendable, mend, written_by_mending
from fdgpu.demo.world import RenderedSplit, make_split, phrase, truth_document, world_settings
from fdgpu.device import choose_device, cpu_count
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.classifier import Answered
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.sources import TensorSource
from fdgpu.errors import InputError
from fdgpu.files import write_atomically, write_png
from fdgpu.findings import Split
from fdgpu.folders import check_folder, listed_files, replaced_folder
from fdgpu.progress import OneBar, Reporter, timed

EVERY_TO_MEND = 4  # photograph is taken where the model is mended: that is six trainings and six audits
EXPECTED_BYTES = 55_000_000  # of 10 000 pictures in blocks of 4 kB, mostly


def demo(
    out: str | Path,
    seed: int = 0,
    *,
    method: str | None = None,
    directions: FailureDirections | None = None,
    decode: bool = False,
    repair: bool = False,
    device: str = "auto",
    progress: Reporter | None = None,
) -> tuple[AuditResult, float]:
    """Run the whole demo; return the audit, and the base model's accuracy on the balanced test split.

    Args:
        out: folder for the audit's files, ``truth.json``, and as input for a first ``fdgpu audit`` of your own the
            pictures (``images/``) and ``predictions.csv``.
        seed: of the pictures, the plants and the base model.
        method: as :func:`fdgpu.audit` takes it.
        directions: an estimator with settings of your own.
        decode: draw the clearest directions with the bundled decoder.
        repair: mend the model in every way, audit each mended one and compare (:mod:`fdgpu.demo.mending`); all of it on
            a quarter of the photographs, to take minutes.
        device: where to render, train and embed.
        progress: a reporter; by default a bar where a person watches standard error.
    """
    check_seed(seed)
    check_folder(out, EXPECTED_BYTES)
    _check_no_others(Path(out))
    target = choose_device(device).device
    decoder = Decoder.bundled(device) if decode else None
    every = EVERY_TO_MEND if repair else 1
    seconds: dict[str, float] = {}
    with replaced_folder(out) as folder, OneBar(progress) as report:
        with timed(seconds, "render pictures"):
            splits = _render(seed, target, every, report)
        embedder = ClipEmbedder.bundled(device)
        embedder.doubts = ()  # these are the pictures that it knows
        train, _, test = splits
        with timed(seconds, "train base model"):
            model = train_base_model(train.pictures, train.labels, seed, device=target, progress=report)
            answers = [predict(model, split.pictures, split.labels) for split in splits]
        with timed(seconds, "write pictures"):
            pictures = write_inputs(folder.path, splits[1:], answers[1:])

        def audit_model(
            answered: list[Answered], directions: FailureDirections | None, store: str, **settings: Any
        ) -> AuditResult:
            """Audit a model by its answers to the three splits."""
            return audit(
                TensorSource(torch.cat([s.pictures for s in splits]), [path for s in splits for path in s.paths]),
                torch.cat([s.labels for s in splits]),
                np.concatenate([one.prediction for one in answered]),
                class_names=world_settings().class_names,
                embedder=embedder,
                store=store,
                splits=[s.name for s in splits for _ in range(len(s.labels))],
                confidence=np.concatenate([one.confidence for one in answered]),
                true_probability=np.concatenate([one.true_probability for one in answered]),
                method=method,
                directions=directions,
                planted=_planted(splits),
                title="What the demo's model gets wrong",
                seed=seed,
                progress=report,
                **settings,
            )

        with TemporaryDirectory() as kept:
            store = kept + "/embeddings" if repair else "none"  # the pictures are made anew each time
            result = audit_model(answers, directions, store, out=folder, decoder=decoder, timings=seconds)
            if repair:
                again = partial(audit_model, store=store)
                world = Mendable(model, splits, answers, result, embedder, store, again, seed, every, target)
                mend(world, folder.path, report)
        own = {"truth.json", "predictions.csv", *pictures, *(written_by_mending(folder.path) if repair else ())}
        write_json(folder.path / "truth.json", truth_document(seed, test) | {"files": sorted(own)})
    return result, float((answers[-1].prediction == test.labels.numpy()).mean())


def _check_no_others(out: Path) -> None:
    """Refuse to replace a user's predictions."""
    own = "predictions.csv" in listed_files(out) or (out / "truth.json").exists()
    if (out / "predictions.csv").exists() and not own:
        raise InputError(
            f"{out} holds a predictions.csv that is not the demo's, which would replace it: choose another folder"
        )


def _render(seed: int, device: torch.device, every: int, report: Reporter) -> list[RenderedSplit]:
    """Render the three splits, one after the other."""
    splits: list[RenderedSplit] = []
    for name in Split:
        report("render pictures", len(splits), len(Split))
        splits.append(make_split(name, seed, device, every))
    report("render pictures", len(Split), len(Split))
    return splits


def _planted(splits: list[RenderedSplit]) -> dict[str, Planted]:
    return {
        plant.class_name: Planted(
            plant.attribute,
            plant.easy,
            plant.hard,
            phrase(plant),
            np.concatenate([split.minority(plant).numpy() for split in splits]),
        )
        for plant in world_settings().plants
    }


def write_inputs(folder: Path, splits: list[RenderedSplit], answers: list[Answered]) -> list[str]:
    """Write what ``fdgpu audit`` takes: pictures, whose paths are returned, and a CSV of the model's answers."""
    names = world_settings().class_names
    text, written = StringIO(), list[str]()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "prediction", "split", "confidence", "true_probability"])
    for split, own in zip(splits, answers, strict=True):
        written += [f"images/{path}" for path in split.paths]
        write_pictures(folder / "images", split)
        columns = (split.paths, split.labels.tolist(), own.prediction, own.confidence, own.true_probability)
        for path, label, guess, sure, true in zip(*columns, strict=True):
            table.writerow([path, names[label], names[guess], split.name, f"{sure:.6f}", f"{true:.6f}"])
    write_atomically(folder / "predictions.csv", text.getvalue())
    return written


def write_pictures(folder: Path, split: RenderedSplit) -> None:
    """Write a split's pictures as PNG, by their paths."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(_save_picture, [folder / path for path in split.paths], split.pictures))


def _save_picture(path: Path, picture: Tensor) -> None:
    write_png(path, picture.permute(1, 2, 0).contiguous().numpy())
