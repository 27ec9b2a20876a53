"""A Ray cluster of this machine alone that serves two replicas, until its standard input ends.

Run as `python -m tests.live.servers.programs.ray_head ENGINE FOLDER PORT …flags…`; ENGINE is `counting` or `real`.
"""

from __future__ import annotations

import shlex
import sys

import ray
from ray import serve
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

from app.server import ray as hosting
from tests.live.servers import fake_server
from tests.live.servers.programs.ray_cluster import READY

OBJECT_STORE_BYTES = 80 * 2**20


def main(engine: str, folder: str, port: str, *flags: str) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    # Of no CPU, because Ray has two, and its own actors take some.
    args = {"flags": shlex.join(flags), "replicas": 2, "cpus": 0}
    if engine == "counting":
        vars(hosting)["build_services"] = fake_server.build_services
    # As `serve run` and `serve deploy` do.
    serve.run(call_user_app_builder_with_args_if_necessary(hosting.application, args), name="twowire")
    print(READY, flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
