"""Acts of a storyteller who does all that can be done with a story, shot by shot."""

import dataclasses
from collections.abc import Generator, Mapping, Sequence

import numpy as np

from shotstream_jax.generate.asked import Picture, Shot
from shotstream_jax.generate.live import advance, begin, cut, retell
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.story import Story
from shotstream_jax.model import Model


@dataclasses.dataclass(frozen=True)
class Act:
    """A shot, and what is done to it while it is made.

    told: chunk → (caption, again) of each time that it is told again before that chunk.
    cut_at: how many chunks are made; None for all.
    """

    shot: str | Shot
    told: Mapping[int, Sequence[tuple[str, bool]]] = dataclasses.field(default_factory=dict)
    cut_at: int | None = None


def performed(
    model: Model, story: Story, acts: Sequence[Act]
) -> Generator[np.ndarray, None, Story]:
    """The frames of each chunk of some shots; returns the story after them."""
    for act in acts:
        live = begin(model, story, act.shot)
        while not live.is_finished and live.progress.chunks_made != act.cut_at:
            for caption, again in act.told.get(live.progress.chunks_made, ()):
                live = retell(model, live, caption, again=again)
            live, chunk = advance(model, live)
            yield np.asarray(chunk.pixels)[0]
        story = cut(model, live)
    return story


def perform(model: Model, story: Story, act: Act) -> tuple[list[np.ndarray], Story]:
    """The frames of each chunk of a shot, and the story after it."""
    frames = []
    performance = performed(model, story, [act])
    while True:
        try:
            frames.append(next(performance))
        except StopIteration as end:
            return frames, end.value


def acts(model: Model, story: Story, seed: int) -> list[Act]:
    """What is done to the next twelve shots of a story, which has a shot at least."""
    rng = np.random.default_rng(seed)
    chunk = model.preset.memory.chunk
    video = story.video
    oldest = story.shots[0]
    mara = pin_frame(story, oldest.number, 0)
    small = rng.integers(0, 256, (video.height, video.width, 3), np.uint8)
    large = rng.integers(0, 256, (5 * video.height, 3 * video.width, 3), np.uint8)
    pictures = [small, Picture(large, fit="pad", caption=f"a red hen {seed}", shot=0)]
    return [
        Act(f"the fox wakes {seed}"),
        Act(Shot("it runs", take=1 + seed)),
        Act(Shot("it stops", frames=chunk)),
        Act(Shot("it waves", pins=[mara])),
        Act("it sits", told={1: [("it stands", True)]}),
        Act("it swims", told={1: [("it dives", False)]}, cut_at=2),
        Act(Shot("it meets a hen", pictures=pictures, take=1)),
        Act("it sings", told={0: [("it hums", False)], 2: [("a", True), ("b", False)]}),
        Act(Shot("it remembers", pins=[mara, dataclasses.replace(mara, caption=None)])),
        Act("it is gone", cut_at=1),
        Act(Shot("it comes back", frames=4 * chunk, take=2, pins=[mara])),
        Act("it sleeps"),
    ]
