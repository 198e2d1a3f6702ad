"""`twins repository` lists, loads and unloads the models of a running service."""

from typing import Any

import click
import httpx
from rich.console import Console
from rich.table import Table

from service.cli.tls import tls_options
from service.load.tls import ClientTls

DEFAULT_URL = "http://localhost:8000"
TIMEOUT_S = 600.0  # large models take minutes


class Service:
    """A running service, as seen by an operator."""

    def __init__(self, url: str, key: str | None, tls: ClientTls) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        base_url = f"{url.rstrip('/')}/v2/repository/"
        self.client = httpx.Client(base_url=base_url, headers=headers, timeout=TIMEOUT_S, verify=tls.context())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the answer to an order. Raise ClickException with the reason of the service."""
        try:
            response = self.client.post(path, json=body)
        except httpx.HTTPError as error:
            raise click.ClickException(f"{self.client.base_url}: {error or type(error).__name__}") from error
        if response.is_error:
            raise click.ClickException(reason(response))
        return response.json()

    def order(self, action: str, model: str, **parameters: Any) -> None:
        """Send an order about a model. Raise ClickException."""
        given = {name: value for name, value in parameters.items() if value}
        self.post(f"models/{model}/{action}", {"parameters": given})


def reason(response: httpx.Response) -> str:
    """Return why a service refused an order."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {response.status_code} {response.reason_phrase}"


@click.group()
@click.option("--url", default=DEFAULT_URL, show_default=True, help="Use the service at this address.")
@click.option("--api-key", envvar="TWINS_API_KEY", help="Send this API key. [TWINS_API_KEY]")
@tls_options
@click.pass_context
def repository(context: click.Context, url: str, api_key: str | None, tls: ClientTls) -> None:
    """List, load and unload the models of a running service.

    All but `index` need a service that was started with --allow-model-control.

    \b
    twins repository index
    twins repository load pets                 the newest version, which replaces the older ones
    twins repository load pets --version 2     this version beside the others
    twins repository default pets 1
    twins repository unload pets
    """  # noqa: D301 - click wants the control character
    context.obj = Service(url, api_key, tls)


@repository.command()
@click.option("--ready", is_flag=True, help="Show only the versions that answer.")
@click.pass_obj
def index(service: Service, *, ready: bool) -> None:
    """Print the state of each version of each model."""
    table = Table("model", "version", "state", "reason", box=None, pad_edge=False)
    for entry in service.post("index", {"ready": ready}):
        table.add_row(entry["name"], entry["version"], entry["state"], entry["reason"])
    Console().print(table)


@repository.command()
@click.argument("model")
@click.option("--version", help="Load this version beside the others, instead of the newest in their place.")
@click.pass_obj
def load(service: Service, model: str, version: str | None) -> None:
    """Load a model, and return when it answers."""
    service.order("load", model, version=version)


@repository.command()
@click.argument("model")
@click.option("--version", help="Unload only this version.")
@click.pass_obj
def unload(service: Service, model: str, version: str | None) -> None:
    """Unload a model when its calls are answered."""
    service.order("unload", model, version=version)


@repository.command("default")
@click.argument("model")
@click.argument("version")
@click.pass_obj
def choose_default(service: Service, model: str, version: str) -> None:
    """Make a version answer the calls that name none; load it if necessary."""
    service.order("load", model, version=version, default=True)
