"""Whether the service in this container is ready: the container's health check. Ends with 0 if so."""

import os
import sys
from urllib.request import urlopen

with urlopen(f"http://127.0.0.1:{os.environ.get('TWINS_HTTP_PORT', '8000')}/readyz", timeout=4) as answer:
    sys.exit(answer.status != 200)
