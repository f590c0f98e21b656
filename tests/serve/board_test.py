"""The board as a value: any commands in any order, made up by hypothesis."""

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from shotstream_jax.serve.board import CANCELLED, DONE, FAILED, QUEUED, Board, apply_event, without

CAPTIONS = ("on", "off", "\u202e\u200b", "<script>alert(1)</script>")
FRAMES = 3


class Storytelling(RuleBasedStateMachine):
    """Commands as the studio writes them into the log, and what holds after each."""

    shots = Bundle("shots")
    steps = Bundle("steps")  # events and those that undo them

    def __init__(self):
        super().__init__()
        self.board = Board()
        self.log = []
        self.asked = []

    def write(self, *events):
        """Writes events into the log."""
        for event in events:
            line = {"seq": self.board.seq + 1, "at": 0.0, **event}
            self.board = apply_event(self.board, line)
            self.log.append(line)

    def parents(self):
        """What a shot can follow."""
        return [None, *(shot.id for shot in self.board.shots.values() if shot.is_there)]

    @rule(target=shots, data=st.data(), caption=st.sampled_from(CAPTIONS))
    def ask(self, data, caption):
        parent = data.draw(st.sampled_from(self.parents()))
        shot = f"shot{len(self.asked)}"
        take = self.board.next_take(parent, caption)
        beside = [other for other in self.board.followers(parent) if other.is_there]
        assert (caption, take) not in [(other.caption, other.take) for other in beside]
        asked = {"shot": shot, "parent": parent, "caption": caption, "take": take}
        self.write({"event": "asked", **asked, "frames": None, "pins": []})
        self.asked.append(shot)
        return shot

    @rule(caption=st.sampled_from(CAPTIONS), shot=shots)
    def edit(self, shot, caption):
        found = self.board.shots[shot]
        if found.state == QUEUED:
            take = self.board.next_take(found.parent, caption)
            self.write({"event": "edited", "shot": shot, "caption": caption, "take": take})

    @rule(chunk=st.integers(0, 5), again=st.booleans())
    def tell_and_cut(self, chunk, again):
        for shot in self.board.queue()[:1]:
            told = {"shot": shot.id, "chunk": chunk, "caption": "on", "again": again}
            self.write({"event": "told", **told})
            self.write({"event": "cut", "shot": shot.id, "chunks": chunk + 1})

    @rule()
    def make(self):
        for shot in self.board.queue()[:1]:
            parent = self.board.shots[shot.parent] if shot.parent is not None else None
            first = 0 if parent is None else parent.first_frame + parent.length
            film = {"chunks": 1, "first_frame": first, "length": FRAMES}
            self.write({"event": "done", "shot": shot.id, **film})

    @rule()
    def fail(self):
        for shot in self.board.queue()[:1]:
            events = without(self.board, shot)
            self.write({"event": "failed", "shot": shot.id, "reason": "no memory"}, *events)

    @rule(shot=shots)
    def cancel(self, shot):
        found = self.board.shots[shot]
        if found.state != QUEUED:
            return
        followers = [other.id for other in self.board.followers(shot) if other.is_there]
        self.write({"event": "cancelled", "shot": shot}, *without(self.board, found))
        # What followed it follows its parent.
        for follower in followers:
            assert self.board.shots[follower].parent == found.parent

    @rule(target=steps, data=st.data())
    def move_head(self, data):
        before = self.board.head
        after = data.draw(st.sampled_from(self.parents()))
        self.write({"event": "head", "shot": after})
        undo = {"event": "head", "shot": before}
        return (undo, {"event": "head", "shot": after})

    @rule(target=steps, title=st.sampled_from(CAPTIONS))
    def name(self, title):
        undo = {"event": "title", "title": self.board.title}
        self.write({"event": "title", "title": title})
        return (undo, {"event": "title", "title": title})

    @rule(target=steps, shot=shots)
    def hide(self, shot):
        if self.board.shots[shot].state != DONE or self.board.shots[shot].hidden:
            return multiple()
        step = {"event": "hidden", "shot": shot}
        self.write({**step, "hidden": True})
        return ({**step, "hidden": False}, {**step, "hidden": True})

    @rule(step=consumes(steps))
    def undo_and_redo(self, step):
        """An undone step that is done again leaves all as it was, but for the log's length."""
        undo, redo = step
        self.write(redo)
        before = self.board
        self.write(undo, redo)
        assert (self.board.shots, self.board.head) == (before.shots, before.head)
        assert (self.board.title, self.board.seq) == (before.title, before.seq + 2)

    @invariant()
    def no_shot_is_lost(self):
        assert list(self.board.shots) == self.asked

    @invariant()
    def the_tree_is_sound(self):
        for shot in self.board.shots.values():
            parent = self.board.shots[shot.parent] if shot.parent is not None else None
            if shot.is_there:
                assert parent is None or parent.is_there
                assert shot.number == (parent.number + 1 if parent else 0)
                assert self.board.branch(shot.id)[-1] == shot
                assert len(self.board.branch(shot.id)) == shot.number + 1
            if shot.state == DONE and parent is not None:
                assert parent.state == DONE
                assert shot.first_frame == parent.first_frame + parent.length

    @invariant()
    def the_queue_can_be_made(self):
        for shot in self.board.queue()[:1]:
            assert shot.parent is None or self.board.shots[shot.parent].state == DONE

    @invariant()
    def the_log_tells_the_board(self):
        again = Board()
        for line in self.log:
            again = apply_event(again, line)
        assert again == self.board

    @invariant()
    def states_are_known(self):
        states = {shot.state for shot in self.board.shots.values()}
        assert states <= {QUEUED, DONE, CANCELLED, FAILED}


TestStorytelling = Storytelling.TestCase
TestStorytelling.settings = hypothesis.settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
