"""Stories over REST and the socket: shots, branches, takes, cuts, changes."""

import numpy as np
import pytest

from shotstream_jax import stream_generate
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.stream import new_story as library_story
from shotstream_jax.media.formats import enlargement
from shotstream_jax.media.pieces import chunk_file
from tests.serve.conftest import MODEL

VIDEO = MODEL.preset.video
CHUNK = MODEL.preset.memory.chunk
CHUNKS = VIDEO.shot_frames // CHUNK
SCALE = enlargement("auto", VIDEO.height, VIDEO.width)


def expected_films(shots):
    """The chunk files of the last of several shots, as the library makes it."""
    story = library_story(MODEL, "A fox.", 3, VIDEO)
    films = []
    for chunk in stream_generate(MODEL, shots, story=story):
        if chunk.shot == len(shots) - 1:
            films.append(chunk_file(np.asarray(chunk.frames), VIDEO.fps, SCALE))
    return films


def test_shots_have_the_bits_of_the_library_and_come_in_order(story):
    with story.watched() as sent:
        assert next(sent)["event"] == "welcome"
        first = story.ask("the fox runs")
        second = story.ask("it sleeps")
        seen = []
        while not seen or seen[-1]["event"] != "done" or seen[-1]["shot"] != second["id"]:
            seen.append(next(sent))
    chunks = [event for event in seen if event["event"] == "chunk"]
    assert [event["chunk"] for event in chunks] == [*range(CHUNKS), *range(CHUNKS)]
    assert [event["shot"] for event in chunks] == [first["id"]] * 3 + [second["id"]] * 3
    # Each begins where the one before ended.
    ends = np.cumsum([0] + [event["frames"] for event in chunks])
    assert [event["first_frame"] for event in chunks] == list(ends[:-1])
    films = [event["film"] for event in chunks]
    assert films[:CHUNKS] == expected_films(["the fox runs"])
    assert films[CHUNKS:] == expected_films(["the fox runs", "it sleeps"])
    assert films[CHUNKS:] == story.films(second["id"], CHUNKS)
    # The numbers of kept events have no gaps.
    kept = [event["seq"] for event in seen if "seq" in event]
    assert kept == list(range(1, 5))
    assert story.call("GET", f"/shots/{first['id']}/poster")[8:12] == b"WEBP"


def test_a_branch_and_a_take_beside_what_there_is(story):
    first = story.ask("the fox runs")
    story.ask("it sleeps")
    # Back to the first shot, and on from there; the same caption once more is another take.
    assert story.call("PATCH", head=first["id"])["head"] == first["id"]
    fork = story.ask("it wakes")
    take = story.ask("it wakes", parent=first["id"])
    assert (fork["take"], take["take"]) == (0, 1)
    assert fork["parent"] == take["parent"] == first["id"]
    story.wait(take["id"])
    assert story.films(fork["id"], CHUNKS) == expected_films(["the fox runs", "it wakes"])
    again = ["the fox runs", Shot("it wakes", take=1)]
    assert story.films(take["id"], CHUNKS) == expected_films(again)
    assert len(story.read().shots) == 4


def test_an_own_length_and_a_pin(story):
    first = story.ask("the fox runs", frames=CHUNK)
    done = story.wait(first["id"])[-1]
    assert (done["chunks"], done["length"]) == (1, MODEL.preset.vae.pixel_frames(CHUNK))
    pinned = story.ask("a hen", pins=[{"shot": first["id"], "frame": 1}])
    story.wait(pinned["id"])
    plain = story.ask("a hen", parent=first["id"], take=0)
    story.wait(plain["id"])
    assert story.films(pinned["id"], 1) != story.films(plain["id"], 1)
    unpinned = expected_films([Shot("the fox runs", frames=CHUNK), "a hen"])
    assert story.films(plain["id"], CHUNKS) == unpinned


def test_a_cut_shot_keeps_what_was_made(story):
    long = CHUNK * 16
    with story.watched() as sent:
        shot = story.ask("the fox runs", frames=long)
        for event in sent:
            if event["event"] == "chunk":
                break
        cut = story.call("POST", f"/shots/{shot['id']}/cut", status=200)
        assert cut["cut"] < 16
        done = next(event for event in sent if event["event"] == "done")
    assert done["chunks"] == cut["cut"]
    expected = expected_films([Shot("the fox runs", frames=CHUNK * cut["cut"])])
    assert story.films(shot["id"], cut["cut"]) == expected
    # Said twice it is the same; nothing is left to cut in a shot that ended by itself.
    assert story.call("POST", f"/shots/{shot['id']}/cut", status=200)["cut"] == cut["cut"]
    other = story.ask("it sleeps")
    story.wait(other["id"])
    problem = story.call("POST", f"/shots/{other['id']}/cut", status=409)
    assert problem["code"] == "not_in_the_making"


def test_told_otherwise_in_the_queue_and_in_mid_shot(story):
    with story.watched() as sent:
        shot = story.ask("the fox runs", frames=CHUNK * 16)
        queued = story.ask("it sleeps")
        edited = story.call("PATCH", f"/shots/{queued['id']}", caption="it wakes")
        assert edited["caption"] == "it wakes"
        # Said twice it is the same, and no other take.
        assert story.call("PATCH", f"/shots/{queued['id']}", caption="it wakes") == edited
        for event in sent:
            if event["event"] == "chunk":
                break
        told = story.call("PATCH", f"/shots/{shot['id']}", caption="a red hen", again=True)
        again = story.call("PATCH", f"/shots/{shot['id']}", caption="a red hen", again=True)
        assert again["cues"] == told["cues"]
        cue = told["cues"][1]
        assert cue["caption"] == "a red hen" and 0 < cue["chunk"] < 16
        story.call("POST", f"/shots/{shot['id']}/cut", status=200)
        for event in sent:
            if event["event"] == "done" and event["shot"] == queued["id"]:
                break
    # Up to the change it is the shot that was asked for.
    plain = expected_films([Shot("the fox runs", frames=CHUNK * cue["chunk"])])
    assert story.films(shot["id"], cue["chunk"]) == plain
    problem = story.call("PATCH", f"/shots/{shot['id']}", caption="too late", status=409)
    assert problem["code"] == "immutable"


def test_cancelled_shots_leave_no_gap(story):
    first = story.ask("the fox runs", frames=CHUNK * 16)
    second = story.ask("it sleeps")
    third = story.ask("it wakes", frames=CHUNK)
    story.call("DELETE", f"/shots/{second['id']}")
    story.call("DELETE", f"/shots/{first['id']}")
    story.call("DELETE", f"/shots/{first['id']}")
    story.wait(third["id"])
    there = story.read()
    assert there.shots[third["id"]]["parent"] is None and there.shots[third["id"]]["number"] == 0
    assert there.shots[first["id"]]["state"] == there.shots[second["id"]]["state"] == "cancelled"
    assert story.films(third["id"], 1) == expected_films([Shot("it wakes", frames=CHUNK)])
    story.call("GET", f"/shots/{first['id']}/chunks/0", status=404)
    # A cancelled take may be asked for again, and nothing can follow a cancelled shot.
    assert story.ask("the fox runs", parent=None)["take"] == 0
    assert story.ask("on", parent=first["id"], status=409)["code"] == "not_there"


def test_out_of_sight_and_back(story):
    shot = story.ask("the fox runs", frames=CHUNK)
    story.wait(shot["id"])
    story.call("DELETE", f"/shots/{shot['id']}")
    hidden = story.read()
    assert hidden.shots[shot["id"]]["hidden"] and hidden.head is None
    assert not story.call("POST", f"/shots/{shot['id']}/restore", status=200)["hidden"]
    assert story.films(shot["id"], 1)


def test_a_viewer_that_comes_back_has_all_and_nothing_twice(story):
    first = story.ask("the fox runs")
    seen = story.wait(first["id"])
    last = max(event.get("seq", 0) for event in seen)
    second = story.ask("it sleeps")
    later = story.wait(second["id"], have=last)
    kept = [event["seq"] for event in later if "seq" in event and event["event"] != "welcome"]
    assert kept == [last + 1, last + 2]
    # One that joins late is told the whole log.
    whole = story.wait(second["id"])
    assert [event["seq"] for event in whole if "at" in event] == list(range(1, last + 3))


@pytest.mark.parametrize("name", ["POST", "other"])
def test_a_key_makes_one_thing_of_two_requests(client, story, name):
    key = f"0123456789abcdef-{name}"
    shot = story.ask("the fox runs", frames=CHUNK, key=key)
    again = story.ask("the fox runs", frames=CHUNK, key=key)
    assert again["id"] == shot["id"] and len(story.read().shots) == 1
    assert story.ask("another", key=key, status=409)["code"] == "key_used"


def test_a_removed_story_is_gone_for_everyone(client, story):
    with story.watched() as sent:
        assert next(sent)["event"] == "welcome"
        story.ask("the fox runs", frames=CHUNK * 16)
        story.call("DELETE")
        end = [event["event"] for event in sent]
    assert end[-2:] == ["bye", "closed"]
    story.call("GET", status=404)
    assert not (client.service.settings.folder / story.id).exists()


def test_what_was_on_its_way_does_not_bring_a_removed_story_back(client, story):
    shot = story.ask("the fox runs", frames=CHUNK)
    folder = client.service.studio.desk(story.id).folder
    story.call("DELETE")
    with pytest.raises(OSError):
        folder.write(folder.chunk(shot["id"], 1), b"a chunk that came late")
    assert not folder.path.exists()
