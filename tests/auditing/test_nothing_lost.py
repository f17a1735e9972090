"""No late stage loses what earlier ones made: an audit whose end fails in part is written, and says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fdgpu
from fdgpu import CaptionGrammar, CaptionIndex, ClipEmbedder, FailureDirections
from fdgpu.auditing import AuditResult
from fdgpu.auditing.drawing import FailureDirections as Refitted
from fdgpu.decoding import Decoder
from fdgpu.embedding.sources import FileSource, TensorSource
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from tests.auditing.conftest import PER_CLASS
from tests.decoding.tiny import random_net

LONG = "adult mandarin-collar long-sleeve quilted shirt / overshirt (men)"
BACKGROUNDS = ["", "on a white background", "on a black background"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    decoder = Decoder(random_net(tmp_path_factory.mktemp("net")))
    decoder.steps = 1
    return decoder


@pytest.fixture
def small(world: dict, clip: ClipEmbedder, tmp_path: Path) -> Callable[..., AuditResult]:
    """Audit two classes of boots, on both of which the model fails before white."""

    def audit(names: tuple[str, str] = ("boot", "shoe"), **changes: Any) -> AuditResult:
        rows = np.arange(PER_CLASS)
        right = np.array(world["predictions"])[rows] == "boot"
        grammar = {
            name: CaptionGrammar("a photo of a {noun} {background}", noun=[name], background=BACKGROUNDS)
            for name in names
        }
        given = {
            "images": world["pictures"][rows], "labels": rows // 2 % 2,
            "predictions": np.where(right, rows // 2 % 2, 1 - rows // 2 % 2), "class_names": names, "embedder": clip,
            "grammar": grammar, "out": tmp_path / "out", "directions": FailureDirections(),
        }  # fmt: skip
        return fdgpu.audit(**given | changes)

    return audit


def names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]


def written(result: AuditResult) -> tuple[dict[str, Any], list[str]]:
    """audit.json, and the files of the folder, which are those that it lists."""
    document = json.loads((result.out / "audit.json").read_text())
    there = [name for name in names_in(result.out) if not name.startswith("embeddings/")]
    assert sorted(there) == sorted(document["files"])
    assert [path.name for path in result.out.parent.iterdir()] == ["out"]
    return document, there


def test_an_audit_into_an_older_one_leaves_its_pictures_and_its_world(
    small: Callable[..., AuditResult], decoder: Decoder, world: dict, tmp_path: Path
) -> None:
    """As of the demo and of the audit that it proposes, which reads the pictures that lie in the folder."""
    out = tmp_path / "out"
    first, _ = written(small(decoder=decoder))
    assert sum(path.startswith("decoded/") for path in first["files"]) == 56
    paths = [out / "images" / f"{i}.png" for i in range(PER_CLASS)]
    (out / "images").mkdir()
    for path, picture in zip(paths, world["pictures"], strict=False):
        Image.fromarray(picture.movedim(0, -1).numpy()).save(path)
    world_files = ["truth.json", *(f"images/{path.name}" for path in paths)]
    (out / "truth.json").write_text(json.dumps({"files": world_files}))
    result = small(images=FileSource(paths, [path.name for path in paths]))
    document = json.loads((out / "audit.json").read_text())
    there = [name for name in names_in(out) if not name.startswith("embeddings/")]
    assert sorted(there) == sorted([*document["files"], *world_files])
    assert not result.findings.skipped
    assert set(written(small())[1]) == set(document["files"])


@pytest.mark.parametrize("name", [LONG, "ботинок из натуральной кожи", "boot<end_of_text>"])
def test_a_class_that_clip_cannot_read_is_not_drawn_and_the_others_are(
    small: Callable[..., AuditResult], decoder: Decoder, name: str
) -> None:
    with pytest.warns(FdgpuWarning, match=r"No pictures of 1 class were decoded .*give them shorter names"):
        document, there = written(small(("boot", name), decoder=decoder))
    assert [bool(one["decoded"]) for one in document["classes"]] == [True, False]
    assert [bool(one["hard_captions"]) for one in document["classes"]] == [True, False]
    assert sum(name.startswith("decoded/0000-boot/") for name in there) == 28
    assert any(name in note and "decoded" in note for note in document["notes"])


def test_classes_that_an_index_cannot_name_have_no_captions(
    small: Callable[..., AuditResult], clip: ClipEmbedder
) -> None:
    index = CaptionIndex.from_captions(["a boot on a white background", "a boot"], clip)
    document, _ = written(small(("boot", LONG), grammar=index))
    assert [bool(one["hard_captions"]) for one in document["classes"]] == [True, False]
    assert any("captions were left out" in note for note in document["notes"])


def test_a_class_without_a_direction_of_its_own_space_is_not_drawn(
    small: Callable[..., AuditResult], decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(FailureDirections):
        def fit(self, x: Any, labels: Any, correct: Any, *further: Any) -> FailureDirections:
            return super().fit(x, labels, correct | (labels == 0), *further)

    monkeypatch.setattr(Refitted, "from_settings", lambda *_, **__: Blind(whiten=False))
    with pytest.warns(FdgpuWarning, match=r"No pictures of 1 class were decoded \(boot\): they have no direction"):
        document, there = written(small(decoder=decoder))
    assert [bool(one["decoded"]) for one in document["classes"]] == [False, True]
    assert sum(name.startswith("decoded/0001-shoe/") for name in there) == 28


FAILURES = [
    ("draw_classes", ModelError("the net made NaN"), "No direction was decoded: the net made NaN"),
    ("draw_classes", torch.OutOfMemoryError("CUDA out of memory"), "No direction was decoded: CUDA out of memory"),
    ("caption_classes", MemoryError(), "There are no captions: memory ran out"),
    ("thumbnails", OSError("the disk is gone"), "The page has no photographs: the disk is gone"),
]


@pytest.mark.parametrize(("stage", "error", "says"), FAILURES)
def test_a_stage_that_fails_is_a_note(
    small: Callable[..., AuditResult],
    decoder: Decoder,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    error: Exception,
    says: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"fdgpu.auditing.pipeline.{stage}", fail)
    with pytest.warns(FdgpuWarning, match=says):
        result = small(decoder=decoder)
    document, _ = written(result)
    assert f"{says}." in document["notes"]
    assert says in result.page
    assert all(one["modes"] for one in document["classes"])
    assert bool(document["classes"][0]["decoded"]) == (stage != "draw_classes")
    assert bool(document["classes"][0]["hard_captions"]) == (stage != "caption_classes")


def test_pictures_that_do_not_fit_on_the_disk_are_left_out_whole(
    small: Callable[..., AuditResult], decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fdgpu.files import write_png

    room = [None] * 40

    def full(path: Path, pixels: np.ndarray) -> None:
        if not room:
            raise InputError(f"{path} cannot be written (No space left on device)")
        room.pop()
        write_png(path, pixels)

    monkeypatch.setattr("fdgpu.auditing.drawing.write_png", full)
    with pytest.warns(FdgpuWarning, match="No space left"):
        document, there = written(small(decoder=decoder))
    assert not any(one["decoded"] for one in document["classes"])
    assert not any("decoded" in name for name in there)


def test_a_fault_of_ours_is_no_note_and_leaves_the_old_audit(
    small: Callable[..., AuditResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names_in(tmp_path / "out")}
    for stage in ("caption_classes", "write_audit"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fdgpu.auditing.pipeline.{stage}", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
            with pytest.raises(RuntimeError, match="a bug"):
                small()
        assert {name: (tmp_path / "out" / name).read_bytes() for name in names_in(tmp_path / "out")} == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Odd(TensorSource):
    """A source of one's own, whose pictures to show are not what they should be."""

    def __init__(self, images: torch.Tensor, shown: Callable[[int], list[Any]]) -> None:
        super().__init__(images)
        self.shown = shown

    def pictures(self, rows: Any, side: int) -> list[Any]:  # noqa: ARG002 - a source's
        return self.shown(len(rows))


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (lambda n: [np.zeros((4, 4, 3))] * n, "pass uint8 of shape"),
        (lambda n: [None] * (n + 1), "pictures to show of"),
    ],
)
def test_odd_pictures_of_a_source_cost_the_pictures_alone(
    small: Callable[..., AuditResult], world: dict, shown: Callable[[int], list[Any]], says: str
) -> None:
    with pytest.warns(FdgpuWarning, match=says):
        written(small(images=Odd(world["pictures"][:PER_CLASS], shown)))
