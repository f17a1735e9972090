"""Two audits of the same images: which failures went, stayed and came, by paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import bdtr

from fdgpu.auditing.outputs import document_of, write_json
from fdgpu.auditing.result import AuditResult, Failure, PastAudit
from fdgpu.checks import shown
from fdgpu.directions.testing import false_discovery_rates
from fdgpu.embedding.opening import image_source
from fdgpu.errors import InputError
from fdgpu.files import write_atomically
from fdgpu.findings import Interval, Z
from fdgpu.report.comparison import (
    PICTURES,
    THUMBNAIL,
    ClassChange,
    Comparison,
    FailureChange,
    PairedChange,
    TurnedImage,
    Verdict,
    render_comparison,
)

ALIKE = ("model", "model_fingerprint", "preprocessing")  # keys of audit.json that say what made the vectors
SCHEMA = "fdgpu.comparison/1"
NOT_HELD_OUT = (
    "Directions were fitted on these same images. The old hard side was then chosen by the old model's own errors, so "
    "that any other model looks better there: read its changes as too good, or audit with a test split."
)


def compare(
    before: str | Path | AuditResult,
    after: str | Path | AuditResult,
    *,
    out: str | Path | None = None,
    json: str | Path | None = None,
    images: object = None,
) -> Comparison:
    """Compare two audits of the same images: a model before and after it was repaired, say.

    Both models are looked at on the same images, so that tests are paired: McNemar's exact test of the images that
    turned right against those that turned wrong. A failure that was significant before is judged on the hard side of
    its own, old direction. It *went* if accuracy there rose and is no longer lower than on the class's other images, as
    far as its 95 % interval tells; it *eased* if accuracy rose; it *grew* if it fell; else it *stayed*. A failure that
    is significant after *came* if accuracy on its hard side fell. A change counts with a q-value of at most the old
    audit's ``fdr``; q-values are Benjamini and Hochberg's, over all classes for accuracies, and over all failures for
    hard sides. Images of one group count as one each.

    Args:
        before: the folder of an audit, or what :func:`fdgpu.audit` returned.
        after: of another model, likewise.
        out: file for the page, HTML; None writes none.
        json: file for the comparison as JSON (docs/repair.md).
        images: what both were made of, for the page's pictures: a folder or what else :func:`fdgpu.audit` takes. None
            names the images.

    Raises:
        InputError: for audits of different images, classes or embedders.

    Example:
        >>> found = compare(audited, audited)
        >>> found.overall.turned_right, found.overall.p_value, found.worse
        (0, 1.0, ())
        >>> [str(one.verdict) for one in found.failures]
        ['stayed']
    """
    old, new = PastAudit.of(before, "before"), PastAudit.of(after, "after")
    _check_alike(old, new)
    pairs = _Pairs.of(old, new)
    fdr = float(old.document["fdr"])
    found = Comparison(
        before=_named(old),
        after=_named(new),
        split=str(old.document["shown_from"]),
        fdr=fdr,
        overall=_alone(pairs.change()),
        classes=_class_changes(old, new, pairs),
        failures=_failure_changes(old, new, pairs, fdr),
        turned_right=pairs.turned(~pairs.before & pairs.after, 1),
        turned_wrong=pairs.turned(pairs.before & ~pairs.after, -1),
        notes=(*pairs.notes, *_notes(old, new)),
    )
    found = replace(found, page=render_comparison(found, {} if images is None else _pictures(images, found)))
    if out is not None:
        write_atomically(Path(out), found.page)
    if json is not None:
        write_json(Path(json), comparison_json(found))
    return found


def comparison_json(found: Comparison) -> dict[str, object]:
    """Return a comparison as a JSON document; NaN becomes null."""
    document = {"schema": SCHEMA, **document_of(found), "worse": found.worse}
    del document["page"]
    return document


# --- the same images --------------------------------------------------------------------------------------------------


def _check_alike(old: PastAudit, new: PastAudit) -> None:
    """Raise an InputError unless two audits are of one space, one split and the same classes."""
    for key in (*ALIKE, "shown_from"):
        was, now = old.document.get(key), new.document.get(key)
        if was != now:
            what = "is shown from" if key == "shown_from" else f"has the embedder's {key.replace('_', ' ')}"
            raise InputError(
                f"{old.name} {what} {shown(was)}, {new.name} {shown(now)}: a comparison needs one embedder and one "
                "split, audit both with the same"
            )
    was, now = ([one["name"] for one in audit.document["classes"]] for audit in (old, new))
    differing = sorted(set(was) ^ set(now))
    if differing:
        raise InputError(
            f"{old.name} and {new.name} are of other classes ({len(differing)} are in one alone, such as "
            f"{shown(differing[0])}): audit both with the same labels and class_names"
        )


@dataclass(frozen=True)
class _Pairs:
    """What two models said of the same n images, in the order of the old audit.

    ``table`` is the old audit's, ``new`` the new one's, row by row; ``notes`` say what was left out.
    """

    table: pa.Table
    new: pa.Table
    before: NDArray[np.bool_]
    after: NDArray[np.bool_]
    classes: NDArray[np.str_]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, old: PastAudit, new: PastAudit) -> _Pairs:
        """Lay the images of two audits beside each other.

        Raises:
            InputError: for an image that one of them does not have and did not skip, or of another class.
        """
        rows, others = _rows_by_key(old.examples), _rows_by_key(new.examples)
        skipped = {one["path"] for audit in (old, new) for one in audit.document["skipped"]}
        left_out = set(rows) ^ set(others)
        lacking = [key for key in [*rows, *others] if key in left_out and key[0] not in skipped]
        if lacking:
            raise InputError(
                f"{old.name} and {new.name} are of different images ({len(lacking)} are in one alone, the first is "
                f"{shown(lacking[0][0])}): audit both with the same table and the same folder"
            )
        both = [key for key in rows if key in others]
        if not both:
            raise InputError(f"{old.name} and {new.name} have no image in common: audit both with the same images")
        table, fresh = old.examples.take([rows[key] for key in both]), new.examples.take([others[key] for key in both])
        classes, now = (np.array(one["class"].to_pylist(), dtype=np.str_) for one in (table, fresh))
        differ = np.flatnonzero(classes != now)
        if len(differ):
            path = both[differ[0]][0]
            raise InputError(
                f"{shown(path)} is {shown(str(classes[differ[0]]))} in {old.name} and {shown(str(now[differ[0]]))} in "
                f"{new.name} ({len(differ)} images differ): audit both with the same labels"
            )
        before, after = (one["correct"].to_numpy() for one in (table, fresh))
        note = f"{len(left_out)} images that one of the audits skipped are left out." if left_out else ""
        return cls(table, fresh, before, after, classes, (note,) if note else ())

    def change(self, rows: NDArray[np.bool_] | slice = slice(None)) -> PairedChange:
        """Return both models on some of the images."""
        return paired_change(self.before[rows], self.after[rows])

    def turned(self, rows: NDArray[np.bool_], sign: int) -> tuple[TurnedImage, ...]:
        """Describe some images, by ascending ``sign`` times their decision value, those without one last."""
        at = np.flatnonzero(rows)
        at = at[np.argsort(sign * self.table["decision_value"].to_numpy()[at], kind="stable")]
        columns = (
            self.table["path"], self.table["class"], self.table["prediction"], self.new["prediction"],
            self.table["decision_value"],
        )  # fmt: skip
        return tuple(TurnedImage(*one) for one in zip(*(own.take(at).to_pylist() for own in columns), strict=True))

    def sides(self, failure: Failure, table: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which images lie on the hard side of a failure, and which others are of its class."""
        own = self.classes == failure.class_name
        decisions = table[failure.column].to_numpy()
        return own & (decisions < 0), own & (decisions >= 0)


def _rows_by_key(examples: pa.Table) -> dict[tuple[str, str], int]:
    """Return the row of each image; of several conditions, of each image and condition."""
    conditions = examples["condition"].to_pylist() if "condition" in examples.column_names else [""] * len(examples)
    return {key: row for row, key in enumerate(zip(examples["path"].to_pylist(), conditions, strict=True))}


# --- tests and intervals ----------------------------------------------------------------------------------------------


def paired_change(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> PairedChange:
    """Return how right two models are on the same n images, with an exact test and an interval; q is not known yet.

    The interval is Bonett and Price's (2012) adjusted Wald interval of a difference of paired proportions, which covers
    well for few images too.

    Args:
        before: (n,) whether the old model is right.
        after: (n,) whether the new one is.

    Example:
        >>> found = paired_change(np.array([False] * 8 + [True] * 12), np.array([True] * 20))
        >>> found.turned_right, round(found.p_value, 4)
        (8, 0.0078)
        >>> found.change
        Interval(value=0.4, low=0.12..., high=0.60...)
    """
    n, gained, lost = len(before), int((~before & after).sum()), int((before & ~after).sum())
    right = int(before.sum())
    p = min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))) if n else math.nan
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    change = Interval((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half)) if n else UNKNOWN
    return PairedChange(n, right, right + gained - lost, gained, lost, change, p)


def accuracy_gap(outside: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Interval:
    """Return by how much accuracy outside is higher than inside, with Newcombe's (1998) 95 % interval of two shares.

    Args:
        outside: (m,) whether a model is right.
        inside: (n,) likewise, of other images.
    """
    if not len(outside) or not len(inside):
        return UNKNOWN
    one, other = (Interval.of_share(int(own.sum()), len(own)) for own in (outside, inside))
    gap = one.value - other.value
    return Interval(
        gap,
        gap - math.hypot(one.value - one.low, other.high - other.value),
        gap + math.hypot(one.high - one.value, other.value - other.low),
    )


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def _alone(change: PairedChange) -> PairedChange:
    return replace(change, q_value=change.p_value)


def _corrected(changes: Sequence[PairedChange]) -> list[PairedChange]:
    """Give changes of one kind their q-values."""
    q = false_discovery_rates(np.array([one.p_value for one in changes], np.float64))
    return [replace(one, q_value=float(own)) for one, own in zip(changes, q, strict=True)]


# --- classes and failures ---------------------------------------------------------------------------------------------


def _class_changes(old: PastAudit, new: PastAudit, pairs: _Pairs) -> tuple[ClassChange, ...]:
    now = {one["name"]: one for one in new.document["classes"]}
    classes = old.document["classes"]
    changes = _corrected([pairs.change(pairs.classes == one["name"]) for one in classes])
    return tuple(
        ClassChange(
            name=was["name"],
            accuracy=change,
            score_before=_number(was["cv_score"]),
            score_after=_number(now[was["name"]]["cv_score"]),
            explained_before=_number((was.get("errors_explained") or {}).get("value")),
            explained_after=_number((now[was["name"]].get("errors_explained") or {}).get("value")),
            significant_before=was["significant"],
            significant_after=now[was["name"]]["significant"],
        )
        for was, change in zip(classes, changes, strict=True)
    )


def _failure_changes(old: PastAudit, new: PastAudit, pairs: _Pairs, fdr: float) -> tuple[FailureChange, ...]:
    """Judge every failure of the old audit, and every one of the new, on the hard side of its own direction.

    One of the new audit whose class had a failure before is most often the same: it is named only where it came.
    """
    known = {one.class_name for one in old.failures}
    found = [(one, pairs.table, True) for one in old.failures] + [(one, pairs.new, False) for one in new.failures]
    sides = [pairs.sides(failure, table) for failure, table, _ in found]
    changes = _corrected([pairs.change(hard) for hard, _ in sides])
    judged = []
    for (failure, _, was), (hard, other), change in zip(found, sides, changes, strict=True):
        gaps = [accuracy_gap(right[other], right[hard]) for right in (pairs.before, pairs.after)]
        verdict = _of_old(change, gaps[1], fdr) if was else Verdict.CAME if change.fell(fdr) else None
        if verdict is None and failure.class_name in known:
            continue
        judged.append(FailureChange(failure.class_name, failure.mode, failure.caption, verdict, change, *gaps))
    return tuple(judged)


def _of_old(change: PairedChange, gap: Interval, fdr: float) -> Verdict:
    if change.rose(fdr):
        return Verdict.EASED if gap.low > 0 else Verdict.WENT
    return Verdict.GREW if change.fell(fdr) else Verdict.STAYED


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- what is said and shown -------------------------------------------------------------------------------------------


def _named(audit: PastAudit) -> str:
    classifier: Mapping[str, Any] | None = audit.document.get("classifier")
    model = f" ({classifier['name']})" if classifier else ""
    return (audit.folder.name if audit.folder else audit.name) + model


def _notes(old: PastAudit, new: PastAudit) -> list[str]:
    notes = []
    if old.document["shown_from"] == old.document["fitted_on"]:
        notes.append(NOT_HELD_OUT)
    untested = [one.name for one in (old, new) if not one.document["n_permutations"]]
    if untested:
        notes.append(
            f"Nothing was tested in {' and '.join(untested)}, so that no failure of it counts as one: audit with "
            "permutations."
        )
    if old.document.get("grouped_by") == "given":
        notes.append("Images that belong together count as one each: their changes are less sure than q says.")
    return notes


def _pictures(images: object, found: Comparison) -> dict[str, NDArray[np.uint8]]:
    """Fetch the pictures that the page shows, as far as they are there."""
    source = image_source(images)
    row = {path: i for i, path in enumerate(source.ids or ())}
    wanted: list[str] = []
    for turned in (found.turned_right, found.turned_wrong):
        seen: dict[str, int] = {}
        for image in turned:
            seen[image.class_name] = seen.get(image.class_name, 0) + 1
            if seen[image.class_name] <= PICTURES and image.path in row:
                wanted.append(image.path)
    made = source.pictures([row[path] for path in wanted], THUMBNAIL)
    return {path: picture for path, picture in zip(wanted, made, strict=True) if picture is not None}
