"""WordNet's words: a class's kinds of things, what can be seen of them, and how the shipped lists were made."""

from fdgpu.captions.wordnet.expansion import nouns_below
from fdgpu.captions.wordnet.visible import visual_adjectives

__all__ = ["nouns_below", "visual_adjectives"]
