"""Classify an image over TLS by both protocols of `twins_client`, and once with the wrong authority. Print the labels.

The arguments are the addresses for HTTP and gRPC, an image, the authority, the client's certificate and key, and an
authority that did not issue the service's certificate.
"""

import json
import sys

from twins_client import Client, GrpcClient, Tls, TwinsError

if __name__ == "__main__":
    http, grpc, image, ca, certificate, key, wrong = sys.argv[1:]
    found = []
    for kind, address in ((Client, http), (GrpcClient, grpc)):
        with kind(address, tls=Tls(ca, certificate, key)) as client:
            found.append(client.classify(image).best.label)
        with kind(address, tls=Tls(wrong, certificate, key), timeout=0.5) as client:
            try:
                found.append(client.classify(image).best.label)
            except TwinsError:
                found.append("refused")
    sys.stdout.write(json.dumps(found))
