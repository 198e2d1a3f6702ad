"""Whether the service in this container is ready: the container's health check. Ends with 0 if so."""

import os
import sys
from http.client import HTTPConnection

# not by urllib, which would go through a proxy that the environment names
connection = HTTPConnection("127.0.0.1", int(os.environ.get("TWINS_HTTP_PORT", "8000")), timeout=4)
connection.request("GET", "/readyz")
sys.exit(connection.getresponse().status != 200)
