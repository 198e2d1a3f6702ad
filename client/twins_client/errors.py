"""What can go wrong with a request."""


class TwinsError(Exception):
    """A request failed.

    `code` is the service's stable code, such as `unreadable_image` or `overloaded`; `unreachable` and
    `deadline_exceeded` are also raised by the client itself. `retry_after` are the seconds after which the same request
    may succeed, or None.
    """

    def __init__(
        self, code: str, detail: str, *, retry_after: float | None = None, request_id: str = "", status: str = ""
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.detail = code, detail
        self.retry_after, self.request_id, self.status = retry_after, request_id, status
