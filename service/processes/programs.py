"""The programs of the child processes, which can be replaced before the supervisor is imported."""

PROGRAMS = {"worker": "service.processes.worker", "frontend": "service.processes.frontend"}
