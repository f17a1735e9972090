"""Real pipelines, tiny and randomly initialised: the classes of diffusers, a few thousand parameters each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    KandinskyV22Pipeline,
    StableDiffusionImageVariationPipeline,
    StableDiffusionPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.pipelines.deprecated.unclip import UnCLIPImageVariationPipeline, UnCLIPTextProjModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from fdgpu.decoding.decoder import FOLDER, WEIGHTS, BundledNet

D = 32  # length of the CLIP vectors
TEXT = {
    "hidden_size": D,
    "intermediate_size": 37,
    "projection_dim": D,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 600,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "max_position_embeddings": 16,
}
VISION = {
    "hidden_size": D,
    "intermediate_size": 37,
    "projection_dim": D,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "image_size": 32,
    "patch_size": 8,
}


def tokenizer() -> CLIPTokenizer:
    """Bytes and no merges."""
    letters = sorted(ByteLevel.alphabet())
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TEXT["max_position_embeddings"]
    )


def unet(**settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": (16, 32),
            "norm_num_groups": 8,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": D,
            "attention_head_dim": 4,
        }
        | settings
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
    )


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stable_unclip() -> Any:
    torch.manual_seed(0)
    return quiet(
        StableUnCLIPImg2ImgPipeline(
            feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
            image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)),
            image_normalizer=StableUnCLIPImageNormalizer(D),
            image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
            tokenizer=tokenizer(),
            text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
            unet=unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * D),
            scheduler=DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False),
            vae=vae(),
        )
    )


def kandinsky() -> Any:
    torch.manual_seed(0)
    return quiet(
        KandinskyV22Pipeline(
            unet=unet(
                out_channels=8,
                addition_embed_type="image",
                encoder_hid_dim=D,
                encoder_hid_dim_type="image_proj",
                down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
                up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                resnet_time_scale_shift="scale_shift",
            ),
            scheduler=DDPMScheduler(variance_type="learned_range", clip_sample=True, thresholding=False),
            movq=VQModel(
                block_out_channels=(32, 32),  # its spatial norm has groups of its own
                num_vq_embeddings=12,
                down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
                up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
                vq_embed_dim=4,
                latent_channels=4,
                norm_type="spatial",
            ),
        )
    )


def unclip() -> Any:
    torch.manual_seed(0)

    def enlarging() -> UNet2DModel:
        return UNet2DModel(
            sample_size=16,
            in_channels=6,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(16, 32),
            norm_num_groups=8,
            down_block_types=("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
            up_block_types=("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
        )

    return quiet(
        UnCLIPImageVariationPipeline(
            decoder=unet(
                in_channels=3,
                out_channels=6,
                class_embed_type="identity",
                down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
                up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                resnet_time_scale_shift="scale_shift",
            ),
            text_encoder=CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)),
            tokenizer=tokenizer(),
            text_proj=UnCLIPTextProjModel(clip_embeddings_dim=D, time_embed_dim=64, cross_attention_dim=D),
            feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
            image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)),
            super_res_first=enlarging(),
            super_res_last=enlarging(),
            decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
            super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
        )
    )


class RDMPipeline(DiffusionPipeline):
    """The components of the research project's pipeline, whose class diffusers keeps outside of its package."""

    def __init__(self, vae: Any, clip: Any, tokenizer: Any, unet: Any, scheduler: Any, feature_extractor: Any) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, clip=clip, tokenizer=tokenizer, unet=unet, scheduler=scheduler, feature_extractor=feature_extractor
        )


def retrieval_augmented() -> Any:
    torch.manual_seed(0)
    return RDMPipeline(
        vae=vae(),
        clip=CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=D)),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
        feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
    )


def image_variation() -> Any:
    torch.manual_seed(0)
    return quiet(
        StableDiffusionImageVariationPipeline(
            vae=vae(),
            image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)),
            unet=unet(),
            scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
            safety_checker=None,
            feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
            requires_safety_checker=False,
        )
    )


def text_to_image() -> Any:
    torch.manual_seed(0)
    return quiet(
        StableDiffusionPipeline(
            vae=vae(),
            text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
            tokenizer=tokenizer(),
            unet=unet(),
            scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def random_net(folder: Path) -> BundledNet:
    """The bundled net's architecture, untrained."""
    torch.manual_seed(0)
    net: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(FOLDER))
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, folder / WEIGHTS)
    return BundledNet.load("cpu", folder)
