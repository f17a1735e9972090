"""Train the bundled CLIP: an open_clip model of under 6 M parameters, from scratch, on two cores.

    python -m tools.train_clip [--epochs 30] [--seed 0] [--folder FOLDER] [--evaluate]

It sees only the ``clip`` split. As every picture's attributes are known, the loss does not call a true caption a
negative because it was written for another picture: each picture moves towards *all* captions that are true of
it (the more a caption says, the stronger), each caption towards all pictures of the batch that it is true of. The
table of zero-shot accuracies on the ``test`` split, whose photographs no training sees, is printed and written
beside the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.demo.world import Attributes, draw_attributes, draw_scene, load_photographs, render
from fdgpu.embedding import ClipEmbedder
from fdgpu.repair import triangular
from tools.make_photographs import PHOTOGRAPHS
from tools.world_captions import REQUIRED, Caption, all_captions, truth_table, zero_shot_accuracy

FOLDER = Path(__file__).parents[1] / "fdgpu" / "demo" / "clip"
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
BATCH = 256
AVERAGING = 0.998  # of the weights over the last few hundred steps: a point of noun accuracy at no cost
PEAK_LR = 2e-3
PEAK_EPOCH = 2
WEIGHT_DECAY = 0.05


class Trainer:
    """The model, its captions and one optimiser; a step is one batch of pictures against every caption."""

    def __init__(self, steps: int, steps_to_peak: int) -> None:
        config = json.loads((FOLDER / CONFIG).read_text())
        self.model = open_clip.CLIP(**config["model_cfg"]).to(memory_format=torch.channels_last)
        self.mean = torch.tensor(config["preprocess_cfg"]["mean"])[:, None, None]
        self.std = torch.tensor(config["preprocess_cfg"]["std"])[:, None, None]
        self.captions: list[Caption] = all_captions()
        context = config["model_cfg"]["text_cfg"]["context_length"]
        self.tokens = open_clip.SimpleTokenizer(context_length=context)([c.text for c in self.captions])
        self.emphasis = torch.tensor([2.0**c.claims for c in self.captions])
        self.average = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGING), use_buffers=True
        )
        self.optimizer = torch.optim.AdamW(self._groups(), lr=PEAK_LR, betas=(0.9, 0.98))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda s: triangular(s, steps, steps_to_peak))

    def _groups(self) -> list[dict[str, object]]:
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        return [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]

    def normalise(self, pictures: Tensor) -> Tensor:
        """uint8 (n, 3, h, w) to the model's input."""
        return ((pictures.float() / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def step(self, pictures: Tensor, attributes: Attributes, labels: Tensor) -> float:
        """Take one optimiser step and return the loss."""
        image = self.model.encode_image(self.normalise(pictures), normalize=True)
        text = self.model.encode_text(self.tokens, normalize=True)
        logits = self.model.logit_scale.exp() * image @ text.T
        loss = multi_positive_loss(logits, truth_table(self.captions, attributes, labels), self.emphasis)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.average.update_parameters(self.model)
        return float(loss.detach())

    @torch.inference_mode()
    def accuracy(self, pictures: Tensor, attributes: Attributes, labels: Tensor) -> dict[str, float]:
        """Zero-shot accuracies of the averaged weights on rendered pictures."""
        model: Any = self.average.module.eval()
        model.attn_mask.copy_(self.model.attn_mask)  # a mean of two -inf is NaN
        batches = [model.encode_image(self.normalise(p), normalize=True) for p in pictures.split(500)]
        index = {c.text: i for i, c in enumerate(self.captions)}
        text = model.encode_text(self.tokens, normalize=True)
        return zero_shot_accuracy(torch.cat(batches), lambda t: text[[index[s] for s in t]], attributes, labels)


def multi_positive_loss(logits: Tensor, truth: Tensor, emphasis: Tensor) -> Tensor:
    """Symmetric InfoNCE whose targets are spread over all true pairs.

    Args:
        logits: (n, m) pictures against captions.
        truth: (n, m) bool, caption j is true of picture i.
        emphasis: (m,) weight of a caption among the true ones of a picture.
    """
    towards_text = F.normalize(truth * emphasis, p=1, dim=1)
    true_of_any = truth.any(0)
    towards_image = F.normalize(truth[:, true_of_any].float(), p=1, dim=0)
    text_loss = -(towards_text * logits.log_softmax(1)).sum(1).mean()
    image_loss = -(towards_image * logits[:, true_of_any].log_softmax(0)).sum(0).mean()
    return (text_loss + image_loss) / 2


def rendered(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Attributes]:
    """Render every photograph once with freshly drawn attributes."""
    attributes = draw_attributes(len(labels), generator)
    return render(pixels, draw_scene(attributes, labels, generator)), attributes


def mirrored(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the pictures, so that a set that is kept for a second epoch is not quite the same."""
    flip = torch.rand(len(pictures), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], pictures.flip(-1), pictures)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write float16 weights, half the size; open_clip loads them into the precision it was asked for."""
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)


def main(epochs: int, seed: int, folder: Path, renderings_kept: int = 2) -> None:
    """Train; every fourth epoch and at the end, measure the averaged weights and write them."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder != FOLDER:
        shutil.copy(FOLDER / CONFIG, folder / CONFIG)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = load_photographs("clip", PHOTOGRAPHS)
    held_out, held_out_labels = load_photographs("test")
    per_epoch = len(labels) // BATCH
    trainer = Trainer(epochs * per_epoch, PEAK_EPOCH * per_epoch)
    test_pictures, test_attributes = rendered(held_out, held_out_labels, torch.Generator().manual_seed(seed + 1))
    for epoch in range(epochs):
        start = time.perf_counter()
        if epoch % renderings_kept == 0:
            pictures, attributes = rendered(pixels, labels, generator)
        order = torch.randperm(len(labels), generator=generator)[: per_epoch * BATCH]
        losses = [trainer.step(mirrored(pictures[r], generator), attributes[r], labels[r]) for r in order.split(BATCH)]
        seconds = time.perf_counter() - start
        line = f"epoch {epoch + 1}/{epochs}  loss {sum(losses) / len(losses):.3f}  {seconds:.0f} s"
        if (epoch + 1) % 4 == 0 or epoch + 1 == epochs:
            table = trainer.accuracy(test_pictures, test_attributes, held_out_labels)
            line += "  " + "  ".join(f"{k} {v:.3f}" for k, v in table.items())
            save_weights(trainer.average.module, folder / WEIGHTS)
        print(line, flush=True)


def evaluate(folder: Path, seed: int) -> None:
    """Load the weights as any user would, measure them on held-out photographs, and write the table beside them."""
    pixels, labels = load_photographs("test")
    pictures, attributes = rendered(pixels, labels, torch.Generator().manual_seed(seed + 1))
    clip = ClipEmbedder(f"local-dir:{folder}", device="cpu")
    table = zero_shot_accuracy(clip.images(pictures), clip.texts, attributes, labels)
    rows = [f"| {name} | {REQUIRED[name]:.2f} | {value:.3f} |" for name, value in table.items()]
    lines = [
        "# Zero-shot accuracy of the bundled CLIP",
        "",
        "On renderings of the `test` photographs, which no training sees. Written by",
        "`python -m tools.train_clip`, or `--evaluate` for this table alone.",
        "",
        "| attribute | required | reached |",
        "|---|---|---|",
        *rows,
        "",
    ]
    (folder / "ZERO_SHOT.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the weights and the table go")
    parser.add_argument("--evaluate", action="store_true", help="train nothing, measure the weights that are there")
    arguments = parser.parse_args()
    if not arguments.evaluate:
        main(arguments.epochs, arguments.seed, arguments.folder)
    evaluate(arguments.folder, arguments.seed)
