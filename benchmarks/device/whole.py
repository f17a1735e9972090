"""Whole jobs: the tests that need a device, an audit of the bundled world, pictures decoded beside diffusers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import fdgpu
from benchmarks.device.record import DIFFERENT, Row, beside
from benchmarks.device.run import Setting
from benchmarks.speed.clock import seconds
from fdgpu.arrays import counted_crossings, to_numpy
from fdgpu.demo.world import RenderedSplit, make_split, world_settings
from fdgpu.embedding.sources import TensorSource
from fdgpu.findings import Split
from fdgpu.progress import silent

ROOT = Path(__file__).parents[2]
TESTS_S = 150  # after which tests that hang are ended
CHANCE_OF_ERROR = {True: 0.7, False: 0.1}  # of a picture that shows what its class was taught to fail on; of another
LEAST_COSINE = 0.95  # of one class's directions, fitted on vectors in two precisions


def tests(setting: Setting) -> Iterator[Row]:
    """Run the tests that need a device. A warning is an error in the project's own tests; here it is only counted."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rf", "-p", "no:cacheprovider", "-W", "default"]
    try:
        ran = subprocess.run(  # noqa: S603  our own tests
            [*command, setting.sizes.tests], cwd=ROOT, capture_output=True, text=True, check=False, timeout=TESTS_S
        )
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        yield Row("tests", "pytest -m gpu", note=f"ended after {TESTS_S} s: {' '.join(output.split())[-500:]}")
        return
    lines = [line for line in ran.stdout.splitlines() if line]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            yield Row("tests", "pytest -m gpu", note=line)
    yield Row("tests", "pytest -m gpu", note=lines[-1] if lines else ran.stderr[-500:])


def audit(setting: Setting) -> Iterator[Row]:
    """Audit the bundled world on the device and on the CPU; count what comes down to the host on the way.

    The model that is audited is wrong mostly where its class was planted to fail; nothing is trained for it.
    """
    splits = [make_split(name, 0) for name in (Split.VAL, Split.TEST)]
    rows = [np.arange(len(split.labels)) for split in splits]
    if setting.sizes.pictures is not None:
        draw = np.random.default_rng(0)
        rows = [np.sort(draw.permutation(own)[: setting.sizes.pictures]) for own in rows]
    found: list[fdgpu.AuditResult] = []
    with TemporaryDirectory() as folder:

        def run(device: str) -> None:
            found.append(_audit(splits, rows, device, Path(folder)))

        run(setting.device)  # compiles
        with counted_crossings() as crossings:
            took = seconds(lambda: run(setting.device), torch.device(setting.device))
        cpu_took = seconds(lambda: run("cpu"), torch.device("cpu"))
    apart = 1 - _least_cosine(found[-2].directions, found[-1].directions)
    n = sum(len(own) for own in rows)
    what = f"{n:,} pictures of the bundled world, bundled CLIP"
    yield beside("audit", what, took, "the same on the CPU", cpu_took, apart, 1 - LEAST_COSINE)
    down = sum(crossing.bytes for crossing in crossings)
    stages = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in found[-2].findings.timings.items())
    yield Row("audit", what, n / took, "pictures/s", note=f"{len(crossings)} crossings, {down:,} bytes; {stages}")
    for why in dict.fromkeys(crossing.why for crossing in crossings):
        own = [crossing.bytes for crossing in crossings if crossing.why == why]
        yield Row("audit", f"crossing: {why}", note=f"{len(own)} times, {sum(own):,} bytes")


def _audit(splits: list[RenderedSplit], rows: list[np.ndarray], device: str, out: Path) -> fdgpu.AuditResult:
    chance = np.random.default_rng(1)
    labels, predicted, hard = [], [], []
    for split, own in zip(splits, rows, strict=True):
        planted = [split.minority(plant).numpy() for plant in world_settings().plants]
        hard = np.any(planted, axis=0)[own]
        wrong = chance.random(len(own)) < np.where(hard, CHANCE_OF_ERROR[True], CHANCE_OF_ERROR[False])
        labels.append(split.labels.numpy()[own])
        predicted.append((labels[-1] + wrong) % len(world_settings().class_names))
    pictures = torch.cat([split.pictures[own] for split, own in zip(splits, rows, strict=True)]).to(device)
    embedder = fdgpu.ClipEmbedder.bundled(device)
    embedder.doubts = ()  # these are the pictures that it knows
    return fdgpu.audit(
        TensorSource(pictures),
        np.concatenate(labels),
        np.concatenate(predicted),
        class_names=world_settings().class_names,
        embedder=embedder,
        directions=fdgpu.FailureDirections(
            random_state=0, n_resamples=20, backend="numba" if device == "cpu" else "triton"
        ),
        splits=[str(split.name) for split, own in zip(splits, rows, strict=True) for _ in own],
        out=out,
        progress=silent,
    )


def _least_cosine(ours: fdgpu.FailureDirections, theirs: fdgpu.FailureDirections) -> float:
    """Return the smallest cosine between two directions of one class, of classes that both have one for."""
    one, other = (to_numpy(fit.directions_, "directions_")[:, 0].astype(np.float64) for fit in (ours, theirs))
    return float(np.nanmin((one * other).sum(axis=1)))


def decoding(setting: Setting) -> Iterator[Row]:
    """Decode a grid of pictures in batches, beside diffusers called direction by direction."""
    from benchmarks.decoding.__main__ import measure_speed
    from fdgpu.decoding.decoder import FOLDER, WEIGHTS, BundledNet

    sizes = setting.sizes
    net = BundledNet.load(setting.device, FOLDER)
    for row in measure_speed(net, FOLDER / WEIGHTS, sizes.classes, sizes.seeds, sizes.steps, sizes.rounds):
        what = f"{row['pictures']} pictures, {row['steps']} steps, {row['pipeline']}, {row['dtype']}"
        for call in ("a direction a call", "a picture a call"):
            ratio, took = row[f"ratio, {call}"], (row["in batches, s"], row[f"{call}, s"])
            note = DIFFERENT if ratio is None else ""
            against, apart = f"diffusers, {call}", row["largest difference"]
            yield Row("decoding", what, took[0], "s", against, took[1], apart, ratio, note=note)
