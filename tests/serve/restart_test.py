"""A server that was started again: what was not done is made, bit for bit."""

from tests.serve.conftest import MODEL, new_story, opened, served

CHUNK = MODEL.preset.memory.chunk


def test_a_stopped_server_goes_on_where_it_was(tmp_path):
    with served(tmp_path / "one") as client:
        undisturbed = new_story(client)
        shots = [undisturbed.ask(text, frames=CHUNK * 4) for text in ("the fox runs", "it wakes")]
        undisturbed.wait(shots[1]["id"])
        expected = [undisturbed.films(shot["id"], 4) for shot in shots]
    with served(tmp_path / "two") as client:
        story = new_story(client)
        with story.watched() as sent:
            shots = [story.ask(text, frames=CHUNK * 4) for text in ("the fox runs", "it wakes")]
            # It ends in mid-shot.
            for event in sent:
                if event["event"] == "chunk":
                    break
    log = (tmp_path / "two" / story.id / "log.jsonl").read_text()
    assert log.count('"asked"') == 2 and '"it wakes"' in log
    with served(tmp_path / "two") as client:
        story = opened(client, story)
        story.wait(shots[1]["id"])
        assert [story.films(shot["id"], 4) for shot in shots] == expected


def test_a_line_that_a_crash_cut_off_was_never_said(tmp_path):
    with served(tmp_path) as client:
        story = new_story(client)
        shot = story.ask("the fox runs", frames=CHUNK)
        story.wait(shot["id"])
    log = tmp_path / story.id / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"seq": 3, "event": "tit')
    with served(tmp_path) as client:
        story = opened(client, story)
        assert story.call("PATCH", title="A fox")["title"] == "A fox"
    assert log.read_bytes().startswith(whole) and log.read_bytes().count(b"\n") == 3
