"""Images and captions to unit vectors in CLIP's shared space (paper, section 2), or images in another space."""

from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import Embeddings
from fdgpu.embedding.features import FeatureEmbedder
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import ImageSource, IndexedSource

__all__ = ["ClipEmbedder", "Embeddings", "FeatureEmbedder", "ImageSource", "IndexedSource", "Sample", "image_source"]
