"""An audit that was made: of its folder, or as it is in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fdgpu.auditing.outputs import SCHEMA, audit_json
from fdgpu.auditing.pipeline import STORE
from fdgpu.auditing.result import AuditResult
from fdgpu.checks import check_kind
from fdgpu.directions.estimator import FailureDirections
from fdgpu.errors import InputError
from fdgpu.files import parse_json, read_text_file
from fdgpu.store.embedding_store import EmbeddingStore

MOST_BYTES = 2_000_000_000  # of audit.json
NEEDED = ("path", "class", "prediction", "correct", "decision_value")  # of examples.parquet


@dataclass(frozen=True)
class Failure:
    """A failure mode of an audit: of which class, which of its modes, and the audit's figures of it."""

    class_name: str
    mode: int
    figures: Mapping[str, Any]

    @property
    def column(self) -> str:
        """The column of ``examples.parquet`` with the decision values along its direction."""
        return f"decision_value_{self.mode}" if self.mode else "decision_value"

    @property
    def caption(self) -> str:
        """Its hardest caption, where one can be believed."""
        return next(iter(self.figures["reliable_hard_captions"]), "")


@dataclass(frozen=True)
class PastAudit:
    """What an audit found, and what its model said of every image that is shown.

    Attributes:
        name: as messages call it.
        document: as ``audit.json`` has it.
        examples: as ``examples.parquet`` has them.
        folder: where it lies; None of one that is in memory alone.
        fit: of one in memory.
        errors: sorted by cause; of one in memory.
    """

    name: str
    document: Mapping[str, Any]
    examples: pa.Table
    folder: Path | None
    fit: FailureDirections | None = None
    errors: pa.Table | None = None

    @classmethod
    def of(cls, audit: str | Path | AuditResult, name: str) -> PastAudit:
        """Read an audit's folder, or take a result.

        Args:
            audit: the folder or the result.
            name: of the parameter.

        Raises:
            InputError: for anything else, a folder that holds no audit, or files that are not of one.
        """
        fits = isinstance(audit, (str, Path, AuditResult))
        check_kind(audit, name, fits, "the folder that an audit was written to, or what fdgpu.audit returned")
        if isinstance(audit, AuditResult):
            document = audit_json(audit.findings, [])
            return cls(name, document, audit.examples, audit.out, audit.directions, audit.errors)
        folder = Path(audit)
        if not (folder / "audit.json").is_file():
            raise InputError(f"{folder} holds no audit.json: pass a folder that fdgpu audit has written")
        text = read_text_file(folder / "audit.json", MOST_BYTES, "a folder that fdgpu audit has written")
        try:
            document = parse_json(text)
            examples = pq.read_table(folder / "examples.parquet")
        except (ValueError, OSError, pa.ArrowException) as error:
            raise InputError(f"{folder} does not hold an audit as fdgpu writes it ({error}): audit again") from None
        schema = document.get("schema") if isinstance(document, dict) else None
        missing = [column for column in NEEDED if column not in examples.column_names]
        if schema != SCHEMA or missing:
            what = f"its table has no column {missing[0]}" if missing else f"its schema is {schema!r}, this is {SCHEMA}"
            raise InputError(f"{folder} does not hold an audit as this version writes it ({what}): audit again")
        return cls(str(folder), document, examples, folder)

    @property
    def failures(self) -> Iterator[Failure]:
        """The significant failure modes, class by class."""
        for one in self.document["classes"]:
            for mode, figures in enumerate(one["modes"]):
                if figures["significant"]:
                    yield Failure(one["name"], mode, figures)

    @property
    def directions(self) -> FailureDirections:
        """The fit, whose classes are numbered as the document lists them."""
        if self.fit is None and self.folder is not None:
            return FailureDirections.load(self.folder / "directions.safetensors")
        if self.fit is None:
            raise InputError(f"{self.name} has no fit: pass the folder of an audit")
        return self.fit

    @property
    def causes(self) -> list[Mapping[str, object]]:
        """The rows of ``causes.csv``: every error by its cause, and right images that are duplicates."""
        if self.errors is not None or self.folder is None:
            return [] if self.errors is None else self.errors.to_pylist()
        text = read_text_file(self.folder / "causes.csv", MOST_BYTES, "a folder that this version of fdgpu has written")
        return list(csv.DictReader(StringIO(text, newline="")))

    @property
    def store(self) -> EmbeddingStore | None:
        """The embeddings that lie in the folder; None without."""
        if self.folder is None or not (self.folder / STORE).is_dir():
            return None
        return EmbeddingStore.open(self.folder / STORE)
