"""Images that cannot be used, that were changed, and that vanish: what an audit says of them, and when."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fdgpu
from fdgpu import ClipEmbedder
from fdgpu.auditing.gathering import EXAMPLES
from fdgpu.embedding.sources import FileSource
from fdgpu.errors import FdgpuWarning, InputError


def test_images_are_looked_at_before_a_model_is_loaded(tmp_path: Path) -> None:
    def load() -> ClipEmbedder:
        raise AssertionError("a model was loaded")

    labels, predictions = ["a", "b"] * 30, ["a"] * 60
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "text.png").write_text("no")
    paths = [tmp_path / ("fifo.png" if i < 20 else "text.png" if i < 50 else "none.png") for i in range(60)]
    files = FileSource(paths, [str(i) for i in range(60)])
    said = r"30 × is not an image \(such as \d+\); 20 × is a FIFO, and no image file \(such as 0\); 10 × does not exist"
    with pytest.raises(InputError, match=said):
        fdgpu.audit(files, labels, predictions, embedder=load)
    rows = [{"image": b"", "label": 0}] * 60
    with pytest.raises(InputError, match=r"60 × an image is a dict with the keys 'image', 'label': .* \(such as 0\)"):
        fdgpu.audit(rows, labels, predictions, embedder=load)
    good = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(AssertionError, match="a model was loaded"):  # one that can be used is enough
        fdgpu.audit([*rows[:33], good, *rows[34:]], labels, predictions, embedder=load)
    splits = ["test" if i == 33 else "val" for i in range(60)]
    with pytest.raises(InputError, match="59 × an image is a dict"):
        fdgpu.audit([*rows[:33], good, *rows[34:]], labels, predictions, splits=splits, embedder=load)


def test_what_a_generator_gives_is_judged_at_the_end(clip: ClipEmbedder) -> None:
    with pytest.raises(
        InputError, match=r"can be used: 20 × an image is a tuple of 3 \(int, int, int\).*\(such as 0\)"
    ):
        fdgpu.audit(((i, 0, 0) for i in range(20)), ["a", "b"] * 10, ["a"] * 20, embedder=clip)


def test_what_was_done_to_images_is_noted(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    """The same findings as of the upright pictures, in embedding and on the page."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("upright", "turned"):
        (tmp_path / folder).mkdir()
        for i, picture in enumerate(world["pictures"]):
            image, more = Image.fromarray(picture.permute(1, 2, 0).numpy()), {}
            if folder == "turned" and i % 3 == 0:
                image, more = image.transpose(Image.Transpose.ROTATE_90), {"exif": exif}
            elif folder == "turned" and i % 3 == 1:
                image = image.convert("CMYK").convert("RGB").convert("RGBA")  # an opaque alpha channel is none
            image.save(tmp_path / folder / f"{i:03}.png", **more)
    results = []
    for folder in ("upright", "turned"):
        out = tmp_path / f"{folder}-audit"
        results.append(
            fdgpu.audit(
                FileSource(sorted((tmp_path / folder).iterdir()), [f"{i}" for i in range(120)]), world["labels"],
                world["predictions"], splits=world["splits"], embedder=clip, out=out,
            )
        )  # fmt: skip
        notes = json.loads((out / "audit.json").read_text())["notes"]
        said = "40 of 120 images: an orientation was applied."
        assert (said in notes) == (said in (out / "report.html").read_text()) == (folder == "turned")
    np.testing.assert_allclose(*(result.decisions for result in results))
    assert results[0].findings.input_fingerprint == results[1].findings.input_fingerprint


def test_twelve_bits_in_sixteen_are_doubted(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(120)]
    for path, picture in zip(paths, world["pictures"], strict=True):
        Image.fromarray(picture[0].numpy().astype(np.uint16) * 16).save(path)
    with pytest.warns(FdgpuWarning, match="120 of 120 images: 16 bits were taken for the whole range.*nearly black"):
        result = fdgpu.audit(paths, world["labels"], world["predictions"], splits=world["splits"], embedder=clip)
    assert "120 of 120 images: 16 bits" in result.page


def test_pictures_that_vanish_are_counted(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(120)]
    for path, picture in zip(paths, world["pictures"], strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)

    class Vanishing(FileSource):
        def pictures(self, rows: Sequence[int], side: int) -> list:
            for row in sorted(rows)[:3]:
                self.paths[row].unlink()
            return super().pictures(rows, side)

    def audited_with(source: object) -> fdgpu.AuditResult:
        return fdgpu.audit(source, world["labels"], world["predictions"], splits=world["splits"], embedder=clip)

    result = audited_with(Vanishing(paths, [path.name for path in paths]))
    (note,) = [note for note in result.findings.notes if "read again" in note]
    assert re.match(r"3 of the pictures to show could not be read again, such as \d+\.png: files are gone", note)
    assert "3 of the pictures to show" in result.page
    causes = result.findings.causes
    assert causes is not None
    shown = {one.path for entry in result.findings.classes for one in entry.examples}
    shown |= {one.example.path for listed in causes.lists.values() for one in listed[:EXAMPLES]}
    result = audited_with(picture for picture in world["pictures"])
    (note,) = [note for note in result.findings.notes if "read again" in note]
    assert note.startswith(f"{len(shown)} of the pictures to show")
