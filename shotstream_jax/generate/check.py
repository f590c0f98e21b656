"""What a model cannot stream is refused here, before any work is done."""

from absl import logging
from jax.sharding import Mesh

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Shot, ready_shot
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.style_uses import styles_at_start
from shotstream_jax.model import Model
from shotstream_jax.presets import Preset, VideoFormat


def check_model(model: object) -> None:
    """Refuses what is no model, like a checkpoint's name."""
    if not isinstance(model, Model):
        raise InputError(f"model must be what load() gives, not {model!r:.40}")


def check_story(model: Model, story: Story, stories: int = 1) -> None:
    """Refuses what the model cannot stream, with so many stories side by side."""
    check_model(model)
    if not isinstance(story, Story):
        raise InputError(f"story must be a Story, not {story!r:.40}: Story.load reads a kept one")
    story.check(model.preset, model.fingerprint)
    model.preset.latent_grid(story.video)
    mesh = model.mesh()
    if mesh is not None:
        check_stream_mesh(model.preset, mesh, story.video, stories)


def check_shot(model: Model, video: VideoFormat, asked: object, where: str) -> Shot:
    """A shot of a list to come, which the model can make in a story of this format.

    Its pictures are read and fitted. Raises InputError, as begin would once the shot's turn comes.
    """
    shot = ready_shot(model.preset, video, asked, where)
    # An adapter that the model has not is refused now too.
    styles_at_start(model, shot.styles)
    return shot


def warn_of_unknown_weights(model: Model, story: Story) -> None:
    """Says so if the story may have been made by other weights than the model's."""
    if story.shots and model.fingerprint and not story.fingerprint:
        logging.warning("the story does not say by which weights it was made: they may be others")


def check_stream_mesh(preset: Preset, mesh: Mesh, video: VideoFormat, stories: int = 1) -> None:
    """Refuses a mesh over which heads, a frame's tokens or the stories do not divide."""
    preset.check_mesh(mesh.shape, preset.latent_grid(video))
    if stories % mesh.shape["data"]:
        raise InputError(
            f"{stories} stories do not divide over mesh.data={mesh.shape['data']}: each device "
            "along data has a part of the stories; for a single story use sequence or tensor"
        )
