"""WordNet's nouns: expanding a class into the kinds of things it holds, and how the shipped lists were made."""

from fdgpu.captions.wordnet.expansion import nouns_below

__all__ = ["nouns_below"]
