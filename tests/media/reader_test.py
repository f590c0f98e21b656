"""Frames out of a video: the right ones, covering the picture; damaged files are named."""

import av
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.reader import count_frames, probe, read_frames
from tests.data.videos import write_video


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "v.mp4", 20, height=48, width=64)


def test_wanted_frames_are_exact(video):
    assert probe(video) == (20, 16.0) and count_frames(video) == 20
    with av.open(str(video)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    wanted = np.array([0, 3, 4, 19])
    np.testing.assert_array_equal(read_frames(video, wanted, 48, 64), every[wanted])
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
