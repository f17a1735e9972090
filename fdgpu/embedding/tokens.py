"""Captions as token ids; a caption that a tokenizer would cut or change in silence is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdgpu.errors import InputError

if TYPE_CHECKING:
    from open_clip import HFTokenizer, SimpleTokenizer

Tokenizer: TypeAlias = "SimpleTokenizer | HFTokenizer"


class CaptionTokens:
    """A model's tokenizer. It refuses, with a reason, a caption that the model would not read whole.

    Args:
        tokenizer: one of open_clip's.
        name: the model's name in messages.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        import open_clip

        self.tokenizer, self.name = tokenizer, name
        self._is_open_clips = type(tokenizer) is open_clip.SimpleTokenizer
        self._words: dict[str, list[int]] = {}

    @property
    def context_length(self) -> int:
        """Most tokens of a caption."""
        return int(getattr(self.tokenizer, "context_length", None) or 77)

    def ids(self, caption: str) -> list[int]:
        """Return every token of a caption, start and end of text included, however many."""
        if self._is_open_clips:
            return [self.tokenizer.sot_token_id, *self._encode(caption), self.tokenizer.eot_token_id]
        return list(self.tokenizer.tokenizer(caption).input_ids)  # Hugging Face's add start and end themselves

    def refusal(self, caption: str) -> str | None:
        """Say why the model cannot take a caption whole; None if it can."""
        try:
            caption.encode("utf-8")
        except UnicodeEncodeError as error:
            return f"holds {caption[error.start]!r}, which no tokenizer can encode: leave it out"
        return self._refusal(self.ids(caption))

    def matrix(self, captions: Sequence[str]) -> NDArray[np.int32]:
        """Tokenise captions to (m, context_length), padded as the model's own tokenizer does.

        Raises:
            InputError: for the first caption that the model cannot take whole.
        """
        for caption in captions:
            reason = self.refusal(caption)
            if reason is not None:
                raise InputError(f"the caption {caption!r} {reason}")
        if not captions:
            return np.zeros((0, self.context_length), np.int32)
        if not self._is_open_clips:
            return np.asarray(self.tokenizer(list(captions)), dtype=np.int32)
        return self._padded([self.ids(caption) for caption in captions])

    def _refusal(self, ids: list[int]) -> str | None:
        if len(ids) > self.context_length:
            return f"has {len(ids)} tokens, {self.name} takes at most {self.context_length}: shorten it"
        if self._is_open_clips and any(i in ids[1:-1] for i in self.tokenizer.all_special_ids):
            return f"holds a mark that {self.name} takes for the start or the end of the text: leave it out"
        unknown = self._unknown_id()
        if unknown is not None and unknown in ids:
            return f"holds characters that the tokenizer of {self.name} does not know: leave them out"
        return None

    def _unknown_id(self) -> int | None:
        """Return the id that stands for unknown characters, where the tokenizer keeps one for nothing else."""
        theirs = getattr(self.tokenizer, "tokenizer", None)
        unknown: int | None = getattr(theirs, "unk_token_id", None)
        marks = {getattr(theirs, f"{mark}_token_id", None) for mark in ("bos", "eos", "pad", "cls", "sep")}
        return None if unknown in marks else unknown

    def _encode(self, caption: str) -> list[int]:
        """Encode a caption by its words, each of which is encoded once.

        That is exact for plain text: the tokenizer cleans it character by character, and no token reaches across a
        space. Captions with entities (``&amp;``) or with characters beyond ASCII are encoded whole.
        """
        if not (caption.isascii() and caption.isprintable()) or "&" in caption:
            whole: list[int] = self.tokenizer.encode(caption)
            return whole
        ids: list[int] = []
        for word in caption.split():
            known = self._words.get(word)
            if known is None:
                known = self._words[word] = self.tokenizer.encode(word)
            ids += known
        return ids

    def _padded(self, rows: list[list[int]]) -> NDArray[np.int32]:
        lengths = np.array([len(row) for row in rows])
        matrix = np.zeros((len(rows), self.context_length), np.int32)
        # (m, L) marks the tokens of all rows in the order in which they are concatenated
        matrix[np.arange(self.context_length) < lengths[:, None]] = np.concatenate(rows)
        return matrix
