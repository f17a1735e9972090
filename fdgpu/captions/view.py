"""Part of a sequence of captions, made only when looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload


class CaptionView(Sequence[str]):
    """The captions at some places of a sequence: what slicing a grammar gives.

    Nothing is made until it is asked for. A view equals any sequence of the same captions.
    """

    __hash__ = None  # type: ignore[assignment]  # a view equals lists, which have no hash

    def __init__(self, captions: Sequence[str], places: range) -> None:
        self._captions, self._places = captions, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CaptionView: ...
    def __getitem__(self, index: int | slice) -> str | CaptionView:
        if isinstance(index, slice):
            return CaptionView(self._captions, self._places[index])
        return self._captions[self._places[index]]

    def __iter__(self) -> Iterator[str]:
        return (self._captions[place] for place in self._places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"CaptionView({len(self)} captions of {self._captions!r})"
