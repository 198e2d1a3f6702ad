"""Serve the classifier with LitServe: decode in `decode_request`, batches of what waits, a worker per core."""

import litserve
from classifier import MAX_BATCH, PORT, Classifier, preprocess


class ClassifierAPI(litserve.LitAPI):
    """The steps of a request."""

    def setup(self, device):
        """Load the model."""
        self.classifier = Classifier()

    def decode_request(self, request):
        """Return the input of the network."""
        return preprocess(request["image"].file.read())

    def batch(self, inputs):
        """Return the inputs as they are: the classifier stacks them."""
        return inputs

    def predict(self, inputs):
        """Return the five best classes of each input of a batch."""
        return self.classifier.predict(inputs)

    def unbatch(self, output):
        """Return the answers as they are."""
        return output

    def encode_response(self, output):
        """Return an answer."""
        return output


if __name__ == "__main__":
    api = ClassifierAPI(max_batch_size=MAX_BATCH, batch_timeout=0.002, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
