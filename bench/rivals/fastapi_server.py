"""Serve the classifier with FastAPI alone: an upload, a function in a thread, a forward pass per image."""

import uvicorn
from classifier import PORT, Classifier, preprocess
from fastapi import FastAPI, UploadFile

app = FastAPI()
classifier = Classifier() if __name__ == "fastapi_server" else None  # uvicorn's processes import this file twice


@app.post("/classify")
def classify(image: UploadFile):
    """Return the five best classes of an image."""
    return classifier.predict([preprocess(image.file.read())])[0]


START_S = 120  # uvicorn ends a process that does not answer it for so long; a large model takes more than its default

if __name__ == "__main__":
    address = {"host": "127.0.0.1", "port": PORT}
    uvicorn.run("fastapi_server:app", **address, workers=2, timeout_worker_healthcheck=START_S, log_level="warning")
