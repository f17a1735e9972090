"""What arguments a text-to-image pipeline may get, and what of its answer is a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu import text_to_image
from fdgpu.decoding.synthetic import SET_HERE, PipelinePainter
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from tests.decoding import tiny

CAPTIONS = {"cat": {"hard": "a white cat", "easy": "a cat inside"}}


@pytest.mark.parametrize("name", SET_HERE)
def test_what_is_set_here_cannot_be_given(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{name} was given, .* leave it out"):
        text_to_image(CAPTIONS, tiny.text_to_image(), tmp_path, **{name: None})
    assert not list(tmp_path.iterdir())


def test_a_pipeline_that_makes_nan_is_named(tmp_path: Path) -> None:
    pipeline = tiny.text_to_image()
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.bias.fill_(torch.nan)
    with pytest.raises(ModelError, match=r"made NaN of 2 of 2 captions, the first is 'a white cat': .*bfloat16"):
        text_to_image(CAPTIONS, pipeline, tmp_path, per_caption=1, num_inference_steps=1)
    assert not list(tmp_path.glob("cat/**/*.png"))


class Checked:
    """A pipeline whose safety checker makes some pictures black."""

    def __init__(self, flags: Sequence[bool] | None) -> None:
        self.flags = flags

    def __call__(self, prompt: list[str], generator: Any = None, output_type: str = "np") -> Any:  # noqa: ARG002
        return SimpleNamespace(images=np.zeros((len(prompt), 4, 4, 3)), nsfw_content_detected=self.flags)


def test_pictures_that_were_made_black_are_counted() -> None:
    for flags in (None, [False, False, False]):
        PipelinePainter(Checked(flags))(["a", "b", "c"], [0, 1, 2])
    with pytest.warns(
        FdgpuWarning, match="the safety checker of Checked made 2 of 3 pictures black, the first is of 'b'"
    ):
        PipelinePainter(Checked([False, True, True]))(["a", "b", "c"], [0, 1, 2])
