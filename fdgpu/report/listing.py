"""What the page's script reads: every image in columns, and the pictures that open large."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from fdgpu.findings import Findings, ImageTable, Thumbnails
from fdgpu.report.pictures import Encoding, Pixels, data_uri, pixels_of

LARGE_BUDGET = 12_000_000  # bytes of data URIs
LARGE = tuple(Encoding(side, quality) for side, quality in ((512, 80), (384, 76), (256, 76), (192, 72), (128, 70)))
SAMPLED = 24  # pictures that stand for all where the size of all is guessed


@dataclass(frozen=True)
class Listing:
    """The images of the page as one JSON document, and where each example stands in its rows.

    ``document`` may stand inside a ``<script>``; ``rows`` are by class id, and by path. Of ``n_images`` that the page
    lists, ``n_pictures`` have a picture that opens large; ``left_out`` images are not even listed.
    """

    document: Markup
    rows: Mapping[int, Mapping[str, int]]
    n_images: int
    n_pictures: int
    left_out: int

    def rows_of(self, class_id: int) -> Mapping[str, int]:
        """Return the rows of a class's images, by path; without those that the page does not list."""
        return self.rows.get(class_id, {})


NOTHING = Listing(Markup("null"), {}, 0, 0, 0)


def make_listing(findings: Findings, thumbnails: Thumbnails, budget: int) -> Listing:
    """Pack the images into columns; pictures take what the columns leave of ``budget`` bytes, the hardest first."""
    table = findings.images
    if table is None:
        return NOTHING
    columns: dict[str, object] = {
        "classes": [one.name for one in findings.classes],
        "paths": table.paths,
        "labels": packed(table.labels, "<i4"),
        "predictions": packed(table.predictions, "<i4"),
        "decisions": [packed(column, "<f4") for column in table.decisions.T],
        "across": packed(table.across, "<f4"),
        "neighbours": packed(table.neighbours, "<i4"),
        "confidence": None if table.confidence is None else packed(table.confidence, "<f4"),
        "trueProbability": None if table.true_probability is None else packed(table.true_probability, "<f4"),
        "why": _categories(table.why) if table.why else None,
    }
    taken = len(_json(columns))
    uris = large_pictures(_in_order(findings, thumbnails), thumbnails, min(LARGE_BUDGET, budget - taken))
    index = {path: i for i, path in enumerate(uris)}
    of = np.array([index.get(path, -1) for path in table.paths], np.int32)
    columns["pictures"] = {"uris": list(uris.values()), "of": packed(of, "<i4")}
    rows: dict[int, dict[str, int]] = defaultdict(dict)
    for row, (k, path) in enumerate(zip(table.labels.tolist(), table.paths, strict=True)):
        rows[k][path] = row
    # What may end the script, or begin a comment in it, is written as an escape of JSON.
    document = Markup(_json(columns).replace("<", "\\u003c"))  # noqa: S704 -- no "<" is left
    return Listing(document, rows, len(table.paths), int((of >= 0).sum()), table.left_out)


def packed(column: NDArray[np.generic], kind: str) -> str:
    """Return a column as base64 of little-endian numbers, in C order."""
    return base64.b64encode(np.ascontiguousarray(column).astype(kind).tobytes()).decode("ascii")


def _categories(words: Sequence[str]) -> dict[str, object]:
    names, of = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)
    return {"words": names.tolist(), "of": packed(of, "<i4")}


def _json(columns: dict[str, object]) -> str:
    return json.dumps(columns, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _in_order(findings: Findings, thumbnails: Thumbnails) -> list[str]:
    """Order the pictures: the hardest example of every failure first, then the second of each; then the others."""
    ranked = [findings.classes[i] for i in findings.ranking()]
    strips = [[e.path for e in mode.hard_examples] for one in ranked for mode in one.modes]
    strips += [[e.path for e in mode.easy_examples] for one in ranked for mode in one.modes]
    strips += [[e.path for e in one.unsure_examples] for one in ranked]
    first = (path for at in zip_longest(*strips) for path in at if path is not None)
    listed = set(_listed_paths(findings.images))
    return [path for path in dict.fromkeys(chain(first, thumbnails.pixels)) if path in listed]


def _listed_paths(table: ImageTable | None) -> Sequence[str]:
    return () if table is None else table.paths


def large_pictures(paths: Iterable[str], thumbnails: Thumbnails, budget: int) -> dict[str, str]:
    """Return data URIs by path, as large as all fit into ``budget`` bytes; at the smallest size the first that fit."""
    found = pixels_of(paths, thumbnails)
    if not found or budget <= 0:
        return {}
    pictures = list(found.values())
    sample = [pictures[i] for i in np.linspace(0, len(pictures) - 1, min(SAMPLED, len(pictures))).astype(int)]
    with ThreadPoolExecutor() as pool:
        for encoding in LARGE:
            sizes = [len(uri) for uri in pool.map(lambda one, to=encoding: _uri(one, to), sample)]
            if np.mean(sizes) * len(pictures) <= budget:
                break
        chosen: dict[str, str] = {}
        for path, uri in zip(found, pool.map(lambda one: _uri(one, encoding), pictures), strict=True):
            budget -= len(uri) + 3
            if budget < 0:
                break
            chosen[path] = uri
    return chosen


def _uri(pixels: Pixels, encoding: Encoding) -> str:
    """Encode a picture (height, width, 3) uint8 with its longer side at most ``encoding.side``."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((encoding.side, encoding.side), Image.Resampling.LANCZOS)
    return data_uri(picture, encoding.quality)
