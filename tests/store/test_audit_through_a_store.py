"""An audit with a store and one without are equal to the bit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fdgpu
from fdgpu import EmbeddingStore, FailureDirections
from fdgpu.arrays import counted_crossings
from fdgpu.auditing import AuditResult
from fdgpu.embedding.given import GivenVectors, NamedImages
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.store.stored import StoredVectors
from fdgpu.store.writing import SINK
from tests.pretend_cuda import pretend_cuda, solve_by_twins, up
from tests.store.tiny import Greys, content

N = 48  # images, of two classes


class Scenes(Greys):
    """With enough numbers that classes have directions."""

    def __init__(self) -> None:
        super().__init__(batch_size=7)


def pictures() -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (N, 3, 8, 8))
    levels[::2] //= 2  # dark: there the model fails
    return torch.from_numpy(levels.astype(np.uint8))


def columns() -> dict[str, Any]:
    labels = np.arange(N) // 2 % 2
    wrong = np.arange(N) % 2 == 0
    wrong[::6] = False
    wrong[1::8] = True
    return {
        "labels": labels,
        "predictions": np.where(wrong, 1 - labels, labels),
        "splits": np.where(np.arange(N) % 3 > 0, "val", "test").tolist(),
        "class_names": ["cat", "dog"],
    }


class Answers(nn.Module):
    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.look = nn.Linear(3, k).requires_grad_(False)
        with torch.no_grad():
            self.look.weight.copy_(torch.arange(3.0 * k).reshape(k, 3) - 2)
            self.look.bias.copy_(-torch.arange(1.0 * k))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.look(pictures.mean(dim=(2, 3)) * 4 - 1)


def as_floats(image: Any) -> torch.Tensor:
    pixels = image if isinstance(image, torch.Tensor) else torch.tensor(np.asarray(image)).movedim(2, 0)
    return pixels[:, :4, :4].float() / 255


def of_a_tensor(_: Path) -> dict[str, Any]:
    return {"images": pictures(), **columns()}


def of_a_folder(tmp_path: Path) -> dict[str, Any]:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir(exist_ok=True)
    for row, one in enumerate(pictures()):
        Image.fromarray(one.movedim(0, -1).numpy()).save(folder / f"{row:02}.png")
    (folder / "07.png").write_bytes(b"no picture")
    given = columns()
    names = [f"{row:02}.png" for row in range(N)]
    by_path = {
        name: dict(zip(names, np.asarray(given[name]).tolist(), strict=True))
        for name in ("labels", "predictions", "splits")
    }
    return {"images": folder, **by_path, "class_names": given["class_names"]}


def of_a_classifier(tmp_path: Path) -> dict[str, Any]:
    return of_a_folder(tmp_path) | {"predictions": None, "model": Answers(), "preprocess": as_floats}


def of_conditions(_: Path) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (N, 2))
    predictions = np.where(rng.random((N, 2)) < 0.3, 1 - labels, labels)
    return {"images": pictures(), **columns(), "labels": labels, "predictions": predictions, "class_names": ["a", "b"]}


FEW = {"n_resamples": 0, "n_permutations": 0, "Cs": (0.1,)}


def run(given: dict[str, Any], settings: dict[str, Any] | None = None, **options: Any) -> AuditResult:
    fit = FailureDirections(
        **{"n_resamples": 4, "n_permutations": 20, "Cs": (0.01, 0.1), "tol": 1e-4} | (settings or {})
    )
    return fdgpu.audit(embedder=Scenes(), directions=fit, **given, **options)


def said(result: AuditResult) -> dict[str, Any]:
    findings = asdict(result.findings)
    findings.pop("timings")
    return findings


def same(one: AuditResult, other: AuditResult) -> None:
    assert json.dumps(said(one), default=str) == json.dumps(said(other), default=str)
    assert one.mode_decisions.tobytes() == other.mode_decisions.tobytes()
    assert one.findings.input_fingerprint == other.findings.input_fingerprint


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tensor": of_a_tensor, "folder": of_a_folder, "classifier": of_a_classifier, "conditions": of_conditions,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_with_a_store_and_without(tmp_path: Path, kind: str) -> None:
    given = KINDS[kind](tmp_path)
    plain = run(given)
    first = run(given, store=tmp_path / "store")
    kept = content(tmp_path / "store")
    again = run(given, store=tmp_path / "store")
    same(first, plain)
    same(again, plain)
    assert content(tmp_path / "store") == kept


@pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
def test_vectors_that_nobody_holds_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = of_a_folder(tmp_path)
    plain = run(given)
    for module in ("embedding_store", "filling"):
        monkeypatch.setattr(f"fdgpu.store.{module}.held_bytes", lambda _: 0)
    same(run(given, store=tmp_path / "store"), plain)
    same(run(given, store=tmp_path / "store"), plain)


@pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
def test_an_audit_that_is_written_keeps_its_store(tmp_path: Path) -> None:
    given, out = of_a_folder(tmp_path), tmp_path / "out"
    run(given, out=out)
    first = json.loads((out / "audit.json").read_text())
    kept = content(out / "embeddings")
    assert len(EmbeddingStore.open(out / "embeddings")) == N
    run(given, out=out)
    second = json.loads((out / "audit.json").read_text())
    first.pop("timings"), second.pop("timings")
    assert first == second
    assert content(out / "embeddings") == kept


@pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
def test_a_store_of_vectors_alone_is_told_by_them(tmp_path: Path) -> None:
    """Nobody saw a picture: the fingerprint of the input is that of the vectors."""
    rng, prints = np.random.default_rng(0), []
    for number in range(2):
        store = EmbeddingStore.create(tmp_path / str(number), 6)
        given = columns()
        store.append(
            [str(row) for row in range(N)], rng.normal(size=(N, 6)), labels=given["labels"], splits=given["splits"]
        )
        fit = FailureDirections(n_resamples=0, n_permutations=0)
        result = fdgpu.audit(
            predictions=given["predictions"], class_names=["cat", "dog"], embeddings=store, directions=fit
        )
        prints.append(result.findings.input_fingerprint)
    assert prints[0] != prints[1]


def test_vectors_that_are_there_already_need_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="store is given beside embeddings, which are there already: leave it out"):
        fdgpu.audit(**columns(), embeddings=GivenVectors(np.eye(N)), store=tmp_path / "store")


@pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
@pytest.mark.parametrize(("precision", "answered"), [(torch.float32, False), (torch.float16, True)])
def test_on_a_device_only_the_sink_is_as_large_as_the_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype, answered: bool
) -> None:
    given = of_a_tensor(tmp_path)
    given["images"][3] = 0  # whose checksum on a device is 0
    if answered:
        given |= {"predictions": None, "model": Answers()}

    def audited(**options: Any) -> AuditResult:
        there = dict(given) | {"images": up(given["images"])}
        if answered:
            there["model"] = Answers().to("cuda")
        return run(there, FEW, **options)

    solve_by_twins(monkeypatch)
    with pretend_cuda(monkeypatch, precision):
        plain = audited(store="none")
        with counted_crossings() as crossings:
            first = audited(store=tmp_path / "store")
        with counted_crossings() as later:
            again = audited(store=tmp_path / "store")
    same(first, plain)
    same(again, plain)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.manifest.precision == str(precision).removeprefix("torch.")
    assert store.column("picture").null_count == 0
    large = [one.why for one in crossings if one.bytes >= N * 5 * precision.itemsize and one.shape[-1] == 5]
    assert large == [SINK]
    assert SINK not in {one.why for one in later}


def test_vectors_are_found_by_their_ids(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2, shard_rows=2)
    vectors = np.float32([[1, 0], [0, 1], [0, 0], [0.6, 0.8]])
    store.append(["a", "b\udcff", "c", "d"], vectors, labels=[1, 0, None, 1], skipped=[None, None, "gone", None])
    stands = StoredVectors(store, torch.device("cpu"))
    found = stands.embed(NamedImages(["d", "c", "b\udcff"]), fingerprint=True)
    assert found.vectors.take(np.arange(3)).tolist() == vectors[[3, 2, 1]].tolist()
    assert (found.labels, found.unreadable) == ([1, None, 0], {"c": "gone"})
    assert found.fingerprint != stands.embed(NamedImages(["d", "c", "a"]), fingerprint=True).fingerprint
    with pytest.raises(InputError, match=r"has no vector of 'x' \(2 of 3 images lack one\)"):
        stands.embed(NamedImages(["a", "x", "y"]))


def test_a_generator_is_embedded_and_answered_in_one_pass(tmp_path: Path) -> None:
    given = columns()
    images = (picture for picture in pictures())
    options = {"model": Answers(), "preprocess": as_floats, "predictions": None}
    given |= {"images": images, "store": tmp_path / "store"} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FdgpuWarning)
        through = run(given)
        plain = run(columns() | options | {"images": (picture for picture in pictures())})
    same(through, plain)
    assert len(EmbeddingStore.open(tmp_path / "store")) == N
