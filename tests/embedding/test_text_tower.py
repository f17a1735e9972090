from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.device import BatchSize, Placement, choose_device
from fdgpu.embedding.clip import CaptionTokens
from fdgpu.embedding.text_encoder import TextEncoder, text_methods
from fdgpu.embedding.text_tower import TokenPaths
from tests.embedding.towers import CONTEXT, END, captions, narrow
from tests.live_bytes import LiveBytes

CPU = choose_device("cpu")
TOWERS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "QuickGELU": {"quick_gelu": True},
    "custom text": {"custom": True},
    "custom text, QuickGELU": {"custom": True, "quick_gelu": True},
    "other MLP, norm and scales": {"mlp_ratio": 2.5, "norm_kwargs": {"eps": 1e-3}, "ls_init_value": 0.5},
    "one layer": {"layers": 1},
    "one head": {"heads": 1},
    "no projection": {"proj_type": "none"},
    "projection with a bias": {"proj_bias": True},
    "custom blocks": {
        "qk_norm": True,
        "scale_heads": True,
        "scale_attn_inner": True,
        "scale_attn": True,
        "scale_fc": True,
        "ls_init_value": 0.7,
    },
    "custom blocks without extras": {"custom": True, "block_type": "custom"},
    "pooled at the end's id": {"pool_type": "eos", "eos_id": END},
    "pooled at another id": {"custom": True, "pool_type": "eos", "eos_id": 3},
    "pooled at the last": {"pool_type": "last"},
    "pooled at the first": {"pool_type": "first"},
}


@torch.inference_mode()
def expected(model: Any, tokens: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(model.encode_text(torch.from_numpy(tokens)).float(), dim=-1)


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("name", TOWERS)
def test_equal_to_encode_text(name: str, batch: int) -> None:
    model, tokens = narrow(**TOWERS[name]), captions(60)
    vectors = TextEncoder(model, CPU, BatchSize(batch), "prefix_tree")(tokens)
    assert (vectors - expected(model, tokens)).abs().max() < 2e-6


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, custom: bool) -> None:
    tokens = captions(60)
    exact = expected(narrow(custom), tokens)
    model = narrow(custom, cast_dtype=dtype)
    encoder = TextEncoder(model, Placement(CPU.device, dtype, ""), BatchSize(7))
    vectors = encoder(tokens)
    assert encoder.choice.name == "prefix_tree"
    assert vectors.dtype == torch.float32
    # The error budget: twice that of encode_text in the same precision, both against float32.
    assert (vectors - exact).abs().max() <= 2 * (expected(model, tokens) - exact).abs().max()


@pytest.mark.parametrize(
    "tokens",
    [
        captions(1),
        captions(1, longest=2),
        captions(60, words=1),  # every caption but its end token is a prefix of the longest
        captions(40, words=90),
        np.repeat(captions(5), 9, axis=0),
        np.full((3, CONTEXT), END, np.int32),  # nothing but the end token
        np.zeros((2, CONTEXT), np.int32),  # no end token at all
    ],
)
def test_captions_of_every_shape(tokens: np.ndarray) -> None:
    model = narrow()
    vectors = TextEncoder(model, CPU, BatchSize(7), "prefix_tree")(tokens)
    assert (vectors - expected(model, tokens)).abs().max() < 2e-6


@pytest.mark.parametrize("kind", [{}, {"quick_gelu": True}, {"cast_dtype": torch.bfloat16}, {"mlp_ratio": 0.25}])
@pytest.mark.parametrize("tokens", [captions(300, longest=6, words=50), captions(300), captions(300, words=2)])
def test_memory_is_what_the_formula_says(kind: dict[str, Any], tokens: np.ndarray) -> None:
    tree, cut, _ = text_methods(narrow(**kind))
    for method in (tree, cut):
        paths, _ = TokenPaths.of(tokens, method.lengths(tokens))
        expected = method.bytes_per_token(paths.width) * int(method.computed(paths).sum())
        with torch.inference_mode(), LiveBytes() as live:
            method(paths)
        # attention is the widest place of the last kind alone, which the tree's formula has, and the other's has not
        assert (0.9 if "mlp_ratio" not in kind or method is tree else 0.4) < expected / live.peak < 1.15


def test_each_prefix_goes_through_the_layers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = narrow()
    rows = []
    first = model.transformer.resblocks[0].mlp
    first.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    monkeypatch.setattr(type(model), "encode_text", None)
    tokens = np.repeat(captions(40), 3, axis=0)
    TextEncoder(model, CPU, BatchSize(1000), "prefix_tree")(tokens)
    distinct = {tuple(row[:length]) for row in tokens.tolist() for length in range(1, row.index(END) + 2)}
    (nodes,) = rows
    assert len(distinct) <= nodes < len(distinct) + 32  # the last block of the attention is filled up


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu"])
def test_a_whole_vit_b_32(name: str) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None, load_weights=False).eval()
    words = {"adjective": [None, "white", "group of"], "preposition": [None, "in the grass", "on a blue background"]}
    grammar = CaptionGrammar("a photo of a {adjective} {noun} {preposition}", noun=["canine", "red fox"], **words)
    tokens = CaptionTokens(open_clip.get_tokenizer(name), name).matrix(list(grammar))
    vectors = TextEncoder(model, CPU, BatchSize(256), "prefix_tree")(tokens)
    assert (vectors - expected(model, tokens)).abs().max() < 1e-5


def test_the_bundled_model_on_all_of_its_grammar() -> None:
    clip = ClipEmbedder.bundled("cpu")
    listed = list(dict.fromkeys(c for grammar in CaptionGrammar.recipe("demo").values() for c in grammar))
    tokens = clip.tokenizer(listed).numpy().astype(np.int32)
    assert (clip.texts(listed) - expected(clip.model, tokens)).abs().max() < 1e-5
    assert clip.text_method_.name == "prefix_tree"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("batch", [3, 256])
def test_half_precision_on_a_gpu(batch: int) -> None:
    clip = ClipEmbedder.bundled("cuda", batch_size=batch)
    listed = list(CaptionGrammar.recipe("demo")["coat"])
    half = clip.texts(listed).cpu()
    assert clip.text_method_.name == "prefix_tree"
    assert clip.model.transformer.get_cast_dtype() == torch.float16
    tokens = clip.tokenizer(listed).numpy().astype(np.int32)
    whole = TextEncoder(clip.model, clip.placement, BatchSize(batch), "encode_text")(tokens).cpu()
    exact = ClipEmbedder.bundled("cpu").texts(listed)
    assert (half - exact).abs().max() <= 2 * (whole - exact).abs().max()
