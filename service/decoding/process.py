"""A decoder process: it takes images from a socket on its standard input, and returns samples.

Its frontend kills it when an image takes too long. It ends when the frontend ends. It imports no server and no torch.
"""

import os
import socket
import sys
import time
from typing import NoReturn

import cv2

from service import limits
from service.decoding.channel import Channel, Failed, Ready, Refused
from twins.images.decode import ImageError

OPEN_FILES = 32
EXIT_ENDED, EXIT_MEMORY = 0, 1


def main() -> NoReturn:
    """Answer jobs until the frontend closes the socket. The argument is the memory that this may take, in bytes."""
    limits.end_with_parent()
    limits.forbid_core_dumps()
    limits.bound_open_files(OPEN_FILES)
    cv2.setNumThreads(1)  # several decoders share the cores
    limits.bound_memory(int(sys.argv[1]))
    channel = Channel(socket.socket(fileno=sys.stdin.fileno()))
    code = EXIT_ENDED
    try:
        channel.send(Ready())
        while True:
            prepare_next(channel)
    except (EOFError, OSError):  # the frontend has ended, or does not need this process any more
        pass
    except MemoryError:
        code = EXIT_MEMORY
    os._exit(code)


def prepare_next(channel: Channel) -> None:
    """Answer one job. Raise EOFError or OSError at the end of the socket, and MemoryError."""
    data, how = channel.receive_job()
    began = time.monotonic()
    try:
        prepared = how.decode(how.open(data))
    except ImageError as error:
        channel.send(Refused(type(error).__name__, str(error)))
    except MemoryError:
        raise
    except Exception as error:
        channel.send(Failed(repr(error)))
    else:
        channel.send_prepared(prepared, began)


if __name__ == "__main__":
    main()
