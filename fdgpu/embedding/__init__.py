"""Images and captions to unit vectors in CLIP's shared space (paper, section 2), or images in another space."""

from fdgpu.embedding.archives import archive_source
from fdgpu.embedding.beton import BetonSource
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import Embeddings
from fdgpu.embedding.features import FeatureEmbedder
from fdgpu.embedding.given import GivenVectors
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import ImageSource, IndexedSource
from fdgpu.embedding.tabular import table_source

__all__ = [
    "BetonSource",
    "Classifier",
    "ClipEmbedder",
    "Embeddings",
    "FeatureEmbedder",
    "GivenVectors",
    "ImageSource",
    "IndexedSource",
    "Sample",
    "archive_source",
    "image_source",
    "table_source",
]
