"""An audit's folder."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.evidence import AuditedImages
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.outputs import audit_json, write_json, write_table
from fdgpu.directions import FailureDirections
from fdgpu.files import write_atomically
from fdgpu.findings import Findings, ModeFindings, WordEffect


def write_audit(
    folder: Path,
    findings: Findings,
    fit: FailureDirections,
    page: str,
    inputs: AuditInputs,
    images: AuditedImages,
    captions: CaptionedClasses,
) -> None:
    """Write everything that an audit leaves; the page last, so that where it is the rest is too."""
    fit.save(folder / "directions.safetensors")
    write_table(folder / "examples.parquet", _example_columns(inputs, images))
    write_table(folder / "captions.parquet", _caption_columns(captions, findings))
    write_table(folder / "effects.parquet", _effect_columns(captions, inputs.class_names))
    write_json(folder / "audit.json", audit_json(findings))
    write_atomically(folder / "report.html", page)


def _example_columns(inputs: AuditInputs, images: AuditedImages) -> dict[str, Any]:
    rows = np.flatnonzero(images.shown)
    columns: dict[str, Any] = {
        "path": [images.ids[row] for row in rows],
        "class": [inputs.class_names[k] for k in inputs.labels[rows]],
        "prediction": [inputs.class_names[k] for k in inputs.predictions[rows]],
        "split": inputs.splits[rows].tolist(),
        "correct": inputs.correct[rows],
        "decision_value": images.decisions[rows, 0],
    }
    if images.decisions.shape[1] > 1:
        columns |= _mode_columns(images.decisions[rows])
    if inputs.confidence is not None:
        columns["confidence"] = inputs.confidence[rows]
    return columns


def _mode_columns(decisions: NDArray[np.float64]) -> dict[str, Any]:
    """Which direction flags each image most, null where its class has none, and its value along the others.

    Args:
        decisions: (m, r) decision values, NaN for a direction that a class does not have.
    """
    lowest = np.where(np.isnan(decisions), np.inf, decisions).argmin(axis=1)
    modes = pa.array(lowest, pa.int64(), mask=np.isnan(decisions).all(axis=1))
    return {"mode": modes} | {f"decision_value_{j}": decisions[:, j] for j in range(1, decisions.shape[1])}


def _caption_columns(captions: CaptionedClasses, findings: Findings) -> dict[str, Any]:
    """Every candidate that has a score, along each direction; the reference has none.

    ``group`` is the shown caption that says the same, and ``reliable`` whether that one is; null for what is not shown.
    """
    rows = [
        (findings.classes[k].name, text, score, direction, *shown.get(text, (None, None)))
        for k, modes in captions.by_class.items()
        for direction, own in enumerate(modes)
        for shown in [_shown_captions(findings.classes[k].modes[direction])]
        for text, score in zip(own.texts, own.scores.tolist(), strict=True)
        if not np.isnan(score)
    ]
    kinds = {
        "class": pa.string(), "caption": pa.string(), "score": pa.float64(), "direction": pa.int64(),
        "group": pa.string(), "reliable": pa.bool_(),
    }  # fmt: skip
    return {name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(kinds.items())}


def _shown_captions(mode: ModeFindings) -> dict[str, tuple[str, bool | None]]:
    """Return what stands for each caption that is shown or says the same as one that is, and whether it is reliable."""
    shown = (*mode.hard_captions, *mode.easy_captions)
    verdicts = {c.caption: (c.caption, None if c.evidence is None else c.evidence.reliable) for c in shown}
    return {text: verdicts[c.caption] for c in shown for text in (c.caption, *c.also)}


def _effect_columns(captions: CaptionedClasses, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What every word does to the alignments along each direction."""
    rows = [
        {"class": class_names[k], "direction": direction, **asdict(effect)}
        for k, modes in captions.by_class.items()
        for direction, own in enumerate(modes)
        for effect in own.words.effects
    ]
    names = ["class", "direction", *(field.name for field in fields(WordEffect))]
    return {name: [row[name] for row in rows] for name in names}
