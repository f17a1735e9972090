"""Sequences of names one after another, none of them copied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import overload

from fdgpu.captions.view import CaptionView


class Chain(Sequence[str]):
    """Names in several parts, such as a grammar and a list: a name is looked up in its part when it is asked for."""

    def __init__(self, parts: Sequence[Sequence[str]] = ()) -> None:
        self.parts: list[Sequence[str]] = []
        self._ends: list[int] = []
        for part in parts:
            self.append(part)

    def append(self, part: Sequence[str]) -> None:
        """Add a part at the end."""
        self._ends.append(len(self) + len(part))
        self.parts.append(part)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CaptionView: ...
    def __getitem__(self, index: int | slice) -> str | CaptionView:
        places = range(len(self))[index]  # negative indices, and IndexError past the end
        if isinstance(places, range):
            return CaptionView(self, places)
        part = bisect_right(self._ends, places)
        return self.parts[part][places - (self._ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from part

    def __repr__(self) -> str:
        return f"Chain({len(self)} names in {len(self.parts)} parts)"
