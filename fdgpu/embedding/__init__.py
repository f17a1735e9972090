"""Images and captions to unit vectors in CLIP's shared space (paper, section 2), or images in another space."""

from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import Embeddings
from fdgpu.embedding.features import FeatureEmbedder
from fdgpu.embedding.sources import ImageSource, image_source

__all__ = ["ClipEmbedder", "Embeddings", "FeatureEmbedder", "ImageSource", "image_source"]
