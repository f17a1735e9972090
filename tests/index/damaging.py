"""Damages index files in every way that a checksum does not see, and reads them: run by test_damaged_indexes.py.

In a process of its own, since a library that believed such a file would take the interpreter with it.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fdgpu
from fdgpu.errors import InputError
from fdgpu.index import CaptionIndex, IndexKind, VectorIndex
from tests.index.vectors import names, unit_rows

N, D = 90, 4
ROWS, QUERIES = unit_rows(N, D), unit_rows(3, D, seed=1)
KINDS: dict[str, str | IndexKind] = {
    "flat": "flat", "hnsw": IndexKind("hnsw", "a test", links=4), "ivf": IndexKind("ivf", "a test", lists=2, probes=1)
}  # fmt: skip
FOLDER = Path(tempfile.mkdtemp())
OUTCOMES: Counter[str] = Counter()
Entries = dict[str, bytes]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**19),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EXAMPLES = {"derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def written() -> list[Entries]:
    """The entries of one file of each kind, precision and class, some with vectors that are left out."""
    files = []
    for kind in KINDS.values():
        for dtype in ("float32", "float16"):
            VectorIndex(ROWS, names(N), kind=kind, dtype=dtype).save(FOLDER / "whole")
            files.append(entries_of(FOLDER / "whole"))
    captions = fdgpu.CaptionGrammar("a {a} {noun}", a=[str(i) for i in range(9)], noun=[str(i) for i in range(10)])
    CaptionIndex(ROWS, captions, reference=ROWS[4], scale=np.linspace(0.1, 2, D)).save(FOLDER / "whole")
    files.append(entries_of(FOLDER / "whole"))
    return files


def entries_of(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: Entries) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


FILES = written()


def read(content: bytes, of_captions: bool) -> None:
    """Read a file, and use it if it was taken: what it finds are rows that it has, with names and finite scores."""
    path = FOLDER / "damaged"
    path.write_bytes(content)
    index = taken(path, CaptionIndex if of_captions else VectorIndex)
    OUTCOMES["refused" if index is None else "taken"] += 1
    if index is None:
        return
    k, queries = min(3, len(index)), np.resize(QUERIES, (2, index.dimension))
    for exact in (False, True):
        found = index.search(queries, k, exact=exact)
        assert np.isfinite(found.scores).all()
        assert ((found.ids >= 0) & (found.ids < len(index.names))).all()
        assert np.shape(index.names_of(found.ids)) == (2, k)
    index.search(queries, len(index))


def taken(path: Path, kind: type[VectorIndex]) -> VectorIndex | None:
    """The index, or None where the error that refused it names the file; any other error comes through."""
    try:
        return kind.load(path)
    except InputError as error:
        if not str(error).startswith(str(path)):
            raise
        return None


def spoiled(data: st.DataObject, content: bytes) -> bytes:
    """Some bytes changed, cut or put in; numbers of 4 and 8 bytes too, as sizes and ids are."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, min(160, len(changed) - 1)) | st.integers(0, len(changed) - 1))
        number = data.draw(st.sampled_from([0, 1, 2, 3, 5, 89, 90, 91, 255, 10**9, 2**31 - 1, -1, -2]))
        how = data.draw(st.sampled_from(["set", "flip", "four", "eight", "cut", "insert"]))
        if how == "set":
            changed[at] = data.draw(st.integers(0, 255))
        elif how == "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how in ("four", "eight"):
            width = 4 if how == "four" else 8
            changed[at : at + width] = number.to_bytes(width, "little", signed=True)
        elif how == "cut":
            del changed[at : at + data.draw(st.integers(1, 400))]
        else:
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        changed = changed or bytearray(1)
    return bytes(changed)


@settings(max_examples=500, **EXAMPLES)
@given(st.data())
def vectors_that_have_changed(data: st.DataObject) -> None:
    entries = dict(data.draw(st.sampled_from(FILES)))
    name = next(name for name in entries if name.startswith("vectors"))
    entries[name] = spoiled(data, entries[name])
    read(zipped(entries), of_captions="names/0.json" in entries)


@settings(max_examples=250, **EXAMPLES)
@given(st.data())
def manifests_that_say_something_else(data: st.DataObject) -> None:
    entries = dict(data.draw(st.sampled_from(FILES)))
    manifest: dict[str, Any] = json.loads(entries["manifest.json"])
    numbers = st.sampled_from([0, 1, 2, 3, 4, 5, 89, 91, 10**9, 2**62, 2**63, -1])
    key = data.draw(st.sampled_from([*manifest, "kind", "runs", "nested", "more"]))
    if key == "kind":
        manifest[key][data.draw(st.sampled_from([*manifest[key], "more"]))] = data.draw(
            numbers | JSON | st.just("flat")
        )
    elif key == "runs":
        manifest[key] = data.draw(st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=4) | JSON)
    elif key in ("reference", "scale"):
        manifest[key] = data.draw(st.lists(st.floats(), max_size=6) | JSON)
    else:
        manifest[key] = data.draw(numbers | JSON)
    text = "[" * 50_000 if key == "nested" else json.dumps(manifest)
    entries["manifest.json"] = text.encode()
    read(zipped(entries), of_captions="names/0.json" in entries)


@settings(max_examples=150, **EXAMPLES)
@given(st.data())
def names_and_archives_that_have_changed(data: st.DataObject) -> None:
    entries = dict(data.draw(st.sampled_from([FILES[0], FILES[-1]])))
    of_captions = "names/0.json" in entries
    name = next(name for name in entries if name.startswith("names"))
    if data.draw(st.booleans()):
        read(spoiled(data, zipped(entries)), of_captions)
        return
    words: dict[str, Any] = {"template": "a {a} {noun}", "a_or_an": False, "slots": {"a": ["b"], "noun": ["c"]}}
    words[data.draw(st.sampled_from([*words, "more"]))] = data.draw(JSON | st.just({"self": ["x"], "noun": ["y"]}))
    entries[name] = data.draw(st.sampled_from([json.dumps(words).encode(), spoiled(data, entries[name]), b"[" * 10**5]))
    read(zipped(entries), of_captions)


def main() -> None:
    """Run all of them, and say how many files there were."""
    for entries in FILES:
        read(zipped(entries), of_captions="names/0.json" in entries)
    if OUTCOMES["taken"] != len(FILES):
        sys.exit("a whole file was refused")
    vectors_that_have_changed()
    manifests_that_say_something_else()
    names_and_archives_that_have_changed()
    print(json.dumps(OUTCOMES))


if __name__ == "__main__":
    main()
