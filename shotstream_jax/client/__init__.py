"""The storyboard from programs (docs/serving.md). Imports neither jax nor the service.

    from shotstream_jax.client import Storyboard

    story = Storyboard("http://127.0.0.1:8765").new_story("A cartoon about a green frog.", seed=1)
    shot = story.ask("The frog is dancing in the meadow.")
    for chunk in story.chunks([shot]):          # as they are made
        show(chunk.frames())                    # uint8 [frames, height, width, 3]
    story.save_film("frog.mp4")

Commands are sent again while the line is broken, with a key that makes one thing of them; reading
goes on where it was. What the server refuses is a StoryboardError with its code and remedy.
"""

from shotstream_jax.client.errors import (
    ConflictError,
    NoAnswerError,
    NotAllowedError,
    NotThereError,
    ShotEndedError,
    StoryboardError,
    TooMuchError,
    UnavailableError,
    WrongValueError,
)
from shotstream_jax.client.story import HEAD, RemoteStory
from shotstream_jax.client.storyboard import Storyboard, open_link
from shotstream_jax.client.values import (
    ModelFacts,
    PinnedFrame,
    PinnedPicture,
    PromptFacts,
    RemoteChunk,
    RemoteCue,
    RemoteShot,
    RemoteState,
    RemoteVideo,
    StoryEvent,
)

__all__ = [
    "HEAD",
    "ConflictError",
    "ModelFacts",
    "NoAnswerError",
    "NotAllowedError",
    "NotThereError",
    "PinnedFrame",
    "PinnedPicture",
    "PromptFacts",
    "RemoteChunk",
    "RemoteCue",
    "RemoteShot",
    "RemoteState",
    "RemoteStory",
    "RemoteVideo",
    "ShotEndedError",
    "StoryEvent",
    "Storyboard",
    "StoryboardError",
    "TooMuchError",
    "UnavailableError",
    "WrongValueError",
    "open_link",
]
