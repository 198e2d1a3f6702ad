"""Serve the classifier with mosec: a stage that decodes and preprocesses, and a stage with dynamic batching."""

import sys

from classifier import MAX_BATCH, PORT, Classifier, preprocess
from mosec import Server, Worker


class Preprocess(Worker):
    """The first stage."""

    def deserialize(self, data):
        """Return the body of the request as it is."""
        return data

    def forward(self, data):
        """Return the input of the network."""
        return preprocess(data)


class Inference(Worker):
    """The second stage."""

    def __init__(self):
        super().__init__()
        self.classifier = Classifier()

    def forward(self, data):
        """Return the five best classes of each input of a batch."""
        return self.classifier.predict(data)


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", str(PORT), "--log-level", "warning", "--timeout", "30000"]
    server = Server()
    server.append_worker(Preprocess, num=1)
    server.append_worker(Inference, num=1, max_batch_size=MAX_BATCH, max_wait_time=2)
    server.run()
