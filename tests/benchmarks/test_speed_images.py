from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed import images
from benchmarks.speed.images import LEAST_COSINE, OURS, THREADS, Comparison, measure, photographs


def test_files_are_of_the_size_that_was_asked_for_and_differ(tmp_path: Path) -> None:
    for size in ((500, 375), (640, 480)):
        paths = photographs(tmp_path, size, 5)
        for path in paths:
            with Image.open(path) as image:
                assert image.size == size
        assert len({path.read_bytes() for path in paths}) == 5


def test_both_sides_are_timed_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "cpu_count", lambda: 1)
    rows = measure((500, 375), 2, 1, tmp_path)
    kinds = {(row.kind, row.line): row for row in rows}
    assert {("a core", OURS), ("a core", THREADS), ("all cores", OURS), ("stage", "decode")} <= set(kinds)
    ours = kinds["a core", OURS]
    assert ours.cosine is not None
    assert ours.cosine >= LEAST_COSINE
    assert ours.ratio == pytest.approx(ours.rate / kinds["a core", THREADS].rate)
    assert all(0 < row.least <= row.rate <= row.most for row in rows)


def test_there_is_no_ratio_where_vectors_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "cpu_count", lambda: 1)
    ours = Comparison.ours

    def shifted(self: Comparison, smallest: int | None = None) -> Iterator[Tensor]:
        return (torch.roll(batch, 40, -1) for batch in ours(self, smallest))

    monkeypatch.setattr(Comparison, "ours", shifted)
    monkeypatch.setattr(Comparison, "stages", lambda _: {})
    rows = [row for row in measure((500, 375), 2, 1, tmp_path) if row.line == OURS]
    assert rows
    assert all(row.ratio is None and row.cosine is not None and row.cosine < LEAST_COSINE for row in rows)
