"""The lines of what a device that is not there would take; every one of them says that it was not measured."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.speed.caption_scoring import IMAGENET, NAME
from benchmarks.speed.counts import Work, preparation_work
from benchmarks.speed.data import Shape, make
from benchmarks.speed.permutations import drawing_seconds, predict_permutations
from benchmarks.speed.predicted import H100, Prediction, predict_gram, predict_solver, predict_stream
from benchmarks.speed.roofline import CROSS_VALIDATION, GRAM, REFIT, Paths
from benchmarks.speed.rows import PREDICTED, Row, duration
from fdgpu.directions.parameters import SolverSettings


def predicted_row(shape: str, classes: int, name: str, prediction: Prediction, device: H100) -> Row:
    """Return one line."""
    work = prediction.work
    return Row(
        shape=shape,
        line=f"{device.name}: {name}",
        kind="predicted",
        device=f"{device.name} ({PREDICTED})",
        timed=f"none of {classes}",
        fdgpu_s=prediction.seconds / classes,
        total_s=prediction.seconds,
        bytes=work.bytes / classes,
        requested_bytes=work.requested_bytes / classes,
        operations=work.operations / classes,
        result=f"{PREDICTED}: {duration(prediction.seconds, 2)} in all ({prediction.bound})",
    )


def fit_rows(shape: Shape, paths: Paths, settings: SolverSettings, host_s: float, device: H100) -> list[Row]:
    """Predict a fit, kernel by kernel and together with what the host does, which was measured on this one."""
    kernels = {
        "rows prepared": predict_stream(device, preparation_work(sum(shape.sizes), shape.d)),
        GRAM: predict_gram(device, shape.sizes, shape.d),
        CROSS_VALIDATION: predict_solver(device, paths.cross_validation, settings.cv),
        REFIT: predict_solver(device, paths.refit, 1),
    }
    rows = [predicted_row(shape.name, shape.classes, *item, device) for item in kernels.items()]
    total = sum(prediction.seconds for prediction in kernels.values())
    work = sum((prediction.work for prediction in kernels.values()), Work())
    whole = predicted_row(shape.name, shape.classes, "whole fit", Prediction(total + host_s, "sum", work), device)
    parts = f"kernels {duration(total, 2)}, host {duration(host_s, 2)} as measured here"
    result = f"{PREDICTED}: {duration(total + host_s, 2)} in all ({parts})"
    return [*rows, replace(whole, result=result)]


def permutation_rows(shape: Shape, settings: SolverSettings, permutations: int, device: H100) -> list[Row]:
    """Predict the kernels of a permutation test, and with them what the host draws, which was measured on this one."""
    problem = make(shape)
    kernels = predict_permutations(device, problem, settings, permutations)
    name = f"{permutations} permutations"
    row = predicted_row(shape.name, shape.classes, f"{name}, kernels", kernels, device)
    host_s = permutations * drawing_seconds(problem)
    total = Prediction(kernels.seconds + host_s, "sum", kernels.work)
    whole = predicted_row(shape.name, shape.classes, f"{name}, whole", total, device)
    parts = f"kernels {duration(kernels.seconds, 2)}, one core drawing labels {duration(host_s, 2)} as measured here"
    return [row, replace(whole, result=f"{PREDICTED}: {duration(total.seconds, 2)} in all ({parts})")]


def captions_row(device: H100) -> Row:
    """Predict caption scoring, which reads captions once."""
    prediction = predict_stream(device, IMAGENET.work(torch.float16))
    return predicted_row(IMAGENET.name, IMAGENET.groups, NAME, prediction, device)
