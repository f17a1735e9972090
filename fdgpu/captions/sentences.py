"""Candidate captions from elsewhere: sentences of a list, of a file, or of a captioner (future work in paper, A.6)."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from fdgpu.checks import check_text, shown
from fdgpu.device import choose_device
from fdgpu.errors import InputError, MissingExtraError, ModelError, one_line
from fdgpu.files import parse_json, read_text_file
from fdgpu.progress import Reporter

MOST_BYTES = 2_000_000_000  # of a file
WANTED = "a file of sentences: .txt, .csv, .tsv, .parquet or .jsonl"
ENDINGS = (".txt", ".csv", ".tsv", ".parquet", ".jsonl")
CAPTION, CLASS = "caption", "class"  # columns of a table with a sentence a row
Sentences = tuple[str, ...]
ForClasses = dict[str, Sentences]  # by class name


# --- lists and files --------------------------------------------------------------------------------------------------


def is_sentences(given: object) -> bool:
    """Whether something is a list of sentences, or an array or column of them, and no text."""
    return (isinstance(given, Sequence) and not isinstance(given, (str, bytes))) or hasattr(given, "tolist")


def listed_sentences(given: object, what: str) -> Sentences:
    """Return sentences, each once, in the order they first appear.

    Args:
        given: a list, a tuple, or an array or column of texts.
        what: errors call it.

    Raises:
        InputError: for an entry that is no text or blank, and for no entry at all; says which.

    Example:
        >>> listed_sentences(["a red coat", " a  coat ", "a red coat"], "grammar")
        ('a red coat', 'a coat')
    """
    entries = cast("Any", given).tolist() if hasattr(given, "tolist") else given
    if not is_sentences(entries):
        raise InputError(f"{what} is {shown(given)}: pass a list of sentences")
    for i, entry in enumerate(cast("Sequence[object]", entries)):
        if not isinstance(entry, str) or not entry.strip():
            raise InputError(
                f"{what} holds {shown(entry)} at index {i}: pass sentences, such as 'a photo of a red coat'"
            )
    return _once(cast("Sequence[object]", entries), what)


def _once(entries: Iterable[object], what: str) -> Sentences:
    """Merge duplicates, whatever spaces they have; leave blank cells out."""
    found = dict.fromkeys(_plain(one, what) for one in entries if one is not None)
    found.pop("", None)
    if not found:
        raise InputError(f"{what} holds no sentence: pass one at least")
    return tuple(found)


def _plain(entry: object, what: str) -> str:
    """Return a text without spaces to spare; one of ASCII can be written for sure."""
    text = entry if isinstance(entry, str) and entry.isascii() else check_text(entry, what)
    return " ".join(text.split())


def read_sentences(path: Path) -> Sentences | ForClasses:
    """Read a file of sentences: for every class, or by class name.

    A text file has a sentence a line. A table has a sentence a row in the column ``caption``, beside ``class`` where
    it is of one class alone; or else one column a class. Lines of JSON are such rows, or texts.

    Raises:
        InputError: names the file, what was expected and what came.
    """
    ending, what = path.suffix.lower(), str(path)
    if ending == ".txt":
        return _once(read_text_file(path, MOST_BYTES, WANTED).splitlines(), what)
    columns = {".parquet": _parquet, ".jsonl": _json_lines}.get(ending, _csv)(path)
    if CAPTION not in columns:
        return {name: _once(cells, f"{what}, column {shown(name)}") for name, cells in columns.items()}
    if CLASS not in columns:
        return _once(columns[CAPTION], what)
    by_class: dict[str, list[object]] = {}
    for name, caption in zip(columns[CLASS], columns[CAPTION], strict=True):
        by_class.setdefault(str(name), []).append(caption)
    return {name: _once(cells, f"{what}, class {shown(name)}") for name, cells in by_class.items()}


def _csv(path: Path) -> dict[str, list[Any]]:
    text = read_text_file(path, MOST_BYTES, WANTED)
    try:
        rows = list(csv.reader(StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table ({error}): close its quotes") from None
    header, *body = rows or [[]]
    names = [name.strip() for name in header]
    longer = next((i for i, row in enumerate(body, 2) if len(row) > len(names)), None)
    if not any(names) or len(set(names)) < len(names) or longer:
        what = f"row {longer} has more cells than the header" if longer else f"its header is {shown(','.join(names))}"
        raise InputError(f"{path}: {what}: name each column once, caption or a class, and quote cells with commas")
    return {name: [row[i] for row in body if i < len(row)] for i, name in enumerate(names)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet ({one_line(error)}): write it anew") from None
    names = table.column_names
    return {name: table[name].to_pylist() for name in ({CAPTION, CLASS} & {*names} if CAPTION in names else names)}


def _json_lines(path: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for i, line in enumerate(read_text_file(path, MOST_BYTES, WANTED).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{path}, line {i} is no JSON ({error}): write a text or an object a line") from None
        row = {CAPTION: row} if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {i} is {shown(row)}: write a text or an object a line")
        for name, cell in row.items():
            columns.setdefault(name, []).append(cell)
    return columns


# --- a captioner ------------------------------------------------------------------------------------------------------

Captioner = Callable[[list[Image.Image]], Sequence[str]]  # images → a sentence each
PROMPT, REQUEST = "a photo of", "Describe this image in one short sentence."
SIDE = 512  # pixels of the longer side of what a captioner is shown
AT_ONCE = 16
TOKENS = 40  # of a sentence


@dataclass(frozen=True)
class Written:
    """What a captioner wrote: ``sentences`` of n images, None where it failed; ``reasons`` why, by row."""

    sentences: list[str | None]
    reasons: dict[int, str]


def check_captioner(given: object, grammar: object = None) -> None:
    """Refuse what cannot be a captioner, or stands beside a grammar, before any work."""
    if given is not None and grammar is not None:
        raise InputError("grammar and captioner are given, and both make candidate captions: leave one out")
    if not (given is None or isinstance(given, str) or callable(given)) or isinstance(given, type):
        raise InputError(
            f"captioner is {shown(given)}: pass a function of a list of PIL images that returns a sentence each, a "
            "pipeline of transformers, or the name of its model"
        )


def as_captioner(given: object, device: str | torch.device = "auto") -> Captioner:
    """Return a function of PIL images that gives a sentence each.

    Args:
        given: such a function; a pipeline of transformers, ``image-text-to-text`` or the ``image-to-text`` of its
            versions before 5; or the name or folder of a model for one.
        device: of a model by name.

    Raises:
        InputError: for anything else.
        MissingExtraError: for a name, where transformers is not installed.
        ModelError: for a model that cannot be loaded.
    """
    check_captioner(given)
    if isinstance(given, str):
        return _of_pipeline(_named(given, device))
    return _of_pipeline(given) if hasattr(given, "task") and hasattr(given, "model") else cast("Captioner", given)


def _named(name: str, device: str | torch.device) -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtraError(
            "a captioner by name needs transformers, which is not installed: pip install transformers"
        )
    from transformers import pipeline

    placed = choose_device(device).device
    try:
        return pipeline("image-text-to-text", model=name, device=placed)
    except Exception as error:  # of many kinds, for a model that is not there or is none for this
        raise ModelError(f"captioner {shown(name)} cannot be loaded: {one_line(error)}") from None


def _of_pipeline(pipeline: Any) -> Captioner:
    """Ask a pipeline as its kind wants it: with nothing, with the beginning of a caption, or with a request."""
    if pipeline.task == "image-to-text":
        return lambda images: [_generated(one) for one in pipeline(images, max_new_tokens=TOKENS)]
    if pipeline.task != "image-text-to-text":
        raise InputError(f"captioner is a pipeline for {shown(pipeline.task)}: pass one for 'image-text-to-text'")
    if getattr(getattr(pipeline, "processor", None), "chat_template", None) is None:

        def begun(images: list[Image.Image]) -> list[str]:
            asked = ({"images": image, "text": PROMPT} for image in images)
            return [_generated(pipeline(**one, max_new_tokens=TOKENS)) for one in asked]

        return begun

    def requested(images: list[Image.Image]) -> list[str]:
        words = {"type": "text", "text": REQUEST}
        chats = [[{"role": "user", "content": [{"type": "image", "image": image}, words]}] for image in images]
        return [_generated(one) for one in pipeline(text=chats, return_full_text=False, max_new_tokens=TOKENS)]

    return requested


def _generated(one: Any) -> str:
    """Return the text of what a pipeline gave for one image."""
    first = one[0] if isinstance(one, list) and one else one
    return cast("str", first["generated_text"] if isinstance(first, dict) else first)


def write_sentences(captioner: Captioner, pictures: Sequence[NDArray[np.uint8] | None], report: Reporter) -> Written:
    """Ask a captioner about pictures, some at a time; of a batch on which it raises, one by one.

    Args:
        captioner: as :func:`as_captioner` returns it.
        pictures: (h, w, 3) each; None for one that cannot be had.
        report: shows how many are done.

    Raises:
        InputError: for an answer of another length, or that is no text or blank.
        ModelError: where it raises on every picture.

    Example:
        >>> from fdgpu.progress import silent
        >>> grey = np.zeros((8, 8, 3), np.uint8)
        >>> write_sentences(lambda images: ["a dark photo"] * len(images), [grey, None], silent).sentences
        ['a dark photo', None]
    """
    rows = [row for row, picture in enumerate(pictures) if picture is not None]
    sentences: list[str | None] = [None] * len(pictures)
    reasons: dict[int, str] = {}
    for start in range(0, len(rows), AT_ONCE):
        report("write captions", start, len(rows))
        own = rows[start : start + AT_ONCE]
        images = [Image.fromarray(np.ascontiguousarray(cast("Any", pictures[row]))) for row in own]
        for row, answer in zip(own, _answers(captioner, images), strict=True):
            if isinstance(answer, Exception):
                reasons[row] = f"{type(answer).__name__}: {one_line(answer)}"
            else:
                sentences[row] = answer
    report("write captions", len(rows), len(rows))
    if rows and len(reasons) == len(rows):
        raise ModelError(f"the captioner failed on all {len(rows)} images, first with {reasons[rows[0]]}")
    return Written(sentences, reasons)


def _answers(captioner: Captioner, images: list[Image.Image]) -> Iterator[str | Exception]:
    try:
        answers = captioner(images)
    except Exception as error:  # a function of the user's, or another library's model
        if len(images) == 1:
            yield error
            return
        for image in images:
            yield from _answers(captioner, [image])
        return
    if isinstance(answers, str) or not isinstance(answers, Sequence) or len(answers) != len(images):
        came = f"{len(answers)} answers" if isinstance(answers, (list, tuple)) else shown(answers)
        raise InputError(f"the captioner gave {came} for {len(images)} images: return a list with a sentence each")
    for answer in answers:
        if not isinstance(answer, str) or not answer.strip():
            raise InputError(f"the captioner gave {shown(answer)} for an image: return a sentence")
        yield _plain(answer, "an answer of the captioner")
