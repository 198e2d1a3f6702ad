"""Converts requests to a task's options and results to responses, in one file per task.

Code for all tasks belongs in `service.rpc.messages`, and access to the engine in `service.rpc.servicer`.
"""
