"""What the rules of trust change: which captions name what was planted, and which are withheld.

A caption of a planted class is right if it names the planted attribute. A wrong one need not be false: a model that
fails on blue shirts may fail on green ones too.
"""

from __future__ import annotations

from typing import Any

from fdgpu.auditing import AuditResult
from fdgpu.captions.reliability import rank_captions
from fdgpu.demo.world import phrase, world_settings
from fdgpu.findings import NO_RELIABLE_CAPTION

FIRST = 3  # hard captions of a class that are counted


def count_captions(result: AuditResult) -> dict[str, Any]:
    """Count over all classes of the demo.

    ``ranked_``: the plain ranking by score, in which near duplicates follow each other. ``trusted_``: different
    things, the reliable ones only. Captions are counted among the first three different things of each planted class.
    """
    phrases = {plant.class_name: phrase(plant) for plant in world_settings().plants}
    counts = dict.fromkeys(
        ("ranked_first", "ranked_in_three", "trusted_first", "trusted_in_three", "right", "right_withheld", "wrong",
         "wrong_withheld", "unplanted", "unplanted_without_caption"), 0,
    )  # fmt: skip
    for k, one in enumerate(result.findings.classes):
        if not one.found:
            continue
        if one.name not in phrases:
            counts["unplanted"] += 1
            counts["unplanted_without_caption"] += one.strongest.hardest_caption == NO_RELIABLE_CAPTION
            continue
        (own, *_), words = result.captions.by_class[k], phrases[one.name]
        plain = [words in own.texts[i] for i in rank_captions(own.scores, FIRST)[0]]
        trusted = [words in caption.caption for caption in one.strongest.reliable_hard_captions[:FIRST]]
        for kind, named in (("ranked", plain), ("trusted", trusted)):
            counts[f"{kind}_first"] += named[:1] == [True]
            counts[f"{kind}_in_three"] += any(named)
        for caption in one.hard_captions[:FIRST]:
            kind = "right" if words in caption.caption else "wrong"
            counts[kind] += 1
            counts[f"{kind}_withheld"] += caption.withheld
    return counts
