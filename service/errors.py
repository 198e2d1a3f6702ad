"""The errors that a client may see, as one tree. Each protocol has a table from these classes to its own codes."""


class ServiceError(Exception):
    """The base class of all errors. `code` is stable: clients, logs and metrics use it.

    ServiceError
    ├── BadRequest
    │   ├── RequestTimeout
    │   ├── TooLarge
    │   ├── NotAcceptable
    │   ├── UnsupportedMedia
    │   ├── UnreadableImage
    │   │   └── DecodeTimeout
    │   └── ModelControlFailed
    ├── Unauthenticated
    ├── Forbidden
    ├── UnknownModel
    ├── Refused
    │   ├── Overloaded
    │   │   └── QuotaExceeded
    │   └── Unavailable
    ├── DeadlineExceeded
    │   └── DeadlineAlreadyPassed
    ├── Cancelled
    └── Internal
    """

    code = "internal"
    title = "The service failed"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class BadRequest(ServiceError):
    """The request is malformed, or an option does not exist or is out of range."""

    code = "bad_request"
    title = "The request is malformed"


class RequestTimeout(BadRequest):
    """The client did not send the whole request before its deadline."""

    code = "request_timeout"
    title = "The request did not arrive in time"


class TooLarge(BadRequest):
    """The request or an image exceeds a limit: bytes, pixels, frames or number of images."""

    code = "too_large"
    title = "The request or an image is too large"


class NotAcceptable(BadRequest):
    """The client accepts none of the media types that the service offers."""

    code = "not_acceptable"
    title = "No media type of the answer is acceptable"


class UnsupportedMedia(BadRequest):
    """The content is not an image of a supported type, or it is compressed."""

    code = "unsupported_media_type"
    title = "The content is not an image of a supported type"


class UnreadableImage(BadRequest):
    """The image cannot be decoded."""

    code = "unreadable_image"
    title = "The image cannot be decoded"


class DecodeTimeout(UnreadableImage):
    """The image takes longer to decode than the service allows."""

    code = "decode_timeout"
    title = "The image takes too long to decode"


class ModelControlFailed(BadRequest):
    """A model cannot be loaded or unloaded: its files are wrong, or it is in another state."""

    code = "model_control_failed"
    title = "The model could not be loaded or unloaded"


class Unauthenticated(ServiceError):
    """The request carries no API key, or one that is wrong or has expired."""

    code = "unauthenticated"
    title = "A valid API key is required"


class Forbidden(ServiceError):
    """The API key lacks the scope for this, or the service lets no client do it."""

    code = "forbidden"
    title = "This is not allowed"


class UnknownModel(ServiceError):
    """No model of that name is served."""

    code = "unknown_model"
    title = "The model does not exist"


class Refused(ServiceError):
    """The service rejects the request now; the same request may succeed later."""

    code = "refused"
    title = "The service cannot answer now"


class Overloaded(Refused):
    """Too many images or bytes are in flight."""

    code = "overloaded"
    title = "Too many requests are waiting"


class QuotaExceeded(Overloaded):
    """The client has too many images in flight, or sends too many images per second."""

    code = "quota_exceeded"
    title = "The client sends too many images"


class Unavailable(Refused):
    """The service is loading or stopping, or no worker is ready."""

    code = "unavailable"
    title = "The service is not available"


class DeadlineExceeded(ServiceError):
    """The deadline has passed or cannot be met."""

    code = "deadline_exceeded"
    title = "The deadline cannot be met"


class DeadlineAlreadyPassed(DeadlineExceeded):
    """The deadline had passed when the request arrived, or less than a millisecond was left."""

    code = "deadline_already_passed"
    title = "The deadline had already passed"


class Cancelled(ServiceError):
    """The client disconnected before the answer. Only logs and metrics show this error."""

    code = "cancelled"
    title = "The client disconnected"


class Internal(ServiceError):
    """An unexpected error. Its cause is logged and never sent to the client."""
