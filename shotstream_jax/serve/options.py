"""What a server is told by the words of its command, checked, and what is loaded for it."""

import argparse
import dataclasses
import ipaddress
import pathlib
import urllib.parse
from typing import Any, NamedTuple

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.styles import Style
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


class Asked(NamedTuple):
    """A server that is asked for, with nothing loaded yet.

    memory: of generate/recipe.MEMORY_CHOICES. are_places_given: whether the settings' places were
    asked for; else they are as many as fit.
    """

    recipe: StreamRecipe
    checkpoint: Checkpoint
    styles: tuple[Style, ...]
    memory: str
    settings: ServeSettings
    are_places_given: bool


class Loaded(NamedTuple):
    """What a service is made of."""

    model: Model
    video: VideoFormat
    settings: ServeSettings


def serve_parser(description: str | None) -> cli.Parser:
    """The options of the command."""
    p = cli.make_parser("shotstream_jax.serve", description)
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
    p.add_argument(
        "--ray",
        action="store_true",
        help="on Ray Serve: several processes, each with a device of its own",
    )
    p.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="processes, with --ray (%(default)s)"
    )
    return p


def asked_for(args: argparse.Namespace, config: Any) -> Asked:
    """What the words of the command ask for; config: their recipe. Raises InputError."""
    recipe = cli.build(StreamRecipe, config, "config")
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    rule = args.context_rule or recipe.context_rule
    return Asked(
        recipe,
        checkpoint,
        tuple(read_styles(args.style, checkpoint.preset)),
        args.memory,
        dataclasses.replace(settings_of(args), memory=rule),
        args.places is not None,
    )


def load_asked(asked: Asked) -> Loaded:
    """The model on this process's devices, and how many places it leaves. Raises InputError."""
    preset = asked.checkpoint.preset
    video = asked.recipe.video
    options = options_for_this_gpu(preset, video, asked.recipe.options(), asked.memory)
    model = load_styled(asked.checkpoint, None, options, asked.styles)
    settings = asked.settings
    if not asked.are_places_given:
        places = fitting_places(model, video, options, this_card())
        settings = dataclasses.replace(settings, places=places)
    use_persistent_cache()
    return Loaded(model, video, settings)


def address_of(args: argparse.Namespace) -> str:
    """Where people open the server."""
    return args.public_url or f"http://{_in_url(args.host)}:{args.port}/"


def settings_of(args: argparse.Namespace) -> ServeSettings:
    """The server's settings by the command line. Raises InputError."""
    if not 1 <= args.port <= 65535:
        raise InputError(f"--port {args.port} must be from 1 to 65535")
    if args.places is not None and args.places < 1:
        raise InputError(f"--places {args.places} must be at least 1")
    if args.replicas < 1:
        raise InputError(f"--replicas {args.replicas} must be at least 1")
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
