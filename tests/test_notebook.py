"""What a notebook shows: short representations, a progress bar, figures, in outputs that stay small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

import fdgpu
from fdgpu import progress
from fdgpu.described import Described, html_table
from fdgpu.findings import ClassFindings, Findings
from fdgpu.report.page import summary_table

MOST = 20_000  # bytes of an output that is no picture
CELLS = (
    """
import warnings; warnings.simplefilter("ignore")
import numpy as np, fdgpu
from fdgpu.embedding import ClipEmbedder
rng = np.random.default_rng(0)
n, d = 240, 16
labels = np.repeat(["<b>cat", "dog"], n // 2)
wrong = rng.random(n) < 0.3
vectors = rng.normal(size=(n, d)) - 2 * wrong[:, None] * np.eye(d)[0]
predictions = np.where(wrong, labels[::-1], labels)
texts = [f"a photo of a {noun}{place}" for noun in ("<b>cat", "dog") for place in ("", " indoors", " outside")]
captions = (texts, rng.normal(size=(6, d)))
splits = np.where(np.arange(n) % 2, "val", "test")
confidence = rng.uniform(0.5, 1, n)
""",
    """
result = fdgpu.audit(
    (rng.random((n, 8, 8, 3)) * 255).astype(np.uint8), labels, predictions, splits=splits, embeddings=vectors,
    captions=captions, confidence=confidence, directions=fdgpu.FailureDirections(n_permutations=19, n_resamples=5))
result
""",
    'result.plot("dog")',
    'result.plot("<b>cat", "decisions")',
    """
fit, first = result.directions.fitted, result.findings.classes[0]
kept = (result, result.directions, result.findings, result.captions, fit, fit.whitening, first, result.pictures)
[repr(one) for one in (*kept, result.findings.images, *first.modes, first.strongest.decisions)]
""",
    "result.frame('classes')",
    "result.directions",
)


@pytest.fixture(scope="module")
def outputs() -> list[list[Any]]:
    """The outputs of each cell, as a notebook of a kernel of its own keeps them."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def test_outputs_are_small_but_pictures_and_nothing_is_said_beside(outputs: list[list[Any]]) -> None:
    for cell in outputs:
        for output in cell:
            assert output.output_type in ("display_data", "execute_result"), output
            texts = {kind: text for kind, text in output.data.items() if not kind.startswith("image/")}
            assert all(len(str(text).encode()) < MOST for text in texts.values()), output
            assert "<script" not in str(texts)


def test_a_progress_bar_is_seen_in_one_output(outputs: list[list[Any]]) -> None:
    bars, shown = outputs[1]
    html = bars.data["text/html"]
    stages = re.findall(r"<th[^>]*>([^<]+)</th>", html)
    assert {"sort errors", "score captions", "gather findings"} <= set(stages)
    assert re.search(r'<progress value="1" max="1">', html)
    assert "gather findings          1/1" in bars.data["text/plain"]
    assert shown.output_type == "execute_result"


def test_a_result_is_a_table_of_its_classes(outputs: list[list[Any]]) -> None:
    shown = outputs[1][1].data
    assert "&lt;b&gt;cat" in shown["text/html"]
    assert "<b>cat" not in shown["text/html"]
    assert shown["text/html"].count("<tr>") == 3
    assert re.fullmatch(r"AuditResult\(title='.*', classes=2, significant=\d, .*out=None\)", shown["text/plain"])


@pytest.mark.parametrize("cell", [2, 3])
def test_figures_are_shown_once(cell: int, outputs: list[list[Any]]) -> None:
    (figure,) = outputs[cell]
    assert len(figure.data["image/png"]) > 5_000


def test_no_vector_is_printed(outputs: list[list[Any]]) -> None:
    (said,) = outputs[4]
    text = said.data["text/plain"]
    assert "array(" not in text
    assert "tensor(" not in text
    assert len(text) < 2_000


def test_frames_and_estimators_are_tables(outputs: list[list[Any]]) -> None:
    assert "accuracy_hard_side" in outputs[5][0].data["text/html"]
    estimator = outputs[6][0].data
    assert "n permutations" in estimator["text/html"]
    assert estimator["text/plain"].startswith("FailureDirections(n_permutations=19, n_resamples=5, classes=2, solved=2")


# --- without a kernel -------------------------------------------------------------------------------------------------


class Facts(Described):
    def __init__(self, **facts: object) -> None:
        self.facts = facts

    def _described(self) -> dict[str, object]:
        return self.facts


class Texts(HTMLParser):
    """The texts of a page, and its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: set[str] = set()
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.elements.add(tag)


def test_facts_are_shown_short_and_as_text() -> None:
    one = Facts(name="<script>", n=3, vector=torch.zeros(1000))
    assert repr(one) == "Facts(name='<script>', n=3, vector=a Tensor)"
    found = Texts(one._repr_html_())
    assert found.texts == ["Facts", "name", "<script>", "n", "3", "vector", "a Tensor"]
    assert found.elements == {"p", "table", "tr", "th", "td"}


def test_a_table_of_many_classes_stays_small_and_counts_what_it_leaves_out() -> None:
    rows = [(f"<class {i}>" + "\N{SNOWMAN}" * 500, "x") for i in range(1000)]
    html = html_table("caption", ("class", "x"), rows)
    assert len(html.encode()) < MOST
    shown = html.count("<tr>") - 1
    assert shown > 10
    assert f"… and {1000 - shown} more" in html


def test_a_result_of_a_thousand_classes_is_below_20_kb() -> None:
    classes = tuple(ClassFindings(f"{i} <&>", "too_few_errors", "", 3, 1) for i in range(1000))
    findings = Findings(
        version="1", seed=0, model="m", backend="numba", backend_reason="", device="cpu", title="t", classes=classes,
        timings={}, n_images={"val": 3}, fitted_on="val", whitened_by="val", shown_from="val", C_grid=(1.0,),
    )  # fmt: skip
    html = summary_table(findings)
    assert len(html.encode()) < MOST
    assert html.startswith("<p>In <b>0</b> of 1,000 classes its errors")
    assert len(repr(findings)) < 300


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: fdgpu.FailureDirections(cv=5, Cs=np.array([1.0])), "FailureDirections(Cs=a ndarray, cv=5)"),
        (
            lambda: fdgpu.CaptionGrammar("a {noun}", noun=["cat"]),
            "CaptionGrammar(template='a {noun}', captions=1, noun=1)",
        ),
        (lambda: fdgpu.VectorIndex(), "VectorIndex(vectors=0, backend='cpu')"),
        (
            lambda: fdgpu.Classifier.from_model(torch.nn.Linear(2, 2), None, ["a", "b"]),
            "Classifier(name='Linear', classes=2, preprocessing='by the source of the images')",
        ),
    ],
)
def test_each_shows_its_name_and_a_few_facts(make: Any, shown: str) -> None:
    one = make()
    assert repr(one) == shown
    assert len(one._repr_html_()) < MOST


def test_a_store_and_embedders_show_what_they_hold(tmp_path: Any) -> None:
    store = fdgpu.EmbeddingStore.create(tmp_path / "s", 3)
    assert repr(store).endswith("images=0, dimension=3, precision='float32')")
    clip = fdgpu.ClipEmbedder.bundled("cpu")
    assert repr(clip) == f"ClipEmbedder(name='bundled', dimension={clip.dimension}, device='cpu', precision='float32')"


def test_outside_of_a_notebook_nothing_is_displayed() -> None:
    assert not progress.in_notebook()
    with progress.OneBar(None) as report:
        assert report is progress.silent


def test_bars_of_a_notebook_are_redrawn_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    class Output:
        def update(self, shown: Any) -> None:
            drawn.append(repr(shown))

    def display(shown: Any, display_id: bool) -> Output:
        assert display_id
        drawn.append(repr(shown))
        return Output()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "monotonic", lambda: 100.0)
    with progress.NotebookBars() as bars:
        for i in range(1000):
            bars("embed", i, 1000)
        bars("fit", 0, None)
    assert [line.split()[-1] for line in drawn] == ["0/1,000", "0/?", "0/?"]
    assert "999/1,000" in drawn[-1]
