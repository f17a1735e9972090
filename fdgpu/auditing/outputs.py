"""An audit's folder: JSON for programs, Parquet for tables.

``docs/audit_json.md`` documents every key and column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.images import AuditImages
from fdgpu.auditing.slices import FoundSlices
from fdgpu.captions.reliability import CAPTION_RULES
from fdgpu.directions.fit import Fit
from fdgpu.files import strict_json, without_nan, write_atomically
from fdgpu.findings import (
    Causes,
    ClassFindings,
    Condition,
    Example,
    Findings,
    ModeFindings,
    Slice,
    SortedImage,
    WordEffect,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FILES = (
    "report.html", "audit.json", "directions.safetensors", "examples.parquet", "captions.parquet", "effects.parquet",
    "causes.csv",
)  # fmt: skip
STORE = "embeddings"  # the folder of the store within that of the audit
SCHEMA = "fdgpu.audit/1"  # raise the number when a key goes, or changes its meaning; a new key is no new version
CAUSE_COLUMNS = (
    "path", "class", "prediction", "split", "correct", "cause", "chance", "duplicate_of", "duplicate_class",
    "duplicate_split", "confidence",
)  # fmt: skip
SLICE_COLUMNS = (
    "class", "slice", "tested", "errors", "p", "q", "significant", "shown", "errors_shown", "accuracy",
    "accuracy_low", "accuracy_high", "follows_from", "explained_by", "explained",
)  # fmt: skip
JsonObject = dict[str, object]
Columns = Mapping[str, Sequence[object] | NDArray[np.generic]]


def expected_bytes(n_images: int, n_classes: int) -> int:
    """Return how much an audit writes at the very least, without decoded pictures."""
    return 150_000 + 10 * n_images + 2_000 * n_classes


def write_audit(
    folder: Path,
    findings: Findings,
    fit: Fit,
    page: str,
    examples: pa.Table,
    captions: CaptionedClasses,
    sorted_errors: Sequence[SortedImage] = (),
    slices: FoundSlices | None = None,
) -> None:
    """Write everything that an audit leaves but its decoded pictures, which are there already."""
    fit.save(folder / "directions.safetensors")
    write_table(folder / "examples.parquet", examples)
    write_table(folder / "captions.parquet", caption_table(captions, findings))
    write_table(folder / "effects.parquet", effect_table(captions, findings))
    write_atomically(folder / "causes.csv", causes_csv(sorted_errors))
    others = [path for one in findings.classes for pictures in one.decoded for path in pictures.paths]
    if slices is not None:
        write_atomically(folder / "slices.csv", slices_csv(slices.listed))
        others.append("slices.csv")
    write_json(folder / "audit.json", audit_json(findings, [*FILES, *others]))
    write_atomically(folder / "report.html", page)


def write_json(path: Path, document: object) -> None:
    """Write strict JSON, readable by people."""
    write_atomically(path, strict_json(document))


def document_of(record: DataclassInstance) -> JsonObject:
    """Return a record of plain data as a JSON document; NaN becomes null."""
    return {key: without_nan(value) for key, value in asdict(record).items()}


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet table."""
    buffer = BytesIO()
    pq.write_table(table, buffer)
    write_atomically(path, buffer.getvalue())


def audit_json(findings: Findings, files: Sequence[str]) -> JsonObject:
    """Return the findings as the JSON document of :data:`SCHEMA`; NaN becomes null.

    Args:
        findings: of the audit.
        files: all that it writes, by which the next audit into the folder knows what it may replace.
    """
    document = {
        "schema": SCHEMA,
        "fdgpu": findings.version,
        "seed": findings.seed,
        "model": findings.model,
        "method": findings.method,
        "method_reason": findings.method_reason,
        "uses_loss": findings.uses_loss,
        "backend": findings.backend,
        "backend_reason": findings.backend_reason,
        "text_method": findings.text_method or None,
        "text_method_reason": findings.text_method_reason or None,
        "activation": findings.activation or None,
        "activation_reason": findings.activation_reason or None,
        "device": findings.device,
        "precision": findings.precision,
        "preprocessing": findings.preprocessing,
        "classifier": None if findings.classifier is None else asdict(findings.classifier),
        "versions": dict(findings.versions),
        "model_fingerprint": findings.model_fingerprint or None,
        "input_fingerprint": findings.input_fingerprint,
        "n_images": findings.n_images,
        "fitted_on": findings.fitted_on,
        "whitened_by": findings.whitened_by,
        "shown_from": findings.shown_from,
        "C_grid": findings.C_grid,
        "published": findings.published,
        "n_directions": findings.n_directions,
        "n_permutations": findings.n_permutations,
        "most_permutations": findings.most_permutations,
        "fdr": findings.fdr,
        "grouped_by": findings.grouped_by,
        "n_grouped": findings.n_grouped,
        "n_groups": findings.n_groups,
        "p_value_min": findings.p_value_min,
        "caption_rules": CAPTION_RULES,
        "causes": None if findings.causes is None else _causes_json(findings.causes),
        "slices_tested": None if findings.slices_tested is None else asdict(findings.slices_tested),
        "slices": [_slice_json(one) for one in findings.slices],
        "cleaned": [asdict(one) for one in findings.cleaned],
        "conditions": [_condition_json(one, i, findings) for i, one in enumerate(findings.conditions)],
        "classes": [_class_json(entry) for entry in findings.classes],
        "skipped": [asdict(entry) for entry in findings.skipped],
        "notes": findings.notes,
        "timings": {stage: round(seconds, 3) for stage, seconds in findings.timings.items()},
        "files": files,
    }
    return {key: without_nan(value) for key, value in document.items()}


def _class_json(entry: ClassFindings) -> JsonObject:
    """Describe a class; what is beside ``modes`` is of the strongest, without its figures."""
    strongest = _mode_json(entry.strongest)
    del strongest["decisions"], strongest["nearest_accuracy"]
    own = asdict(replace(entry, modes=()))
    return (
        strongest
        | own
        | {
            "condition": entry.condition or None,
            "tested": entry.tested,
            "significant": entry.significant,
            "modes": [_mode_json(mode) for mode in entry.modes],
            "unsure_examples": _paths(entry.unsure_examples),
        }
    )


def _causes_json(one: Causes) -> JsonObject:
    return asdict(one) | {str(cause): [sorted_row(image) for image in listed] for cause, listed in one.lists.items()}


def sorted_row(one: SortedImage) -> JsonObject:
    """Return a line of a list of errors; what is not known is None, or NaN."""
    return {
        "path": one.example.path,
        "class": one.label,
        "prediction": one.example.prediction,
        "split": str(one.split),
        "correct": one.example.correct,
        "cause": str(one.cause),
        "chance": one.chance,
        "duplicate_of": one.twin or None,
        "duplicate_class": one.twin_label or None,
        "duplicate_split": one.twin_split or None,
        "confidence": one.example.confidence,
    }


def cause_table(images: Sequence[SortedImage]) -> pa.Table:
    """Return every sorted image as a row: what ``causes.csv`` holds."""
    rows = [sorted_row(one) for one in images]
    kinds = {"correct": pa.bool_(), "chance": pa.float64(), "confidence": pa.float64()}
    return pa.table(
        {name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in CAUSE_COLUMNS}
    )


def causes_csv(images: Sequence[SortedImage]) -> str:
    """Return every sorted image as a line of CSV; a path that a spreadsheet would run as a formula stays as it is."""
    return _csv(CAUSE_COLUMNS, (sorted_row(one).values() for one in images))


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return lines of CSV; what is not known, None or NaN, is empty."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if value is None or value != value else value for value in row] for row in rows)
    return stream.getvalue()


def _slice_json(one: Slice) -> JsonObject:
    values = asdict(one)
    return {"class": values.pop("class_name"), "name": one.name} | values


def slices_csv(slices: Sequence[Slice]) -> str:
    """Return every slice as a line of CSV: single values that were tested, and conjunctions that are significant."""
    rows = (
        (one.class_name, one.name, one.n, one.n_errors, one.p_value, one.q_value, one.significant, one.shown.n,
         one.shown.n_errors, one.accuracy.value, one.accuracy.low, one.accuracy.high, one.follows_from,
         one.explained_by, one.explained)
        for one in slices
    )  # fmt: skip
    return _csv(SLICE_COLUMNS, rows)


def _condition_json(one: Condition, i: int, findings: Findings) -> JsonObject:
    """Describe a condition, with the names of its classes: without it, with it."""
    return asdict(one) | {"classes": [entry.name for entry in findings.classes[2 * i : 2 * i + 2]]}


def _mode_json(mode: ModeFindings) -> JsonObject:
    return asdict(mode) | {
        "hardest_caption": mode.hardest_caption or None,
        "reliable_hard_captions": [caption.caption for caption in mode.reliable_hard_captions],
        "reliable_easy_captions": [caption.caption for caption in mode.reliable_easy_captions],
        "hard_examples": _paths(mode.hard_examples),
        "easy_examples": _paths(mode.easy_examples),
    }


def _paths(examples: Sequence[Example]) -> list[str]:
    return [example.path for example in examples]


def example_table(images: AuditImages) -> pa.Table:
    """Return ``examples.parquet``: each image of the split that is shown, what the model said, its decisions."""
    rows, inputs = np.flatnonzero(images.shown), images.inputs
    of = inputs.image_of(rows)
    columns: dict[str, Sequence[object] | NDArray[np.generic]] = {
        "path": [images.ids[image] for image in of],
        "class": [inputs.class_names[k] for k in inputs.labels[rows]],
        "prediction": [inputs.class_names[k] for k in inputs.predictions[rows]],
        "split": inputs.splits[of].tolist(),
        "correct": inputs.correct[rows],
        "decision_value": images.decisions[rows, 0],
    }
    if images.decisions.shape[1] > 1:
        columns |= _mode_columns(images.decisions[rows])
    if images.with_loss is not None:
        columns["decision_with_loss"] = images.with_loss[rows, 0]
    for name, column in (("confidence", inputs.confidence), ("true_probability", inputs.true_probability)):
        if column is not None:
            columns[name] = column[rows]
    if inputs.conditions:
        columns["condition"] = [inputs.conditions[k // 2].name for k in inputs.labels[rows]]
    return pa.table(columns)


def _mode_columns(decisions: NDArray[np.float64]) -> Columns:
    """Which direction flags each image most, null where its class has none, and its value along the others.

    Args:
        decisions: (m, r) decision values, NaN for a direction that a class does not have.
    """
    lowest = np.where(np.isnan(decisions), np.inf, decisions).argmin(axis=1)
    modes = pa.array(lowest, pa.int64(), mask=np.isnan(decisions).all(axis=1))
    return {"mode": modes} | {f"decision_value_{j}": decisions[:, j] for j in range(1, decisions.shape[1])}


def class_table(findings: Findings) -> pa.Table:
    """Return a row a class: how often the model is wrong, and what is known of its strongest failure mode."""
    rows = [
        {
            "class": one.name,
            "status": str(one.status),
            "n": one.n,
            "n_errors": one.n_errors,
            "n_shown": one.n_shown,
            "accuracy": one.accuracy_shown,
            "hardest_caption": one.strongest.hardest_caption or None,
            "accuracy_hard_side": one.strongest.hard_side.accuracy,
            "accuracy_easy_side": one.strongest.easy_side.accuracy,
            "modes": len(one.modes),
            "cv_score": one.cv_score,
            "p_value": one.p_value,
            "q_value": one.q_value,
            "significant": one.significant,
        }
        for one in findings.classes
    ]
    return pa.Table.from_pylist(rows)


def as_frame(table: pa.Table) -> Any:
    """Return a table as a data frame of pandas, where that is installed."""
    return table if find_spec("pandas") is None else table.to_pandas()


def caption_table(captions: CaptionedClasses, findings: Findings) -> pa.Table:
    """Return ``captions.parquet``: every candidate that has a score, along each direction; the reference has none.

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
    return pa.table({name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(kinds.items())})


def _shown_captions(mode: ModeFindings) -> dict[str, tuple[str, bool | None]]:
    """Return, for each caption that is shown or says the same as one that is, that one and whether it is reliable."""
    shown = (*mode.hard_captions, *mode.easy_captions)
    verdicts = {c.caption: (c.caption, None if c.evidence is None else c.evidence.reliable) for c in shown}
    return {text: verdicts[c.caption] for c in shown for text in (c.caption, *c.also)}


def effect_table(captions: CaptionedClasses, findings: Findings) -> pa.Table:
    """Return ``effects.parquet``: what every word does to the alignments along each direction."""
    rows = [
        {"class": findings.classes[k].name, "direction": direction, **asdict(effect)}
        for k, modes in captions.by_class.items()
        for direction, own in enumerate(modes)
        for effect in own.words.effects
    ]
    names = ["class", "direction", *(field.name for field in fields(WordEffect))]
    return pa.table({name: [row[name] for row in rows] for name in names})
