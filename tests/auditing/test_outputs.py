"""An audit's folder: JSON and tables, and that they are what docs/audit_json.md says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.inputs import AuditImages
from fdgpu.auditing.outputs import audit_json, write_audit
from fdgpu.findings import Findings
from tests.auditing.conftest import SHOWN


def test_the_json_has_the_strongest_mode_at_the_class_and_every_mode_below(findings: Findings) -> None:
    document = json.loads(json.dumps(audit_json(findings), allow_nan=False))
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
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", images, captions)
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


def test_one_direction_needs_no_mode_column(
    findings: Findings, images: AuditImages, captions: CaptionedClasses, stand_in: Any, tmp_path: Path
) -> None:
    alone = replace(images, decisions=images.decisions[:, :1])
    write_audit(tmp_path, findings, stand_in, "<!doctype html>", alone, captions)
    names = pq.read_schema(tmp_path / "examples.parquet").names
    assert names == ["path", "class", "prediction", "split", "correct", "decision_value", "confidence"]
