"""Render a result as a file or a document.

This package holds one file per format. It must not compute results or know HTTP.
"""

from collections.abc import Mapping

from twins.render.classification import CLASSIFY_RENDERERS
from twins.render.detection import DETECT_RENDERERS
from twins.render.embedding import EMBED_RENDERERS
from twins.render.renderer import Renderer
from twins.render.segmentation import SEGMENT_RENDERERS

RENDERERS: Mapping[str, Mapping[str, Renderer]] = {
    "classify": CLASSIFY_RENDERERS,
    "segment": SEGMENT_RENDERERS,
    "detect": DETECT_RENDERERS,
    "embed": EMBED_RENDERERS,
}
"""The renderers of each task by the format's name; the first is the default."""
