"""Other latent spaces (paper, B.1.6): the base model's own, or any torchvision or timm network's features.

Such a space holds images only: directions are found in it, and captions are not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from fdgpu.checks import check_whole, shown
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.named_networks import LIBRARIES, NamedNetwork, timm_network, torchvision_network
from fdgpu.embedding.preprocess import Preprocess, ResizeMode
from fdgpu.errors import InputError, ModelError
from fdgpu.networks import inputs_of, last_linear

MOST_SIDE = 1 << 16  # of a network's input, in pixels


class FeatureEmbedder(ImageEmbedder):
    """Embeds images by what goes into a classifier's last linear layer.

    Args:
        model: a classifier that ends in a linear layer; it is moved to the device, in evaluation mode.
        size: height and width that it takes.
        mean: of its input's channels, for pixels in [0, 1].
        std: their deviation.
        resize_mode: "shortest" scales the shorter side and crops the centre, "squash" ignores the aspect ratio,
            "longest" pads.
        name: as reports show it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        batch_size: images at a time; halved whenever the device runs out of memory.
        precision: that the model is brought to, ``"float16"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` is float16
            on CUDA and float32 elsewhere. The vectors are float32.

    Attributes:
        dimension: length d of the vectors.
        placement: device and precision, and why.

    Raises:
        InputError: if the model's output does not come straight from a linear layer.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> FeatureEmbedder(model, (8, 8)).images(torch.zeros(4, 3, 8, 8)).shape
        torch.Size([4, 5])
    """

    model: nn.Module

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        *,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        resize_mode: str = "squash",
        name: str = "",
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
    ) -> None:
        super().__init__(name or type(model).__name__, device, batch_size, precision)
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise InputError(f"size is {shown(size)}: pass height and width, such as (224, 224)")
        size = (check_whole(size[0], "size", 1, MOST_SIDE), check_whole(size[1], "size", 1, MOST_SIDE))
        self.model = model.to(self.placement.device, self.placement.dtype).eval()
        self.preprocess = Preprocess(size, mean, std, InterpolationMode.BILINEAR, ResizeMode(resize_mode))
        example = torch.zeros(1, len(mean), *size, dtype=self.placement.dtype, device=self.placement.device)
        self._layer = last_linear(self.model, example)
        self.dimension = self._layer.in_features

    @classmethod
    def torchvision(
        cls,
        name: str,
        weights: str | None = "DEFAULT",
        *,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
    ) -> FeatureEmbedder:
        """Load a torchvision classifier, such as the paper's ``"inception_v3"``.

        Args:
            name: as ``torchvision.models.list_models()`` has it.
            weights: a name of its weights, or a file that holds a state_dict; None for random ones.
            device: as above.
            batch_size: as above.
            precision: as above.

        Raises:
            ModelError: for an unknown name or weights, or weights that cannot be had.
        """
        network = torchvision_network(name, weights)
        return cls._of(network, f"torchvision:{name}", device, batch_size, precision)

    @classmethod
    def timm(
        cls,
        name: str,
        pretrained: bool = True,
        *,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
    ) -> FeatureEmbedder:
        """Load a timm classifier, with the preprocessing that timm says it was trained with.

        Raises:
            ModelError: for an unknown name, or weights that cannot be had.
        """
        network = timm_network(name, "DEFAULT" if pretrained else None)
        return cls._of(network, f"timm:{name}", device, batch_size, precision)

    @classmethod
    def _of(
        cls, network: NamedNetwork, name: str, device: str | torch.device, batch_size: int, precision: str
    ) -> FeatureEmbedder:
        preprocess = network.preprocess
        if not isinstance(preprocess, Preprocess):
            raise ModelError(
                f"{name} is preprocessed in a way that is not supported here: pass it as FeatureEmbedder(…)"
            )
        embedder = cls(
            network.model, preprocess.size, name=name, device=device, batch_size=batch_size, precision=precision
        )
        embedder.preprocess, embedder.doubts = preprocess, network.doubts
        return embedder

    def _features(self, pixels: Tensor) -> Tensor:
        with inputs_of(self._layer, self.model) as features:
            return features(pixels)


def named_embedder(
    name: str,
    device: str | torch.device = "auto",
    batch_size: int = 256,
    precision: str = "auto",
    reduced_decoding: bool = False,
) -> ImageEmbedder:
    """Load what the command line calls a model.

    Args:
        name: a CLIP as :meth:`fdgpu.ClipEmbedder.from_name` takes it, or another network's features as
            ``"features:torchvision:resnet50"`` and ``"features:timm:NAME"``, with weights or a file of them behind
            another colon.
        device: where it runs.
        batch_size: images at a time.
        precision: that it computes in.
        reduced_decoding: decode photographs that are much larger than its input at a reduced size.

    Raises:
        ModelError: for a name of another form, or weights that cannot be had.
    """
    kind, _, rest = name.partition(":")
    if kind != "features":
        return ClipEmbedder.from_name(name, device, batch_size, precision, reduced_decoding=reduced_decoding)
    library, _, network = rest.partition(":")
    own, _, weights = network.partition(":")
    if library not in LIBRARIES or not own:
        raise ModelError(f"model is {shown(name)}: use features:torchvision:NAME[:WEIGHTS] or features:timm:NAME")
    loaded = LIBRARIES[library](own, weights or "DEFAULT")
    embedder = FeatureEmbedder._of(loaded, rest, device, batch_size, precision)
    embedder.reduced_decoding = reduced_decoding
    return embedder
