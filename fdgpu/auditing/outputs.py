"""The files of an audit: JSON for programs, Parquet for tables; each appears whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fdgpu.captions.trust import CAPTION_RULES
from fdgpu.files import write_atomically
from fdgpu.findings import ClassFindings, Example, Findings, ModeFindings


def audit_json(findings: Findings) -> dict[str, Any]:
    """Return the findings as the JSON document of the contract; NaN becomes null."""
    document = {
        "fdgpu": findings.version,
        "seed": findings.seed,
        "model": findings.model,
        "backend": findings.backend,
        "backend_reason": findings.backend_reason,
        "text_method": findings.text_method,
        "text_method_reason": findings.text_method_reason,
        "device": findings.device,
        "n_images": findings.n_images,
        "fitted_on": findings.fitted_on,
        "whitened_by": findings.whitened_by,
        "shown_from": findings.shown_from,
        "C_grid": list(findings.C_grid),
        "n_directions": findings.n_directions,
        "n_permutations": findings.n_permutations,
        "fdr": findings.fdr,
        "p_value_min": findings.p_value_min,
        "caption_rules": CAPTION_RULES,
        "classes": [_class_json(entry) for entry in findings.classes],
        "skipped": [asdict(entry) for entry in findings.skipped],
        "notes": list(findings.notes),
        "timings": {stage: round(seconds, 3) for stage, seconds in findings.timings.items()},
    }
    cleaned: dict[str, Any] = _without_nan(document)
    return cleaned


def _class_json(entry: ClassFindings) -> dict[str, Any]:
    """Describe a class; what stands beside ``modes`` is of the strongest, its drawings apart."""
    strongest = _mode_json(entry.strongest)
    del strongest["decisions"], strongest["nearest_accuracy"]
    own = asdict(replace(entry, modes=()))
    return (
        strongest
        | own
        | {
            "significant": entry.significant,
            "modes": [_mode_json(mode) for mode in entry.modes],
            "unsure_examples": _paths(entry.unsure_examples),
        }
    )


def _mode_json(mode: ModeFindings) -> dict[str, Any]:
    return asdict(mode) | {
        "hardest_caption": mode.hardest_caption or None,
        "reliable_hard_captions": [caption.caption for caption in mode.reliable_hard_captions],
        "reliable_easy_captions": [caption.caption for caption in mode.reliable_easy_captions],
        "hard_examples": _paths(mode.hard_examples),
        "easy_examples": _paths(mode.easy_examples),
    }


def _paths(examples: Sequence[Example]) -> list[str]:
    return [example.path for example in examples]


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return value


def write_json(path: Path, document: Any) -> None:
    """Write strict JSON, readable by people."""
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    """Write a Parquet table."""
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write_atomically(path, buffer.getvalue())
