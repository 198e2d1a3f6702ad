"""A result as a file or a document.

One file per format lives here, and a table of the formats of each task. Computing the result and HTTP do not.
"""

from collections.abc import Mapping

from twins.render.classification import CLASSIFY_RENDERERS
from twins.render.renderer import Renderer
from twins.render.segmentation import SEGMENT_RENDERERS

RENDERERS: Mapping[str, Mapping[str, Renderer]] = {"classify": CLASSIFY_RENDERERS, "segment": SEGMENT_RENDERERS}
"""The renderers of each task by the format's name; the first is the default."""
