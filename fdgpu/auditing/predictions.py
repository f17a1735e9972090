"""``predictions.csv``: what the audited model said of every image."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fdgpu.errors import InputError

REQUIRED = ("path", "label", "prediction", "split")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Predictions:
    """The columns of the file, one entry an image; ``confidence`` is None where the column is missing."""

    paths: list[str]
    labels: list[str]
    predictions: list[str]
    splits: list[str]
    confidence: list[float] | None


def read_predictions(path: Path) -> Predictions:
    """Read a CSV with the columns ``path,label,prediction,split`` and optionally ``confidence``.

    Raises:
        InputError: names the file, the line, what was expected and what came.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return _parse(csv.reader(stream, strict=True), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): pass the CSV of predictions") from None


def _parse(reader: Iterator[list[str]], path: Path) -> Predictions:
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        raise InputError(f"{path} is empty: its first line must be {','.join(REQUIRED)}") from None
    except csv.Error as error:
        raise InputError(f"{path}, line 1: {error}") from None
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(f"{path}, line 1: the column {missing[0]!r} is missing, the header is {','.join(header)!r}")
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice:
        raise InputError(f"{path}, line 1: the column {twice!r} stands twice")
    has_confidence = "confidence" in header
    table = Predictions([], [], [], [], [] if has_confidence else None)
    first_seen: dict[str, int] = {}
    for line, row in _rows(reader, header, path):
        where = f"{path}, line {line}"
        for name in REQUIRED:
            if not row[name]:
                raise InputError(f"{where}: {name} is empty")
        if row["split"] not in SPLITS:
            raise InputError(f"{where}: split is {row['split']!r}, use one of {', '.join(SPLITS)}")
        if row["path"] in first_seen:
            raise InputError(f"{where}: {row['path']!r} stands already in line {first_seen[row['path']]}")
        first_seen[row["path"]] = line
        table.paths.append(row["path"])
        table.labels.append(row["label"])
        table.predictions.append(row["prediction"])
        table.splits.append(row["split"])
        if table.confidence is not None:
            table.confidence.append(_confidence(row["confidence"], where))
    if not table.paths:
        raise InputError(f"{path} has a header and no rows: write one line for every image")
    return table


def _rows(reader: Iterator[list[str]], header: list[str], path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row by column); blank lines are passed over."""
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]  # a csv reader has it, its type does not
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}, line {line}: {len(cells)} fields, the header has {len(header)}")
        yield line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}


def _confidence(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where}: confidence is {cell!r}, expected a number from 0 to 1") from None
    if math.isnan(value) or not 0 <= value <= 1:
        raise InputError(f"{where}: confidence is {cell}, expected a number from 0 to 1")
    return value
