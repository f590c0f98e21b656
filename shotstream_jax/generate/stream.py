"""The live drivers: prompts in one at a time, frames out after every chunk. One story, or several side by side.

A step of the transformer makes the next chunk of every story; each story has its own prompts, seed, number of shots and
length of a shot. Nothing waits for a device but a finished chunk's frames, and for those only once the next chunk is on
its way. A model that lies on a mesh (load) makes its chunks with all the mesh's devices; nobody need set the mesh.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.tell import Dispatched, Next, Noise, Start, Telling, beside, tell
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model
from shotstream_jax.presets import Preset, VideoFormat


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """What leaves the stream: frames [p, y, x, 3] uint8, and the latents [f, h, w, c] that they were decoded from.

    seconds: since the frames before, or since the shot's prompt came if that was later; what the caller did meanwhile
    included. story: after a shot's last chunk, the story so far.
    """

    shot: int
    chunk: int
    frames: np.ndarray
    latents: Array
    seconds: float
    story: Story | None = None


def stream_generate(
    model: Model,
    shots: Iterable[str],
    *,
    story: Story | None = None,
    global_caption: str = "",
    seed: int = 0,
    video: VideoFormat | None = None,
    noise: Noise | None = None,
) -> Iterator[Chunk]:
    """Makes a story shot by shot; a generator over compiled steps.

    shots: the shots' captions. It may be lazy: the next one is asked for only when the shot before is done and handed
    out. Of a list the next shot is begun while the last frames of the one before are on their way.
    story: one to continue; it brings its own global caption, seed and format.
    video: pixels and latent frames a shot (default: the model's own).
    noise: the draws of a chunk, in place of the seed's.
    Raises InputError before the work starts if the arguments do not fit each other or the model.
    """
    if story is None:
        story = new_story(model, global_caption, seed, video)
    elif global_caption or seed or video:
        raise InputError(
            "a story to be continued brings its own global_caption, seed and video: leave them out"
        )
    _check(model, shots, story, stories=1)
    telling = tell(model, shots, story, noise or _seeded_noise(model, story))
    return (
        chunk
        for _, chunk in _hand_out(
            _serve(model, [telling], model.preset.latent_grid(story.video)), 1
        )
    )


def stream_stories(
    model: Model, stories: Sequence[tuple[Story, Iterable[str]]]
) -> Iterator[tuple[int, Chunk]]:
    """Several independent stories side by side: (which story, its chunk), each story's in order.

    stories: (story, its next shots' captions); `new_story` makes one. A story that ends early leaves its place empty.
    Lazy captions hold all stories up while they are waited for. Raises InputError before the work starts.
    """
    if not stories:
        raise InputError("there are no stories to stream")
    for story, shots in stories:
        _check(model, shots, story, len(stories))
    if len(grids := {model.preset.latent_grid(story.video) for story, _ in stories}) > 1:
        raise InputError(
            f"stories side by side must have one picture size; their latents are {sorted(grids)}"
        )
    tellings = [tell(model, shots, story, _seeded_noise(model, story)) for story, shots in stories]
    return _hand_out(_serve(model, tellings, grids.pop()), len(stories))


def new_story(
    model: Model, global_caption: str = "", seed: int = 0, video: VideoFormat | None = None
) -> Story:
    """A story without shots, of the model's own format unless `video` says otherwise."""
    return Story(
        global_caption,
        seed,
        model.preset.name,
        video or model.preset.video,
        model.preset.memory.context,
    )


def warm_up(model: Model, video: VideoFormat | None = None) -> None:
    """Compiles (or fetches) every program of the stream, so that the first prompt need not wait for it.

    Two chunks run them all; a shot's length changes none.
    """
    video = dataclasses.replace(
        video or model.preset.video, shot_frames=2 * model.preset.memory.chunk
    )
    for _ in stream_generate(model, ["warm-up", "warm-up"], video=video):
        pass


def check_mesh(preset: Preset, mesh: Mesh, video: VideoFormat, stories: int = 1) -> None:
    """Refuses a mesh over which heads, a frame's tokens or the stories do not divide."""
    preset.check_mesh(mesh.shape, preset.latent_grid(video))
    if stories % mesh.shape["data"]:
        raise InputError(
            f"{stories} stories do not divide over mesh.data={mesh.shape['data']}: data has a part of the stories on "
            "every device; for a single one use sequence or tensor"
        )


def _check(model: Model, shots: Iterable[str], story: Story, stories: int) -> None:
    if isinstance(shots, str):
        raise InputError(f"shots must be several captions, not one text: [{shots[:40]!r}]")
    story.check(model.preset)
    model.preset.latent_grid(story.video)
    if mesh := model.mesh():
        check_mesh(model.preset, mesh, story.video, stories)


def _seeded_noise(model: Model, story: Story) -> Noise:
    root, preset = jax.random.key(story.seed), model.preset
    shape = (
        len(preset.steps.nominal),
        1,
        preset.memory.chunk,
        *preset.latent_grid(story.video),
        preset.dit.channels,
    )
    return lambda shot, chunk: steps.draw_noise(root, 0, shot, chunk, shape)


def _hand_out(
    served: Iterator[tuple[int, Dispatched] | None], stories: int
) -> Iterator[tuple[int, Chunk]]:
    """Every story's chunk once its next one is on its way; all of them before a prompt is waited for."""
    ahead: collections.deque[tuple[int, Dispatched]] = collections.deque()
    last = [0.0] * stories

    def arrived() -> tuple[int, Chunk]:
        row, made = ahead.popleft()
        frames, now = np.asarray(made.pixels)[0], time.perf_counter()
        seconds, last[row] = now - max(last[row], made.asked), now
        return row, Chunk(made.shot, made.chunk, frames, made.latents[0], seconds, made.story)

    for made in served:
        while ahead and (made is None or len(ahead) == stories):
            yield arrived()
        if made:
            ahead.append(made)
    while ahead:
        yield arrived()


def _serve(
    model: Model, tellings: Sequence[Telling], grid: tuple[int, int]
) -> Iterator[tuple[int, Dispatched] | None]:
    """The transformer's side: all stories' next chunks in one step. Steps a finished story's place along with them."""
    params, caches = model.params["dit"], _new_caches(model, len(tellings), grid)
    live, asked = range(len(tellings)), [None] * len(tellings)
    answers, x_0, ids = [None] * len(tellings), None, None
    while True:
        starts, asking = [], []
        for row in live:
            for request in _until_next(tellings[row], answers[row]):
                if isinstance(request, Start):
                    starts.append((row, request))
                elif isinstance(request, Next):
                    asking.append((row, request))
                else:
                    yield request and (row, request)
        if x_0 is not None and not all(asked[row].last for row in live):
            with model.on_mesh():
                caches = steps.commit(model.student, params, x_0, ids, caches)
        for row, start in starts:
            caches = _begin(model, start, row, caches)
        if not asking:
            return
        live = [row for row, _ in asking]
        for row, request in asking:
            asked[row] = request
        noise, ids = _side_by_side([request or asking[0][1] for request in asked])
        with model.on_mesh():
            x_0, caches = steps.chunk_step(
                model.student, params, noise, ids, caches, model.preset.steps
            )
        rows = range(len(tellings))
        answers = (
            [steps.take_story(x_0, jnp.int32(row)) for row in rows] if len(rows) > 1 else [x_0]
        )


def _until_next(
    telling: Telling, answer: Array | None
) -> Iterator[Start | Next | Dispatched | None]:
    """What a story does with an answer, up to its next question; without one it has ended."""
    try:
        request = telling.send(answer)
        while not isinstance(request, Next):
            yield request
            request = next(telling)
        yield request
    except StopIteration:
        return


def _begin(model: Model, start: Start, row: int, caches: Caches) -> Caches:
    """A shot's context and captions into one story's caches."""
    several = caches.fill.shape[0] > 1
    into = _new_caches(model, 1, start.context.shape[2:4]) if several else caches
    with model.on_mesh():
        filled = steps.prefill(model.student, model.params["dit"], *start, into)
        return steps.put_story(caches, filled, jnp.int32(row)) if several else filled


def _new_caches(model: Model, stories: int, grid: tuple[int, int]) -> Caches:
    with model.on_mesh():
        caches = steps.new_caches(model.student, stories, *grid)
    return caches if model.mesh() else beside(model.params["dit"], caches)


def _side_by_side(requests: Sequence[Next]) -> tuple[Array, FrameIds]:
    """All stories' noise [steps, b, …] and ids [b, f]."""
    join = lambda axis, *a: a[0] if len(a) == 1 else jnp.concatenate(a, axis)  # noqa: E731
    ids = jax.tree.map(functools.partial(join, 0), *(request.ids for request in requests))
    return join(1, *(request.noise for request in requests)), ids
