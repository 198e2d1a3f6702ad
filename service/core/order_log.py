"""The log line of a model order: who changed what is served, or tried to."""

from service import logs
from service.core.call import Outcome

MAX_NAME = 200  # characters of a name that a client chooses

OUTCOMES = {"ok": "allowed", "forbidden": "forbidden", "unauthenticated": "forbidden"}
"""The outcome of an order by the code of its call. Every other code means that it failed."""

log = logs.get()


def log_order(outcome: Outcome) -> None:
    """Log the order of a call, whether it was carried out or not."""
    caller, order = outcome.caller, outcome.order
    assert order
    log.info(
        "model order",
        request_id=caller.request_id,
        client=caller.address,
        key=outcome.key_name,
        order=order.action,
        model=order.model[:MAX_NAME],
        version=order.version[:MAX_NAME],
        outcome=OUTCOMES.get(outcome.code, "failed"),
        code=outcome.code,
    )
