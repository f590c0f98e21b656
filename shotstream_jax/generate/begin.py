"""The story that `shotstream generate` begins, continues or resumes. Changes nothing on disk."""

import argparse
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.checkpoint.checksum import fingerprint
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.styles import Style
from shotstream_jax.generate.asked import Picture, Shot
from shotstream_jax.generate.story import Story
from shotstream_jax.presets import VideoFormat


def open_story(
    args: argparse.Namespace,
    checkpoint: Checkpoint,
    video: VideoFormat,
    global_caption: str,
    captions: Sequence[str] | None,
    memory: str,
    styles: Sequence[Style] = (),
) -> Story:
    """A new story, or a kept one as it was after some shot.

    captions: all of the command's, None if they are typed. memory: the rule by which a new story
    remembers (memory/choose). styles: adapters that all of its shots have. Raises InputError if the
    options contradict each other or the kept story, or if the checkpoint did not make it.
    """
    check_story_options(args)
    weights = fingerprint(checkpoint)
    if args.continue_story:
        story = _open_kept_story(args, global_caption)
    else:
        preset = checkpoint.preset
        seed = args.seed or 0
        story = Story(
            global_caption,
            seed,
            preset.name,
            video,
            preset.memory.context,
            fingerprint=weights,
            memory=memory,
        )
        if args.resume and captions is not None:
            story = _resumed(args.save_story, story, captions, styles)
    if args.other_weights:
        story = dataclasses.replace(story, fingerprint=weights)
    # The model must be able to go on with it, and the folder to keep what comes.
    story.check(checkpoint.preset, weights)
    if args.save_story:
        story.check_folder(args.save_story)
        if is_forked(args) and os.path.isdir(args.save_story) and os.listdir(args.save_story):
            raise InputError(f"{args.save_story} is not empty: continue the story in a new folder")
    return story


def first_picture(args: argparse.Namespace, story: Story) -> Picture | None:
    """What the first shot that is made is given, in the story's format; None without --picture.

    Raises InputError if the file cannot be read.
    """
    if not args.picture:
        return None
    # A run that is gone on with has made that shot.
    if args.resume and story.shots:
        return None
    picture = Picture(args.picture, args.picture_fit)
    return Picture(picture.pixels(story.video))


def with_picture(
    captions: Iterable[str], picture: Picture | None
) -> Iterable[str] | Iterable[str | Shot]:
    """The shots of captions, at least one, of which the first one is given the picture."""
    if picture is None:
        return captions
    coming = iter(captions)
    first = Shot(next(coming), pictures=(picture,))
    # A list stays one, which is checked as a whole.
    if isinstance(captions, Sequence):
        return [first, *coming]
    return itertools.chain([first], coming)


def check_story_options(args: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    if args.story and args.global_caption:
        raise InputError("--global-caption goes with --prompts; a story file has its own")
    if args.at is not None and not args.continue_story:
        raise InputError("--at goes with --continue-story")
    if args.other_weights and not args.continue_story:
        raise InputError("--other-weights goes with --continue-story")
    if args.resume and (args.continue_story or not args.save_story):
        raise InputError("--resume goes with --save-story, and not with --continue-story")
    if args.resume and args.prompts == "-":
        raise InputError(
            "--resume needs the same prompts once more: type further ones with --continue-story "
            f"{args.save_story} --save-story {args.save_story}"
        )


def is_forked(args: argparse.Namespace) -> bool:
    """Whether a kept story is continued in another folder; it is copied there first."""
    if not args.continue_story or not args.save_story:
        return False
    kept = pathlib.Path(args.continue_story).resolve()
    return kept != pathlib.Path(args.save_story).resolve()


def _open_kept_story(args: argparse.Namespace, global_caption: str) -> Story:
    """A story from its folder, if nothing contradicts what it was made with."""
    own = ("--config.video", "--config.context_rule")
    changes_recipe = any(override.startswith(own) for override in args.overrides)
    if args.seed is not None or args.context_rule or changes_recipe:
        raise InputError(
            "a kept story has its own seed, format and rule: leave --seed, --config.video and "
            "--context-rule out"
        )
    story = Story.load(args.continue_story, args.at)
    if global_caption not in ("", story.global_caption):
        raise InputError(
            f"the kept story's global caption is {story.global_caption!r}: use it, or leave it out"
        )
    return story


def _resumed(folder: str, new: Story, captions: Sequence[str], styles: Sequence[Style]) -> Story:
    """The story that an interrupted run of this command has kept; the new one if there is none."""
    if not (pathlib.Path(folder) / "story.json").exists():
        return new
    kept = Story.load(folder)
    remedy = "--resume wants the same prompts, seed, format, rule, weights and styles"
    strengths = {style.checksum: style.strength for style in styles if style.strength}
    # An older story does not say which weights it was made by.
    if not kept.fingerprint:
        new = dataclasses.replace(new, fingerprint="")
    if not kept.is_begun_like(new):
        raise InputError(f"{folder} holds another story: {remedy}")
    for record in kept.shots:
        if record.number >= len(captions) or captions[record.number] != record.caption:
            raise InputError(f"shot {record.number + 1} in {folder} has another caption: {remedy}")
        if {use.checksum: use.strength for use in record.styles} != strengths:
            raise InputError(f"shot {record.number + 1} in {folder} has other styles: {remedy}")
    if kept.next_shot == len(captions):
        raise InputError(f"all {len(captions)} shots are in {folder} already: nothing is to resume")
    return kept
