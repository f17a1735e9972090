"""What is averaged, what is stored, and the sentence on where fdgpu loses."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from benchmarks.slices.__main__ import stored_rows, table
from benchmarks.slices.contenders import Measurement
from benchmarks.slices.summary import losses, summarise


def row(method: str, family: str, precision: float, strength: float = 0.1, seed: int = 0) -> Measurement:
    return Measurement(method, family, strength, 4.0, seed, 2, precision, precision / 2, float(precision >= 0.8), 0.5)


ROWS = [
    row("fdgpu", "rare", 0.2),
    row("fdgpu", "rare", 0.6, seed=1),
    row("fdgpu, not whitened", "rare", 1.0),
    row("confidence", "rare", 0.5),
    row("Domino", "rare", 0.7),
    row("fdgpu", "correlation", 0.9),
    row("Domino", "correlation", 0.9),
]


def test_means_are_over_rows_of_the_same_key() -> None:
    means = summarise(ROWS, lambda r: (r.family, r.method))
    assert means["rare", "fdgpu"].precision_10 == pytest.approx(0.4)
    assert means["rare", "fdgpu"].precision_25 == pytest.approx(0.2)
    assert (means["rare", "fdgpu"].settings, means["correlation", "fdgpu"].found) == (2, 1.0)


def test_sentence_names_the_best_of_those_that_are_better() -> None:
    printed = losses(ROWS)
    assert "loses in 1 of 2 combinations" in printed
    assert "rare 0.1 at d' 4 (0.40, Domino 0.70)" in printed
    assert "not whitened" not in printed
    assert "correlation" not in printed  # a draw is no loss


def test_sentence_without_a_loss_says_so() -> None:
    assert "loses in none of 1 " in losses(ROWS[5:])


def test_table_and_stored_rows_hold_every_method_and_family() -> None:
    out = StringIO()
    Console(file=out, width=140).print(table(ROWS))
    for text in ("rare", "correlation", "fdgpu, not whitened", "Domino", "0.40", "90"):
        assert text in out.getvalue()
    kept = stored_rows(ROWS, 500)
    assert len(kept) == 6
    assert kept[0] | {"precision_10": 0.4, "settings": 2, "samples": 500, "separation": 4.0} == kept[0]
