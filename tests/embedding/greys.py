"""Pictures that are told apart by their grey, and what a source says of them."""

from __future__ import annotations

import io

from PIL import Image

from fdgpu.embedding.sources import ImageSource


def grey(level: int, side: int = 8) -> Image.Image:
    return Image.new("RGB", (side, side), (level,) * 3)


def encoded(level: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    grey(level).save(stream, kind)
    return stream.getvalue()


def seen(source: ImageSource) -> list[tuple[str, int | str, object, str | None]]:
    """Id, grey, label and split of every image; in place of the grey, the reason why one cannot be read."""
    told: list[tuple[str, int | str, object, str | None]] = []
    for batch in source.batches(2, lambda pixels: pixels[:, :4, :4]):
        levels = iter(batch.pixels)
        for own, label, split in zip(batch.ids, batch.labels, batch.splits, strict=True):
            level = batch.unreadable.get(own) or round(float(next(levels).float().mean()))
            told.append((own, level, label, split))
    return told


def shown(source: ImageSource, *rows: int) -> list[int | None]:
    """The greys of some images, as they are shown again."""
    return [None if one is None else round(one.mean()) for one in source.pictures(rows, 8)]
