"""What a reader should know before believing a number: notes, and doubts, which are warnings too."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fdgpu.auditing.captioning import CaptionSource
from fdgpu.auditing.images import AuditImages
from fdgpu.auditing.space import Space
from fdgpu.device import out_of_memory
from fdgpu.embedding.picture import Treatment
from fdgpu.errors import FdgpuError, FdgpuWarning
from fdgpu.findings import INTERFACE, GroupedBy, Skipped, Split


class Notes:
    """What a reader should know before believing a number, for the page and ``audit.json``."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def add(self, text: str) -> None:
        """Keep a sentence."""
        self.said.append(text)

    def doubt(self, text: str) -> None:
        """Keep what could make the report wrong, and say it at once."""
        warnings.warn(text, FdgpuWarning, stacklevel=3)
        self.said.append(text)

    @contextmanager
    def instead_of(self, lost: str) -> Iterator[None]:
        """Go on where a stage fails that comes after the fit: what was made before it is worth having."""
        try:
            yield
        except (FdgpuError, OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not (isinstance(error, FdgpuError) or out_of_memory(error)):
                raise
            self.doubt(f"{lost}: {str(error) or 'memory ran out'}.")

    def about_treatments(self, treated: Mapping[Treatment, int], images: int) -> None:
        """Say what was done to pictures that are more than plain pixels."""
        for treatment, n in treated.items():
            said = f"{n:,} of {images:,} images: {treatment}."
            if treatment.doubtful:
                self.doubt(said)
            else:
                self.add(said)

    def about_captions(self, space: Space, candidates: CaptionSource | None, unread: Sequence[str]) -> None:
        """Say where captions come from, and which could not be read."""
        if candidates is None or space.reader is None:
            self.add(
                f"There are no captions: nothing reads them into the space of {space.images.name}. Failures are shown "
                "in pictures, and not in words. A CLIP has a space of both; so have vectors with captions' beside."
            )
            return
        recipe = candidates.recipe
        if candidates.listed:
            self.add(
                f"Candidates are the {len(candidates.listed):,} captions whose vectors were given, for every class."
            )
        elif candidates.written:
            n = sum(map(len, candidates.written.values()))
            self.add(
                f"Candidates are {n:,} sentences that a captioner wrote for images of their class: for errors that the "
                "directions were fitted on, and for as many right images."
            )
        elif recipe.fallen_back:
            self.add(f"The recipe has no captions for {_some(recipe.fallen_back)}: general ones were used.")
        if recipe.ambiguous:
            self.add(
                f"The recipe has several classes named {_some(recipe.ambiguous)}: general captions were used. Name the "
                "class by another of its names, such as its WordNet id."
            )
        if candidates.indexes:
            most = max(map(len, candidates.indexes.values()))
            self.add(
                f"Candidates are the captions of an index of up to {most:,} that are farthest out along each "
                "direction and its resamples, and some drawn from all of it; ranks are among these."
            )
        if candidates.failed:
            path, reason = next(iter(candidates.failed.items()))
            self.doubt(f"The captioner failed on {len(candidates.failed)} images, such as {path} ({reason}).")
        if unread:
            self.add(f"{len(unread)} captions were left out, such as {unread[0]!r}: they {space.reader.unread}.")

    def in_the_end(
        self, images: AuditImages, skipped: Sequence[Skipped], missing: Sequence[str], named: bool = False
    ) -> None:
        """Keep what is known once all is done."""
        together = images.together
        if images.shown_from is Split.VAL:
            self.add(
                "There is no usable test image: examples, captions and figures come from the images that the "
                "directions were fitted on, and look better than they are. A caption is then trusted by its rank alone."
            )
        if images.whitened_by is Split.VAL:
            self.add("There are no two usable training images: embeddings were whitened by the validation images.")
        if together.n_groups and together.grouped_by is GroupedBy.NEAR_DUPLICATES:
            self.add(
                f"{together.n_grouped:,} {Split.VAL} images are near-duplicates of others, and form "
                f"{together.n_groups:,} groups. Each group counts as one piece of evidence. If they are independent, "
                + INTERFACE.get().advice("pass --groups none", "pass groups='none'")
                + "; if you know which images belong together, pass their groups."
            )
        if skipped:
            self.add(f"{len(skipped)} of {len(images.ids)} images could not be used; they are listed below.")
        if named:
            self.add("No images were given beside the embeddings: the page names them, and shows no pictures.")
        if missing:
            self.add(
                f"{len(missing):,} of the pictures to show could not be read again, such as {missing[0]}: files are "
                "gone, or the images came from a generator, which is read once. Their tiles are empty."
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
