"""Images and captions to unit vectors in CLIP's shared space (paper, section 2)."""

from fdgpu.embedding.clip import ClipEmbedder, Embeddings
from fdgpu.embedding.sources import ImageSource, image_source

__all__ = ["ClipEmbedder", "Embeddings", "ImageSource", "image_source"]
