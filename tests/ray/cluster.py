"""A Ray cluster on this machine, with the service on it: a program for Ray's environment.

It reads the ports of each node as JSON from its first argument, and then a command with its arguments from each line of
standard input: `deploy`, `status` and `kill`. It answers each with a line of JSON.
"""

import json
import os
import signal
import sys
import time
from typing import Any

import psutil
import ray
from ray import serve
from ray.cluster_utils import Cluster

import service.ray
from service.ray.deployment import NAME

GRPC_FUNCTIONS = ["service.ray.proxy.add_services"]
OBJECT_STORE_BYTES = 80 * 2**20
CPUS, GPUS = 2, 1
"""What each node but the first pretends to have. Ray only counts them."""


class Program:
    """The cluster and the application on it."""

    def __init__(self, ports: list[dict[str, int]]) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args=node(cpus=0), shutdown_at_exit=True)
        self.workers = [self.cluster.add_node(**node(cpus=CPUS, gpus=GPUS, ports=each)) for each in ports[1:]]
        ray.init(address=self.cluster.address, log_to_driver=False)
        self.cluster.wait_for_nodes()
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": "127.0.0.1", "port": ports[0]["http"]},
            grpc_options={"port": ports[0]["grpc"], "grpc_servicer_functions": GRPC_FUNCTIONS},
        )

    def deploy(self, **arguments: Any) -> dict[str, Any]:
        """Deploy the application, or change it, and return when it runs."""
        serve.run(service.ray.app(arguments), route_prefix="/")
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return how many replicas run, how many proxies are healthy, and what the replicas have reserved."""
        found = serve.status()
        states = found.applications["default"].deployments[NAME].replica_states
        healthy = sum(state == "HEALTHY" for state in found.proxies.values())
        total, free = ray.cluster_resources(), ray.available_resources()
        reserved = {name: round(total[name] - free.get(name, 0), 3) for name in ("CPU", "GPU")}
        return {"running": states.get("RUNNING", 0), "proxies": healthy, "reserved": reserved}

    def kill(self) -> dict[str, Any]:
        """Kill the first worker node with all its processes at once, like a machine that loses power."""
        victim = self.workers.pop(0)
        raylet = psutil.Process(victim.all_processes["raylet"][0].process.pid)
        processes = [raylet, *raylet.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        at = time.monotonic()
        self.cluster.remove_node(victim, allow_graceful=False)
        return {"killed_at": at, "processes": len(processes)}


def node(*, cpus: int, gpus: int = 0, ports: dict[str, int] | None = None) -> dict[str, Any]:
    """Return the options of a node, whose proxy listens on these ports; those of the head node are Serve's own."""
    environ = {f"RAY_SERVE_WORKER_PROXY_{name.upper()}_PORT": str(port) for name, port in (ports or {}).items()}
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "env_vars": environ,
    }


def main() -> None:
    """Run the cluster until standard input ends."""
    program = Program(json.loads(sys.argv[1]))
    try:
        for line in sys.stdin:
            name, arguments = json.loads(line)
            os.write(1, json.dumps(getattr(program, name)(**arguments)).encode() + b"\n")
    finally:
        serve.shutdown()
        ray.shutdown()
        program.cluster.shutdown()


if __name__ == "__main__":
    main()
