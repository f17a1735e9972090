"""Each pipeline's own call, direction by direction, gives the pictures of the batched loop."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.decoding import Decoder
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.errors import FdgpuWarning, InputError
from tests.decoding import tiny

SEEDS = [5, 6, 7]
STEPS = 4
Call = Callable[[Any, Tensor, float, torch.Generator], Any]


def call_stable_unclip(pipeline: Any, z: Tensor, guidance: float, generator: torch.Generator) -> Any:
    return pipeline(
        image_embeds=z, num_inference_steps=STEPS, guidance_scale=guidance, generator=generator, output_type="np"
    ).images


def call_kandinsky(pipeline: Any, z: Tensor, guidance: float, generator: torch.Generator) -> Any:
    return pipeline(
        image_embeds=z,
        negative_image_embeds=torch.zeros_like(z),
        height=16,
        width=16,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=generator,
        output_type="np",
    ).images


def call_unclip(pipeline: Any, z: Tensor, guidance: float, generator: torch.Generator) -> Any:
    return pipeline(
        image_embeddings=z,
        decoder_num_inference_steps=STEPS,
        super_res_num_inference_steps=7,
        decoder_guidance_scale=guidance,
        generator=generator,
        output_type="np",
    ).images


def call_retrieval_augmented(pipeline: Any, z: Tensor, guidance: float, generator: torch.Generator) -> Any:
    """Stable Diffusion's call over the same nets is RDM's, once the context is the vector and nothing is a zero."""
    plain = tiny.text_to_image()
    plain.register_modules(unet=pipeline.unet, vae=pipeline.vae, scheduler=pipeline.scheduler)
    return plain(
        prompt_embeds=z[:, None],
        negative_prompt_embeds=torch.zeros_like(z)[:, None],
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=generator,
        output_type="np",
    ).images


PIPELINES: dict[str, tuple[Callable[[], Any], Call]] = {
    "StableUnCLIPImg2ImgPipeline": (tiny.stable_unclip, call_stable_unclip),
    "KandinskyV22Pipeline": (tiny.kandinsky, call_kandinsky),
    "UnCLIPImageVariationPipeline": (tiny.unclip, call_unclip),
    "RDMPipeline": (tiny.retrieval_augmented, call_retrieval_augmented),
}


def vectors(n: int = 3) -> Tensor:
    return F.normalize(torch.randn(n, tiny.D, generator=torch.Generator().manual_seed(0)), dim=1)


def one_by_one(pipeline: Any, call: Call, guidance: float) -> Tensor:
    pictures = [
        call(pipeline, z[None], guidance, torch.Generator().manual_seed(seed))
        for z, seed in zip(vectors(), SEEDS, strict=True)
    ]
    return torch.from_numpy(np.concatenate(pictures)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_equals_the_pipelines_own_call(name: str, guidance: float) -> None:
    make, call = PIPELINES[name]
    pipeline = make()
    decoder = Decoder.from_diffusers(pipeline, size=16, length=1.0)
    assert decoder.name == name
    pictures = decoder.sample(vectors(), STEPS, SEEDS, guidance=guidance)
    assert pictures.shape == (3, 3, 16, 16)
    expected = one_by_one(pipeline, call, guidance)
    assert (expected[0] - expected[1]).abs().mean() > 0.01  # the pictures do differ
    torch.testing.assert_close(pictures, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_image_variations_equal_the_pipelines_own_call(guidance: float) -> None:
    pipeline = tiny.image_variation()
    photographs = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = pipeline.image_encoder(photographs).image_embeds
    expected = [
        pipeline(
            image=photograph[None],
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images
        for photograph, seed in zip(photographs, SEEDS, strict=True)
    ]
    with pytest.warns(FdgpuWarning, match="vectors go in as they come"):
        decoder = Decoder.from_diffusers(pipeline)
    pictures = decoder.sample(z, STEPS, SEEDS, guidance=guidance)
    torch.testing.assert_close(
        pictures, torch.from_numpy(np.concatenate(expected)).permute(0, 3, 1, 2), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    "scheduler", [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler]
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers under NumPy 2
def test_any_scheduler_of_the_pipeline(scheduler: Any) -> None:
    """Multistep schedulers keep a state, ancestral ones draw noise at every step, Euler scales its input."""
    pipeline = tiny.stable_unclip()
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pictures = Decoder.from_diffusers(pipeline, length=1.0).sample(vectors(), STEPS, SEEDS, guidance=3.0)
    torch.testing.assert_close(pictures, one_by_one(pipeline, call_stable_unclip, 3.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_picture_does_not_depend_on_its_batch(name: str) -> None:
    pipeline = PIPELINES[name][0]()
    together = Decoder.from_diffusers(pipeline, size=16, length=1.0).sample(vectors(5), STEPS, 3)
    by_two = Decoder.from_diffusers(pipeline, size=16, length=1.0, batch_size=2).sample(vectors(5), STEPS, 3)
    torch.testing.assert_close(together, by_two, atol=1e-4, rtol=0)


def test_vectors_get_the_length_of_the_training() -> None:
    pipeline = tiny.stable_unclip()
    with pytest.warns(FdgpuWarning, match="StableUnCLIPImg2ImgPipeline .* pass length=, the mean norm"):
        assert Decoder.from_diffusers(pipeline).length is None  # an untouched normaliser says nothing
    with torch.no_grad():
        pipeline.image_normalizer.mean.fill_(1.0)
        pipeline.image_normalizer.std.fill_(2.0)
    decoder = Decoder.from_diffusers(pipeline)
    assert decoder.length == pytest.approx((tiny.D * 5) ** 0.5)
    long = one_by_one(pipeline, lambda p, z, *rest: call_stable_unclip(p, z * decoder.length, *rest), 3.0)
    torch.testing.assert_close(decoder.sample(vectors(), STEPS, SEEDS, guidance=3.0), long, atol=1e-4, rtol=0)
    asked = Decoder.from_diffusers(pipeline, length=1.0).sample(5 * vectors(), STEPS, SEEDS, guidance=3.0)
    short = one_by_one(pipeline, call_stable_unclip, 3.0)
    torch.testing.assert_close(asked, short, atol=1e-4, rtol=0)


@pytest.mark.parametrize("make", [tiny.stable_unclip, tiny.kandinsky, tiny.unclip, tiny.image_variation])
def test_says_where_the_length_is_unknown(make: Callable[[], Any]) -> None:
    with pytest.warns(FdgpuWarning, match="vectors go in as they come; pass length=") as warned:
        assert Decoder.from_diffusers(make()).length is None
    assert len(warned) == 1
    assert warned[0].filename == __file__


def test_the_retrieval_augmented_model_gets_unit_vectors() -> None:
    decoder = Decoder.from_diffusers(tiny.retrieval_augmented())
    pictures = decoder.sample(vectors(), STEPS, SEEDS)
    torch.testing.assert_close(decoder.sample(5 * vectors(), STEPS, SEEDS), pictures, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("make", "encoder"),
    [
        (tiny.stable_unclip, "image_encoder"),
        (tiny.unclip, "image_encoder"),
        (tiny.image_variation, "image_encoder"),
        (tiny.retrieval_augmented, "clip"),
    ],
)
def test_an_encoder_that_was_left_out_is_not_missed(make: Callable[[], Any], encoder: str) -> None:
    pipeline = make()
    whole = Decoder.from_diffusers(pipeline, length=1.0).sample(vectors(), 2, SEEDS)
    pipeline.register_modules(**{encoder: None})
    decoder = Decoder.from_diffusers(pipeline, length=1.0)
    assert decoder.space == ClipSpace(tiny.D)
    torch.testing.assert_close(decoder.sample(vectors(), 2, SEEDS), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("make", "part"),
    [(tiny.stable_unclip, "vae"), (tiny.kandinsky, "movq"), (tiny.retrieval_augmented, "vae")],
)
def test_latents_are_decoded_in_the_autoencoders_own_precision(make: Callable[[], Any], part: str) -> None:
    pipeline = make()
    decoder = Decoder.from_diffusers(pipeline, size=16, length=1.0)
    single = decoder.sample(vectors(), 2, SEEDS)
    getattr(pipeline, part).double()
    torch.testing.assert_close(decoder.sample(vectors(), 2, SEEDS), single, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_may_change_its_precision_after_it_became_a_decoder(name: str) -> None:
    pipeline = PIPELINES[name][0]()
    before = Decoder.from_diffusers(pipeline, size=16, length=1.0)
    before.sample(vectors(), 2, SEEDS)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, torch.float64)  # as the pipeline's own would, without its messages
    pictures = Decoder.from_diffusers(pipeline, size=16, length=1.0).sample(vectors(), 2, SEEDS)
    torch.testing.assert_close(before.sample(vectors(), 2, SEEDS), pictures, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_unclip_enlarges_in_half_precision_on_a_cpu_too(dtype: torch.dtype) -> None:
    pipeline = tiny.unclip()
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, dtype)
    assert Decoder.from_diffusers(pipeline, length=1.0).sample(vectors(), 2, SEEDS).isfinite().all()


def test_kandinsky_steers_away_from_its_priors_vector() -> None:
    pipeline, negative = tiny.kandinsky(), vectors(9)[8]
    decoder = Decoder.from_diffusers(pipeline, size=16, length=1.0, negative=negative)
    pictures = decoder.sample(vectors(1), 2, [5], guidance=3.0)
    expected = pipeline(
        image_embeds=vectors(1),
        negative_image_embeds=negative[None],
        height=16,
        width=16,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images
    torch.testing.assert_close(pictures, torch.from_numpy(expected).permute(0, 3, 1, 2), atol=1e-4, rtol=0)


def test_larger_pictures_on_request() -> None:
    decoder = Decoder.from_diffusers(tiny.retrieval_augmented(), size=24)
    assert decoder.size == (24, 24)
    assert decoder.sample(vectors(1), 2).shape == (1, 3, 24, 24)


def test_from_diffusers_checks_the_clip() -> None:
    with pytest.raises(InputError, match="512 numbers, KandinskyV22Pipeline decodes vectors of 32"):
        Decoder.from_diffusers(tiny.kandinsky(), clip=SimpleNamespace(name="ViT-B-32:openai", dimension=512))


@pytest.mark.parametrize(
    ("make", "arguments", "says"),
    [
        (tiny.text_to_image, {}, "StableDiffusionPipeline is not a pipeline that decodes CLIP vectors: use one of"),
        (object, {}, "object is not a pipeline"),
        (tiny.kandinsky, {"size": 17}, "size is 17"),
        (tiny.unclip, {"size": 64}, "size is 64"),
        (tiny.unclip, {"negative": torch.zeros(tiny.D)}, "learnt its own"),
        (tiny.kandinsky, {"negative": torch.zeros(3)}, "negative has 3 numbers"),
        (tiny.kandinsky, {"size": 16.0}, "size is 16.0"),
        (tiny.kandinsky, {"length": 0.0}, "length is 0.0"),
        (tiny.kandinsky, {"length": "3"}, "length is '3'"),
        (tiny.kandinsky, {"batch_size": 0}, "batch_size is 0"),
        (tiny.kandinsky, {"batch_size": 1.5}, "batch_size is 1.5: use a whole number of at least 1"),
        (tiny.kandinsky, {"clip": 123}, "clip is 123"),
    ],
)
def test_says_what_it_cannot_decode(make: Callable[[], Any], arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Decoder.from_diffusers(make(), **arguments)


def test_a_scheduler_that_needs_two_steps_says_so() -> None:
    words = "steps is 1: use a whole number from 2 to 1000, which UnCLIPImageVariationPipeline takes"
    with pytest.raises(InputError, match=words):
        Decoder.from_diffusers(tiny.unclip(), length=1.0).sample(vectors(1), 1)
