from __future__ import annotations

import pytest

import fdgpu
from fdgpu.captions.wordnet.visible import shipped_adjectives
from fdgpu.errors import InputError
from tools.derive_word_lists import VISIBLE


def test_adjectives_by_kind() -> None:
    colours, sizes = fdgpu.visual_adjectives("colour"), fdgpu.visual_adjectives("size")
    assert {"red", "blue", "white", "black", "olive"} <= set(colours)
    assert {"large", "huge", "small", "narrow"} <= set(sizes)
    assert fdgpu.visual_adjectives("colour", "size") == sorted({*colours, *sizes})
    everything = fdgpu.visual_adjectives()
    assert everything == sorted(set(everything))
    assert set(everything) == {adjective for kind in shipped_adjectives().values() for adjective in kind}
    assert list(shipped_adjectives()) == list(VISIBLE)
    assert not [adjective for adjective in everything if "(" in adjective or "_" in adjective]


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(InputError, match="no adjectives of the kind 'smell': use colour, light, size"):
        fdgpu.visual_adjectives("colour", "smell")
