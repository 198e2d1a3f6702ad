"""The health check of the container. The exit code is 0 if the service is ready."""

import os
import sys
from http.client import HTTPConnection

# urllib would use a proxy from the environment
connection = HTTPConnection("127.0.0.1", int(os.environ.get("TWINS_HTTP_PORT", "8000")), timeout=4)
connection.request("GET", "/readyz")
sys.exit(connection.getresponse().status != 200)
