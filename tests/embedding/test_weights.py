"""Weights from files: OpenAI's own archives, the activation that they need, and files that are none."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file

from fdgpu import ClipEmbedder
from fdgpu.embedding.named_networks import _decide
from fdgpu.errors import FdgpuWarning, ModelError

from .towers import VISION, roughened

TINY, QUICK, WIDE = "fdgpu-tiny", "fdgpu-tiny-quickgelu", "fdgpu-wide"
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2}
OWN = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}


@pytest.fixture(scope="module", autouse=True)
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A model of open_clip's with a twin, as ViT-B-32 has one, and a wider one without."""
    folder = tmp_path_factory.mktemp("models")
    for name, more in ((TINY, {}), (QUICK, {"quick_gelu": True}), (WIDE, {"vision_cfg": {**VISION, "width": 24}})):
        config = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT, **more}
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    yield
    for name in (TINY, QUICK, WIDE):
        del factory._MODEL_CONFIGS[name]


def made(name: str = QUICK) -> Any:
    torch.manual_seed(0)
    return roughened(open_clip.create_model(name, load_weights=False))


@pytest.fixture(scope="module")
def trained() -> Any:
    """With QuickGELU."""
    return made()


class Holder(torch.nn.Module):
    """Buffers under dotted names, as a scripted module holds them."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            module = self
            *folders, leaf = name.split(".")
            for folder in folders:
                if not hasattr(module, folder):
                    module.add_module(folder, torch.nn.Module())
                module = getattr(module, folder)
            module.register_buffer(leaf, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Restoring(Holder):
    @torch.jit.export
    def __getstate__(self) -> int:
        return 1

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        self.training = state == 1


def archive(path: Path, weights: dict[str, torch.Tensor], kind: type[Holder] = Holder) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # newer torch would have it exported otherwise; OpenAI's archives stay as they are
        torch.jit.save(torch.jit.script(kind(weights)), str(path))
    return path


def half(model: Any) -> dict[str, torch.Tensor]:
    """Weights as OpenAI saved them: half precision, exact in what was rounded to it."""
    return {name: value.half() for name, value in model.state_dict().items()}


def openais(model: Any) -> dict[str, torch.Tensor]:
    return half(model) | {name: torch.tensor(value) for name, value in OWN.items()}


def same_vectors(clip: ClipEmbedder, model: Any, tolerance: float = 1e-5) -> bool:
    pictures = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.encode_image(clip.preprocess.normalise(pictures, torch.float32), normalize=True)
        captions = model.encode_text(clip.tokenizer(["a red cat"]), normalize=True)
    near = {"atol": tolerance, "rtol": 0}
    return torch.allclose(clip.images(pictures), expected, **near) and torch.allclose(
        clip.texts("a red cat"), captions, **near
    )


@pytest.mark.parametrize("name", [TINY, QUICK])
@pytest.mark.parametrize("form", ["archive", "state_dict"])
def test_openais_own_weights_load_with_quick_gelu(trained: Any, tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / "ViT-B-32.pt"
    archive(path, openais(trained)) if form == "archive" else torch.save(openais(trained), path)
    clip = ClipEmbedder(name, str(path), device="cpu")
    rounded = made()
    rounded.load_state_dict({key: value.float() for key, value in half(trained).items()})
    assert same_vectors(clip, rounded)
    assert clip.activation_.name == "quick_gelu"
    assert ("own entries" in clip.activation_.reason) == (name == TINY)
    assert clip.doubts == ()
    assert clip.model.visual.conv1.weight.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in clip.model.parameters())


def test_the_activation_changes_the_vectors(trained: Any) -> None:
    plain = made(TINY)
    plain.load_state_dict(trained.state_dict())
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(trained.encode_image(pictures), plain.encode_image(pictures), atol=1e-4)


@pytest.mark.parametrize("form", ["state_dict", "module.", "half", "safetensors"])
def test_a_file_that_says_nothing_follows_the_name_with_a_warning(trained: Any, tmp_path: Path, form: str) -> None:
    weights = half(trained) if form == "half" else trained.state_dict()
    path = tmp_path / ("tuned.safetensors" if form == "safetensors" else "tuned.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "module.":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}, path)
    else:
        torch.save(weights, path)
    with pytest.warns(FdgpuWarning, match=f"GELU was taken, as in {TINY}.*name the model {QUICK}") as seen:
        clip = ClipEmbedder(TINY, str(path), device="cpu")
    assert [str(one.message) for one in seen] == list(clip.doubts)
    assert clip.activation_.name == "gelu"
    tolerance = 1e-2 if form == "half" else 1e-5
    assert not same_vectors(clip, trained, tolerance=1e-4)
    remedied = ClipEmbedder(QUICK, str(path), device="cpu")
    assert same_vectors(remedied, trained, tolerance)
    assert (remedied.activation_.name, remedied.doubts) == ("quick_gelu", ())


@pytest.mark.parametrize(("written", "name"), [(True, "quick_gelu"), (False, "gelu")])
def test_a_configuration_beside_the_weights_decides(trained: Any, tmp_path: Path, written: bool, name: str) -> None:
    torch.save(trained.state_dict(), tmp_path / "tuned.pt")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": written}}))
    clip = ClipEmbedder(TINY, str(tmp_path / "tuned.pt"), device="cpu")
    assert (clip.activation_.name, "open_clip_config.json" in clip.activation_.reason) == (name, True)
    assert same_vectors(clip, trained) == written


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"model_cfg": 3}', "[" * 10_000, "\\xff"])
def test_a_configuration_that_is_none_decides_nothing(trained: Any, tmp_path: Path, text: str) -> None:
    torch.save(trained.state_dict(), tmp_path / "tuned.pt")
    (tmp_path / "open_clip_config.json").write_bytes(text.encode("latin-1"))
    with pytest.warns(FdgpuWarning, match="does not say which activation"):
        ClipEmbedder(TINY, str(tmp_path / "tuned.pt"), device="cpu")


@pytest.mark.parametrize("published", [True, False])
def test_a_published_file_is_known_by_its_checksum(
    trained: Any, tmp_path: Path, published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(trained.state_dict(), tmp_path / "downloaded.pt")
    digest = hashlib.sha256((tmp_path / "downloaded.pt").read_bytes()).hexdigest()
    digest = digest if published else digest[::-1]
    for url in (f"https://example.org/clip/models/{digest}/A.pt", f"https://example.org/v0/a-{digest[:8]}.pt"):
        monkeypatch.setitem(_PRETRAINED, TINY, {"theirs": {"url": url, "quick_gelu": True}})
        if not published:
            with pytest.warns(FdgpuWarning, match="does not say which activation"):
                assert ClipEmbedder(TINY, str(tmp_path / "downloaded.pt"), device="cpu").activation_.name == "gelu"
            continue
        clip = ClipEmbedder(TINY, str(tmp_path / "downloaded.pt"), device="cpu")
        assert (clip.activation_.name, "checksum of open_clip's 'theirs'" in clip.activation_.reason) == (
            "quick_gelu",
            True,
        )


def test_tags_bring_what_open_clips_table_says() -> None:
    assert _decide("ViT-B-32", "openai", None, False)[0]
    assert _decide("ViT-B-32-quickgelu", "openai", None, False)[0]
    assert not _decide("ViT-B-32", "laion2b_s34b_b79k", None, False)[0]


def test_a_model_without_a_twin_and_the_bundled_one_leave_no_doubt(tmp_path: Path) -> None:
    torch.save(made(WIDE).state_dict(), tmp_path / "wide.pt")
    assert ClipEmbedder(WIDE, str(tmp_path / "wide.pt"), device="cpu").activation_.name == "gelu"
    bundled = ClipEmbedder.bundled("cpu")
    assert (bundled.activation_.name, bundled.activation_.reason) == ("gelu", "the model's configuration says so")


def test_weights_of_another_model_are_named(trained: Any, tmp_path: Path) -> None:
    file = archive(tmp_path / "ViT-L-14.pt", openais(made(WIDE)))
    with pytest.raises(
        ModelError,
        match=rf"ViT-L-14\.pt holds weights of another model than {TINY} \(visual\.\S+ is \(24,?.*in the file and "
        r"\(16,?.*in the model; .*\d+ such entries\)",
    ):
        ClipEmbedder(TINY, str(file), device="cpu")
    few = {key: value for key, value in openais(trained).items() if key != "ln_final.bias"}
    with pytest.raises(ModelError, match=r"ln_final\.bias is missing in the file and \(8,\) in the model; 1 such"):
        ClipEmbedder(TINY, str(archive(tmp_path / "few.pt", few)), device="cpu")
    torch.save(made(WIDE).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ModelError, match="belongs to this model") as caught:
        ClipEmbedder(QUICK, str(tmp_path / "wide.pt"), device="cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_nothing_but_tensors_is_read(tmp_path: Path, trained: Any) -> None:
    path = tmp_path / "file.pt"
    torch.save({"state_dict": trained.state_dict(), "how": Path("a")}, path)
    with pytest.raises(ModelError, match=r"file\.pt cannot be read as weights \(Weights only load failed"):
        ClipEmbedder(TINY, str(path), device="cpu")
    for nothing, kind in (([1, 2], "list"), (torch.zeros(3), "Tensor"), ({}, "dict"), ({1: torch.zeros(2)}, "dict")):
        torch.save(nothing, path)
        with pytest.raises(ModelError, match=rf"file\.pt holds a {kind}, and no state_dict"):
            ClipEmbedder(TINY, str(path), device="cpu")
    for content in (b"", b"PK\x03\x04", b"\x80\x02X", b"<html>", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"file\.pt cannot be read as weights") as caught:
            ClipEmbedder(TINY, str(path), device="cpu")
        assert "\n" not in str(caught.value)
    (tmp_path / "file.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match=r"file\.safetensors cannot be read as weights"):
        ClipEmbedder(TINY, str(tmp_path / "file.safetensors"), device="cpu")


def test_an_archive_with_code_that_runs_while_it_is_loaded_is_refused(tmp_path: Path, trained: Any) -> None:
    file = archive(tmp_path / "crafted.pt", openais(trained), Restoring)
    with pytest.raises(ModelError, match="code that would run while it is loaded"):
        ClipEmbedder(TINY, str(file), device="cpu")


@pytest.mark.parametrize(
    ("model", "pretrained"), [("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-B-32", "openai"), ("hf-hub:no/body", None)]
)
def test_a_failed_download_is_one_line(
    model: str, pretrained: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\n" + "  File x, line 3\n" * 40)

    monkeypatch.setattr("open_clip.factory.download_pretrained", fail)
    monkeypatch.setattr("open_clip.factory._get_hf_config", fail)
    with pytest.raises(
        ModelError, match=r"could not be loaded \(.*no route to host.*pass the path of a local"
    ) as caught:
        ClipEmbedder(model, pretrained, device="cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert capfd.readouterr() == ("", "")
