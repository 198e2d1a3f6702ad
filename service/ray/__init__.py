"""The service as an application of Ray Serve: `serve run service.ray:app`.

Replicas of the engine run on the nodes of a Ray cluster. Only `service.ray.deployment` imports Ray.

`serve build` takes no function, but an application that is built: `service.ray:application`, which has the settings of
the environment. It is built when it is asked for, so that importing this package needs no Ray.
"""

from typing import Any


def app(arguments: dict[str, Any]) -> Any:
    """Return the application that Ray Serve deploys. `arguments` are settings and those of `service.ray.scale.Scale`.

    Raise SettingsError, TwinsError.
    """
    from service.ray import deployment  # other modules of this package run without Ray

    return deployment.build(arguments)


def __getattr__(name: str) -> Any:
    """Return the application without arguments as an attribute of this module."""
    if name == "application":
        return app({})
    raise AttributeError(name)
