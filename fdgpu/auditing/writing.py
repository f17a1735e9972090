"""An audit's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.outputs import audit_json, write_json, write_table
from fdgpu.directions import FailureDirections
from fdgpu.files import write_atomically
from fdgpu.findings import Findings


def write_audit(
    folder: Path,
    findings: Findings,
    fit: FailureDirections,
    page: str,
    inputs: AuditInputs,
    ids: list[str],
    decisions: NDArray[np.float64],
    shown: NDArray[np.bool_],
    captions: CaptionedClasses,
) -> None:
    """Write everything that an audit leaves; the page last, so that where it is the rest is too."""
    fit.save(folder / "directions.safetensors")
    write_table(folder / "examples.parquet", _example_columns(inputs, ids, decisions, shown))
    write_table(folder / "captions.parquet", _caption_columns(captions, inputs.class_names))
    write_json(folder / "audit.json", audit_json(findings))
    write_atomically(folder / "report.html", page)


def _example_columns(
    inputs: AuditInputs, ids: list[str], decisions: NDArray[np.float64], shown: NDArray[np.bool_]
) -> dict[str, Any]:
    rows = np.flatnonzero(shown)
    columns: dict[str, Any] = {
        "path": [ids[row] for row in rows],
        "class": [inputs.class_names[k] for k in inputs.labels[rows]],
        "prediction": [inputs.class_names[k] for k in inputs.predictions[rows]],
        "split": inputs.splits[rows].tolist(),
        "correct": inputs.correct[rows],
        "decision_value": decisions[rows],
    }
    if inputs.confidence is not None:
        columns["confidence"] = inputs.confidence[rows]
    return columns


def _caption_columns(captions: CaptionedClasses, class_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "class": [class_names[k] for k, own in captions.items() for _ in own.texts],
        "caption": [text for own in captions.values() for text in own.texts],
        "score": np.concatenate([own.scores for own in captions.values()]) if captions else np.empty(0),
    }
