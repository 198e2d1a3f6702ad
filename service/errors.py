"""What a client may be told. One tree; each protocol has a table from its leaves to its own codes."""


class ServiceError(Exception):
    """The root. `code` is stable: clients, logs and metrics use it.

    ServiceError
    ├── BadRequest
    │   ├── TooLarge
    │   ├── NotAcceptable
    │   ├── UnsupportedMedia
    │   └── UnreadableImage
    ├── Unauthenticated
    ├── UnknownModel
    ├── Refused
    │   ├── Overloaded
    │   └── Unavailable
    ├── DeadlineExceeded
    ├── Cancelled
    └── Internal
    """

    code = "internal"
    title = "Something went wrong on our side"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class BadRequest(ServiceError):
    """A malformed request or an option that does not exist or is out of range."""

    code = "bad_request"
    title = "The request is malformed"


class TooLarge(BadRequest):
    """Bytes, pixels, frames or number of images over the limit."""

    code = "too_large"
    title = "Too large"


class NotAcceptable(BadRequest):
    """No form that is offered is one that the client takes."""

    code = "not_acceptable"
    title = "No such form of an answer"


class UnsupportedMedia(BadRequest):
    """Not an image, or of a type not taken."""

    code = "unsupported_media_type"
    title = "Not an image of a supported type"


class UnreadableImage(BadRequest):
    """An image that cannot be decoded."""

    code = "unreadable_image"
    title = "The image cannot be decoded"


class Unauthenticated(ServiceError):
    """No key, or a wrong one."""

    code = "unauthenticated"
    title = "A valid key is needed"


class UnknownModel(ServiceError):
    """No model of that name is served."""

    code = "unknown_model"
    title = "No such model"


class Refused(ServiceError):
    """Not now: the same request may succeed later."""

    code = "refused"
    title = "Not now"


class Overloaded(Refused):
    """The queue is full."""

    code = "overloaded"
    title = "Too many requests are waiting"


class Unavailable(Refused):
    """Loading, draining, or no live worker."""

    code = "unavailable"
    title = "The service is not available at the moment"


class DeadlineExceeded(ServiceError):
    """The deadline has passed, or cannot be met."""

    code = "deadline_exceeded"
    title = "The deadline cannot be met"


class Cancelled(ServiceError):
    """The client went away before its answer; nobody reads this one but logs and metrics."""

    code = "cancelled"
    title = "The client went away"


class Internal(ServiceError):
    """Anything unforeseen: its cause is logged, never shown."""
