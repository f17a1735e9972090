from __future__ import annotations

import pytest

from benchmarks.speed.captions import GRAMMARS, bundled, captions_of, measure


@pytest.mark.parametrize(("grammar", "count"), list(zip(GRAMMARS, [5278, 351, 918], strict=True)))
def test_captions_of_all_classes_stand_once(grammar: str, count: int) -> None:
    captions = captions_of(grammar)
    assert len(captions) == count
    assert len(set(captions)) == len(captions)
    assert all(caption.startswith("a photo of a") for caption in captions)


def test_a_row_holds_both_sides_and_a_ratio_where_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure.__globals__, "SAMPLE", 16)
    monkeypatch.setitem(measure.__globals__, "AT_LEAST_SECONDS", 0.0)
    model = bundled("cpu")
    row = measure(model, "celeba", 1)
    assert row.difference < 1e-5
    assert 1 < row.nodes_a_caption < row.longest <= row.context == 20
    assert row.ratio == row.prefix_tree / row.encode_text
    monkeypatch.setitem(measure.__globals__, "LARGEST_DIFFERENCE", {model.placement.dtype: -1.0})
    assert measure(model, "celeba", 1).ratio is None
