"""Frames out of a video: those that a player counts, covering the picture; damage is named."""

import fractions
import struct

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.reader import count_frames, probe, read_frames
from tests.data.videos import write_video
from tests.media import films

QUICK = {"preset": "veryfast", "crf": "4", "g": "10"}


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "v.mp4", 20, height=48, width=64)


def test_wanted_frames_are_exact(video):
    assert probe(video) == (20, 16.0) and count_frames(video) == 20
    with av.open(str(video)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    wanted = np.array([0, 3, 4, 19])
    # PyAV's own conversion to RGB is a coarser one.
    off = read_frames(video, wanted, 48, 64).astype(int) - every[wanted]
    assert np.abs(off).max() <= 8 and np.abs(off).mean() < 2
    assert read_frames(video, np.array([], int), 48, 64).shape == (0, 48, 64, 3)


@pytest.mark.parametrize("height, width", [(24, 32), (24, 24), (16, 32), (96, 20)])
def test_pictures_cover_the_format(video, height, width):
    """Their centre is kept, nothing is stretched and there is no border."""
    whole, picture = (
        read_frames(video, np.array([7]), *size)[0].astype(float)
        for size in ((48, 64), (height, width))
    )
    scale = max(height / 48, width / 64)
    rows = (np.arange(height) + 0.5 - height / 2) / scale + 24
    columns = (np.arange(width) + 0.5 - width / 2) / scale + 32
    expected = whole[np.ix_(rows.astype(int), columns.astype(int))]
    assert np.abs(picture - expected).mean() < 10 < np.abs(picture - picture[::-1, ::-1]).mean()


def test_bad_videos_are_named(video, tmp_path):
    with pytest.raises(
        InputError, match=r"v.mp4 has 20 frames that can be decoded, frame 20 is wanted"
    ):
        read_frames(video, np.array([3, 20]), 8, 8)
    with pytest.raises(InputError, match="wanted frames must ascend"):
        read_frames(video, np.array([3, 3]), 8, 8)
    cut, data = tmp_path / "cut.mp4", video.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=r"cut.mp4 .*(cut off|cannot be read)"):
        probe(cut)
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "none.mp4"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            probe(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read_frames(tmp_path / name, np.array([0]), 8, 8)


def check_numbers(path, first, count):
    """The film's frames are those of `films.numbered` from `first` on."""
    assert probe(path).frames == count
    found = films.numbers(read_frames(path, np.arange(count), films.HEIGHT, films.WIDTH))
    assert found == list(range(first, first + count))


@pytest.mark.parametrize("first, count", [(0, 15), (5, 12), (7, 33), (25, 15)])
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_edit_lists_cut_frames_away(tmp_path, first, count, b_frames):
    path = films.write(tmp_path / "v.mp4", films.numbered(40), options=QUICK | {"bf": b_frames})
    data = bytearray(path.read_bytes())
    edit = data.index(b"elst") + 12
    timescale = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    begin = struct.unpack(">I", data[edit + 4 : edit + 8])[0] + first * timescale // 16
    data[edit : edit + 8] = struct.pack(">II", count * 1000 // 16, begin)
    path.write_bytes(data)
    check_numbers(path, first, count)


@pytest.mark.parametrize(
    "name, codec", [("v.avi", "mpeg4"), ("v.mp4", "libx264"), ("v.mkv", "ffv1")]
)
def test_gaps_in_time_have_no_frames(tmp_path, name, codec):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16)
        stream.width, stream.height, stream.pix_fmt = films.WIDTH, films.HEIGHT, "yuv420p"
        for number, picture in enumerate(films.numbered(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number * 2 + number // 5, fractions.Fraction(1, 16)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    check_numbers(path, 0, 20)


@pytest.mark.parametrize("b_frames", ["0", "2"])
@pytest.mark.parametrize("missing, first", [(3, 10), (13, 20)])
def test_a_recording_begins_within_a_group_of_pictures(tmp_path, b_frames, missing, first):
    """What comes before the first picture that can be decoded is not counted."""
    path = films.write(tmp_path / "v.ts", films.numbered(40), options=QUICK | {"bf": b_frames})
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    path.write_bytes(data[: 3 * 188] + data[places[missing] :])
    check_numbers(path, first, 40 - first)


@pytest.mark.parametrize("name", ["v.mp4", "v.mov"])
def test_covers_are_no_films(tmp_path, name):
    still = films.write(tmp_path / "still.png", [films.patches()], codec="png", pixels="rgb24")
    film = films.write(tmp_path / f"film_{name}", films.numbered(20), options=QUICK)
    path = tmp_path / name
    with av.open(str(film)) as source, av.open(str(still)) as cover, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(c.streams.video[0]) for c in (cover, source)]
        streams[0].disposition = av.stream.Disposition.attached_pic.value
        streams[1].disposition = av.stream.Disposition.default.value
        for container, stream in zip((cover, source), streams, strict=True):
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    check_numbers(path, 0, 20)


def test_a_cover_alone_is_no_film(tmp_path):
    path = tmp_path / "song.mp3"
    still = films.write(tmp_path / "still.png", [films.patches()], codec="png", pixels="rgb24")
    with av.open(str(path), "w") as out, av.open(str(still)) as cover:
        sound = out.add_stream("libmp3lame", rate=44100)
        picture = out.add_stream_from_template(cover.streams.video[0])
        picture.disposition = av.stream.Disposition.attached_pic.value
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), layout="mono")
        silence.sample_rate = 44100
        out.mux(sound.encode(silence))
        out.mux(sound.encode())
        (packet,) = (packet for packet in cover.demux(video=0) if packet.dts is not None)
        packet.stream = picture
        out.mux(packet)
    with pytest.raises(InputError, match=r"song.mp3 has only a cover picture"):
        probe(path)


@pytest.mark.parametrize(
    "name",
    [
        "a:b.mp4",
        "http:x",
        "file:x.mp4",
        "pipe:0",
        "%d.mp4",
        "a%03d.png",
        "-y.mp4",
        "a b'\"?*[0].mp4",
    ],
)
def test_any_name_is_a_file_s(video, tmp_path, monkeypatch, name):
    """Also a bare name, from its own folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(video.read_bytes())
    assert probe(name).frames == probe(tmp_path / name).frames == 20


@pytest.mark.parametrize(
    "name, text",
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nv.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile v.mp4\n"),
        ("empty.mp4", ""),
    ],
)
def test_what_is_no_film_opens_nothing_else(video, tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} cannot be read") as error:
        probe(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/x.mp4", "pipe:0", "/dev/zero", "."])
def test_addresses_and_devices_are_no_files(name):
    with pytest.raises(InputError, match=r"cannot be read: No such file|is not a file"):
        probe(name)


@pytest.mark.parametrize(
    "name, codec",
    [("v.mkv", "ffv1"), ("v.webm", "libvpx-vp9"), ("v.avi", "mpeg4"), ("v.mp4", "libx264")],
)
@pytest.mark.parametrize("part", [0.95, 0.5])
def test_files_that_are_cut_off(tmp_path, name, codec, part):
    path = films.write(tmp_path / name, films.numbered(20), codec=codec)
    assert probe(path).frames == 20
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"cut off|cannot be read|no frame"):
        probe(path)
