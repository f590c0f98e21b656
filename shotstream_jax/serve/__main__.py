"""Write stories in the browser, shot by shot, while they play.

  shotstream serve                                   the shipped miniature, on this machine
  shotstream serve --checkpoint DIR --stories DIR    another model, and where stories are kept
  shotstream serve --config wan_1_3b                 as a recipe says (shotstream generate)
  shotstream serve --style film.safetensors:0.6      with a style (LoRA), whose strength each shot
                                                     can choose
  shotstream serve --host 0.0.0.0 --public-url https://stories.example.org
                                                     for others, behind a proxy with TLS

Stories are kept on disk, and go on after the server was stopped or killed. Ctrl-C or SIGTERM
finishes the chunk that is being made. docs/serving.md explains the protocol and the limits.
"""

import argparse
import dataclasses
import ipaddress
import pathlib
import urllib.parse
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.lock import locked
from shotstream_jax.fit.card import this_card
from shotstream_jax.generate.recipe import (
    MEMORY_CHOICES,
    StreamRecipe,
    load_styled,
    options_for_this_gpu,
)
from shotstream_jax.memory.choose import RULES
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.places import MOST_PLACES, fitting_places
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.styles import read_styles

_REMEDY = "see what fits by `shotstream plan --config …`"


def parser() -> cli.Parser:
    """The options."""
    p = cli.make_parser("shotstream_jax.serve", __doc__)
    p.add_recipe()
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    p.add_argument(
        "--memory",
        choices=MEMORY_CHOICES,
        default=MEMORY_CHOICES[0],
        help="on a GPU that is too small: choose options that fit, or try as asked "
        "(default: %(default)s)",
    )
    p.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA file beside the weights; several times: they add up",
    )
    p.add_argument(
        "--context-rule",
        choices=RULES,
        help="how a new story remembers if its writer chooses nothing (default: the recipe's)",
    )
    p.add_argument(
        "--stories",
        metavar="DIR",
        default="out/stories",
        help="where stories are kept (default: %(default)s)",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    p.add_argument("--port", type=int, default=8765, help="port (default: %(default)s)")
    p.add_argument("--public-url", metavar="URL", help="how others open the server, with --host")
    p.add_argument(
        "--places",
        type=int,
        metavar="N",
        help=f"shots in the making at once (default: as many as fit, at most {MOST_PLACES})",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the server until it is told to end."""
    args, config = parser().parse(argv)
    recipe = cli.build(StreamRecipe, config, "config")
    _check_installed()
    rule = args.context_rule or recipe.context_rule
    settings = dataclasses.replace(settings_of(args), memory=rule)
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    options = options_for_this_gpu(checkpoint.preset, recipe.video, recipe.options(), args.memory)
    styles = read_styles(args.style, checkpoint.preset)
    settings.folder.mkdir(parents=True, exist_ok=True)
    remedy = "end it, or name another folder by --stories"
    with locked(settings.folder / "lock", "the stories' folder", remedy), memory_errors(_REMEDY):
        model = load_styled(checkpoint, None, options, styles)
        if args.places is None:
            places = fitting_places(model, recipe.video, options, this_card())
            settings = dataclasses.replace(settings, places=places)
        use_persistent_cache()
        _serve(args, model, recipe.video, settings)


def _serve(
    args: argparse.Namespace, model: Model, video: VideoFormat, settings: ServeSettings
) -> None:
    """The server, from here on with logs of its own."""
    from shotstream_jax.serve.app import make_app
    from shotstream_jax.serve.logs import use_json_logs
    from shotstream_jax.serve.server import end_process, make_server
    from shotstream_jax.serve.service import Service

    address = args.public_url or f"http://{_in_url(args.host)}:{args.port}/"
    service = Service(model, video, settings, on_death=end_process)
    server = make_server(make_app(service), service, args.host, args.port, address)
    cli.print_line(f"The storyboard is at {address}")
    if args.public_url:
        cli.print_line("Others reach it through a proxy with TLS: tokens are sent in the clear")
    use_json_logs()
    server.run()
    if not server.started:
        raise InputError(f"cannot listen at {args.host}:{args.port}: choose another --port")


def settings_of(args: argparse.Namespace) -> ServeSettings:
    """The server's settings by the command line. Raises InputError."""
    if not 1 <= args.port <= 65535:
        raise InputError(f"--port {args.port} must be from 1 to 65535")
    if args.places is not None and args.places < 1:
        raise InputError(f"--places {args.places} must be at least 1")
    hosts = {f"{name}:{args.port}" for name in ("localhost", "127.0.0.1", "[::1]")}
    hosts.add(f"{_in_url(args.host)}:{args.port}")
    origins = []
    if args.public_url:
        url = urllib.parse.urlsplit(args.public_url)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise InputError(f"--public-url {args.public_url} must begin with https://")
        hosts.add(url.netloc.lower())
        origins.append(f"{url.scheme}://{url.netloc.lower()}")
    elif not is_loopback(args.host):
        raise InputError(
            f"--host {args.host} is open to others: say by --public-url how they open the server"
        )
    return ServeSettings(
        folder=pathlib.Path(args.stories),
        places=args.places or MOST_PLACES,
        hosts=tuple(sorted(hosts)),
        origins=tuple(origins),
    )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    """An address as a URL has it."""
    return f"[{host}]" if ":" in host else host


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
