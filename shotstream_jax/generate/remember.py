"""Which frames of earlier shots the next shot remembers, by the rule that it or its story names."""

from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.likeness import caption_likeness, key_likeness
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import CAPTION, PAPER, choose_shots, pick_among
from shotstream_jax.memory.select import ContextPick, make_room
from shotstream_jax.model import Model


def remembered_frames(model: Model, story: Story, shot: Shot) -> ContextPick:
    """The context frames of the story's next shot beside its pins; nothing counts in a first one.

    By the paper's rule nothing is computed. By another one its likeness is waited for.
    """
    rule = shot.memory or story.memory
    places = story.context - len(shot.pins)
    # With no more shots than context frames there is nothing to choose.
    if rule == PAPER or len(story.shots) <= story.context or places == 0:
        plan = story.plan_next()
        return make_room(ContextPick(plan.frames, plan.shots), len(shot.pins))
    # Of the shots that are most like the new one …
    measure = caption_likeness if rule == CAPTION else key_likeness
    alike = measure(model, story, shot.caption)
    chosen = [story.shots[position] for position in choose_shots(alike, places)]
    # … the frames that the paper's rule picks.
    intervals = [(record.first_frame, record.stop_frame) for record in chosen]
    return pick_among(intervals, [record.number for record in chosen], places)
