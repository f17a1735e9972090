"""The three ways to repair: what each chooses, its manifest, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fdgpu import ClipEmbedder, Decoder, FailureDirections
from fdgpu.auditing import AuditResult, repair_by_painting, repair_by_pool, repair_by_weights
from fdgpu.auditing.after.repairing import _more_than_chance
from fdgpu.demo.world import draw_attributes, draw_scene, load_photographs, render, world_settings
from fdgpu.errors import InputError
from fdgpu.files import write_png
from tests.auditing.conftest import CLASSES

EACH = 12  # pictures of a class in the pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bool]]:
    """A folder of classes, of other photographs than the audit's, and which of them are on white."""
    root = tmp_path_factory.mktemp("pool")
    names = world_settings().class_names
    pixels, kinds = load_photographs("base")
    keep = torch.cat([(kinds == names.index(c)).nonzero()[:EACH, 0] for c in CLASSES])
    generator = torch.Generator().manual_seed(1)
    attributes = draw_attributes(len(keep), generator)
    attributes.background[:] = torch.arange(len(keep)) % 2 + 1
    white = {}
    for i, picture in enumerate(render(pixels[keep], draw_scene(attributes, kinds[keep], generator))):
        path = f"{CLASSES[i // EACH]}/{i % EACH}.png"
        write_png(root / path, picture.permute(1, 2, 0).contiguous().numpy())
        white[path] = bool(attributes.background[i] == 2)
    return root, white


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_hardest_of_a_pool_are_those_on_which_the_model_fails(
    audited: AuditResult, pool: tuple[Path, dict[str, bool]], clip: ClipEmbedder, tmp_path: Path
) -> None:
    root, white = pool
    made = repair_by_pool(audited, root, tmp_path / "r", k=6, embedder=clip)
    rows = rows_of(made.file)
    assert {row["class"] for row in rows} == {"boot"}, "the only class with a significant failure"
    assert made.counts == {"boot": 6}
    paths = [(tmp_path / "r" / row["path"]).resolve() for row in rows]
    assert all(path.is_file() for path in paths)
    assert all(white[path.relative_to(root.resolve()).as_posix()] for path in paths)
    values = [float(row["decision_value"]) for row in rows]
    assert values == sorted(values)
    boots = torch.from_numpy(np.stack([np.array(Image.open(path)) for path in paths])).permute(0, 3, 1, 2)
    labels = np.full(6, audited.findings.classes.index(next(c for c in audited.findings.classes if c.name == "boot")))
    assert audited.directions.decision_function(clip.images(boots), labels) == pytest.approx(values, abs=1e-4)
    document = json.loads((tmp_path / "r" / "pool.json").read_text())
    assert (document["schema"], document["way"], document["k"], document["n_pool"]) == (
        "fdgpu.repair/1",
        "pool",
        6,
        EACH,
    )
    assert document["failures"][0]["class"] == "boot"
    assert document["checked"].startswith("found by the embeddings of ")


def test_a_folder_gives_what_its_result_gives(
    audited: AuditResult, pool: tuple[Path, dict[str, bool]], clip: ClipEmbedder, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{path},{path.split('/')[0]}\n" for path in pool[1]))
    one = repair_by_pool(audited, pool[0], tmp_path / "r", k=3, embedder=clip)
    assert audited.out is not None
    other = repair_by_pool(audited.out, pool[0], tmp_path / "s", k=3, labels=table)  # its own embedder, by name
    assert [row["path"] for row in rows_of(one.file)] == [row["path"] for row in rows_of(other.file)]


def test_a_pool_that_holds_test_images_is_refused(
    audited: AuditResult, world: dict, clip: ClipEmbedder, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"the pool holds 40 images that the audit fits or tests on.*embeddings"):
        repair_by_pool(audited, world["pictures"], tmp_path, k=3, labels=world["labels"], embedder=clip)
    alone = replace(audited, out=None)  # which keeps no embeddings: known by name and value, of those that are shown
    with pytest.raises(InputError, match=r"the pool holds 20 images .* by file name and decision value alone"):
        repair_by_pool(alone, world["pictures"], tmp_path, k=3, labels=world["labels"], embedder=clip)


def test_weights_are_doubled_on_the_hard_side(
    audited: AuditResult, pool: tuple[Path, dict[str, bool]], clip: ClipEmbedder, tmp_path: Path
) -> None:
    root, white = pool
    made = repair_by_weights(audited, tmp_path, root, embedder=clip)
    rows = rows_of(made.file)
    assert [row["path"] for row in rows] == sorted(white)
    assert {row["weight"] for row in rows if row["class"] != "boot"} == {"1"}
    boots = [row for row in rows if row["class"] == "boot"]
    assert all((float(row["decision_value"]) < 0) == (row["weight"] == "2") for row in boots)
    assert np.mean([white[row["path"]] == (row["weight"] == "2") for row in boots]) >= 0.9
    triple = repair_by_weights(audited, tmp_path, root, embedder=clip, factor=3)
    assert {row["weight"] for row in rows_of(triple.file)} == {"1", "3"}
    with pytest.raises(InputError, match=r"keeps no embeddings of images .* for training"):
        repair_by_weights(audited, tmp_path)


def test_painted_pictures_are_of_the_hard_caption(audited: AuditResult, clip: ClipEmbedder, tmp_path: Path) -> None:
    made = repair_by_painting(audited, Decoder.bundled("cpu"), tmp_path, per_class=2, embedder=clip, steps=2)
    rows = rows_of(made.file)
    assert made.counts == {"boot": 2}
    assert all((tmp_path / row["path"]).is_file() for row in rows)
    caption = next(one for one in audited.findings.classes if one.name == "boot").strongest.hardest_caption
    assert {row["why"] for row in rows} == {f"painted: {caption}"}
    assert json.loads((tmp_path / "painted.json").read_text())["captions"] == {"boot": {"hard": caption}}


def test_decoded_directions_lie_on_the_hard_side_and_need_no_caption(
    audited: AuditResult, clip: ClipEmbedder, tmp_path: Path
) -> None:
    bare = tuple(
        replace(one, modes=tuple(replace(mode, hard_captions=()) for mode in one.modes))
        for one in audited.findings.classes
    )
    wordless = replace(audited, findings=replace(audited.findings, classes=bare))
    with pytest.raises(InputError, match="has no reliable hard caption"):
        repair_by_painting(wordless, "bundled", tmp_path)
    decoder = Decoder.bundled("cpu")
    found = {}
    for alpha in (0.01, 0.3):
        made = repair_by_painting(
            wordless, decoder, tmp_path, of="directions", per_class=3, alpha=alpha, embedder=clip, steps=4
        )
        rows = rows_of(made.file)
        assert made.counts == {"boot": 3}
        assert all((tmp_path / row["path"]).is_file() for row in rows)
        found[alpha] = np.mean([float(row["decision_value"]) for row in rows])
    assert found[0.3] < found[0.01]
    assert rows[0]["why"] == "decoded: a photo of a boot, rotated by 0.3 to the hard side"
    with pytest.raises(InputError, match="alpha is 2"):
        repair_by_painting(wordless, decoder, tmp_path, of="directions", alpha=2, embedder=clip)
    with pytest.raises(InputError, match="of is 'words'"):
        repair_by_painting(wordless, decoder, tmp_path, of="words")  # type: ignore[arg-type]


def test_what_cannot_be_repaired_is_refused_with_the_reason(
    audited: AuditResult, pool: tuple[Path, dict[str, bool]], clip: ClipEmbedder, tmp_path: Path
) -> None:
    root = pool[0]
    findings = audited.findings
    chance = tuple(
        replace(one, modes=tuple(replace(mode, significant=False, q_value=0.2) for mode in one.modes))
        for one in findings.classes
    )
    unsure = replace(audited, findings=replace(findings, classes=chance))
    for way in (
        lambda: repair_by_pool(unsure, root, tmp_path),
        lambda: repair_by_weights(unsure, tmp_path, root),
        lambda: repair_by_painting(unsure, "bundled", tmp_path),
    ):
        with pytest.raises(InputError, match=r"has no significant failure, .* \(the smallest q is 0\.2\)"):
            way()
    with pytest.raises(InputError, match=r"the pool has 12 images of 'boot' .* k is 13: lower k"):
        repair_by_pool(audited, root, tmp_path, k=13, embedder=clip)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "cat" / "1.png")
    with pytest.raises(InputError, match="no image is of 'boot', labels are such as 'cat'"):
        repair_by_pool(audited, tmp_path / "empty", tmp_path, embedder=clip)
    other = replace(audited, findings=replace(findings, model_fingerprint="0" * 64))
    with pytest.raises(InputError, match="embedded by bundled with other weights"):
        repair_by_pool(other, root, tmp_path, embedder=clip)


@pytest.mark.parametrize("name", ["runwayml/stable-diffusion-v1-5", "tests"])
def test_a_pipeline_that_needs_a_network_is_refused(audited: AuditResult, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} is not the folder of a pipeline on this disk.*download it first"):
        repair_by_painting(audited, name, tmp_path)


def test_a_folder_that_is_no_pipeline_is_named(audited: AuditResult, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoPipeline"}')
    with pytest.raises(InputError, match="cannot be loaded as a pipeline"):
        repair_by_painting(audited, tmp_path, tmp_path / "out")


def test_directions_of_a_folder_are_those_of_the_result(audited: AuditResult) -> None:
    assert audited.out is not None
    loaded = FailureDirections.load(audited.out / "directions.safetensors")
    assert np.allclose(loaded.coef_, audited.directions.coef_, equal_nan=True)


def test_the_same_names_and_values_are_the_same_images_where_chance_gives_fewer() -> None:
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(200):
        audited, others = rng.normal(size=(2, 500))
        flagged += _more_than_chance(audited, others, audited).any()
        assert _more_than_chance(audited, audited + 1e-6, audited).all()
        others[:9] = audited[:9]
        assert _more_than_chance(audited, others, audited)[:9].all()
    assert flagged <= 2  # one in a thousand; a file or two in some twenty have the same value
    assert not _more_than_chance(np.full(500, np.nan), others, audited).any()
