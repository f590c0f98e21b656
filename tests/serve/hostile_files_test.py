"""A stranger's files: story files and pictures that are made to do harm."""

import fractions
import io
import random
import struct
import time
import zipfile
import zlib

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.decode import decoded
from tests.serve.conftest import MODEL, Story, new_story
from tests.serve.files_test import changed, imported, post, set_shot

CHUNK = MODEL.preset.memory.chunk
TREE = "story.json"


@pytest.fixture(scope="module")
def data(client):
    """A story's file, of two shots."""
    story = new_story(client, title="A fox")
    story.ask("the fox runs", frames=CHUNK)
    story.wait(story.ask("it sleeps", frames=CHUNK)["id"])
    return story.call("GET", "/archive")


def member(data, end):
    """Where the directory's entry of a file stands whose name ends so."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(end)).encode()
    return data.rindex(name) - 46


def patched(data, end, offset, value):
    """The file with other bytes in a file's entry of the directory."""
    place = member(data, end) + offset
    return data[:place] + value + data[place + len(value) :]


def with_more(data, name, content=b"x", links=False):
    """The file with one more file."""
    out = io.BytesIO(data)
    info = zipfile.ZipInfo(name)
    if links:
        info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(info, content)
    return out.getvalue()


def records(data, change):
    """The file with its records' latents changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("record.npz"):
                arrays = dict(np.load(io.BytesIO(content)))
                arrays["latents"] = change(arrays["latents"])
                file = io.BytesIO()
                np.savez(file, **arrays)
                content = file.getvalue()
            new.writestr(entry.filename, content)
    return out.getvalue()


def directory_of(count):
    """A zip whose directory has so many entries, and nothing else."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *[0] * 15)
    whole = entry * count
    size = len(whole)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count % 65536, count % 65536, size, 0, 0)
    return whole + end


def many_changes(tree):
    """As many cues as fit into a tree."""
    for shot in tree["shots"]:
        shot["cues"] = [{"chunk": 1, "caption": "", "again": False}] * 1000
    first = tree["shots"][0]
    tree["shots"] += [{**first, "id": f"{'a' * 24}{a}{b}"} for a in "abcde" for b in "abcde"]


HUGE = (2**31).to_bytes(4, "little")
BAD = {
    "directory of a million": lambda data: directory_of(1_000_000),
    "said shorter": lambda data: patched(data, "000.mp4", 24, (9).to_bytes(4, "little")),
    "said longer": lambda data: patched(data, "000.mp4", 24, HUGE),
    "stored longer": lambda data: patched(data, "000.mp4", 20, HUGE),
    "elsewhere": lambda data: patched(data, "000.mp4", 42, HUGE),
    "another's bytes": lambda data: patched(data, "000.mp4", 42, bytes(4)),
    "encrypted": lambda data: patched(data, "000.mp4", 8, b"\1"),
    "compressed by an unknown way": lambda data: patched(data, "000.mp4", 10, b"\x63"),
    "twice": lambda data: with_more(data, TREE, b"{}"),
    "a zip in it": lambda data: with_more(data, "story.zip", data),
    "a folder": lambda data: with_more(data, f"shots/{'a' * 26}/"),
    "a name with a zero": lambda data: with_more(data, f"pictures/{'a' * 25}\0.png"),
    "a name with dots": lambda data: with_more(data, "shots/../../secret"),
    "a name with other slashes": lambda data: with_more(data, "shots\\..\\secret"),
    "a comment at its end": lambda data: data + b"x" * 100,
    "before and after": lambda data: data + data[:100],
    "nothing": lambda data: b"",
    "only an end": lambda data: b"PK\5\6" + bytes(18),
    "a record of another size": lambda data: records(data, lambda old: old[:, :1, :1]),
    "a record of no frames": lambda data: records(data, lambda old: old[:0]),
    "a record of objects": lambda data: changed(data, content=("record.npz", b"\x80\x04N.")),
    "a deep tree": lambda data: changed(data, content=(TREE, b"[" * 10**6)),
    "half a character": lambda data: changed(data, content=(TREE, b'{"title": "\\ud800"}')),
    "more changes than a story": lambda data: changed(data, tree=many_changes),
    "a seed of 2^64": lambda data: changed(
        data, tree=lambda tree: tree["story"].update(seed=2**64)
    ),
    "frames a billion": lambda data: changed(data, tree=set_shot(frames=10**9)),
    "no number": lambda data: changed(data, tree=set_shot(first_frame=float("nan"))),
    "an unknown memory": lambda data: changed(
        data, tree=lambda tree: tree["story"].update(memory="../x")
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_story_file_that_is_made_to_harm_is_refused_at_once(client, data, name):
    folder = client.service.settings.folder
    before = sorted(path.name for path in folder.iterdir())
    began = time.process_time()
    answer = post(client, "/api/stories/import", BAD[name](data))
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid" and str(folder) not in answer.text
    assert "/tmp" not in answer.text
    assert sorted(path.name for path in folder.iterdir()) == before
    assert time.process_time() - began < 5  # seconds of the processor, not of the clock


def test_bytes_that_are_changed_at_random_are_a_story_or_refused(client, data):
    chance = random.Random(3)
    count = 0
    for _ in range(60):
        changed_data = bytearray(data)
        # Most of them in the directory, at the end.
        start = len(data) - 900 if chance.random() < 0.7 else 0
        for _ in range(chance.choice([1, 1, 3])):
            changed_data[chance.randrange(start, len(data))] = chance.choice([0, 255, 65, 128])
        answer = post(client, "/api/stories/import", bytes(changed_data))
        assert answer.status_code in (201, 409, 422), answer.text
        assert "/tmp" not in answer.text
        if answer.status_code == 201:
            count += 1
            Story(client, answer.json()).call("DELETE")
    assert 0 < count < 30


def test_a_link_in_a_story_file_is_a_plain_file(client, data):
    name = "a" * 26
    linked = with_more(data, f"pictures/{name}.png", b"/etc/passwd", links=True)
    story = imported(client, linked)
    assert story.call("GET", f"/pictures/{name}") == b"/etc/passwd"
    assert not (client.service.studio.desk(story.id).folder.picture(name)).is_symlink()
    # It is no picture that a shot could see, and the shot says so without saying where it is.
    shot = story.ask("on", pins=[{"picture": name}], frames=CHUNK)["id"]
    reason = story.wait(shot, "failed")[-1]["reason"]
    assert "picture" in reason and "/tmp" not in reason


@pytest.mark.parametrize("film", [b"", b"x" * 500, b"#EXTM3U\n#EXTINF:1\n/etc/passwd\n"])
def test_chunks_that_are_no_film_harm_nobody(client, data, film):
    story = imported(client, changed(data, content=("000.mp4", b"\0\0\0\x18ftypisom" + film)))
    assert story.call("GET", "/video", status=409)["code"] == "damaged"
    source = next(iter(story.read().shots))
    pins = [{"shot": source, "frame": 0}]
    shot = story.ask("on", parent=None, pins=pins, frames=CHUNK)["id"]
    assert "/tmp" not in story.wait(shot, "failed")[-1]["reason"]
    story.wait(story.ask("on", parent=None, frames=CHUNK)["id"])


def in_length_prefixed_units(height, width):
    """A grey picture as H.264, with its size beside it."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = fractions.Fraction(1, 8)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode()])
    units = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def with_a_huge_picture(film, place):
    """A film that says nothing of it, with a picture of 67 million pixels."""
    out = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof+frag_every_frame"}
    with av.open(io.BytesIO(film)) as old, av.open(out, "w", "mp4", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is None:
                continue
            if number == place:
                huge = av.Packet(in_length_prefixed_units(8192, 8192))
                huge.pts, huge.dts, huge.time_base = packet.pts, packet.dts, packet.time_base
                packet = huge
            packet.stream = stream
            new.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("place", [0, 2])
def test_a_huge_picture_inside_of_a_small_film_is_not_decoded(client, data, place):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("000.mp4"))
        film = with_a_huge_picture(archive.read(name), place)
    with pytest.raises(InputError, match="no film, or damaged"):
        decoded(film)
    story = imported(client, changed(data, content=("000.mp4", film)))
    pins = [{"shot": next(iter(story.read().shots)), "frame": place}]
    shot = story.ask("on", parent=None, pins=pins, frames=CHUNK)["id"]
    reason = story.wait(shot, "failed")[-1]["reason"]
    assert "cannot be read" in reason and "/tmp" not in reason


@pytest.mark.parametrize("change", [np.nan, np.inf, np.float32(3e38)])
def test_a_record_of_no_numbers_harms_nobody(client, data, change):
    story = imported(client, records(data, lambda old: np.full_like(old, change)))
    story.wait(story.ask("on", frames=CHUNK)["id"])


def test_a_key_opens_one_file_only(client, data):
    key = {"Idempotency_Key": "0123456789abcdef-attack"}
    imported(client, data, **key)
    other = changed(data, tree=lambda tree: tree.update(title="Another"))
    answer = post(client, "/api/stories/import", other, **key)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_used")


def png(width, height, lines=1):
    """A PNG that says a size, with some of its grey lines."""

    def piece(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + width) * lines)
    return (
        b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", pixels) + piece(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "picture",
    [
        png(50_000, 50_000, lines=100),
        png(2**31 - 1, 2**31 - 1, lines=0),
        png(0, 0, lines=0),
        b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
        b"#EXTM3U\n/etc/passwd\n",
        b"/etc/passwd",
    ],
    ids=["bomb", "huge", "empty", "eps", "svg", "playlist", "path"],
)
def test_a_picture_that_is_made_to_harm_is_refused_at_once(client, story, picture):
    began = time.process_time()
    answer = post(client, f"{story.url}/pictures", picture, story.token)
    assert answer.status_code == 422 and "/tmp" not in answer.text and "root:" not in answer.text
    assert time.process_time() - began < 5
