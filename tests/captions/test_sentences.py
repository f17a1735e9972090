"""Sentences from elsewhere: every kind of file says the same, and what a captioner gives is a sentence an image."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fdgpu.captions import CaptionRecipe
from fdgpu.captions.sentences import AT_ONCE, as_captioner, listed_sentences, read_sentences, write_sentences
from fdgpu.errors import InputError, ModelError
from fdgpu.progress import silent

TEXTS = ("a photo of a red boot", "a boot, on grass", 'a "boot"')
GREY = np.full((6, 9, 3), 90, np.uint8)


def write(path: Path, columns: dict[str, list[str | None]]) -> Path:
    """Write a table in the format of the path's ending."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(columns), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl", ".CSV"])
def test_a_table_is_for_all_classes_or_by_class_in_either_form(tmp_path: Path, ending: str) -> None:
    one = write(tmp_path / f"one{ending}", {"caption": [*TEXTS, TEXTS[0], ""], "score": ["1"] * 5})
    assert read_sentences(one) == TEXTS
    wide = write(tmp_path / f"wide{ending}", {"boot": [*TEXTS], "bag": ["a bag", "", None]})
    assert read_sentences(wide) == {"boot": TEXTS, "bag": ("a bag",)}
    rows: dict[str, list[str | None]] = {
        "class": ["boot", "bag", "boot", "boot"],
        "caption": [TEXTS[0], "a bag", *TEXTS[1:]],
    }
    long = write(tmp_path / f"long{ending}", rows)
    assert read_sentences(long) == {"boot": TEXTS, "bag": ("a bag",)}


def test_a_text_file_and_texts_of_json_have_a_sentence_a_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\ufeffa  red boot \r\n\r\na red boot\nein Stiefel, weiß\n", encoding="utf-8")
    assert read_sentences(tmp_path / "own.txt") == ("a red boot", "ein Stiefel, weiß")
    (tmp_path / "own.jsonl").write_text('"a red boot"\n"a bag"\n')
    assert read_sentences(tmp_path / "own.jsonl") == ("a red boot", "a bag")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n\n", "holds no sentence"),
        ("a.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("a.csv", b"", "its header is ''"),
        ("a.csv", b"boot,boot\na,b\n", "name each column once"),
        ("a.csv", b"caption\na boot, on grass\n", "row 2 has more cells than the header"),
        ("a.csv", b'caption\n"a boot\n', "close its quotes"),
        ("a.csv", b"boot,bag\na boot,\n", "column 'bag' holds no sentence"),
        ("a.jsonl", b"{", "line 1 is no JSON"),
        ("a.jsonl", b"3\n", "line 1 is 3: write a text or an object"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("b.txt", None, "b.txt"),
    ],
)
def test_a_file_that_holds_no_sentences(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_sentences(tmp_path / name)


def test_a_million_lines(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("a red boot\na bag\n" * 500_000)
    assert read_sentences(tmp_path / "long.txt") == ("a red boot", "a bag")


@settings(max_examples=25)
@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable()), min_size=1))
def test_a_list_keeps_its_order_and_says_each_once(texts: list[str]) -> None:
    expected = tuple(dict.fromkeys(" ".join(text.split()) for text in texts))
    assert listed_sentences(texts, "grammar") == expected
    assert listed_sentences(pd.Series(texts, dtype=object), "grammar") == expected


@pytest.mark.parametrize("listed", [["a boot", ""], ["a boot", None], ["a boot", 3], [["a boot"]], [], np.arange(3)])
def test_an_entry_that_is_no_sentence(listed: Any) -> None:
    with pytest.raises(InputError, match="grammar holds"):
        CaptionRecipe.resolve(listed, ["boot"])


def test_sentences_become_candidates_beside_the_plain_caption_of_their_class(tmp_path: Path) -> None:
    recipe = CaptionRecipe.resolve(list(TEXTS), ["boot", "bag"], {"bag": "handbag"})
    assert recipe.grammars == {"boot": TEXTS, "bag": TEXTS}
    assert recipe.references == {"boot": "a photo of a boot", "bag": "a photo of a handbag"}
    by_class = CaptionRecipe.resolve({"Boot": list(TEXTS)}, ["bag", "boot"])
    assert by_class.grammars["boot"] == TEXTS
    assert "a photo of a white bag" in by_class.grammars["bag"]
    assert (by_class.references["boot"], by_class.fallen_back) == ("a photo of a boot", ("bag",))
    path = write(tmp_path / "own.csv", {"boot": [*TEXTS]})
    assert CaptionRecipe.resolve(path, ["boot"]).grammars == {"boot": TEXTS}
    with pytest.raises(InputError, match="sentences for 'boot', and for none of the audit's classes, such as 'cat'"):
        CaptionRecipe.resolve(str(path), ["cat", "dog"])


# --- a captioner ------------------------------------------------------------------------------------------------------


def test_a_captioner_is_asked_some_images_at_a_time() -> None:
    asked: list[list[Image.Image]] = []

    def captioner(images: list[Image.Image]) -> list[str]:
        asked.append(images)
        return [f"image  {len(asked)}.{i} " for i in range(len(images))]

    written = write_sentences(captioner, [None, *[GREY] * (AT_ONCE + 1)], silent)
    assert [len(images) for images in asked] == [AT_ONCE, 1]
    assert asked[0][0].size == (9, 6)
    assert written.sentences[:2] == [None, "image 1.0"]
    assert written.sentences[-1] == "image 2.0"
    assert written.reasons == {}


def test_a_captioner_that_raises_on_one_image_describes_the_others() -> None:
    pictures = [np.full((2, 2, 3), level, np.uint8) for level in range(5)]

    def captioner(images: list[Image.Image]) -> list[str]:
        if any(image.getpixel((0, 0)) == (3, 3, 3) for image in images):
            raise ZeroDivisionError("three")
        return ["grey"] * len(images)

    written = write_sentences(captioner, pictures, silent)
    assert written.sentences == ["grey"] * 3 + [None, "grey"]
    assert written.reasons == {3: "ZeroDivisionError: three"}
    with pytest.raises(ModelError, match="failed on all 1 images, first with ZeroDivisionError: three"):
        write_sentences(captioner, pictures[3:4], silent)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (["one"], "gave 1 answers for 2 images"),
        ("one", "gave 'one' for 2 images"),
        (None, "gave None for 2 images"),
        (["one", ""], "gave '' for an image: return a sentence"),
        (["one", 2], "gave 2 for an image"),
        (["one", "half \ud800"], "a text that UTF-8 can hold"),
    ],
)
def test_an_answer_that_is_no_sentence_an_image(answer: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_sentences(lambda _: answer, [GREY, GREY], silent)


@pytest.mark.parametrize("given", [3, str, ["a"], SimpleNamespace()])
def test_what_is_no_captioner(given: Any) -> None:
    with pytest.raises(InputError, match=r"captioner is .*: pass a function of a list of PIL images"):
        as_captioner(given)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of random weights that knows ten words, as its folder."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "photo", "of", "boot", "white", "grass"]
    (folder / "vocab.txt").write_text("\n".join(words))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ids = {"vocab_size": len(words), "bos_token_id": 5, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3}
    config = BlipConfig(
        text_config=small | ids | {"encoder_hidden_size": 16}, vision_config=small | {"image_size": 16, "patch_size": 8}
    )
    BlipForConditionalGeneration(config).eval().save_pretrained(folder)
    pictures = BlipImageProcessor(size={"height": 16, "width": 16})
    BlipProcessor(pictures, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder


def test_a_tiny_model_of_transformers_describes_images_offline(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    captioner = as_captioner(str(tiny), "cpu")
    written = write_sentences(captioner, [GREY, 255 - GREY], silent)
    assert written.reasons == {}
    assert all(text.startswith("a photo of") for text in written.sentences)
    with pytest.raises(ModelError, match="cannot be loaded"):
        as_captioner(str(tiny / "nowhere"))


class Pipeline:
    """What a pipeline of transformers looks like, of each kind."""

    model = "tiny"

    def __init__(self, task: str, chat_template: str | None = None) -> None:
        self.task, self.processor = task, SimpleNamespace(chat_template=chat_template)

    def __call__(self, images: Any = None, text: Any = None, **settings: Any) -> Any:
        assert settings["max_new_tokens"] > 0
        if self.task == "image-to-text":
            return [[{"generated_text": f"{image.size}"}] for image in images]
        if self.processor.chat_template:
            return [[{"generated_text": chat[0]["content"][1]["text"]}] for chat in text]
        return [{"generated_text": f"{text} {images.size}"}]


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (Pipeline("image-to-text"), "(9, 6)"),
        (Pipeline("image-text-to-text"), "a photo of (9, 6)"),
        (Pipeline("image-text-to-text", "{{ messages }}"), "Describe this image in one short sentence."),
    ],
)
def test_each_kind_of_pipeline_is_asked_in_its_way(pipeline: Pipeline, said: str) -> None:
    assert write_sentences(as_captioner(pipeline), [GREY, GREY], silent).sentences == [said] * 2


def test_a_pipeline_for_something_else() -> None:
    with pytest.raises(InputError, match="captioner is a pipeline for 'fill-mask'"):
        as_captioner(Pipeline("fill-mask"))
