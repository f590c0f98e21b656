"""The table of clips: its mistakes are reported before any video is opened; cutting into shots."""

import json

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.data.clips import COLUMNS, cut_clip, read_clips, shot_target, target_frames
from tests.data.frame_labels import labels

HEADER = ",".join(COLUMNS)
GOOD = '2,s.json,v.mp4,"[[0, 9], [9, 20]]"'


@pytest.fixture
def table(tmp_path):
    """table(lines) → the path of a CSV; s.json beside it has two captions."""
    (tmp_path / "s.json").write_text(
        json.dumps({"global_caption": "G.", "shot1": "a", "shot2": "b"})
    )
    (tmp_path / "bad.json").write_text("{")

    def write(*lines: str):
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "t.csv"

    return write


def test_rows_become_clips(table, tmp_path):
    """Whatever the order of the columns, and with others beside them."""
    path = table(
        "frame_number,video_path,note,json_path,shot_num_from_caption",
        '"[[3, 9], [9, 20]]",a/v.mp4,x,s.json,2',
    )
    (clip,) = read_clips(path)
    assert clip.name == "t-00001" and clip.video == tmp_path / "a/v.mp4"
    assert (
        clip.global_caption == "G."
        and clip.captions == ("a", "b")
        and clip.shots == ((3, 9), (9, 20))
    )
    assert clip.mask is None


@pytest.mark.parametrize(
    "others", [{"video_path": "v.mp4"}, {"fps": 16, "tags": ["x"]}, {"shots": {"shot1": "no"}}]
)
def test_what_else_a_script_holds_is_ignored(table, tmp_path, others):
    script = others | {"shot1": "a", "global_caption": "G.", "shot2": "b"}
    path = table(HEADER, GOOD)
    (tmp_path / "s.json").write_text(json.dumps(script))
    assert read_clips(path)[0].captions == ("a", "b")


def test_a_table_with_masks(table, tmp_path):
    """Of every clip, or of none."""
    (clip,) = read_clips(table(f"{HEADER},labels_path", f"{GOOD},a/l.mp4"))
    assert (clip.mask, clip.labels) == (None, tmp_path / "a/l.mp4")
    (clip,) = read_clips(table(f"{HEADER},mask_path", f"{GOOD},a/m.mp4"))
    assert clip.labels is None
    assert clip.mask == tmp_path / "a/m.mp4"
    with pytest.raises(InputError, match="row 2: mask_path is empty"):
        read_clips(table(f"{HEADER},mask_path", f"{GOOD},m.mp4", f"{GOOD},"))


def test_gaps_only_if_allowed(table):
    path = table(HEADER, GOOD, '2,s.json,v.mp4,"[[0, 9], [12, 20]]"')
    with pytest.raises(
        InputError, match=r"row 2: frames 9-12 lie between shots 1 and 2 .*; --allow-gaps"
    ):
        read_clips(path)
    shots = read_clips(path, allow_gaps=True)[1].shots
    assert labels(shots, 14).tolist() == [0] * 9 + [-1] * 3 + [1] * 2


@pytest.mark.parametrize(
    "cells, message",
    [
        ('2,s.json,,"[[0, 9], [9, 20]]"', "row 2: video_path is empty"),
        ("2,s.json", "row 2: video_path is empty"),
        ("2,s.json,v.mp4,[[0, 9], [9, 20]]", "row 2 has more cells than the header"),
        ('x,s.json,v.mp4,"[[0, 9], [9, 20]]"', "shot_num_from_caption 'x' must be a whole number"),
        ('2,s.json,v.mp4,"[[0, 9], [9, 20]"', "is not a list"),
        ('2,s.json,v.mp4,"open(1)"', "is not a list"),
        ("2,s.json,v.mp4,7", "must be a list of intervals"),
        ("2,s.json,v.mp4,[]", "must be a list of intervals"),
        ('2,s.json,v.mp4,"[[0, 9], [9]]"', r"shot 2 is \[9\]: write two whole numbers"),
        ('2,s.json,v.mp4,"[[0, 9], [9, 20.5]]"', r"shot 2 is \[9, 20.5\]: write two whole numbers"),
        ('2,s.json,v.mp4,"[[0, True], [9, 20]]"', "shot 1 is .*: write two whole numbers"),
        ('2,s.json,v.mp4,"[[-3, 9], [9, 20]]"', "shot 1, .* has a negative frame"),
        ('2,s.json,v.mp4,"[[0, 9], [9, 9]]"', "shot 2, .*, is empty"),
        ('2,s.json,v.mp4,"[[0, 9], [20, 9]]"', "shot 2, .*, is reversed"),
        ('2,s.json,v.mp4,"[[0, 9], [8, 20]]"', "shot 2, .*, starts before shot 1 ends, at 9"),
        ('2,s.json,v.mp4,"[[9, 20], [0, 9]]"', "shot 2, .*, starts before shot 1 ends, at 20"),
        (
            '3,s.json,v.mp4,"[[0, 9], [9, 20]]"',
            "shot_num_from_caption is 3, frame_number has 2 .* has 2 captions",
        ),
        ('2,s.json,v.mp4,"[[0, 9]]"', "frame_number has 1 intervals"),
        ('2,none.json,v.mp4,"[[0, 9], [9, 20]]"', "row 2: cannot read story .*none.json"),
        (
            '2,bad.json,v.mp4,"[[0, 9], [9, 20]]"',
            "row 2: .*bad.json line 1 column 2 is not valid JSON",
        ),
    ],
)
def test_a_bad_row_is_named(table, cells, message):
    with pytest.raises(InputError, match=message):
        read_clips(table(HEADER, GOOD, cells))


def test_a_bad_file_is_named(table, tmp_path):
    with pytest.raises(InputError, match="no column frame_number: its columns must be"):
        read_clips(table(HEADER.replace("frame_number", "frames"), GOOD))
    with pytest.raises(InputError, match="has no rows"):
        read_clips(table(HEADER))
    with pytest.raises(InputError, match="has no column"):
        read_clips(table(""))
    with pytest.raises(InputError, match="not a readable CSV"):
        read_clips(table(HEADER, '2,s.json,v.mp4,"[[0, 9]'))
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\n\xe9")
    with pytest.raises(InputError, match="not a readable CSV in UTF-8"):
        read_clips(tmp_path / "latin.csv")
    with pytest.raises(InputError, match=r"cannot read clips .*none.csv"):
        read_clips(tmp_path / "none.csv")


def test_clips_are_cut_to_their_video():
    shots = ((0, 20), (20, 33), (33, 60))
    assert cut_clip(shots, 1000) == (57, ((0, 20), (20, 33), (33, 57)))
    assert cut_clip(shots, 45) == (45, ((0, 20), (20, 33), (33, 45)))
    assert cut_clip(shots, 60, time=2) == (59, ((0, 20), (20, 33), (33, 59)))
    assert cut_clip(((5, 20),), 20) == (17, ((5, 17),))
    for frames in (33, 34, 36, 1, 0):
        with pytest.raises(
            InputError, match=f"nothing is left of shot .*the video has {frames} frames"
        ):
            cut_clip(shots, frames)


@pytest.mark.parametrize("length", [1, 4, 5, 8, 9, 80, 81, 82, 161, 162, 200, 405])
@pytest.mark.parametrize("most", [9, 81, None])
def test_targets_keep_the_bound(length, most):
    frames = target_frames(7, length, most)
    assert frames[0] == 7 and frames[-1] < 7 + length and len(frames) % 4 == 1
    assert len(frames) <= (most or length) and len(set(np.diff(frames))) <= 1
    # Nothing but the cut is lost: as many frames as there are, or as are allowed.
    assert len(frames) > min(length, most or length) - 4


@pytest.mark.parametrize(
    "first, stop, cut_stop, most, time, expected",
    [
        (11, 22, 21, 11, 2, range(11, 22)),  # the clip's cut had cost its last frame
        (11, 21, 21, 11, 2, [*range(11, 21), 20]),  # a frame short
        (0, 9, 9, 11, 2, [*range(9), 8, 8]),  # two
        (0, 8, 8, 11, 2, range(7)),  # three: as short as it is
        (10, 90, 89, 81, 4, [*range(10, 90), 89]),
        (10, 88, 88, 81, 4, range(10, 87)),
        (0, 26, 25, 11, 2, range(0, 22, 2)),  # the reference's rule gives a whole target: it holds
        (5, 30, 29, None, 4, range(5, 26)),
    ],
)
def test_a_shot_that_is_almost_a_whole_target(first, stop, cut_stop, most, time, expected):
    assert shot_target(first, stop, cut_stop, most, time).tolist() == list(expected)
