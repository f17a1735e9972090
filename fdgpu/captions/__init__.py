"""Grammars of candidate captions, and what the directions make of them (paper, 2.2 and A.6)."""

from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.captions.recipe import Recipe

__all__ = ["CaptionGrammar", "Recipe"]
