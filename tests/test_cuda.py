"""What a build of torch runs on, and what is said where it runs on nothing."""

from __future__ import annotations

import pytest
import torch

from fdgpu.cuda import architectures, runs_on, serving_extra, version_of, why_no_cuda, why_no_triton
from tests.cards import CUDA_13, show_card, show_no_card


@pytest.mark.parametrize(
    ("architecture", "on", "not_on"),
    [
        ("sm_80", [(8, 0), (8, 6), (8, 9)], [(7, 5), (9, 0)]),
        ("sm_86", [(8, 6), (8, 9)], [(8, 0), (9, 0)]),
        ("sm_90a", [(9, 0)], [(8, 0), (10, 0)]),
        ("sm_100f", [(10, 0), (10, 3)], [(9, 0), (11, 0), (12, 0)]),
        ("sm_103a", [(10, 3)], [(10, 0), (10, 4)]),
        ("compute_80", [(8, 0), (9, 0), (12, 0)], [(7, 5)]),
        ("compute_90a", [(9, 0)], [(8, 0), (10, 0)]),
        ("compute_100f", [(10, 0), (10, 3)], [(9, 0), (12, 0)]),
        ("gfx90a", [], [(9, 0)]),
    ],
)
def test_what_an_architecture_runs_on(
    architecture: str, on: list[tuple[int, int]], not_on: list[tuple[int, int]]
) -> None:
    assert all(runs_on(capability, [architecture]) for capability in on)
    assert not any(runs_on(capability, [architecture]) for capability in not_on)


def test_any_of_several_is_enough() -> None:
    assert runs_on((8, 9), CUDA_13.split())
    assert not runs_on((7, 0), CUDA_13.split())
    assert not runs_on((8, 0), [])


def test_the_installed_torch_tells_without_a_device() -> None:
    built = architectures()
    assert bool(built) == (torch.version.cuda is not None)
    assert all(name.startswith(("sm_", "compute_")) for name in built)


@pytest.mark.parametrize(
    ("name", "capability", "built", "remedy"),
    [
        ("Tesla V100", (7, 0), CUDA_13, "pip install 'fdgpu[gpu-cu12]'"),
        ("a card of next year", (13, 0), CUDA_13, "pip install --upgrade 'fdgpu[gpu-cu13]'"),
        ("GeForce GTX 1080", (6, 1), CUDA_13, "use device='cpu'"),
        ("Tesla T4", (7, 5), "sm_80 sm_90", "pip install 'fdgpu[gpu-cu13]'"),
    ],
)
def test_the_remedy_is_a_build_that_has_the_card(
    name: str, capability: tuple[int, int], built: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_card(monkeypatch, name, capability, built=built)
    why = why_no_cuda(torch.device("cuda:0"))
    assert why is not None
    assert why.startswith(f"this torch has no code for {name} (sm_{capability[0]}{capability[1]}), only for ")
    assert why.endswith(f"; {remedy}")
    assert why_no_triton() == why


def test_a_card_older_than_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "GeForce GTX 1080", (6, 1), built="sm_61 sm_70")
    assert why_no_cuda() is None
    assert why_no_triton() == "GeForce GTX 1080 (sm_61) is too old for the kernels, which need sm_70 or newer"


def test_each_card_has_an_extra() -> None:
    assert [serving_extra(card) for card in ((7, 0), (7, 5), (9, 0), (12, 0))] == ["gpu-cu12"] + ["gpu-cu13"] * 3


@pytest.mark.parametrize(
    ("said", "wheel", "words"),
    [
        ("", None, "this torch was built without CUDA; install a CUDA build of torch"),
        (
            "driver on your system is too old (found version 11080).",
            "12.8",
            "CUDA 11.8 at most, and this torch was built",
        ),
        ("driver on your system is too old (found version 11080).", "13.0", "built for CUDA 13.0; update the driver)"),
        ("CUDA driver initialization failed. More words", "13.0", "(CUDA driver initialization failed; nvidia-smi"),
    ],
)
def test_why_no_device_answers(said: str, wheel: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_no_card(monkeypatch, said, wheel=wheel)
    why = why_no_cuda()
    assert why is not None
    assert words in why


def test_devices_that_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    show_no_card(monkeypatch, "No CUDA GPUs are available")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert why_no_cuda() == "no CUDA device (No CUDA GPUs are available; nvidia-smi shows what the driver sees)"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert why_no_cuda() == "no CUDA device (CUDA_VISIBLE_DEVICES is '-1', which shows no device; unset it)"


def test_a_version_has_two_numbers() -> None:
    assert [version_of(text) for text in ("3.5.1+git12", "3.10.0", "12.8")] == [(3, 5), (3, 10), (12, 8)]
