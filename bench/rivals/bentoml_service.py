"""Serve the classifier with BentoML: a service that preprocesses, and one with adaptive batching that it depends on."""

from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import ContentType
from classifier import MAX_BATCH, Classifier, preprocess


@bentoml.service(workers=1)
class Model:
    """The model, with adaptive batching."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60000)
    def predict(self, batch: np.ndarray) -> list[dict[str, Any]]:
        """Return the five best classes of each input of a batch."""
        return self.classifier.predict(batch)


@bentoml.service(workers=1, traffic={"timeout": 60})
class Upload:
    """The service that clients call."""

    model = bentoml.depends(Model)

    @bentoml.api
    async def classify(self, image: Annotated[Path, ContentType("image/jpeg")]) -> dict[str, Any]:
        """Return the five best classes of an image."""
        inputs = preprocess(image.read_bytes())
        return (await self.model.to_async.predict(inputs[None]))[0]
