"""An audit's folder: JSON and tables, and that they are what docs/audit_json.md says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from fdgpu.auditing import AuditResult
from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.images import AuditImages
from fdgpu.auditing.outputs import audit_json, example_table, write_audit
from fdgpu.auditing.pipeline import STORE
from fdgpu.findings import (
    AnswerKind,
    AskedModel,
    CaptionEvidence,
    Cause,
    Causes,
    CleanedClass,
    Condition,
    DecidedBy,
    DecodedPictures,
    Findings,
    Interval,
    Side,
    Skipped,
    Slice,
    SlicesTested,
    SortedImage,
    Split,
    Tally,
)  # fmt: skip
from fdgpu.report.wording import duration
from tests.auditing.conftest import NAN, SHOWN


def test_the_json_has_the_strongest_mode_at_the_class_and_every_mode_below(findings: Findings) -> None:
    document = json.loads(json.dumps(audit_json(findings, []), allow_nan=False))
    assert (document["n_permutations"], document["fdr"], document["p_value_min"]) == (200, 0.05, 1 / 201)
    two, one, none = document["classes"]
    keys = "cv_score p_value q_value C hard_captions easy_captions hard_examples easy_examples"
    for key in keys.split():
        assert two[key] == two["modes"][0][key], key
    assert [mode["cv_score"] for mode in two["modes"]] == [0.9, 0.8]
    assert [mode["n_errors"] for mode in two["modes"]] == [8, 6]
    assert two["n_errors"] == 14
    assert (two["n_permutations"], two["nested_score"], two["solver"]) == (200, 0.75, "gram")
    assert two["modes"][1]["hard_examples"][:2] == ["2.png", "3.png"]
    assert two["modes"][1]["hard_captions"][0]["caption"] == "a blue one"
    assert (one["n_permutations"], one["nested_score"], one["significant"]) == (57, None, False)
    assert (none["modes"], none["cv_score"], none["hard_captions"], none["n"]) == ([], None, [], 40)


def test_the_tables_say_which_mode(
    findings: Findings, images: AuditImages, captions: CaptionedClasses, stand_in: Any, tmp_path: Path
) -> None:
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", example_table(images), captions)
    table = pq.read_table(tmp_path / "examples.parquet").to_pydict()
    assert table["mode"][:SHOWN] == [0, 0, 1, 1, 0, 0, 0, 1]
    assert table["mode"][SHOWN:] == [0] * SHOWN + [None] * SHOWN
    assert table["decision_value"][:4] == [-4, -3, 7, 8]
    assert table["decision_value_1"][:4] == [1, 2, -4, -3]
    assert np.isnan(table["decision_value_1"][SHOWN:]).all()
    scored = pq.read_table(tmp_path / "captions.parquet").to_pylist()
    row = {"class": "<b>a", "caption": "a blue one", "score": -1.0, "direction": 1}
    assert row | {"group": "a blue one", "reliable": None} in scored  # nobody judged it
    assert [row["direction"] for row in scored] == [0, 0, 1, 1, 0, 0]
    effects = pq.read_table(tmp_path / "effects.parquet").to_pylist()
    blue = {"slot": "colour", "word": "blue", "half_width": 0.5, "n": 1, "against": "mean"}
    assert effects[:2] == [{"class": "<b>a", "direction": r, "effect": e, **blue} for r, e in ((0, 1.0), (1, -1.0))]
    assert [effect["direction"] for effect in effects] == [0, 1, 0]


PROBABILITIES = ["confidence", "true_probability"]


def test_each_image_has_both_probabilities(
    findings: Findings, images: AuditImages, captions: CaptionedClasses, stand_in: Any, tmp_path: Path
) -> None:
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", example_table(images), captions)
    table = pq.read_table(tmp_path / "examples.parquet").to_pandas()
    assert (table.true_probability[table.correct] == table.confidence[table.correct]).all()
    assert (table.true_probability[~table.correct] == table.confidence[~table.correct] / 2).all()


def test_one_direction_needs_no_mode_column(
    findings: Findings, images: AuditImages, captions: CaptionedClasses, stand_in: Any, tmp_path: Path
) -> None:
    alone = replace(images, decisions=images.decisions[:, :1])
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", example_table(alone), captions)
    names = pq.read_schema(tmp_path / "examples.parquet").names
    assert names == ["path", "class", "prediction", "split", "correct", "decision_value", *PROBABILITIES]


DOCUMENTED = Path(__file__).parents[2] / "docs" / "audit_json.md"
SCHEMA = DOCUMENTED.with_name("audit.schema.json")
OBJECTS = {  # heading → the objects of audit.json that its table is of; a mode's are at the class too
    "The document": "",
    "Causes": "causes",
    "A sorted error": "label duplicate model",
    "Slices tested": "slices_tested",
    "A slice": "slices",
    "A cleaned class": "cleaned",
    "A condition": "conditions",
    "A classifier": "classifier",
    "Caption rules": "caption_rules",
    "A class": "classes",
    "A failure mode": "modes",
    "An interval": "errors_explained accuracy",
    "A caption": "hard_captions easy_captions",
    "Evidence": "evidence",
    "A word's effect": "word_effects",
    "A histogram": "decisions",
    "A side": "hard_side easy_side shown",
    "A curve": "nearest_accuracy shares",
    "A planted failure": "planted",
    "Decoded pictures": "decoded",
    "Skipped images": "skipped",
}
# Objects whose keys are splits, stages, packages, classes, columns.
BY_NAME = {"n_images", "timings", "versions", "by_class", "columns", "left_out"}
AT_MODES_ALONE = ("decisions", "nearest_accuracy")  # the other keys of a mode are at its class too


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Heading → key or column → its type and when it is null."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for line in DOCUMENTED.read_text().splitlines():
        if line.startswith("## "):
            table = tables.setdefault(line[3:], {})
        elif line.startswith("| `") and tables:
            key, kind, _, null, _ = (cell.strip() for cell in line.strip("|").split("|"))
            table[key.strip("`")] = (kind, null)
    return tables


def key_of(heading: str) -> str:
    return re.sub(r"\W+", "_", heading.lower())


def schema(strict: bool = False) -> dict[str, Any]:
    """The tables as JSON Schema; strict allows no key that is not documented, as a later version may have."""
    headings = {name: heading for heading, names in OBJECTS.items() for name in names.split()}
    tables = {heading: dict(documented()[heading]) for heading in OBJECTS}
    own = tables["A failure mode"].items() - {(key, tables["A failure mode"][key]) for key in AT_MODES_ALONE}
    tables["A class"] = dict(own) | tables["A class"]

    def of(kind: str, name: str) -> dict[str, Any]:
        if kind.startswith("list of "):
            return {"type": "array", "items": of(kind.removeprefix("list of "), name)}
        if kind == "object" and name not in BY_NAME:
            return {"$ref": f"#/$defs/{key_of(headings[name])}"}
        return {"type": kind}

    def table(heading: str) -> dict[str, Any]:
        keys = sorted(tables[heading])
        properties = {key: (of(kind, key), null) for key, (kind, null) in tables[heading].items()}
        return {
            "type": "object",
            "properties": {
                key: one if null == "never" else {"anyOf": [one, {"type": "null"}]}
                for key, (one, null) in sorted(properties.items())
            },
            "required": keys,
            **({"additionalProperties": False} if strict else {}),
        }

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fdgpu.audit/1",
        "description": "What fdgpu writes as audit.json; docs/audit_json.md says what each key means.",
        **table("The document"),
        "$defs": {key_of(heading): table(heading) for heading in OBJECTS if heading != "The document"},
    }


def mistakes(document: Any) -> list[str]:
    """Where a document is not what the tables say."""
    found = Draft202012Validator(schema(strict=True)).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_the_schema_for_programs_is_what_is_documented() -> None:
    written = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert written == schema(), "write it anew: python -m tests.auditing.test_outputs"
    Draft202012Validator.check_schema(written)


@pytest.fixture
def complete(findings: Findings) -> Findings:
    """Findings in which every kind of object occurs."""
    evidence = CaptionEvidence(False, DecidedBy.NEITHER, 1, 9, 4.0, 1.0, 8.0, 3, 0.2, NAN, 10, 0.5, 0.0, -0.1, 0.1)
    two = findings.classes[0]
    caption = replace(two.hard_captions[0], evidence=evidence, also=("a caption",))
    modes = (replace(two.modes[0], hard_captions=(caption,)), two.modes[1])
    drawn = (DecodedPictures(Side.HARD, 0.1, ("decoded/0000-b-a/hard-0.1-0.png",)),)
    classes = (replace(two, modes=modes, decoded=drawn), *findings.classes[1:])
    skipped = (Skipped("a.png", "it is broken"),)
    conditions = (Condition("a", AnswerKind.LOGITS, 0.4, 0.9, Split.TRAIN, 2),)
    sorted_as = {
        cause: (SortedImage(two.hard_examples[0], "b", Split.VAL, cause, 0.9, "b.png", "c", "train"),)
        for cause in map(str, Cause)
    }
    causes = Causes(1, 1, 1, 0, 1.5, 0.1, "", by_class={"b": (1, 1, 1)}, **sorted_as)
    cleaned = (CleanedClass("b", 2, 0.5, 0.6, 0.7, NAN, True, False, NAN),)
    classifier = AskedModel("a model", "scaled", 3, "logits", "cpu", "float32", "0a")
    values = (("camera", "A"), ("site", "north"))
    slices = (Slice("b", values, 20, 9, 0.001, 0.01, True, Tally(20, 9), Interval.of_share(11, 20), "c", 0, 0.9),)
    tested = SlicesTested({"camera": 3}, {"row": "it is an id"}, 2, 10, (3, 9), Split.VAL)
    return replace(
        findings, classes=classes, classifier=classifier, conditions=conditions, skipped=skipped, notes=("a note",),
        timings={"fit": 1.0}, causes=causes, cleaned=cleaned, slices=slices, slices_tested=tested,
    )  # fmt: skip


def test_the_document_is_what_is_documented(complete: Findings, audited: AuditResult) -> None:
    for document in (audit_json(complete, []), json.loads((audited.out / "audit.json").read_text())):
        assert next(iter(document)) == "schema"
        assert document["schema"] == "fdgpu.audit/1"
        assert mistakes(json.loads(json.dumps(document))) == []
    assert list(audit_json(complete, [])) == list(documented()["The document"])


def test_every_documented_object_is_looked_at(complete: Findings) -> None:
    assert OBJECTS.keys() <= documented().keys()

    def names(value: object) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(names, value))
        if isinstance(value, dict):
            return {key for key, entry in value.items() if entry}.union(*map(names, value.values()))
        return set()

    assert names(audit_json(complete, [])) >= set(" ".join(OBJECTS.values()).split())


def test_a_key_that_is_not_documented_is_seen(complete: Findings) -> None:
    document: Any = json.loads(json.dumps(audit_json(complete, [])))
    document["classes"][0]["modes"][0]["hard_captions"][0]["evidence"]["mood"] = "good"
    del document["caption_rules"]["shown"]
    document["seed"] = None
    assert len(mistakes(document)) == 3
    del document["classes"][0]["modes"][0]["hard_captions"][0]["evidence"]["mood"]
    assert len([*Draft202012Validator(schema()).iter_errors(document)]) == 2  # a later version may have more keys


def test_the_tables_have_the_documented_columns(
    findings: Findings, images: AuditImages, captions: CaptionedClasses, stand_in: Any, tmp_path: Path
) -> None:
    knowing = replace(images, with_loss=images.decisions - 1)
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", example_table(knowing), captions)
    for name in ("examples", "captions", "effects"):
        schema = pq.read_schema(tmp_path / f"{name}.parquet")
        columns = {field.name: str(field.type) for field in schema}
        rows = documented()[f"{name}.parquet"].items()
        assert columns == {key: kind for key, (kind, _) in rows if key != "condition"}  # test_multilabel.py has some


def test_every_file_of_the_folder_is_documented(audited: AuditResult) -> None:
    words = DOCUMENTED.read_text()
    assert all(f"| `{path.name}{'/' * path.is_dir()}` |" in words for path in audited.out.iterdir())


def test_the_json_lists_every_file_of_the_folder(audited: AuditResult) -> None:
    listed = json.loads((audited.out / "audit.json").read_text())["files"]
    assert sorted(listed) == sorted(path.name for path in audited.out.iterdir() if path.name != STORE)


def test_the_page_and_the_json_say_the_same_times(audited: AuditResult) -> None:
    """The findings are finished before either is written: nothing is timed any more."""
    document = json.loads((audited.out / "audit.json").read_text())
    stages = [
        "embed images", "check columns", "sort errors", "group images", "fit directions", "test directions",
        "decision values", "score captions", "gather findings",
    ]  # fmt: skip
    assert list(document["timings"]) == list(audited.findings.timings) == stages
    rows = dict(re.findall(r'scope="row">([a-z ]+)</th>.*?([^<>]+)</td></tr>', audited.page))
    assert document["timings"] == {stage: round(seconds, 3) for stage, seconds in audited.findings.timings.items()}
    assert {stage: rows[stage] for stage in stages} == {
        stage: duration(seconds) for stage, seconds in audited.findings.timings.items()
    }
    assert rows["in all"] == duration(sum(audited.findings.timings.values()))


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
