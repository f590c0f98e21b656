"""Two servers on one folder of stories: one writes a story at a time, and either may end."""

import json

import pytest

from shotstream_jax.serve.story_log import StoryLog, TakenError
from tests.serve.conftest import MODEL, Story, new_story, served

CHUNK = MODEL.preset.memory.chunk


def event(seq, **fields):
    return {"seq": seq, "event": "title", "title": f"{seq}", **fields}


def logs(folder, count=2):
    return [StoryLog(folder, is_shared=True) for _ in range(count)]


def test_who_takes_a_log_is_its_only_writer(tmp_path):
    first, second = logs(tmp_path)
    first.take()
    first.append([event(1)])
    second.take()
    assert (first.is_own(), second.is_own()) == (False, True)
    assert second.events() == [event(1)]
    with pytest.raises(TakenError):
        first.append([event(2)])
    second.append([event(2, title="second's")])
    assert second.events() == [event(1), event(2, title="second's")]
    # Whoever does not share the folder goes on with the same log.
    alone = StoryLog(tmp_path)
    alone.append([event(3)])
    assert [line["seq"] for line in alone.events()] == [1, 2, 3]


def test_a_line_that_was_late_does_not_count(tmp_path):
    """Written when the next writer had read the log already: refused, and left out."""
    first, second = logs(tmp_path)
    first.take()
    first.append([event(1)])
    (path,) = tmp_path.glob("log*")
    late = path.open("ab")
    second.take()
    assert second.events() == [event(1)]
    late.write(b'{"seq": 2, "event": "title", "title": "late", "epoch": 1}\n')
    late.flush()
    second.append([event(2)])
    late.write(b'{"seq": 3, "event": "title", "title": "later", "epoch": 1}\n')
    late.close()
    third = StoryLog(tmp_path, is_shared=True)
    third.take()
    assert third.events() == [event(1), event(2)]


def test_a_log_that_is_taken_in_mid_line_refuses_the_line(tmp_path, monkeypatch):
    first, second = logs(tmp_path)
    first.take()
    monkeypatch.setattr("os.fsync", lambda _: second.take())
    with pytest.raises(TakenError):
        first.append([event(1)])


def test_a_story_goes_on_at_another_server_with_the_same_bits(tmp_path):
    with served(tmp_path / "alone") as client:
        undisturbed = new_story(client)
        shot = undisturbed.ask("the fox runs", frames=CHUNK * 6)["id"]
        undisturbed.wait(shot)
        expected = undisturbed.films(shot, 6)
    folder = tmp_path / "shared"
    with served(folder, is_shared=True) as one, served(folder, is_shared=True) as two:
        here = new_story(one)
        there = Story(two, {"id": here.id, "token": here.token, "share": here.share})
        with here.watched() as sent:
            shot = here.ask("the fox runs", frames=CHUNK * 6)["id"]
            for message in sent:
                if message["event"] == "chunk":
                    break
            # The other server is asked, and has it from now on.
            assert there.read().head == shot
            one.service.studio.let_go()
            assert [message["event"] for message in sent][-2:] == ["bye", "closed"]
        there.wait(shot)
        assert there.films(shot, 6) == expected
        # Back again: what is known here is out of date, so it is read anew.
        later = there.ask("it sleeps", frames=CHUNK)["id"]
        there.wait(later)
        assert here.read().head == later
        assert there.call("DELETE") == b""
        here.call("GET", status=404)
    assert not list(folder.glob("*/log*"))


def test_a_command_to_a_server_that_has_lost_the_story_is_refused(tmp_path):
    with served(tmp_path, is_shared=True) as one, served(tmp_path, is_shared=True) as two:
        here = new_story(one)
        there = Story(two, {"id": here.id, "token": here.token, "share": here.share})
        desk = one.service.studio.desk(here.id)
        there.call("PATCH", title="theirs")
        # The command had found its story before that.
        one.service.studio.desk = lambda _: desk
        assert here.call("PATCH", title="ours", status=503)["code"] == "moved"
        del one.service.studio.desk
        assert here.read().title == "theirs"


def test_what_is_left_by_a_removal_in_hand_stays(tmp_path):
    other = tmp_path / ".gone-other"
    other.mkdir()
    with served(tmp_path, is_shared=True) as client:
        client.service.studio.resume()
        assert other.exists()
    with served(tmp_path):
        assert not other.exists()


def test_lines_carry_their_epoch_on_disk_only(tmp_path):
    with served(tmp_path, is_shared=True) as client:
        story = new_story(client)
        story.call("PATCH", title="A fox")
        with story.watched() as sent:
            seen = [next(sent), next(sent)]
    (path,) = (tmp_path / story.id).glob("log*")
    assert path.name == "log.1.jsonl"
    assert json.loads(path.read_text())["epoch"] == 1
    assert seen[1]["event"] == "title" and "epoch" not in seen[1]
