from __future__ import annotations

import re
import tomllib

import pytest

from fdgpu.captions.toml_lines import TomlLines

TEXT = """\
template = "a {noun}"
[slots]
noun = ["x"]

[[classes]]
name = "a"
[[ classes ]]
name = "b"
extra.preposition = [
  "on",
]
"""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("", "template"), "own.toml, line 1"),
        (("slots", "noun"), "own.toml, line 3"),
        (("slots", "verb"), "own.toml, line 2"),
        (("classes", "", 1), "own.toml, line 7"),
        (("classes", "name", 1), "own.toml, line 8"),
        (("classes", "extra", 1), "own.toml, line 9"),
        (("classes", "", 2), "own.toml"),
        (("", "extends"), "own.toml"),
    ],
)
def test_a_place_is_found_or_what_stands_around_it(place: tuple, said: str) -> None:
    assert TomlLines(TEXT, "own.toml").at(*place) == said


def test_tomllibs_complaints_have_the_line_in_front() -> None:
    for text, said in (("a = 1\nb = [1,,2]", r"own.toml, line 2: .*column 8"), ("a = ", r"own.toml.*: .")):
        with pytest.raises(tomllib.TOMLDecodeError) as raised:
            tomllib.loads(text)
        assert re.match(said, TomlLines(text, "own.toml").syntax(raised.value))
