"""Grammars of candidate captions, and what the directions make of them (paper, 2.2 and A.6)."""

from fdgpu.captions.additive import WordEffects, word_effects
from fdgpu.captions.beam_search import GrownCaption, GrownCaptions, grow
from fdgpu.captions.candidates import CaptionRecipe, ClassCaptions, pool_captions
from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.captions.wordnet import nouns_below, visual_adjectives

__all__ = [
    "CaptionGrammar",
    "CaptionRecipe",
    "ClassCaptions",
    "GrownCaption",
    "GrownCaptions",
    "WordEffects",
    "grow",
    "nouns_below",
    "pool_captions",
    "visual_adjectives",
    "word_effects",
]
