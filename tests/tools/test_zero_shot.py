"""Attributes read in rendered pictures, every value that there is, those that captions do not mention among them."""

from __future__ import annotations

import pytest
import torch

from fdgpu.demo.settings import world_settings
from fdgpu.embedding import ClipEmbedder
from tools.decoder_quality import held_out_pictures
from tools.speech import compose
from tools.zero_shot import read_codes


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.mark.parametrize("attribute", ["colour", "background", "framing"])
def test_most_codes_are_read_as_they_were_drawn(clip: ClipEmbedder, attribute: str) -> None:
    shown = held_out_pictures("test", 300, 0)
    drawn = getattr(shown.attributes, attribute)
    read = read_codes(clip.images(shown.pixels).cpu(), clip.texts, attribute, shown.labels)
    assert set(read.tolist()) == set(drawn.tolist()) == set(range(len(world_settings().names(attribute))))
    assert float((read == drawn).float().mean()) > 0.8


def test_captions_themselves_are_read_as_what_they_say(clip: ClipEmbedder) -> None:
    noun, labels = world_settings().class_names[3], torch.tensor([3, 3, 3])
    vectors = clip.texts([compose(noun), compose(noun, "close-up"), compose(noun, "group of")])
    assert read_codes(vectors, clip.texts, "framing", labels).tolist() == [0, 1, 3]
