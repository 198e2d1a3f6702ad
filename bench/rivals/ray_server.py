"""Serve the classifier with Ray Serve: a replica per core, each with `serve.batch`."""

import ray
from classifier import MAX_BATCH, PORT, Classifier, preprocess
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Model:
    """The model."""

    def __init__(self):
        self.classifier = Classifier()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.002)
    async def predict(self, inputs):
        """Return the five best classes of each input of a batch."""
        return self.classifier.predict(inputs)

    async def __call__(self, request: Request):
        """Return the five best classes of an image."""
        return await self.predict(preprocess(await request.body()))


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Model.bind(), route_prefix="/classify", blocking=True)
