"""Hard captions of a class from a vocabulary of any size: a beam search scored along its direction (paper, 2.2)."""

from __future__ import annotations

import numpy as np
import torch

from fdgpu.captions.beam_search import BUDGET, GrownCaptions, grow
from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.directions.estimator import FailureDirections
from fdgpu.embedding.embedder import CaptionReader
from fdgpu.errors import InputError
from fdgpu.findings import Side
from fdgpu.kernels.alignments import alignments
from fdgpu.progress import OneBar, Reporter, silent


def grow_captions(
    fit: FailureDirections,
    embedder: CaptionReader,
    class_id: int,
    grammar: CaptionGrammar,
    *,
    direction: int = 0,
    reference: str | None = None,
    beam: int = 32,
    top: int = 10,
    side: str | Side = Side.HARD,
    budget: int = BUDGET,
    progress: Reporter | None = None,
) -> GrownCaptions:
    """Grow the hardest captions of a class out of a grammar that may have 10^8 of them, few of which are encoded.

    The captions are found by :func:`fdgpu.captions.grow` and encoded over their prefix tree, some thousands at a time.

    Args:
        fit: fitted directions, in the embedder's space.
        embedder: of the captions.
        class_id: an entry of ``fit.classes_``.
        grammar: the template and each slot's words; a slot can only be left out where None is among them.
        direction: which of the class's directions.
        reference: the caption that describes the whole class; by default the first noun and nothing else.
        beam: captions that are extended at a time: more find more, for more time.
        top: captions to return.
        side: ``"hard"``, or ``"easy"`` for the other side of the direction.
        budget: captions to encode at most.
        progress: a reporter; by default a bar where a person watches standard error.

    Returns:
        The captions with their alignments, hardest (easiest) first. Captions that exceed the model's context are left
        out, and named.

    Raises:
        InputError: for a class without a direction, a reference that the model would cut, or what ``grow`` refuses.

    Example:
        >>> clip = fdgpu.ClipEmbedder.bundled("cpu")
        >>> grammar = fdgpu.CaptionGrammar("a photo of a {colour} {noun}", colour=[None, "blue", "red"], noun=["coat"])
        >>> vectors = clip.texts(["a photo of a blue coat", "a photo of a red coat"] * 20)  # in place of images
        >>> fit = fdgpu.FailureDirections(whiten=False).fit(vectors, [0] * 40, [False, True] * 20)
        >>> fdgpu.grow_captions(fit, clip, 0, grammar, top=1).captions[0].caption
        'a photo of a blue coat'
    """
    row = fit.index_of(class_id)
    fitted = fit.fitted
    kept = int(fitted.n_directions[row])
    if direction not in range(kept):
        raise InputError(
            f"class {class_id} has {kept} directions (status '{fitted.status[row]}'), direction is {direction}: "
            "captions need one to be scored along"
        )
    length = float(np.linalg.norm(fitted.shift[row, direction].astype(np.float64)))
    if not length:
        raise InputError(f"direction {direction} of class {class_id} has no length: it is zero, and points nowhere")
    if reference is None:
        reference = grammar.reference(noun=next(filter(None, grammar.slots["noun"])))
    base = fitted.caption_origins(embedder.texts(reference, silent)[0])

    w, scale = torch.from_numpy(fitted.shift[row, direction] / length), torch.from_numpy(fitted.scale)

    def alignment(captions: list[str]) -> torch.Tensor:
        return alignments(embedder.texts(captions, silent), base, w, scale)

    with OneBar(progress) as report:
        return grow(
            grammar, alignment, beam=beam, top=top, side=side, fits=embedder.fits, budget=budget, progress=report
        )
