"""Serve the classifier with FastAPI alone: an upload, a function in a thread, a forward pass per image."""

import uvicorn
from classifier import PORT, Classifier, preprocess
from fastapi import FastAPI, UploadFile

app = FastAPI()
classifier = Classifier() if __name__ != "__main__" else None


@app.post("/classify")
def classify(image: UploadFile):
    """Return the five best classes of an image."""
    return classifier.predict([preprocess(image.file.read())])[0]


if __name__ == "__main__":
    uvicorn.run("fastapi_server:app", host="127.0.0.1", port=PORT, workers=2, log_level="warning")
