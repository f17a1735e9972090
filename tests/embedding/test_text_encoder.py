from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from fdgpu.device import BatchSize, choose_device
from fdgpu.embedding.text_encoder import CutContext, CutPadding, SharedPrefixes, TextEncoder, TextMethod
from fdgpu.embedding.text_tower import BLOCK, TokenPaths
from fdgpu.errors import BackendError, FdgpuWarning
from tests.embedding.towers import END, VISION, captions, hugging_face, narrow, roughened

CPU = choose_device("cpu")


class OddBlock(open_clip.transformer.ResidualAttentionBlock):
    """A block that may do anything in its forward."""

    def forward(self, q_x: torch.Tensor, **masks: Any) -> torch.Tensor:
        return super().forward(2 * q_x, **masks)


def with_odd_block(**text: Any) -> Any:
    model = narrow(**text)
    model.transformer.resblocks[1].__class__ = OddBlock
    return model


def siglip() -> Any:
    return narrow(custom=True, no_causal_mask=True, pool_type="last", proj_bias=True)


def coca() -> Any:
    text = {"context_length": 24, "vocab_size": END + 1, "width": 32, "heads": 4, "layers": 2, "embed_cls": True}
    vision = {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    decoder = {"context_length": 24, "vocab_size": END + 1, "width": 32, "heads": 4, "layers": 1}
    return roughened(open_clip.CoCa(24, decoder, {**text, "output_tokens": True}, vision))


def masked_wrongly() -> Any:
    model = narrow()
    model.attn_mask[3, 5] = 0  # one token that sees a later one
    return model


METHODS = {
    "CLIP": (narrow, "prefix_tree", "is causal"),
    "CustomTextCLIP": (lambda: narrow(custom=True), "prefix_tree", "is causal"),
    "an odd block": (with_odd_block, "cut_context", "has a OddBlock"),
    "an odd block, pooled at the last": (lambda: with_odd_block(pool_type="last"), "encode_text", "OddBlock"),
    "Hugging Face": (hugging_face, "cut_context", "HFTextEncoder, is not open_clip's own, but it hides its padding"),
    "SigLIP": (siglip, "encode_text", "is not causal"),
    "CoCa": (coca, "encode_text", "appends a token"),
    "another mask": (masked_wrongly, "encode_text", "not the causal one"),
}


def encode_text(model: Any, tokens: np.ndarray) -> torch.Tensor:
    return TextEncoder(model, CPU, BatchSize(64), "encode_text")(tokens)


@pytest.mark.parametrize("kind", METHODS)
def test_every_tower_gets_a_method_that_holds_and_a_reason(kind: str) -> None:
    make, name, reason = METHODS[kind]
    model, tokens = make(), captions(30, longest=12)
    encoder = TextEncoder(model, CPU, BatchSize(7))
    vectors = encoder(tokens)
    assert encoder.choice.name == name
    assert reason in encoder.choice.reason
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_text(torch.from_numpy(tokens)), dim=-1)
    assert (vectors - expected).abs().max() < 2e-6
    assert torch.equal(vectors, encoder(tokens))


def test_the_context_is_cut_to_the_longest_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, method in ((narrow(), CutContext), (hugging_face(), CutPadding)):
        widths = []
        plain = method.__call__

        def watched(self: Any, paths: TokenPaths, plain: Any = plain, widths: list[int] = widths) -> torch.Tensor:
            widths.append(paths.tokens.shape[1])
            return plain(self, paths)

        monkeypatch.setattr(method, "__call__", watched)
        TextEncoder(model, CPU, BatchSize(64), "cut_context")(captions(30, longest=9))
        assert widths == [9]


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_a_method_that_gives_something_else_is_dropped_with_a_warning(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SharedPrefixes.__call__

    def spoiled(self: SharedPrefixes, paths: TokenPaths) -> torch.Tensor:
        vectors = plain(self, paths)
        vectors[:, 0] = wrong * vectors[:, 0] + (wrong - 1)
        return vectors

    monkeypatch.setattr(SharedPrefixes, "__call__", spoiled)
    model, tokens = narrow(), captions(20)
    encoder = TextEncoder(model, CPU, BatchSize(64))
    with pytest.warns(FdgpuWarning, match="prefix_tree differs from encode_text by .*encoded by cut_context"):
        vectors = encoder(tokens)
    assert encoder.choice.name == "cut_context"
    assert encoder.choice.reason.startswith("prefix_tree differs from encode_text by ")
    assert (vectors - encode_text(model, tokens)).abs().max() < 2e-6
    assert torch.equal(vectors, encoder(tokens))  # no second warning


def test_encode_text_is_left_where_nothing_else_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (SharedPrefixes, CutContext):
        monkeypatch.setattr(method, "__call__", lambda _, paths: torch.ones(len(paths), 24))
    model, tokens = narrow(), captions(20)
    encoder = TextEncoder(model, CPU, BatchSize(64))
    with pytest.warns(FdgpuWarning) as warned:
        vectors = encoder(tokens)
    assert [str(w.message).split()[0] for w in warned] == ["prefix_tree", "cut_context"]
    assert encoder.choice.name == "encode_text"
    assert torch.equal(vectors, encode_text(model, tokens))


def test_a_model_of_nothing_but_nan_keeps_its_method() -> None:
    model = narrow()
    model.ln_final.weight.fill_(float("nan"))
    encoder = TextEncoder(model, CPU, BatchSize(64))
    assert encoder(captions(5)).isnan().all()
    assert encoder.choice.name == "prefix_tree"


def test_a_method_asked_for_by_name_runs_or_raises() -> None:
    for name in ("prefix_tree", "cut_context", TextMethod.ENCODE_TEXT):
        encoder = TextEncoder(narrow(), CPU, BatchSize(4), name)
        assert (encoder.choice.name, encoder.choice.reason) == (name, "asked for by name")
    with pytest.raises(BackendError, match=r"'prefix_tree' was asked for, but .* allows only 'encode_text'"):
        TextEncoder(siglip(), CPU, BatchSize(4), "prefix_tree")


@pytest.mark.parametrize(
    ("method", "longest", "captions_at_once"),
    [
        ("encode_text", 6, 5),
        ("encode_text", 24, 5),
        ("cut_context", 6, 5 * 24 // 6),
        ("cut_context", 24, 5),
        ("prefix_tree", 6, None),
        ("prefix_tree", 24, None),
    ],
)
def test_a_batch_holds_as_many_tokens_however_few_of_each_caption(
    method: str, longest: int, captions_at_once: int | None
) -> None:
    model, tokens = narrow(), captions(200, longest=longest, words=50)
    encoder = TextEncoder(model, CPU, BatchSize(5), method)
    sizes, rows = [], []
    model.transformer.resblocks[0].mlp.register_forward_hook(lambda _, given, __: sizes.append(given[0].numel() // 32))
    model.ln_final.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    encoder(tokens)
    if captions_at_once is not None:
        assert (max(rows), max(sizes)) == (captions_at_once, 5 * 24)
    else:  # and the beginning of the first caption, and what fills up the last block of the attention
        assert 5 * 24 - 6 <= max(sizes) < 5 * 24 + 24 + BLOCK


@pytest.mark.parametrize("fits", [lambda paths: paths.nodes <= 100, lambda paths: len(paths) == 1])
def test_out_of_memory_halves_the_batch_and_loses_no_caption(
    fits: Callable[[TokenPaths], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = narrow(), captions(40)
    plain = SharedPrefixes.__call__
    refused = []

    def small(self: SharedPrefixes, paths: TokenPaths) -> torch.Tensor:
        if not fits(paths):
            refused.append(paths.nodes)
            raise torch.OutOfMemoryError
        return plain(self, paths)

    monkeypatch.setattr(SharedPrefixes, "__call__", small)
    batch = BatchSize(64)
    encoder = TextEncoder(model, CPU, batch, "prefix_tree")
    reported = []
    vectors = encoder(tokens, lambda *args: reported.append(args[1]))
    assert (vectors - encode_text(model, tokens)).abs().max() < 2e-6
    assert reported == sorted(reported)
    assert reported[-1] == 40
    assert batch.rows < 64
    tried_at_first = len(refused)
    encoder(tokens)
    assert len(refused) - tried_at_first < tried_at_first  # what did not fit once is not tried again


def test_progress_counts_distinct_captions() -> None:
    reported = []
    tokens = np.repeat(captions(20, words=50), 2, axis=0)
    TextEncoder(narrow(), CPU, BatchSize(6), "encode_text")(tokens, lambda *args: reported.append(args))
    assert [args[1] for args in reported] == [6, 12, 18, 20]
    assert {args[::2] for args in reported} == {("embed captions", 20)}
