from __future__ import annotations

from fdgpu.captions.names import ClassNames, told_apart


def test_names_are_told_apart_where_they_must_be() -> None:
    others = [("n1", "x"), ("n2",), ("n3",), ()]
    assert told_apart(["crane", "tench", "crane", "crane"], others) == ["crane (n1)", "tench", "crane (n3)", "crane"]


CRANES = ClassNames([("crane", "n1", "crane bird"), ("tench", "n2"), ("crane", "n3"), ("sea_lion", "Sea Lion 2")])


def test_a_class_is_found_by_any_name_however_it_is_spelled() -> None:
    assert CRANES.match(["n3", "Tench", "sea lion", "sea lion  2", "trout"]).places == [2, 1, 3, 3, None]


def test_two_of_a_name_are_found_in_their_order_or_by_what_is_left() -> None:
    assert CRANES.match(["crane", "tench", "crane"]).places == [0, 1, 2]
    assert CRANES.match(["crane", "crane bird"]).places == [2, 0]
    assert CRANES.match(["crane", "crane bird"]).ambiguous == {}


def test_one_of_two_is_not_guessed() -> None:
    matches = CRANES.match(["tench", "crane"])
    assert matches.places == [1, None]
    assert matches.ambiguous == {"crane": (0, 2)}
    assert CRANES.match(["crane"] * 3).places == [None] * 3


def test_upper_case_tells_apart_what_has_both() -> None:
    both = ClassNames([("Turkey",), ("turkey",)])
    assert both.match(["turkey", "Turkey"]).places == [1, 0]
    assert both.match(["TURKEY"]).ambiguous == {"TURKEY": (0, 1)}
