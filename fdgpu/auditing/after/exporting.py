"""``export``: an audit as other programs have their data: FiftyOne, Spotlight, cleanlab, Hugging Face and others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from numpy.typing import NDArray

from fdgpu.auditing.gathering import second_axis
from fdgpu.auditing.outputs import write_table
from fdgpu.auditing.result import AuditResult, PastAudit
from fdgpu.checks import check_kind, check_name, shown
from fdgpu.errors import InputError
from fdgpu.extras import require
from fdgpu.files import unwritable, write_atomically
from fdgpu.findings import Cause, Target
from fdgpu.folders import check_folder, replaced_folder
from fdgpu.store.embedding_store import EmbeddingStore

Floats = NDArray[np.float64]
TAG_OF = {Cause.LABEL: "wrong label", Cause.DUPLICATE: "duplicate"}
CLASSES = b"fdgpu.classes"  # metadata of the frame: every class by id, and the condition that it is a side of
SAME = 0.02  # of the largest decision value, what half precision may make of it
SEPARATOR = "; "  # of tags in CSV
SIMILARITY, MAP = "fdgpu_similarity", "fdgpu_map"  # brain keys of FiftyOne
ROUNDING = 1e-4  # of probabilities, which may have been single precision


def export(
    audit: str | Path | AuditResult,
    to: str,
    out: str | Path | None = None,
    *,
    images: str | Path | None = None,
    store: str | Path | EmbeddingStore = "auto",
) -> Any:
    """Give an audit to another program: one row for each row of ``examples.parquet``; see docs/exports.md.

    Args:
        audit: the folder of an audit, or what :func:`fdgpu.audit` returned.
        to: ``"csv"``, ``"parquet"``, ``"renumics"``, ``"atlas"``, ``"cleanlab"``, ``"huggingface"`` or ``"fiftyone"``.
        out: file or folder to write; None writes nothing. ``"huggingface"`` and ``"fiftyone"`` write folders, which
            have to be new or empty.
        images: folder from which the paths of the images start: for the programs that show them.
        store: where their vectors are: ``"auto"``, in the audit's folder, if it has any; ``"none"``; or a store or its
            folder.

    Returns:
        A pyarrow table; of ``"cleanlab"`` a dict of arrays, of ``"huggingface"`` a ``datasets.Dataset``, of
        ``"fiftyone"`` a ``fiftyone.Dataset``, which is not persistent yet.

    Raises:
        InputError: for another name, no audit, a store without these images or of other vectors, an image that is not
            in ``images``, or an ``out`` that cannot be written.
        MissingExtraError: if the package that it is for is needed and not installed; says how to install it.

    Example:
        >>> table = export(audited, "parquet", tmp_path / "audit.parquet")
        >>> table.num_rows == audited.examples.num_rows, table.column_names[-4:]
        (True, ['tags', 'vector', 'x', 'y'])
    """
    target = check_name(to, "to", list(Target))
    return export_frame(audit_frame(audit, images, store), target, out)


def export_frame(frame: pa.Table, to: str, out: str | Path | None = None) -> Any:
    """Give a frame of :func:`audit_frame` to another program, as :func:`export` does."""
    target, path = Target(to), None if out is None else Path(out)
    if path is not None and target in FOLDERS:
        _check_new(path)
    elif path is not None:
        _make_parents(path)
    return EXPORTS[target](frame, path)


# --- the frame --------------------------------------------------------------------------------------------------------


def audit_frame(
    audit: str | Path | AuditResult, images: str | Path | None = None, store: str | Path | EmbeddingStore = "auto"
) -> pa.Table:
    """Return what every export is made of: a row for each of ``examples.parquet``, with its columns and further ones.

    These are ``significant`` (of the failure mode that the row belongs to), ``cause``, ``chance`` and ``duplicate_of``
    (as ``causes.csv`` has them), and ``tags``; with ``images`` ``file``; with vectors ``vector``, and ``x`` and ``y``,
    the place on the map of its class. Its metadata names all classes. The arguments are those of :func:`export`.
    """
    past = PastAudit.of(audit, "audit")
    frame = past.examples
    if images is not None:
        frame = frame.append_column("file", pa.array(_files(frame["path"].to_pylist(), images), pa.string()))
    modes = {one["name"]: one["modes"] for one in past.document["classes"]}
    flagged = frame["mode"].to_pylist() if "mode" in frame.column_names else [0] * len(frame)
    significant = [
        modes[name][mode]["significant"] if mode is not None and modes[name] else None
        for name, mode in zip(frame["class"].to_pylist(), flagged, strict=True)
    ]
    frame = frame.append_column("significant", pa.array(significant, pa.bool_()))
    frame = _with_causes(frame, past)
    frame = frame.append_column("tags", pa.array(_tags(frame), pa.list_(pa.string())))
    of_condition = {one["name"]: one["condition"] for one in past.document["classes"]}
    frame = frame.replace_schema_metadata({CLASSES: json.dumps(of_condition)})
    vectors = _vectors(past, store)
    return frame if vectors is None else _with_vectors(frame, past, vectors)


def _files(paths: Sequence[str], images: str | Path) -> list[str]:
    """Return where images lie, absolute."""
    root = Path(images).absolute()
    if not root.is_dir():
        raise InputError(f"images is {shown(str(images))}, which is no folder: pass the one that the paths start from")
    files = [root / path for path in paths]
    missing = [path for path, file in zip(paths, files, strict=True) if not file.is_file()]
    if missing:
        raise InputError(
            f"{root} has no {shown(missing[0])} ({len(missing)} of {len(paths)} images are not there): pass the folder "
            "that the audit's paths start from, or leave images out"
        )
    return [str(file) for file in files]


def _with_causes(frame: pa.Table, past: PastAudit) -> pa.Table:
    """Add what else than the model an error may be due to; null for what is on no list."""
    rows = {(one["path"], one["class"]): one for one in past.causes}
    none: Mapping[str, object] = {}
    own = [rows.get(key, none) for key in zip(frame["path"].to_pylist(), frame["class"].to_pylist(), strict=True)]
    for name, kind in (("cause", str), ("chance", float), ("duplicate_of", str)):
        values = [kind(str(one[name])) if one.get(name) not in (None, "") else None for one in own]
        column = pa.array(values, pa.float64() if kind is float else pa.string(), from_pandas=True)
        frame = frame.append_column(name, column)
    return frame


def _tags(frame: pa.Table) -> list[list[str]]:
    """Return the tags of each row: its side of the direction, whether it is an error, and what may be to blame."""
    names = [name for name in frame.column_names if name.startswith("decision_value")]
    values = np.stack([frame[name].to_numpy() for name in names])
    lowest = np.where(np.isnan(values), np.inf, values).min(axis=0)
    return [
        (["hard" if low < 0 else "easy"] if low < np.inf else [])
        + ([] if correct else ["error"])
        + ([TAG_OF[Cause(cause)]] if cause in TAG_OF else [])
        for low, correct, cause in zip(lowest, frame["correct"].to_pylist(), frame["cause"].to_pylist(), strict=True)
    ]


def _vectors(past: PastAudit, store: str | Path | EmbeddingStore) -> EmbeddingStore | None:
    fits = isinstance(store, (str, Path, EmbeddingStore)) and str(store) != ""
    check_kind(store, "store", fits, "the folder of a store of embeddings, 'auto' or 'none'")
    if isinstance(store, EmbeddingStore):
        return store
    if store == "auto":
        return past.store
    return None if store == "none" else EmbeddingStore.open(store)


def _with_vectors(frame: pa.Table, past: PastAudit, store: EmbeddingStore) -> pa.Table:
    """Add vectors, and each image's place on the map of its class; null where the class has no direction."""
    try:
        rows = store.rows_of(frame["path"].to_pylist())
    except InputError as error:
        raise InputError(f"{error}; or leave vectors out: store='none' (--store none)") from None
    vectors = store.rows().take(rows).float()
    flat = pa.array(vectors.numpy().ravel(), pa.float32())
    frame = frame.append_column("vector", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    along = frame["decision_value"].to_numpy()
    across = _across(frame, past, vectors)
    return frame.append_column("x", pa.array(along, from_pandas=True)).append_column(
        "y", pa.array(across, from_pandas=True)
    )


def _across(frame: pa.Table, past: PastAudit, vectors: torch.Tensor) -> Floats:
    """Return (n,) the second axis of each class, NaN where it has no direction.

    Raises:
        InputError: for vectors of which the directions do not make the audit's decision values.
    """
    fit, correct = past.directions.fitted, frame["correct"].to_numpy()
    other = f"pass the store that {past.name} was made of, or leave vectors out: store='none' (--store none)"
    if vectors.shape[1] != fit.coef.shape[2]:
        made = f"vectors of {vectors.shape[1]} numbers, the audit's directions {fit.coef.shape[2]}"
        raise InputError(f"the store has {made}: {other}")
    ids = {one["name"]: k for k, one in enumerate(past.document["classes"])}
    labels = np.array([ids[name] for name in frame["class"].to_pylist()], np.int64)
    across, along = np.full((2, len(frame)), np.nan)
    for k in fit.classes[fit.n_directions > 0].tolist():
        rows = np.flatnonzero(labels == k)
        if len(rows):
            x = fit.whitening(vectors[rows]).float()
            along[rows] = fit.decide(x, labels[rows], 0).numpy()
            across[rows] = second_axis(fit, k, x, correct[rows]).numpy()
    known = np.isfinite(along)
    off = np.abs(along - frame["decision_value"].to_numpy())[known]
    if known.any() and not np.median(off) <= SAME * np.abs(along[known]).max():
        raise InputError(f"the store has other vectors of these images than the audit was made of: {other}")
    return across


# --- one writer a target ----------------------------------------------------------------------------------------------


def _csv(frame: pa.Table, out: Path | None) -> pa.Table:
    made = frame.drop_columns(_of_vectors(frame))
    if out is not None:
        columns = {name: _without_nan(made[name]) for name in made.column_names}
        columns["tags"] = pa.array([SEPARATOR.join(own) for own in made["tags"].to_pylist()])
        buffer = BytesIO()
        pyarrow.csv.write_csv(pa.table(columns), buffer)
        write_atomically(out, buffer.getvalue())
    return made


def _without_nan(column: pa.ChunkedArray) -> pa.Array:
    """Return a column whose numbers are empty where they are not known."""
    return pa.array(column.to_numpy(), from_pandas=True) if pa.types.is_float64(column.type) else column


def _parquet(frame: pa.Table, out: Path | None) -> pa.Table:
    if out is not None:
        write_table(out, frame)
    return frame


def _renumics(frame: pa.Table, out: Path | None) -> pa.Table:
    """Give names as a dictionary, which Spotlight takes for categories; vectors and pictures it knows by themselves."""
    for name in ("class", "prediction", "split", "cause", "condition"):
        if name in frame.column_names:
            frame = frame.set_column(frame.column_names.index(name), name, frame[name].dictionary_encode())
    return _parquet(frame, out)


def _atlas(frame: pa.Table, out: Path | None) -> pa.Table:
    if "vector" not in frame.column_names:
        raise InputError(
            "Embedding Atlas needs vectors, and the audit's folder has no embeddings: pass store (--store), the folder "
            "of fdgpu embed or of another audit"
        )
    return _parquet(frame, out)


def _cleanlab(frame: pa.Table, out: Path | None) -> dict[str, NDArray[Any]]:
    """Give labels, probabilities and features as cleanlab takes them; what is not known is left out."""
    of_condition: dict[str, str | None] = json.loads(frame.schema.metadata[CLASSES])
    names = list(of_condition)
    labels, predictions = (_numbered(frame[name].to_pylist(), names) for name in ("class", "prediction"))
    found: dict[str, NDArray[Any]] = {
        "labels": labels, "class_names": np.array(names), "paths": np.array(frame["path"].to_pylist())
    }  # fmt: skip
    conditions = np.array([str(one) for one in of_condition.values()])
    allowed = conditions[labels][:, None] == conditions  # an image is of one of the two classes of a condition
    known = {name: frame[name].to_numpy() for name in ("confidence", "true_probability") if name in frame.column_names}
    if "confidence" in known:
        probabilities = class_probabilities(
            labels, predictions, known["confidence"], known.get("true_probability"), allowed
        )
        if probabilities is not None:
            found["pred_probs"] = probabilities
    if "vector" in frame.column_names:
        flat = frame["vector"].combine_chunks()
        found["features"] = flat.values.to_numpy().reshape(len(frame), -1)
    if out is not None:
        buffer = BytesIO()
        np.savez(buffer, **found)  # type: ignore[arg-type] # numbers and text, no objects
        write_atomically(out, buffer.getvalue())
    return found


def class_probabilities(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    confidence: Floats,
    true_probability: Floats | None,
    allowed: NDArray[np.bool_],
) -> Floats | None:
    """Return the probability of every class, as far as those of the prediction and of the truth tell.

    Of two classes that is all. Of more, what remains is shared equally by the others, of which an audit knows nothing:
    what ranks labels by their own probability (cleanlab's ``self_confidence``) sees what the model said.

    Args:
        labels: (n,) true classes.
        predictions: (n,) predicted ones.
        confidence: (n,) probability of the prediction.
        true_probability: (n,) of the true class, where it is known.
        allowed: (n, K) classes among which each image's is.

    Returns:
        (n, K), rows sum to 1; None where the probability of a true class is not known, or they contradict each other.

    Example:
        >>> one, two = np.array([0, 1]), np.array([0, 0])
        >>> class_probabilities(one, two, np.array([0.8, 0.5]), np.array([0.8, 0.3]), np.ones((2, 3), bool)).round(2)
        array([[0.8, 0.1, 0.1],
               [0.5, 0.3, 0.2]])
    """
    n, every = len(labels), np.arange(len(labels))
    own = np.full(n, np.nan) if true_probability is None else true_probability
    own = np.where(labels == predictions, confidence, own)
    left = allowed.copy()
    left[every, predictions] = False
    alone = left.sum(axis=1) == 1
    own = np.where(alone & (labels != predictions), 1 - confidence, own)
    found = np.zeros(allowed.shape)
    found[every, labels], found[every, predictions] = own, confidence
    left[every, labels] = False
    rest, others = 1 - found.sum(axis=1), left.sum(axis=1)
    if np.isnan(found).any() or (rest < -ROUNDING).any() or (rest[others == 0] > ROUNDING).any():
        return None
    found += np.where(left, (rest.clip(0) / np.maximum(others, 1))[:, None], 0.0)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _numbered(entries: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    at = {name: k for k, name in enumerate(names)}
    return np.array([at[one] for one in entries], np.int64)


def _huggingface(frame: pa.Table, out: Path | None) -> Any:
    datasets = require("datasets", None, "an export to Hugging Face")
    made = datasets.Dataset(datasets.table.InMemoryTable(frame))
    if "file" in frame.column_names:
        made = made.rename_column("file", "image").cast_column("image", datasets.Image())
    if out is not None:
        with replaced_folder(out) as folder:
            made.save_to_disk(folder.path)
    return made


def _fiftyone(frame: pa.Table, out: Path | None) -> Any:
    fiftyone = require("fiftyone", None, "an export to FiftyOne")
    made = fiftyone.Dataset()
    made.add_samples([_sample(fiftyone, row) for row in frame.drop_columns(_of_vectors(frame)).to_pylist()])
    if "vector" in frame.column_names:
        _add_vectors(made, frame)
    if out is not None:
        with replaced_folder(out) as folder:
            made.export(export_dir=str(folder.path), dataset_type=fiftyone.types.FiftyOneDataset, export_media=False)
    return made


def _sample(fiftyone: Any, row: dict[str, Any]) -> Any:
    """Return a row as a sample: tags are its tags, and what FiftyOne has a name for goes by that name."""
    file, tags, prediction = row.pop("file", None) or row["path"], row.pop("tags"), row.pop("prediction")
    label, confidence = row.pop("class"), row.pop("confidence", None)
    return fiftyone.Sample(
        filepath=file,
        tags=tags,
        ground_truth=fiftyone.Classification(label=label),
        prediction=fiftyone.Classification(label=prediction, confidence=confidence),
        **{name: None if value != value else value for name, value in row.items()},
    )


def _add_vectors(made: Any, frame: pa.Table) -> None:
    """Keep vectors as an index of similarity, and the maps of the classes as a visualisation."""
    brain = require("fiftyone.brain", None, "an export to FiftyOne")
    vectors = frame["vector"].combine_chunks().values.to_numpy().reshape(len(frame), -1)
    brain.compute_similarity(made, embeddings=vectors, brain_key=SIMILARITY, backend="sklearn")
    points = np.stack([frame["x"].to_numpy(), frame["y"].to_numpy()], axis=1)
    on_a_map = np.isfinite(points).all(axis=1)
    if on_a_map.any():
        ids = np.array(made.values("id"))[on_a_map].tolist()
        brain.compute_visualization(made.select(ids), points=points[on_a_map], brain_key=MAP)


def _of_vectors(frame: pa.Table) -> list[str]:
    return [name for name in ("vector", "x", "y") if name in frame.column_names]


def _check_new(out: Path) -> None:
    """Refuse a folder that holds anything: an export of another audit would lie beside this one."""
    check_folder(out)
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"out is {out}, which is not empty: choose a folder that is new or empty")


def _make_parents(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from None


EXPORTS: Mapping[Target, Callable[[pa.Table, Path | None], Any]] = {
    Target.FIFTYONE: _fiftyone,
    Target.RENUMICS: _renumics,
    Target.CLEANLAB: _cleanlab,
    Target.ATLAS: _atlas,
    Target.HUGGINGFACE: _huggingface,
    Target.CSV: _csv,
    Target.PARQUET: _parquet,
}
FOLDERS = (Target.FIFTYONE, Target.HUGGINGFACE)  # of which out is a folder
