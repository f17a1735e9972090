"""What is required is broken where it is missing; what an extra brings is absent, with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fdgpu.doctor import EXTRAS, OPTIONAL, REQUIRED, Line, State, examine, healthy
from tests.cards import show_card, show_no_card


@pytest.mark.parametrize(
    ("module", "detail"),
    [
        ("faiss", "not installed, for an index of captions or images (pip install 'fdgpu[index]')"),
        ("diffusers", "not installed, for decoding directions into pictures (pip install 'fdgpu[decode]')"),
    ],
)
def test_what_an_extra_brings_may_be_absent(module: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    lines = examine()
    (line,) = [line for line in lines if line.name == module]
    assert (line.state, line.detail) == (State.ABSENT, detail)
    assert healthy(lines)
    assert ("caption index runs on" in {line.name for line in lines}) == (module != "faiss")


def test_one_that_is_there_and_cannot_be_imported_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_clashing_library.py").write_text("raise ImportError('built for another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fdgpu.doctor.REQUIRED", ("torch", "a_clashing_library"))
    lines = examine()
    assert [(line.name, line.detail) for line in lines if line.state is State.BROKEN] == [
        ("a_clashing_library", "cannot be imported (built for another torch)")
    ]
    assert not healthy(lines)


@pytest.mark.parametrize("suffixes", [[".heic"], []])
def test_what_decodes_images(suffixes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.embedding.image_file.suffixes", lambda: suffixes)
    monkeypatch.setattr("fdgpu.embedding.image_file.torchcodec_decoders", lambda: torch)
    line = shown("torchcodec")
    assert line.state is State.OK
    assert ("decodes JPEG and PNG, and HEIC too" in line.detail) is bool(suffixes)
    monkeypatch.setattr("fdgpu.embedding.image_file.torchcodec_decoders", lambda: "torchcodec is not installed")
    assert shown("torchcodec") == Line(
        "torchcodec", State.ABSENT, "torchcodec is not installed; Pillow decodes all images"
    )


def test_no_module_is_looked_at_twice() -> None:
    looked_at = [*REQUIRED, *EXTRAS, *OPTIONAL]
    assert len(looked_at) == len(set(looked_at))


def shown(name: str) -> Line:
    (line,) = [line for line in examine() if line.name == name]
    return line


@pytest.mark.parametrize(
    ("card", "capability", "extra"), [("NVIDIA H100", (9, 0), "gpu-cu13"), ("Tesla V100", (7, 0), "gpu-cu12")]
)
def test_a_card_and_the_extra_that_serves_it(
    card: str, capability: tuple[int, int], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_card(monkeypatch, card, capability, built="sm_70 sm_80 sm_90")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=16 * 2**30))
    name = f"{card} (sm_{capability[0]}{capability[1]})"
    assert shown("cuda:0") == Line("cuda:0", State.OK, f"{name}, 16 GiB; pip install 'fdgpu[{extra}]' serves it")
    assert shown("torch's CUDA").detail == "13.0, with code for sm_70, sm_80, sm_90"
    assert shown("embedding computes in").detail == "torch.float16 (auto: float16 on cuda)"


def test_each_card_that_torch_has_no_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "Tesla V100", (7, 0), count=2)
    why = "this torch has no code for Tesla V100 (sm_70), only for sm_75, sm_80, sm_86, sm_90, sm_100, sm_120; "
    for name in ("cuda:0", "cuda:1"):
        assert shown(name) == Line(name, State.ABSENT, f"{why}pip install 'fdgpu[gpu-cu12]'")
    lines = examine()
    assert why in next(line.detail for line in lines if line.name == "embedding runs on")
    assert healthy(lines)  # the CPU serves


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Found no NVIDIA driver on your system. Please check", "no NVIDIA driver is installed"),
        (
            "The NVIDIA driver on your system is too old (found version 12040). Please update",
            "the NVIDIA driver serves CUDA 12.4 at most, and this torch was built for CUDA 13.0; update the driver, or",
        ),
    ],
    ids=["no driver", "an old driver"],
)
def test_a_driver_that_serves_no_card(said: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_no_card(monkeypatch, said)
    line = shown("CUDA")
    assert line.state is State.ABSENT
    assert words in line.detail


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue\n",
            Line("NVIDIA driver", State.OK, "535.54.03"),
        ),
        (None, Line("NVIDIA driver", State.ABSENT, "none is loaded")),
    ],
)
def test_the_driver(text: str | None, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if text:
        (tmp_path / "version").write_text(text)
    monkeypatch.setattr("fdgpu.cuda.DRIVER", tmp_path / "version")
    assert shown("NVIDIA driver") == line


@pytest.mark.parametrize(
    ("triton", "words"),
    [(SimpleNamespace(__version__="3.4.0"), "3.4.0, and its compiler crashes"), (None, "cannot be imported")],
    ids=["too old", "missing"],
)
def test_a_triton_that_does_not_compile(triton: object | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", triton)
    line = shown("triton")
    assert line.state is State.ABSENT
    assert words in line.detail
    assert "pip install --upgrade" in line.detail
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.5.1"))
    assert shown("triton").state is State.OK


def test_a_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    show_no_card(monkeypatch, "not compiled with CUDA enabled", wheel=None)
    assert shown("torch's CUDA") == Line("torch's CUDA", State.ABSENT, "this torch was built without CUDA")


def test_two_builds_of_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"faiss-cpu": "1.15.1", "faiss-gpu-cu12": "1.14.1"}
    monkeypatch.setattr("fdgpu.doctor.installed", lambda module: builds if module == "faiss" else {})
    line = shown("faiss twice")
    assert line.state is State.BROKEN
    assert line.detail == ("faiss-cpu 1.15.1 and faiss-gpu-cu12 1.14.1: pip uninstall them all, then install one")
    builds.pop("faiss-cpu")
    assert "faiss twice" not in {line.name for line in examine()}
