"""The options of `shotstream generate`."""

from shotstream_jax import cli
from shotstream_jax.generate.recipe import MEMORY_CHOICES
from shotstream_jax.media.still import FITS
from shotstream_jax.memory.choose import RULES
from shotstream_jax.presets import DECODERS

DEFAULT_OUT = "out/story.mp4"


def add_prompt_options(p: cli.Parser) -> None:
    """What the shots show."""
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--story", metavar="FILE", help="JSON with global_caption, shot1, shot2, …")
    what.add_argument(
        "--prompts",
        metavar="FILE|-",
        help="one shot's caption a line, in UTF-8; - reads them as they are typed, or from a pipe. "
        "Blank lines are skipped in all three",
    )
    p.add_argument(
        "--global-caption",
        default="",
        metavar="TEXT",
        help="what all shots share (with --prompts); end it with a full stop",
    )
    p.add_argument(
        "--picture",
        metavar="FILE",
        help="what the first shot that is made starts from: a PNG, JPEG or WebP file of any size",
    )
    p.add_argument(
        "--picture-fit",
        choices=FITS,
        default="crop",
        help="with --picture: cut off what has another shape than the video (the default), or put "
        "black bars beside it (pad)",
    )


def add_output_options(p: cli.Parser) -> None:
    """What is written."""
    p.add_argument(
        "--out",
        metavar="FILE.mp4",
        help="the video: .mp4, .mov, .mkv, .webm or .gif, or DIR/ for a folder of PNG pictures "
        f"(default: {DEFAULT_OUT}, or the next free name: story-2.mp4, …)",
    )
    p.add_argument(
        "--scale",
        default="auto",
        metavar="N",
        help="enlarge the pictures so many times in each direction, 1 for not at all (default: "
        "auto: small ones by a power of two to 257–512 pixels, or a film's half colour resolution "
        "spoils them)",
    )
    p.add_argument(
        "--report", metavar="FILE.json", help="what was written, timings, memory, versions"
    )
    p.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a video or report that is there already; without it they are kept and the "
        "run is refused",
    )


def add_weights_options(p: cli.Parser) -> None:
    """What makes the frames."""
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    p.add_argument(
        "--decoder",
        choices=DECODERS,
        help="what makes the frames that are shown, in place of the recipe's (docs/performance.md)",
    )
    p.add_argument(
        "--memory",
        choices=MEMORY_CHOICES,
        default="auto",
        help="on a GPU that is too small for the recipe as it is: choose the cheapest options that "
        "fit (auto, the default), or try it all the same (full)",
    )
    p.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="an adapter (LoRA) beside the weights for the whole story: a file, PEFT's folder or "
        "hf:owner/name; again for another one (strength: default 1, also 0 or negative)",
    )
    p.add_argument("--seed", type=int, help="same seed, same prompts: the same frames (default: 0)")


def add_story_options(p: cli.Parser) -> None:
    """How a story is kept, and gone on with."""
    p.add_argument(
        "--save-story",
        metavar="DIR",
        help="keep the story's memory here, after every shot",
    )
    p.add_argument(
        "--resume",
        action="store_true",
        help="with --save-story: if an earlier run of this command was interrupted, go on after "
        "the last shot that is kept there, to the same film",
    )
    p.add_argument(
        "--continue-story",
        metavar="DIR",
        help="go on with a kept story by further prompts; the video has the new shots",
    )
    p.add_argument(
        "--at",
        type=int,
        metavar="N",
        help="with --continue-story: as it was after its first N shots (default: all)",
    )
    p.add_argument(
        "--context-rule",
        choices=RULES,
        help="which earlier shots a new story's shots see: the latest (paper, the default), or the "
        "last one and those that are most like it by their captions or the model's keys "
        "(docs/stories.md)",
    )
    p.add_argument(
        "--other-weights",
        action="store_true",
        help="with --continue-story: go on by other weights than those that made the story",
    )
