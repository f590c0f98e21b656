"""Write stories in the browser, shot by shot, while they play.

  shotstream serve                                   the shipped miniature, on this machine
  shotstream serve --checkpoint DIR --stories DIR    another model, and where stories are kept
  shotstream serve --config wan_1_3b                 as a recipe says (shotstream generate)
  shotstream serve --style film.safetensors:0.6      with a style (LoRA), whose strength each shot
                                                     can choose
  shotstream serve --host 0.0.0.0 --public-url https://stories.example.org
                                                     for others, behind a proxy with TLS
  shotstream serve --ray --replicas 2                two processes with a device each, any of which
                                                     may end

Stories are kept on disk, and go on after the server was stopped or killed. Ctrl-C or SIGTERM
finishes the chunk that is being made. docs/serving.md explains the protocol and the limits.
"""

import argparse
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.lock import locked
from shotstream_jax.core.ray_cluster import prepare_for_ray
from shotstream_jax.serve.options import (
    Loaded,
    address_of,
    asked_for,
    load_asked,
    serve_parser,
)

_REMEDY = "see what fits by `shotstream plan --config …`"


def parser() -> cli.Parser:
    """The options."""
    return serve_parser(__doc__)


def main(argv: Sequence[str]) -> None:
    """Runs the server until it is told to end."""
    args, config = parser().parse(argv)
    _check_installed()
    asked = asked_for(args, config)
    if args.replicas != 1 and not args.ray:
        raise InputError("--replicas is for --ray")
    folder = asked.settings.folder
    folder.mkdir(parents=True, exist_ok=True)
    remedy = "end it, or name another folder by --stories"
    with locked(folder / "lock", "the stories' folder", remedy), memory_errors(_REMEDY):
        if args.ray:
            _serve_on_ray(args, argv)
        else:
            _serve(args, load_asked(asked))


def _serve(args: argparse.Namespace, loaded: Loaded) -> None:
    """The server, from here on with logs of its own."""
    from shotstream_jax.serve.app import make_app
    from shotstream_jax.serve.logs import use_json_logs
    from shotstream_jax.serve.server import end_process, make_server
    from shotstream_jax.serve.service import Service

    address = address_of(args)
    service = Service(*loaded, on_death=end_process)
    server = make_server(make_app(service), service, args.host, args.port, address)
    cli.print_line(f"The storyboard is at {address}")
    if args.public_url:
        cli.print_line("Others reach it through a proxy with TLS: tokens are sent in the clear")
    use_json_logs()
    server.run()
    if not server.started:
        raise InputError(f"cannot listen at {args.host}:{args.port}: choose another --port")


def _serve_on_ray(args: argparse.Namespace, words: Sequence[str]) -> None:
    """The same application in several processes. Nothing of a device is taken in this one."""
    prepare_for_ray()
    from shotstream_jax.serve.ray_local import run_on_ray

    run_on_ray(args, words)


def _check_installed() -> None:
    """Raises InputError if the extra is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed: pip install 'shotstream-jax[serve]'"
        ) from None


if __name__ == "__main__":
    cli.run(main)
