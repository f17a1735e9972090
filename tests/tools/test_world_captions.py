"""Captions that are true of pictures, and attributes read in these, values that no caption mentions among them."""

from __future__ import annotations

import pytest
import torch

from fdgpu.demo.world import ATTRIBUTES, draw_attributes, world_settings
from fdgpu.embedding import ClipEmbedder
from tools.decoder_quality import held_out_pictures
from tools.world_captions import adjectives, all_captions, compose, prepositions, read_codes, truth_table


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


def test_captions_say_what_is_true() -> None:
    captions = all_captions()
    assert len(captions) == 10 * len(adjectives()) * len(prepositions()) == 650
    labels = torch.arange(60) % 10
    attributes = draw_attributes(60, torch.Generator().manual_seed(0))
    truth = truth_table(captions, attributes, labels)
    index = {caption.text: i for i, caption in enumerate(captions)}
    noun = world_settings().class_names[int(labels[0])]
    named = attributes.named(0)
    assert truth[0, index[f"a photo of a {noun}"]]
    assert truth[0, index[f"a photo of a {named['colour']} {noun}"]]
    assert not truth[0, index["a photo of a boot"]]
    wrong = next(c for c in world_settings().names("colour") if c != named["colour"])
    assert not truth[:, index[f"a photo of a {wrong} {noun}"]][0]
    assert set(named) == set(ATTRIBUTES)
