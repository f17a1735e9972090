from __future__ import annotations

import doctest
from types import ModuleType

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.embedding import clip as clip_module
from fdgpu.embedding import features as features_module
from fdgpu.errors import BackendError, FdgpuWarning, InputError, ModelError


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu", batch_size=4)


def pictures(n: int, side: int = 64) -> torch.Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_vectors_are_unit_and_do_not_depend_on_the_batch(clip: ClipEmbedder) -> None:
    images = pictures(9)
    vectors = clip.images(images)
    assert vectors.shape == (9, clip.dimension)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(9), atol=1e-5)
    whole = ClipEmbedder.bundled("cpu", batch_size=100).images(images)
    assert torch.allclose(vectors, whole, atol=1e-5)


def test_a_tensor_a_list_and_files_give_the_same_vectors(clip: ClipEmbedder, tmp_path) -> None:
    images = pictures(5)
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    expected = clip.images(images)
    floats = images.float() / 255
    for source in (tmp_path, paths, [str(p) for p in paths], list(images), [Image.open(p) for p in paths], floats):
        assert torch.allclose(clip.images(source), expected, atol=1e-4)


def test_it_is_open_clips_own_model_and_tokenizer(clip: ClipEmbedder) -> None:
    assert isinstance(clip.model, open_clip.CLIP)
    captions = ["a photo of a red boot", "a photo of a coat on a blue background"]
    with torch.inference_mode():
        expected = clip.model.encode_text(clip.tokenizer(captions), normalize=True)
    assert torch.allclose(clip.texts(captions), expected, atol=1e-6)
    assert torch.allclose(clip.texts(captions[1]), expected[1:], atol=1e-5)


def test_a_grammar_is_a_list_of_captions(clip: ClipEmbedder) -> None:
    grammar = CaptionGrammar("a {colour} {noun}", colour=["red", "blue", None], noun=["bag", "boot"])
    assert torch.allclose(clip.texts(grammar), clip.texts(list(grammar)))
    assert clip.texts([]).shape == (0, clip.dimension)


def test_unreadable_images_keep_their_row_as_nan_and_are_named(clip: ClipEmbedder, tmp_path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no")
    paths = [tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "good.png"]
    with pytest.warns(FdgpuWarning, match=r"1 of 3 images .*bad\.png: is not an image"):
        vectors = clip.images(paths)
    assert vectors.isnan().all(1).tolist() == [False, True, False]


def test_a_caption_longer_than_the_context_is_named(clip: ClipEmbedder) -> None:
    long = "a photo of " + "very " * 30 + "red boot"
    with pytest.raises(InputError, match=r"'a photo of .* tokens, bundled takes at most 20"):
        clip.texts(["a photo of a boot", long])
    assert not clip.fits(long)
    assert clip.token_count(long) == 37


@pytest.mark.parametrize("caption", ["a photo of a \ud800 boot", "a photo<end_of_text> of a boot"])
def test_a_caption_that_the_tokenizer_cannot_encode_is_named(clip: ClipEmbedder, caption: str) -> None:
    with pytest.raises(InputError, match=r"^the caption 'a photo.*leave it out"):
        clip.texts(["a photo of a boot", caption])
    assert not clip.fits(caption)
    assert clip.fits("a photo of a 🥾, naïve & red")


def test_captions_are_strings(clip: ClipEmbedder) -> None:
    with pytest.raises(InputError, match=r"captions holds \['a boot'\], a list: pass strings"):
        clip.texts(["a coat", ["a boot"]])


def test_repeated_captions_are_encoded_once(clip: ClipEmbedder) -> None:
    reports = []
    listed = ["a coat", "a bag", "a coat", "A  Coat", "a bag"]
    vectors = clip.texts(listed, progress=lambda *args: reports.append(args))
    assert reports[-1] == ("embed captions", 2, 2)
    assert torch.equal(vectors, clip.texts(["a coat", "a bag"])[[0, 1, 0, 0, 1]])


def test_it_says_how_captions_are_encoded(clip: ClipEmbedder) -> None:
    assert (clip.text_method_.name, "is causal" in clip.text_method_.reason) == ("prefix_tree", True)


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_the_precision_that_was_asked_for(clip: ClipEmbedder, name: str) -> None:
    own = ClipEmbedder.from_name("bundled", "cpu", precision=name)
    dtype = getattr(torch, name)
    assert own.placement.dtype == own.model.transformer.get_cast_dtype() == own.model.visual.conv1.weight.dtype == dtype
    assert own.model.ln_final.weight.dtype == torch.float32
    listed = ["a photo of a red boot", "a photo of a coat on a blue background"]
    for vectors, exact in (
        (own.images(pictures(9)), clip.images(pictures(9))),
        (own.texts(listed), clip.texts(listed)),
    ):
        assert vectors.dtype == torch.float32
        assert (vectors * exact).sum(dim=1).min() >= 0.999
    with pytest.raises(InputError, match="precision is 'half'"):
        ClipEmbedder.bundled("cpu", precision="half")


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_failed_allocation_of_any_kind_halves_the_batch(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    own, images = ClipEmbedder.bundled("cpu", batch_size=8), pictures(11)
    expected, plain, tried = own.images(images), own.model.encode_image, []

    def small(pixels: torch.Tensor) -> torch.Tensor:
        tried.append(len(pixels))
        if len(pixels) > 2:
            raise failure
        return plain(pixels)

    monkeypatch.setattr(own.model, "encode_image", small)
    torch.testing.assert_close(own.images(images), expected, atol=1e-5, rtol=0)
    assert tried == [8, 4, 2, 2, 2, 2, 2, 1]


def test_any_open_clip_model_with_random_weights_or_a_checkpoint(tmp_path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("RN50", pretrained=None, load_weights=False)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "rn50.safetensors")
    with pytest.warns(FdgpuWarning, match="then name the model RN50-quickgelu"):
        clip = ClipEmbedder("RN50", str(tmp_path / "rn50.safetensors"), device="cpu", batch_size=2)
    with torch.inference_mode():
        expected = model.eval().encode_text(open_clip.get_tokenizer("RN50")(["a cat"]), normalize=True)
    assert torch.allclose(clip.texts("a cat"), expected, atol=1e-5)
    assert clip.images(pictures(2, 70)).shape == (2, 1024)
    assert clip.name.startswith("RN50:")


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", None, "did you mean ViT-B-32"),
        ("ViT-B-32", "no-such-tag", "neither a file nor a pretrained tag of ViT-B-32: use one of openai"),
        ("ViT-B-32", None, "asked for without weights: add a tag, one of openai"),
        ("local-dir:/no/such/folder", None, "could not be loaded"),
    ],
)
def test_models_that_do_not_exist(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ClipEmbedder(model, pretrained, device="cpu")


@pytest.mark.parametrize("module", [clip_module, features_module])
def test_the_examples_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)


def test_devices_and_batches_that_cannot_be() -> None:
    with pytest.raises(BackendError, match="use 'auto', 'cpu' or 'cuda'"):
        ClipEmbedder.bundled("abacus")
    with pytest.raises(InputError, match="batch_size is 0"):
        ClipEmbedder.bundled("cpu", batch_size=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
def test_a_cuda_device_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="torch cannot compute on it: no CUDA device"):
        ClipEmbedder.bundled("cuda")


def test_progress_is_reported(clip: ClipEmbedder) -> None:
    reports = []
    clip.images(pictures(9), progress=lambda *args: reports.append(args))
    assert reports[0] == ("embed images", 0, 9)
    assert reports[-1] == ("embed images", 9, 9)
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)
