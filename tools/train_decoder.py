"""Train the bundled decoder: a diffusers UNet of 3.8 M parameters that turns vectors of the bundled CLIP into pictures.

    python -m tools.train_decoder [--steps 24000] [--seed 0] [--folder FOLDER] [--checkpoint FILE]
                                  [--start-from WEIGHTS] [--peak-lr 1e-3] [--evaluate]

Pictures are 32 x 32, folded to 16 x 16 with twelve channels, so that the whole net runs at a quarter of the pixels. It
sees only the ``clip`` split. The condition is the vector of the picture, of a caption that is true of it, or a point
of the arc between both, with a little noise: directions lead to points that neither captions nor pictures occupy. In a
tenth of the batch it is nothing, which guidance needs. After every ``--every`` steps a checkpoint is written from
which the same command goes on.

The loss is the squared error of the velocity, and how far the picture that the net takes for the clean one is from the
true one as the bundled CLIP sees them: squared errors alone hardly tell a shirt from a coat.

The weights that ship were not made in one go. 24 000 steps, nearly three hours on two busy cores, were of squared
errors alone: up to step 12 000, where the learning rate had come down to zero once, weighed by min(SNR, 5), of noise
levels drawn alike and then most often in the middle; up to 16 750 those near pure noise came most often; the next
7250 plainly weighed and drawn as here, with the learning rate falling from 0.6 of its peak to zero. Then came

    python -m tools.train_decoder --steps 5000 --seed 7 --peak-lr 5e-4 --start-from WEIGHTS

with both losses, 35 minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding.decoder import FOLDER, WEIGHTS, condition, fold, unfold
from fdgpu.decoding.grid import slerp
from fdgpu.demo.world import Attributes, draw_attributes, draw_scene, load_photographs, render
from fdgpu.embedding import ClipEmbedder
from fdgpu.files import write_atomically
from tools.decoder_quality import quality, table
from tools.make_photographs import PHOTOGRAPHS
from tools.world_captions import all_captions, truth_table

BATCH = 48  # at so few pictures in all, more steps teach more than calmer ones
PEAK_LR = 1e-3
WARM_UP = 300  # steps
EPOCHS_PER_RENDERING = 2  # rendering and reading 30 000 pictures takes a fifth of the time of an epoch
AVERAGING = 0.999
UNCONDITIONAL = 0.1  # of the batch
SEEN = 1.0  # weight of the loss that the bundled CLIP sees, beside squared errors
NOISE = 0.25  # length of what is added to a condition, at most


class SeenLoss:
    """1 − the cosine between the vectors of what the net takes the picture for and of the picture itself.

    Squared errors of pixels hardly tell a shirt from a coat; the bundled CLIP does, and a picture that is decoded from
    one of its vectors should have that vector again. Near pure noise the net can only name the mean of all pictures
    that are possible, which looks like none of them: there the loss counts for nothing.
    """

    def __init__(self, clip: ClipEmbedder) -> None:
        self._model, self._preprocess = clip.model, clip.preprocess  # whose weights take no gradient

    def __call__(self, clean: Tensor, vectors: Tensor, signal: Tensor) -> Tensor:
        """Return the mean over a batch.

        Args:
            clean: (n, 12, 16, 16) latents that the net takes for the clean ones.
            vectors: (n, d) unit vectors of the true pictures.
            signal: (n,) share of the picture in the noisy latents' variance, the weight of each.
        """
        pixels = self._preprocess.normalise(self._preprocess.resize(unfold(clean)), torch.float32)
        seen = F.normalize(self._model.encode_image(pixels), dim=1)
        return (signal * (1 - (seen * vectors).sum(dim=1))).mean()


class Trainer:
    """The net, its average and one optimiser."""

    def __init__(self, steps: int, seed: int, seen: SeenLoss, peak_lr: float = PEAK_LR) -> None:
        torch.manual_seed(seed)
        self.model = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(FOLDER))
        self.model.to(memory_format=torch.channels_last)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.scheduler = DDIMScheduler.from_pretrained(FOLDER)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=peak_lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.steps, self.step_number, self.peak_lr, self.seen = steps, 0, peak_lr, seen
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, latents: Tensor, vectors: Tensor, images: Tensor) -> tuple[float, float]:
        """Take one step on a batch; return the squared error and how far the pictures are as CLIP sees them."""
        n = len(latents)
        noise = torch.randn(latents.shape, generator=self.generator)
        t = noise_levels(n, len(self.scheduler.betas), self.generator)
        vectors = torch.where(torch.rand((n, 1), generator=self.generator) < UNCONDITIONAL, 0.0, vectors)
        noisy = self.scheduler.add_noise(latents, noise, t).contiguous(memory_format=torch.channels_last)
        velocity = self.model(noisy, t, None, class_labels=condition(vectors)).sample
        squared = F.mse_loss(velocity, self.scheduler.get_velocity(latents, noise, t))
        signal = self.scheduler.alphas_cumprod[t]
        clean = signal.sqrt()[:, None, None, None] * noisy - (1 - signal).sqrt()[:, None, None, None] * velocity
        unlike = self.seen(clean, images, signal)
        loss = squared + SEEN * unlike
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak_lr * rate(self.step_number, self.steps)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step_number += 1
        kept = min(AVERAGING, (self.step_number + 1) / (self.step_number + 10))
        torch._foreach_lerp_(list(self.average.values()), list(self.model.state_dict().values()), 1 - kept)
        return float(squared.detach()), float(unlike.detach())

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, in one safetensors file."""
        tensors = {f"model.{name}": value.contiguous() for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value.contiguous() for name, value in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in state.items()}
        tensors["generator"], tensors["step"] = self.generator.get_state(), torch.tensor(self.step_number)
        beside = path.with_suffix(".part")
        save_file(tensors, beside)
        beside.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        tensors = load_file(path)

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        averages = under("average.")
        self.average = {name: averages[name] for name in self.model.state_dict()}  # stepped side by side
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in under("optimizer.").items():
            index, name = key.split(".")
            states.setdefault(int(index), {})[name] = _as_weights_lie(value)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": states})
        self.generator.set_state(tensors["generator"])
        self.step_number = int(tensors["step"])

    def start_from(self, weights: Path) -> None:
        """Begin with weights that were written, in place of random ones."""
        self.model.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def write_weights(self, folder: Path) -> None:
        """Write the average in half precision; diffusers loads it into the precision it was asked for."""
        save_file({name: value.half().contiguous() for name, value in self.average.items()}, folder / WEIGHTS)


def _as_weights_lie(state: Tensor) -> Tensor:
    """Lay an optimiser's state out as its weights: the fused step goes through memory, and not by index."""
    return state.contiguous(memory_format=torch.channels_last) if state.ndim == 4 else state


def noise_levels(n: int, levels: int, generator: torch.Generator) -> Tensor:
    """Draw levels (n,), low ones most often: half of the draws are uniform, half the smaller of two uniform numbers.

    What remains of the noise at the end is what CLIP minds most: a fiftieth of the range hides half of the nouns on
    black.
    """
    drawn = torch.rand((n, 2), generator=generator)
    lower = torch.rand(n, generator=generator) < 0.5
    return (torch.where(lower, drawn.amin(dim=1), drawn[:, 0]) * levels).long()


def rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: up linearly, level for half of the way, then linearly to zero."""
    return min(1.0, (step + 1) / WARM_UP, 2 * (steps - step) / steps)


def batches(clip: ClipEmbedder, seed: int, first: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield latents, conditions and the pictures' own vectors without end, from step ``first`` on.

    Every second epoch renders all anew.
    """
    pixels, labels = load_photographs("clip", PHOTOGRAPHS)
    captions = all_captions()
    texts = clip.texts([caption.text for caption in captions]).cpu()
    per_epoch = len(labels) // BATCH
    for rendering in range(first // (per_epoch * EPOCHS_PER_RENDERING), 10**9):
        generator = torch.Generator().manual_seed(seed * 100_003 + rendering)
        attributes = draw_attributes(len(labels), generator)
        pictures = render(pixels, draw_scene(attributes, labels, generator))
        latents, seen = fold(pictures), clip.images(pictures).cpu()
        for _ in range(EPOCHS_PER_RENDERING):
            true = _true_captions(texts, attributes, labels, generator)
            for rows in torch.randperm(len(pictures), generator=generator)[: per_epoch * BATCH].split(BATCH):
                yield latents[rows], _conditions(seen[rows], true[rows], generator), seen[rows]


def _true_captions(texts: Tensor, attributes: Attributes, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a caption that is true of each picture, those that claim more twice as often a claim."""
    captions = all_captions()
    weights = torch.tensor([2.0**caption.claims for caption in captions])
    rows = []
    for part in torch.arange(len(labels)).split(4096):
        truth = truth_table(captions, attributes[part], labels[part])
        rows.append(torch.multinomial(truth * weights, 1, generator=generator)[:, 0])
    return texts[torch.cat(rows)]


def _conditions(images: Tensor, captions: Tensor, generator: torch.Generator) -> Tensor:
    """From unit vectors (n, d) of pictures and of true captions: a third each, a third between them; noise beside."""
    n, d = images.shape
    way = (torch.rand(n, generator=generator) * 3 - 1).clamp(0, 1)
    vectors = slerp(captions, images, way)
    noise = F.normalize(torch.randn(n, d, generator=generator), dim=1)
    return F.normalize(vectors + NOISE * torch.rand((n, 1), generator=generator) * noise, dim=1)


def main(arguments: argparse.Namespace) -> None:
    """Train, going on from the checkpoint where there is one."""
    steps, every, folder, checkpoint = arguments.steps, arguments.every, arguments.folder, arguments.checkpoint
    clip = ClipEmbedder.bundled("cpu")
    trainer = Trainer(steps, arguments.seed, SeenLoss(clip), arguments.peak_lr)
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif arguments.start_from:
        trainer.start_from(arguments.start_from)
    losses: list[tuple[float, float]] = []
    start = time.perf_counter()
    for latents, vectors, images in batches(clip, arguments.seed, trainer.step_number):
        if trainer.step_number >= steps:
            break
        losses.append(trainer.step(latents, vectors, images))
        if trainer.step_number % every == 0 or trainer.step_number == steps:
            trainer.save(checkpoint)
            trainer.write_weights(folder)
            seconds = time.perf_counter() - start
            squared, unlike = (sum(part) / len(losses) for part in zip(*losses, strict=True))
            done = f"step {trainer.step_number}/{steps}"
            print(f"{done}  squared error {squared:.4f}  seen {unlike:.4f}  {seconds:.0f} s", flush=True)
            losses.clear()


def evaluate(folder: Path, seed: int) -> None:
    """Measure what the bundled CLIP reads in decoded pictures, and write the table beside the weights."""
    written = table(quality(folder, seed))
    write_atomically(folder / "QUALITY.md", written)
    print(written)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the weights and the table go")
    parser.add_argument("--checkpoint", type=Path, default=Path("decoder-checkpoint.safetensors"))
    parser.add_argument("--start-from", type=Path, help="weights to begin with, in place of random ones")
    parser.add_argument("--peak-lr", type=float, default=PEAK_LR)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--evaluate", action="store_true", help="train nothing, measure the weights that are there")
    arguments = parser.parse_args()
    if not arguments.evaluate:
        main(arguments)
    else:
        evaluate(arguments.folder, arguments.seed)
