"""One zip file for an index: the vectors, the names, and a manifest. Never a pickle.

``manifest.json`` says what it is. ``vectors.npy`` are the vectors of an exact index as NumPy reads them,
``vectors.faiss`` lists or a graph as ``faiss.read_index`` reads them; ``names/0.json`` is a grammar (its template and
words) or ``names/0.jsonl`` a name a line. Nothing is compressed: unit vectors have no redundancy. A file that was cut
short lacks the directory at its end, and one that was damaged fails the checksum of an entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import torch

from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.errors import BackendError, InputError
from fdgpu.files import written_atomically
from fdgpu.index.kinds import IndexKind, check_backend
from fdgpu.index.stores import Store, read_store
from fdgpu.version import __version__

FAISS_FILE = "vectors.faiss"  # the only one that there was at first: manifests of then do not name it
Manifest = dict[str, Any]  # as JSON gives it


def write_file(
    store: Store, names: Sequence[Sequence[str]], settings: Mapping[str, object], what: str, path: Path
) -> None:
    """Write a file, which appears whole or not at all.

    Args:
        store: the vectors.
        names: the parts of the names, one after another.
        settings: what the manifest holds beside; ``kind`` and ``dtype`` are what :func:`read_file` makes the store by.
        what: the class that reads it and the version of the format, as ``"VectorIndex/1"``.
        path: of the file.
    """
    manifest = {
        "format": what,
        "fdgpu": __version__,
        "vectors": len(store),
        "dimension": store.dimension,
        "file": store.file,
        "names": [_entry(number, part) for number, part in enumerate(names)],
        **settings,
    }
    with written_atomically(path) as stream, ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
        with archive.open(store.file, "w", force_zip64=True) as entry:
            store.write(entry)
        for number, part in enumerate(names):
            with archive.open(_entry(number, part), "w", force_zip64=True) as entry:
                _write_names(part, entry)


def read_file(what: str, path: Path, device: torch.device) -> tuple[Store, list[Sequence[str]], Manifest]:
    """Read a file: a store on a device, the parts of the names, and the manifest.

    Raises:
        InputError: if it is missing, cut short, damaged, or of something else.
        BackendError: if it needs FAISS, which is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: pass a file that {what.split('/')[0]}.save wrote")
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()  # before the sizes that are written in it are believed
            if damaged is not None:
                raise BadZipFile(f"{damaged} has changed since it was written")
            manifest: Manifest = json.loads(archive.read("manifest.json"))
            if not isinstance(manifest, dict) or manifest.get("format") != what:
                raise InputError(f"{path} is a zip file, but not of this kind of index ({what} was expected)")
            file, kind = (
                manifest.get("file", FAISS_FILE),
                check_backend(IndexKind(**manifest["kind"]), device.type != "cpu"),
            )
            with archive.open(file) as stream:
                store = read_store(stream, file, manifest["dimension"], kind, manifest["dtype"] == "float16", device)
            return store, [_read_names(archive, name) for name in manifest["names"]], manifest
    except BackendError:
        raise
    except (BadZipFile, EOFError, KeyError, json.JSONDecodeError, UnicodeDecodeError, RuntimeError) as error:
        raise InputError(
            f"{path} is cut short, damaged, or not an index ({str(error).splitlines()[0]}): save the index again"
        ) from None


def _entry(number: int, part: Sequence[str]) -> str:
    return f"names/{number}.{'json' if isinstance(part, CaptionGrammar) else 'jsonl'}"


def _write_names(part: Sequence[str], stream: IO[bytes]) -> None:
    if isinstance(part, CaptionGrammar):
        grammar = {"template": part.template, "a_or_an": part.a_or_an, "slots": part.slots}
        stream.write(json.dumps(grammar, ensure_ascii=False).encode())
        return
    for name in part:
        stream.write(json.dumps(name, ensure_ascii=False).encode() + b"\n")


def _read_names(archive: ZipFile, name: str) -> Sequence[str]:
    if name.endswith(".json"):
        grammar = json.loads(archive.read(name))
        return CaptionGrammar(grammar["template"], a_or_an=grammar["a_or_an"], **grammar["slots"])
    with archive.open(name) as stream:
        return [json.loads(line) for line in stream]
