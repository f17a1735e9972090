from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.embedding.clip import CaptionTokens
from fdgpu.errors import InputError

CLIP = open_clip.get_tokenizer("ViT-B-32")
TOKENS = CaptionTokens(CLIP, "ViT-B-32")
CANONICAL = open_clip.SimpleTokenizer(clean="canonicalize")


@example("< &amp;amp;amp;lt;")  # how often entities are resolved depends on the rest of the caption
@given(st.text(st.characters(max_codepoint=0x2FF)) | st.text("aZ1 &;.'_<>-#\tésl", max_size=30))
def test_word_by_word_is_as_the_whole(caption: str) -> None:
    for tokenizer in (CLIP, CANONICAL):
        assert CaptionTokens(tokenizer, "a model").ids(caption)[1:-1] == tokenizer.encode(caption)


def test_the_matrix_is_the_tokenizers_own() -> None:
    captions = [
        "",
        "a photo of a cat",
        "İstanbul's  naïve &amp; blasé 🐈",
        *list(CaptionGrammar.recipe("demo")["coat"]),
    ]
    matrix = TOKENS.matrix(captions)
    np.testing.assert_array_equal(matrix, CLIP(captions).numpy())
    assert matrix.dtype == np.int32
    assert TOKENS.matrix([]).shape == (0, 77)


def test_a_word_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = CaptionTokens(open_clip.SimpleTokenizer(), "a model")
    asked = []
    plain = tokens.tokenizer.encode
    monkeypatch.setattr(tokens.tokenizer, "encode", lambda text: asked.append(text) or plain(text))
    tokens.matrix(["a red cat", "a red red dog", "a cat"])
    assert asked == ["a", "red", "cat", "dog"]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("very " * 76, r"has 78 tokens, ViT-B-32 takes at most 77: shorten it"),
        ("a photo \ud83d of a cat", r"holds '\\ud83d', which no tokenizer can encode"),
        ("a cat<end_of_text> on the grass", r"takes for the start or the end of the text"),
        ("a <Start_Of_Text> cat", r"takes for the start or the end of the text"),
    ],
)
def test_a_caption_that_would_not_be_read_whole_is_named(caption: str, message: str) -> None:
    with pytest.raises(InputError, match=r"^the caption .*" + message):
        TOKENS.matrix(["a cat", caption])
    assert TOKENS.refusal("a cat") is None


def hugging_face(**marks: int) -> SimpleNamespace:
    known = {"a": 5, "cat": 6}

    def tokenize(caption: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[1, *(known.get(word, 3) for word in caption.split()), 2])

    tokenize.unk_token_id = 3
    for mark, number in marks.items():
        setattr(tokenize, f"{mark}_token_id", number)
    return SimpleNamespace(tokenizer=tokenize, context_length=8)


def test_characters_that_a_hugging_face_tokenizer_lacks() -> None:
    tokens = CaptionTokens(hugging_face(bos=1, eos=2), "a model")
    assert tokens.refusal("a cat") is None
    assert "characters that the tokenizer of a model does not know" in str(tokens.refusal("a 🐈"))
    assert "has 9 tokens, a model takes at most 8" in str(tokens.refusal("a a a a a a a"))
    ends_with_unknown = CaptionTokens(hugging_face(bos=1, eos=3), "a model")  # as GPT-2's: one id for both
    assert ends_with_unknown.refusal("a 🐈") is None
