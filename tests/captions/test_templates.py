from __future__ import annotations

import pytest

from fdgpu.captions.grammar import agree


@pytest.mark.parametrize(
    ("caption", "written"),
    [
        ("a orange cat", "an orange cat"),
        ("an cat", "a cat"),
        ("a unicorn and a unidentified bird", "a unicorn and an unidentified bird"),
        ("a X-ray", "an X-ray"),
        ("a hour in a house", "an hour in a house"),
        ("a European elk", "a European elk"),
        ("a usher, a used car", "an usher, a used car"),
        ("a umbrella", "an umbrella"),
        ("a one-eyed cat", "a one-eyed cat"),
        ("vitamin-a apple, pizza oven", "vitamin-a apple, pizza oven"),
        ("ends with a", "ends with a"),
    ],
)
def test_the_sound_decides(caption: str, written: str) -> None:
    assert agree(caption) == written
    assert agree(written) == written
