"""What can be known beforehand is said before any image is embedded, and leaves nothing on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu import CaptionIndex, FailureDirections
from fdgpu.auditing import Planted
from fdgpu.demo.run import demo
from fdgpu.demo.world import make_split
from fdgpu.device import Choice
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.errors import InputError
from fdgpu.findings import Split

N = 8


class Unused(ImageEmbedder):
    """An embedder that nobody may embed with."""

    name, dimension = "unused", 4
    unread, text_method_ = "", Choice("encode_text", "")

    def __init__(self) -> None:
        pass

    def embed(self, *_: object, **__: object) -> None:
        pytest.fail("the work began")

    texts = fits = embed


def planted(minority: Any) -> dict[str, Planted]:
    return {"a": Planted("colour", "red", "blue", "a blue", minority)}


WRONG = [
    *(({"seed": seed}, "seed is .*: use a whole number from 0") for seed in (-1, 2**63, 2**70, 1.5, "a", None, True)),
    *(({"title": title}, "title is .*: use a text") for title in (None, 5, ["a"])),
    *(({"out": out}, "out is .*: pass the path of a folder") for out in (5, "", b"a", "nul\0byte")),
    ({"out": "file"}, r"file cannot be written \(Not a directory\)"),
    ({"out": "file/below"}, r"below cannot be written \(Not a directory\)"),
    *(({"embedder": one}, "embedder is .*: pass an fdgpu.ClipEmbedder") for one in (5, torch.nn.ReLU())),
    *(({"decoder": one}, "decoder is .*: pass an fdgpu.Decoder") for one in ("bundled", 5)),
    *(({"directions": one}, "directions is .*: pass an fdgpu.FailureDirections") for one in (5, FailureDirections)),
    *(({"progress": one}, "progress is .*: pass a function") for one in (5, "bar")),
    *(({"timings": one}, "timings is .*: pass seconds") for one in (5, {1: 2.0}, {"a": "b"}, {"a": float("nan")})),
    ({"planted": [1]}, "planted is .*: pass a mapping of class name to Planted"),
    ({"planted": {"a": 5}}, "planted of 'a' is 5: pass a Planted"),
    ({"planted": {"z": planted(np.zeros(N, bool))["a"]}}, "planted names 'z', which is not one of the 2 classes"),
    ({"planted": planted(np.zeros(N - 1, bool))}, r"minority of 'a' is .*: pass \(8,\) bool"),
    ({"planted": planted(np.zeros(N))}, r"minority of 'a' is .*: pass \(8,\) bool"),
    ({"grammar": "nope"}, "no recipe 'nope'"),
    ({"grammar": 5}, "grammar is a int"),
    ({"grammar": CaptionIndex(np.eye(3, dtype=np.float32), ["a", "b", "c"])}, "of 3 numbers, the embedder gives 4"),
    (
        {"images": [f"missing/{i}.png" for i in range(N)]},
        "no image of the split 'val' can be used: 8 × .*missing/0.png",
    ),
    ({"images": torch.zeros(N - 1, 3, 4, 4)}, "images has 7 entries, labels has 8"),
    ({"splits": ["val"] * (N - 1)}, "splits has 7 entries"),
    ({"confidence": [0.5] * (N - 1)}, "confidence has 7 entries"),
    ({"groups": [1] * (N - 1)}, "groups has 7 entries"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_a_wrong_argument_of_audit(
    change: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    given = {"images": torch.zeros(N, 3, 4, 4), "embedder": Unused(), "out": tmp_path / "deep" / "out"} | change
    with pytest.raises(InputError, match=says) as caught:
        fdgpu.audit(labels=["a", "b"] * (N // 2), predictions=["a"] * N, **given)
    str(caught.value).encode()  # it can be printed
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match=r"0\.0 MB are free, and about 0\.2 MB will be written"):
        fdgpu.audit(
            torch.zeros(N, 3, 4, 4), ["a", "b"] * (N // 2), ["a"] * N, embedder=Unused(), out=tmp_path / "out"
        )  # fmt: skip
    with pytest.raises(InputError, match="MB will be written"):
        demo(tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"out": "file"}, "file cannot be written"),
        ({"out": ""}, "out is ''"),
    ],
)
def test_a_wrong_argument_of_the_demo(
    given: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr("fdgpu.demo.run.make_split", lambda *_: pytest.fail("the work began"))
    with pytest.raises(InputError, match=says):
        demo(**{"out": tmp_path / "out"} | given)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_users_predictions_are_not_replaced_by_the_demos(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("mine")
    with pytest.raises(InputError, match=r"holds a predictions.csv that is not the demo's"):
        demo(tmp_path)
    assert (tmp_path / "predictions.csv").read_text() == "mine"


def test_the_largest_seed_draws_a_world_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("fdgpu.demo.world.draw_attributes", lambda _, generator: drawn.append(generator.initial_seed()))
    for seed in (0, 5, 2**63 - 1):
        for split in Split:
            with pytest.raises((TypeError, AttributeError)):
                make_split(split, seed)  # nothing was drawn that could be planted in
    assert drawn[:6] == [0, 1, 2, 15, 16, 17]
    assert len(set(drawn)) == 9
