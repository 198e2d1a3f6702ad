"""Serve the classifier with PyTriton: Triton forms batches of encoded images for a function in Python."""

import tempfile
from pathlib import Path

import numpy as np
from classifier import MAX_BATCH, PORT, Classifier, preprocess
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

INSTANCES = 2


class Instance:
    """One copy of the model, which runs in a process of its own."""

    def __init__(self):
        self.classifier = Classifier()

    @batch
    def __call__(self, image):
        """Return the five best classes of each image of a batch."""
        found = [each["predictions"] for each in self.classifier.predict([preprocess(body) for (body,) in image])]
        return {
            "class_id": np.array([[each["class_id"] for each in best] for best in found], np.int32),
            "score": np.array([[each["score"] for each in best] for best in found], np.float32),
            "label": np.char.encode(np.array([[each["label"] for each in best] for best in found]), "utf-8"),
        }


def main():
    """Serve the model until the process is stopped."""
    addresses = {f"{protocol}_address": "127.0.0.1" for protocol in ("http", "grpc", "metrics")}
    ports = {"http_port": PORT, "grpc_port": PORT + 1, "metrics_port": PORT + 2}
    config = TritonConfig(**addresses, **ports)
    with tempfile.TemporaryDirectory() as folder, Triton(config=config, workspace=Path(folder) / "triton") as triton:
        triton.bind(
            model_name="classify",
            infer_func=[Instance() for _ in range(INSTANCES)],
            inputs=[Tensor(name="image", dtype=np.bytes_, shape=(1,))],
            outputs=[
                Tensor(name="class_id", dtype=np.int32, shape=(5,)),
                Tensor(name="score", dtype=np.float32, shape=(5,)),
                Tensor(name="label", dtype=np.bytes_, shape=(5,)),
            ],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=2000)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
