"""The deployment: replicas of the engine behind Ray Serve's proxies. This is the only module that imports Ray."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from google.protobuf.message import Message
from ray import serve

from service.environment import METRICS_FOLDER, PASSIVE_THREADS, QUIET, set_variable
from service.processes import runtime_folder
from service.processes.models import parse_references
from service.ray.methods import METHODS, Method
from service.ray.scale import Scale, of_replica, read
from service.settings import Settings
from twins.zoo import hub
from twins.zoo.models import ModelReference

NAME = "Twins"
METRICS_S = 5.0  # for the metrics of all replicas
LOOK_S, LOOK_BACK_S = 2.0, 30.0  # between two counts of the requests in flight, and the time of their mean
HEALTH_PERIOD_S = 2.0
HEALTH_TIMEOUT_S = 10.0
SPARE = 2  # of the limit of images in flight: further requests reach the engine, which refuses them as always


def build(arguments: Mapping[str, Any]) -> Any:
    """Return the application. Raise SettingsError, TwinsError."""
    settings, scale = read(arguments)
    models = tuple(hub.resolve(reference) for reference in parse_references(settings))
    return configured(settings, scale).bind(settings, models, scale)


def configured(settings: Settings, scale: Scale) -> Any:
    """Return the deployment with the options of Ray Serve."""
    return Twins.options(
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": scale.target_requests,
            "upscale_delay_s": scale.upscale_delay_s,
            "downscale_delay_s": scale.downscale_delay_s,
            "look_back_period_s": max(LOOK_S, min(scale.upscale_delay_s, LOOK_BACK_S)),
            "metrics_interval_s": LOOK_S,
        },
        ray_actor_options={
            "num_cpus": scale.cpus,
            "num_gpus": scale.gpus,
            "runtime_env": {"env_vars": {**PASSIVE_THREADS, **QUIET}},
        },
        logging_config={"enable_access_log": False},  # the engine logs every request
        max_ongoing_requests=SPARE * settings.max_queue,
        max_queued_requests=settings.max_queue,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.drain_delay_s + settings.grace_s,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
    )


class Ingress:
    """One replica, as Ray Serve calls it: over ASGI, and by the name of a gRPC method."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, settings: Settings, models: tuple[ModelReference, ...], scale: Scale
    ) -> None:
        self.folder = runtime_folder.create()
        set_variable(METRICS_FOLDER, str(self.folder.metrics))
        from service.ray import replica  # imports the metrics, which read that variable at once

        context = serve.get_replica_context()
        self.name = context.replica_id.unique_id
        self.others = serve.get_deployment_handle(context.deployment, context.app_name)
        most = scale.models_per_replica
        cache = serve.multiplexed(max_num_models_per_replica=most) if most else None
        self.replica = replica.start(of_replica(settings, scale), models, self.name, cache, self.pages)
        await self.replica.open()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application over HTTP."""
        return self.replica.web

    async def check_health(self) -> None:
        """Raise Unhealthy if Ray Serve must replace this replica."""
        self.replica.check()

    async def metrics_page(self) -> tuple[str, bytes]:
        """Return the name and the metrics of this replica, for another one."""
        return self.name, await asyncio.to_thread(self.replica.page)

    def pages(self) -> dict[str, bytes]:
        """Return the metrics of all replicas by name, from a thread. Those that do not answer are missing."""
        found = self.others.broadcast("metrics_page").results(timeout_s=METRICS_S, return_exceptions=True)
        return {self.name: self.replica.page(), **dict(each for each in found if isinstance(each, tuple))}

    async def __del__(self) -> None:
        """End the replica, which Ray Serve has given no requests for a while."""
        await self.replica.close()
        self.folder.remove()


def unary(method: Method) -> Callable[..., Any]:
    """Return the function that Ray Serve calls for a method with one message and one answer."""

    async def answer(self: Ingress, message: bytes, grpc_context: Any) -> Message:
        return await self.replica.calls.answer(method.path, message, grpc_context)

    return answer


def stream(method: Method) -> Callable[..., Any]:
    """Return the function that Ray Serve calls for a method with many answers."""

    async def answers(self: Ingress, messages: Any, grpc_context: Any) -> AsyncIterator[Message]:
        async for each in self.replica.calls.stream(method.path, messages, grpc_context):
            yield each

    return answers


for each in METHODS:
    setattr(Ingress, each.name, (stream if each.returns_stream else unary)(each))

Twins = serve.deployment(name=NAME)(serve.ingress()(Ingress))
