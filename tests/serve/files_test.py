"""Films, story files and pictures: out and in again with the same bits, and what is not opened."""

import io
import json
import zipfile

import av
import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import LIMITS, MODEL, Story, new_story, served

CHUNK = MODEL.preset.memory.chunk
FRAMES = MODEL.preset.vae.pixel_frames(CHUNK)


def post(client, path, data, token=None, **headers):
    """Sends a file."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return client.post(path, content=data, headers=headers)


def imported(client, data, **headers):
    """The story of a story's file."""
    answer = post(client, "/api/stories/import", data, **headers)
    assert answer.status_code == 201, answer.text
    return Story(client, answer.json())


@pytest.fixture(scope="module")
def told(client):
    """A story of two shots and a take, told by their names."""
    story = new_story(client, title="A fox")
    first = story.ask("the fox runs", frames=CHUNK)
    second = story.ask("it sleeps", frames=CHUNK)
    take = story.ask("it sleeps", parent=first["id"], frames=CHUNK)
    story.wait(take["id"])
    return story, [first["id"], second["id"], take["id"]]


def frames_of(film):
    """The decoded frames of a film."""
    with av.open(io.BytesIO(film)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_a_film_has_the_frames_of_its_chunks(told):
    story, (first, second, take) = told
    for last in (second, take):
        film = frames_of(story.call("GET", f"/video?head={last}"))
        chunks = [frames_of(story.films(shot, 1)[0]) for shot in (first, last)]
        assert np.array_equal(film, np.concatenate(chunks))
    # By default up to the head, which is the take.
    assert len(frames_of(story.call("GET", "/video"))) == 2 * FRAMES
    empty = new_story(story.client)
    assert empty.call("GET", "/video", status=409)["code"] == "empty"


def test_a_story_file_is_the_story_again_and_goes_on(told, tmp_path):
    story, shots = told
    data = story.call("GET", "/archive")
    with served(tmp_path) as other:
        copy = imported(other, data)
        assert copy.token != story.token
        mine, theirs = story.read(), copy.read()
        assert (theirs.title, theirs.head) == ("A fox", mine.head)
        for shot in shots:
            assert copy.films(shot, 1) == story.films(shot, 1)
            for name in ("parent", "caption", "take", "number", "state", "first_frame"):
                assert theirs.shots[shot][name] == mine.shots[shot][name]
        # The next shot is the same in both.
        there = copy.ask("it wakes", frames=CHUNK)["id"]
        here = story.ask("it wakes", frames=CHUNK)["id"]
        copy.wait(there)
        story.wait(here)
        assert copy.films(there, 1) == story.films(here, 1)
        story.call("PATCH", head=shots[2])


def test_a_key_imports_once(client, told):
    data = told[0].call("GET", "/archive")
    key = {"Idempotency_Key": "0123456789abcdef-import"}
    assert imported(client, data, **key).id == imported(client, data, **key).id


def changed(data, rename=None, tree=None, compress=zipfile.ZIP_STORED, leave=None, content=None):
    """A story's file with something changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compress) as new:
        for member in old.infolist():
            name, body = member.filename, old.read(member)
            if leave and name.endswith(leave):
                continue
            if tree and name == "story.json":
                whole = json.loads(body)
                tree(whole)
                body = json.dumps(whole).encode()
            if content and name.endswith(content[0]):
                body = content[1]
            if rename and name.endswith(rename[0]):
                name = rename[1]
            new.writestr(name, body)
    return out.getvalue()


def set_shot(**fields):
    """Changes the first shot of a tree."""
    return lambda tree: tree["shots"][0].update(fields)


BAD_FILES = {
    "no zip": lambda data: b"PK but no zip",
    "cut off": lambda data: data[:-40],
    "another place": lambda data: changed(data, rename=("poster.webp", "../../../evil.webp")),
    "absolute": lambda data: changed(data, rename=("poster.webp", "/tmp/evil.webp")),
    "another kind": lambda data: changed(data, rename=("poster.webp", "shots/x.py")),
    "another's shot": lambda data: changed(
        data, rename=("poster.webp", f"shots/{'a' * 26}/poster.webp")
    ),
    "compressed": lambda data: changed(data, compress=zipfile.ZIP_DEFLATED),
    "no tree": lambda data: changed(data, leave="story.json"),
    "no record": lambda data: changed(data, leave="record.npz"),
    "no chunk": lambda data: changed(data, leave="000.mp4"),
    "no film": lambda data: changed(data, content=("000.mp4", b"<script>alert(1)</script>")),
    "a tree of lists": lambda data: changed(data, tree=lambda tree: tree.update(shots=[[]])),
    "an unknown field": lambda data: changed(data, tree=lambda tree: tree.update(x=1)),
    "another number": lambda data: changed(data, tree=set_shot(first_frame=7)),
    "another caption": lambda data: changed(data, tree=set_shot(caption="a hen")),
    "a circle": lambda data: changed(
        data, tree=lambda tree: tree["shots"][0].update(parent=tree["shots"][1]["id"])
    ),
    "a head of none": lambda data: changed(data, tree=lambda tree: tree.update(head="a" * 26)),
    "a shot twice": lambda data: changed(
        data, tree=lambda tree: tree["shots"].append(tree["shots"][0])
    ),
    "a huge video": lambda data: changed(
        data, tree=lambda tree: tree["story"]["video"].update(height=10**9)
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_story_file_is_refused_whole(client, told, name):
    folder = client.service.settings.folder
    before = sorted(path.name for path in folder.iterdir())
    data = told[0].call("GET", "/archive")
    answer = post(client, "/api/stories/import", BAD_FILES[name](data))
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid" and str(folder) not in answer.text
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_record_that_unpacks_to_gigabytes_is_not_unpacked(client, told):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as npz:
        for name in ("meta", "frames", "latents"):
            npz.writestr(f"{name}.npy", bytes(2**26))
    assert len(bomb.getvalue()) < 2**20
    data = changed(told[0].call("GET", "/archive"), content=("record.npz", bomb.getvalue()))
    answer = post(client, "/api/stories/import", data)
    assert answer.status_code == 422 and "unpacks to" in answer.text


def test_a_story_of_another_model_is_not_opened(client, told):
    data = changed(
        told[0].call("GET", "/archive"), tree=lambda tree: tree["story"].update(context=3)
    )
    assert post(client, "/api/stories/import", data).json()["code"] == "other_model"


def picture(kind="PNG", size=(40, 30), colour=(200, 30, 30)):
    """A picture's file."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_kept_in_the_format_and_seen(client, kind):
    story = new_story(client)
    first = story.ask("the fox runs", frames=CHUNK)
    url = f"{story.url}/pictures"
    sent = post(client, url, picture(kind), story.token)
    assert sent.status_code == 201, sent.text
    name = sent.json()["picture"]
    assert post(client, url, picture(kind), story.token).json()["picture"] == name
    kept = Image.open(io.BytesIO(story.call("GET", f"/pictures/{name}")))
    video = MODEL.preset.video
    assert kept.size == (video.width, video.height) and abs(kept.getpixel((1, 1))[0] - 200) < 9
    seen = story.ask("a hen", parent=first["id"], frames=CHUNK, pins=[{"picture": name}])
    plain = story.ask("a hen", parent=first["id"], frames=CHUNK, take=0)
    story.wait(plain["id"])
    assert story.films(seen["id"], 1) != story.films(plain["id"], 1)
    # It goes along in the story's file.
    copy = imported(client, story.call("GET", "/archive"))
    assert copy.call("GET", f"/pictures/{name}") == story.call("GET", f"/pictures/{name}")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", picture()[:50], b"\0" * 1000])
def test_what_is_no_picture_is_refused(client, story, data):
    answer = post(client, f"{story.url}/pictures", data, story.token)
    assert answer.status_code == 422 and "/tmp" not in answer.text
    missing = story.ask("a hen", pins=[{"picture": "a" * 26}], status=404)
    assert missing["code"] == "no_picture"
    assert story.ask("a hen", pins=[{"shot": "a" * 26, "picture": "a" * 26}], status=422)


def test_bodies_are_bounded_whatever_they_say_of_their_length(client, story):
    def pieces(count):
        for _ in range(count):
            yield bytes(2**16)

    sizes = {
        "/api/stories": LIMITS.body,
        f"{story.url}/pictures": LIMITS.picture,
        "/api/stories/import": LIMITS.archive,
    }
    for path, most in sizes.items():
        count = most // 2**16 + 2
        answer = post(client, path, pieces(count), story.token, Content_Type="application/json")
        assert answer.status_code == 413, (path, answer.text)
