"""A model's answers as a table: what ``fdgpu predict`` writes, and an audit reads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fdgpu.arrays import Array
from fdgpu.auditing.columns.class_names import ClassNames
from fdgpu.auditing.columns.pairing import COLUMNS, listed
from fdgpu.auditing.columns.tables import ColumnNames
from fdgpu.auditing.laying import Model, lay
from fdgpu.auditing.notes import Notes
from fdgpu.checks import check_whole
from fdgpu.embedding.classifier import AnswerPart
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.files import write_atomically
from fdgpu.findings import Split
from fdgpu.progress import OneBar, Reporter

BATCH = 256  # images at a time


@dataclass(frozen=True)
class Predicted:
    """A model's answers.

    Attributes:
        table: of pyarrow, one row an image, with ``path``, ``label``, ``prediction``, ``confidence``,
            ``true_probability`` and ``split``, which is val where nobody says.
        skipped: the reason for each image without an answer, by path.
        accuracy: share of the images with an answer on which the model is right.
    """

    table: pa.Table
    skipped: dict[str, str]
    accuracy: float

    def write(self, path: Path) -> None:
        """Write the table: as CSV where the name ends so, else as Parquet."""
        buffer = BytesIO()
        if path.suffix.lower() == ".csv":
            pyarrow.csv.write_csv(self.table, buffer)
        else:
            pq.write_table(self.table, buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())


def predict(
    images: object,
    model: Model,
    labels: Array = None,
    *,
    preprocess: object = None,
    class_names: ClassNames | None = None,
    columns: ColumnNames | None = None,
    allow_outside: bool = False,
    batch_size: int = BATCH,
    progress: Reporter | None = None,
) -> Predicted:
    """Ask a model about images with labels: the arguments are those of :func:`~fdgpu.audit`.

    An image that cannot be read, or whose scores are not finite, is left out, with a warning.

    Raises:
        InputError: names what was expected, what came, and the remedy.
    """
    batch_size = check_whole(batch_size, "batch_size", 1)
    given = {**dict.fromkeys(COLUMNS), "labels": labels, "groups": "none"}
    laid = lay(images, given, columns, class_names, None, allow_outside, model, preprocess, Notes())
    answering, source = laid.answering, laid.source
    if answering is None:
        raise InputError("model is missing: pass a torch module, or the name of one")
    ids, splits, reasons, parts = list[str](), list[str | None](), dict[str, str](), list[AnswerPart]()
    with OneBar(progress) as report:
        for batch in source.batches(batch_size, answering.view):
            parts.append(answering.take(batch.views[0], batch, range(len(ids), len(ids) + len(batch.ids))))
            ids += batch.ids
            splits += batch.splits
            reasons |= batch.unreadable
            report("predict", len(ids), source.count)
    answering.complete(parts)
    answered = answering.finish()
    names = answered.class_names
    if answered.confidence is None or answered.true_probability is None or not isinstance(names, Mapping):
        raise InputError("labels are several conditions an image, which no table of predictions holds: audit the model")
    reasons |= {ids[row]: reason for row, reason in answered.skipped.items()}
    if reasons:
        path, reason = next(iter(reasons.items()))
        said = f"{len(reasons)} of {len(ids)} images have no answer, the first is {path}: {reason}"
        if len(reasons) == len(ids):
            raise InputError(f"{said}: check the images and the model's preprocessing")
        warnings.warn(f"{said}. They are left out.", FdgpuWarning, stacklevel=2)
    kept = np.array([row for row, own in enumerate(ids) if own not in reasons], np.int64)
    by_row = laid.paired.joined(ids)["splits"]
    known = splits if by_row is None else listed(by_row)
    made = {
        "path": [ids[row] for row in kept],
        "label": [names[k] for k in answered.labels[kept].tolist()],
        "prediction": [names[k] for k in answered.predictions[kept].tolist()],
        "confidence": answered.confidence[kept],
        "true_probability": answered.true_probability[kept],
    }
    made["split"] = [str(known[row] or Split.VAL) for row in kept]
    right = (answered.labels == answered.predictions)[kept]
    return Predicted(pa.table(made), reasons, float(right.mean()))
