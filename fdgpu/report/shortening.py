"""What a page leaves out where a thousand classes have several failure modes each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fdgpu.findings import ClassFindings, Findings, ModeFindings
from fdgpu.report.formats import count, plural

IN_FULL = 1_250  # modes that a page shows in full: of a tile its words alone take 190 bytes, of a curve 25 a point
PICTURES = 8  # of a strip at that many modes, and in proportion fewer beyond
FEWEST = 3


@dataclass(frozen=True)
class Shortened:
    """Findings as the page shows them; ``share`` of the picture budget that they may use, and a remark for readers."""

    findings: Findings
    share: float
    remark: str


def shorten(findings: Findings) -> Shortened:
    """Show fewer pictures, and curves and words of the strongest modes only, where not all modes fit in full."""
    n = sum(len(one.modes) for one in findings.classes)
    if n <= IN_FULL:
        return Shortened(findings, 1.0, "")
    most = max(FEWEST, PICTURES * IN_FULL // n)
    classes = tuple(_shorter(one, most) for one in findings.classes)
    remark = (
        f"With {plural(n, 'failure mode')} this page shows {count(most)} pictures in a row, and curves and words "
        "of the strongest mode of each class only; audit.json has the others."
    )
    return Shortened(replace(findings, classes=classes), IN_FULL / n, remark)


def _shorter(one: ClassFindings, most: int) -> ClassFindings:
    modes = [_fewer_pictures(mode, most) for mode in one.modes]
    further = [replace(mode, nearest_accuracy=(), word_effects=()) for mode in modes[1:]]
    return replace(one, modes=(*modes[:1], *further), unsure_examples=one.unsure_examples[:most])


def _fewer_pictures(mode: ModeFindings, most: int) -> ModeFindings:
    return replace(mode, hard_examples=mode.hard_examples[:most], easy_examples=mode.easy_examples[:most])
