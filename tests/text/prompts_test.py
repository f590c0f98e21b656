"""Story files and typed prompts: what is accepted, and that every refusal names its place."""

import io
import json
import pathlib
import random
import sys
import types

import ftfy
import numpy as np
import pytest
import tokenizers

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.prompts import (
    ask_lines,
    check_caption,
    check_shots,
    read_captions,
    read_lines,
    read_script,
    shot_prompt,
)
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer, clean, tokenize
from shotstream_jax.text.vocabulary import word_tokenizer

GOOD = {"global_caption": "A fox.", "shot1": "It wakes.", "shot2": "It runs."}


def write(tmp_path, text: str):
    path = tmp_path / "story.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_story_reads_in_order(tmp_path):
    shuffled = {
        "shot2": GOOD["shot2"],
        "global_caption": GOOD["global_caption"],
        "shot1": GOOD["shot1"],
    }
    script = read_script(write(tmp_path, json.dumps(shuffled)))
    assert script.global_caption == "A fox." and script.shots == ("It wakes.", "It runs.")


def test_the_name_of_a_sample_s_video_is_ignored(tmp_path):
    script = read_script(write(tmp_path, json.dumps({"video_path": "a.mp4"} | GOOD)))
    assert script == read_script(write(tmp_path, json.dumps(GOOD)))


def test_prompts_count_from_zero_with_nothing_between():
    assert shot_prompt("A fox.", 0, "It wakes.") == "A fox.shot0:It wakes."


def without(key: str) -> dict:
    return {k: v for k, v in GOOD.items() if k != key}


@pytest.mark.parametrize(
    "story, message",
    [
        ('{\n "global_caption": "x",\n "shot1" "y"}', r"line 3 column 10 is not valid JSON"),
        ("[1, 2]", "must be one JSON object"),
        ("{}", "must be one JSON object"),
        (json.dumps(without("global_caption")), "no global_caption"),
        (json.dumps({"global_caption": "x"}), "no shots: add shot1"),
        (json.dumps(without("shot1"), indent=1), r"line 3: shot2 follows a gap: shot1 is missing"),
        (
            json.dumps(GOOD | {"shot4": "x"}, indent=1),
            r"line 5: shot4 follows a gap: shot3 is missing",
        ),
        (json.dumps(GOOD | {"shot2": "  "}, indent=1), r"line 4: shot2 is empty"),
        (json.dumps(GOOD | {"shot2": 7}, indent=1), r"line 4: shot2 must be text, not 7"),
        (json.dumps(GOOD | {"shot02": "x"}), "shot02 is not known"),
        (json.dumps(GOOD | {"title": "x"}), "title is not known"),
        (
            '{"global_caption": "x", "shot1": "a",\n "shot1": "b"}',
            "line 2: shot1 is given twice",
        ),
        (json.dumps(GOOD | {"shot2": "&nbsp; "}, indent=1), r"line 4: shot2 is empty"),
        ("[" * 100000, "is not a valid story file"),
    ],
)
def test_malformed_stories_name_key_and_line(tmp_path, story, message):
    with pytest.raises(InputError, match=message):
        read_script(write(tmp_path, story))


def test_a_byte_order_mark_is_no_character(tmp_path):
    assert read_script(write(tmp_path, "\ufeff" + json.dumps(GOOD))).shots[0] == "It wakes."
    assert list(read_lines([b"\xef\xbb\xbfone\r\n"], "x")) == ["one"]


def test_bytes_that_are_no_text_are_named():
    lines = read_lines([b"one\n", b"\xe9\xff\n"], "standard input")
    assert next(lines) == "one"
    with pytest.raises(InputError, match="standard input line 2 is not UTF-8"):
        next(lines)


def test_a_missing_story_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json"):
        read_script(tmp_path / "nothing.json")


def test_lines_come_one_at_a_time():
    taken = []
    source = (taken.append(line) or line for line in [b"one\n", b"two\n", b"\n"])
    lines = read_lines(source, "standard input")
    assert next(lines) == "one" and taken == [b"one\n"]
    assert list(lines) == ["two"]


def test_blank_lines_mean_the_same_in_a_file_a_pipe_and_at_a_terminal(tmp_path):
    """They are skipped; what is blank to the text encoder is blank."""
    text = "\n one \r\n\n\t\n&nbsp;\ntwo\n\n"
    (tmp_path / "prompts.txt").write_bytes(text.encode())
    assert read_captions(tmp_path / "prompts.txt") == ["one", "two"]
    pipe = io.BytesIO(text.encode())
    assert list(read_lines(iter(pipe.readline, b""), "standard input")) == ["one", "two"]
    screen = io.StringIO()
    assert list(ask_lines(io.StringIO(text), screen)) == ["one", "two"]
    assert screen.getvalue().startswith("shot 1> shot 1> shot 2> ")
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"blank\.txt has no prompts"):
        read_captions(tmp_path / "blank.txt")


def test_a_person_who_types_other_bytes_is_asked_again():
    screen = io.StringIO()
    lines = iter([UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), "two\n", ""])
    terminal = types.SimpleNamespace(readline=lambda: _raised(next(lines)))
    assert list(ask_lines(terminal, screen)) == ["two"]
    assert "not UTF-8 text" in screen.getvalue()


def _raised(line):
    if isinstance(line, Exception):
        raise line
    return line


@pytest.mark.parametrize(
    "encoding, message",
    [
        ("utf-16", "story.json is UTF-16 text: save it as UTF-8"),
        ("latin-1", r"story.json is not UTF-8 text \(byte \d+\): save it as UTF-8"),
        ("utf-8", None),
        ("utf-8-sig", None),
    ],
)
def test_a_story_in_another_encoding_is_one_line(tmp_path, encoding, message):
    path = tmp_path / "story.json"
    text = json.dumps(GOOD | {"shot2": "Été."}, ensure_ascii=False, indent=1)
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    if message is None:
        assert read_script(path).shots == ("It wakes.", "Été.")
        return
    with pytest.raises(InputError, match=message):
        read_script(path)
    with pytest.raises(InputError, match=r"line 1 is UTF-16|line 4 is not UTF-8"):
        read_captions(path)


@pytest.mark.parametrize(
    "caption, message",
    [
        (None, r"it must be text, not None \(NoneType\)"),
        (b"a fox", r"it must be text, not b'a fox' \(bytes\)"),
        (pathlib.Path("a"), "it must be text"),
        (7, r"it must be text, not 7 \(int\)"),
        ("", "it is empty"),
        (" \t&nbsp;", "it is empty"),
        ("a\0 f\0", "it is not UTF-8 text"),
        ("half \ud83e", "it is not UTF-8 text"),
    ],
)
def test_what_is_no_caption_is_named(caption, message):
    with pytest.raises(InputError, match=message):
        check_caption(caption, "it")


def test_a_caption_of_numpy_is_text():
    caption = check_caption(np.array(["a fox"])[0], "it")
    assert caption == "a fox" and type(caption) is str


@pytest.mark.parametrize(
    "shots, message",
    [
        ("a fox", "several captions, not one text"),
        (b"a fox", "several captions, not one text"),
        ({"a fox": "wakes"}, "a dict, whose order"),
        ({"a fox", "an owl"}, "a set, which has no order"),
        (7, "a list or an iterator, not 7"),
        (None, "a list or an iterator, not None"),
        (["a fox", None, "an owl"], "the caption of shot 5 must be text, not None"),
        (("a fox", "an owl", " "), "the caption of shot 6 is empty"),
        (np.array(["a fox", ""]), "the caption of shot 5 is empty"),
    ],
)
def test_what_is_no_list_of_captions_is_refused_as_a_whole(shots, message):
    with pytest.raises(InputError, match=message):
        check_shots(shots, first=3)


@pytest.mark.parametrize("path", [b"story.json", 7, None, "a\0b"])
def test_what_is_no_path_is_one_line(path):
    for read in (read_script, read_captions):
        with pytest.raises(InputError, match=r"must be a path as text|cannot be a path"):
            read(path)


def test_lists_of_captions():
    for shots in (["a", "b"], ("a", "b"), np.array(["a", "b"])):
        assert check_shots(shots) == ["a", "b"]
    lazy = iter(["a", None])
    assert check_shots(lazy) is lazy


def test_long_prompts_are_cut_and_counted():
    tokens = tokenize(ByteTokenizer(), "abcdef", 4)
    assert tokens.ids.tolist() == [100, 101, 102, 1] and tokens.valid == 4 and tokens.cut == 3
    short = tokenize(ByteTokenizer(), "ab", 4)
    assert short.ids.tolist() == [100, 101, 1, 0] and short.valid == 3 and short.cut == 0


def test_tokenizer_files(tmp_path):
    """A SentencePiece-like unigram: the end token comes from us, whatever the file would add."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁fox", -1.0)]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=2))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$0 </s>", special_tokens=[("</s>", 1)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    tokens = tokenize(FileTokenizer(tmp_path / "tokenizer.json"), " a  fox ", 6)
    assert tokens.ids.tolist() == [3, 4, 1, 0, 0, 0]
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad.json is not a readable tokenizer.json"):
        FileTokenizer(tmp_path / "bad.json")


def test_words_are_one_token_and_all_else_is_spelled(tmp_path):
    made = word_tokenizer(["A fox.shot0:The fox", "the snow"], 268)
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = FileTokenizer(tmp_path / "tokenizer.json")
    ids = tokenizer.encode("the Fox.shot0:THE fox snow")
    assert (
        len(ids) == 9 and min(ids) >= 260 and ids[0] == ids[6] == 261 and ids[1] == ids[7] == 260
    )  # frequent first
    everything = "".join(map(chr, range(33, 127))) + "é <pad></s><unk>"
    assert not {0, 1, 2} & set(tokenizer.encode(everything))
    assert made.decode(tokenizer.encode("a Fox é~")) == "a fox é ~"
    with pytest.raises(
        InputError, match="9 words and 260 other ids do not fit into a vocabulary of 268"
    ):
        word_tokenizer(["A fox.shot0:The fox", "the snow red"], 268)


def test_plain_text_needs_no_repair(monkeypatch):
    """What is not handed to ftfy is what ftfy leaves alone."""
    printable = [chr(code) for code in range(32, 127) if chr(code) != "&"]
    generator = random.Random(0)
    for _ in range(500):
        text = "".join(generator.choices(printable, k=12))
        assert ftfy.fix_text(text) == text
    assert clean("cafÃ© &amp;amp; bar") == "café & bar"
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean(" a  frog, <here>; it's 'so' ") == "a frog, <here>; it's 'so'"
    with pytest.raises(ModuleNotFoundError):
        clean("a frog &amp; a cat")


def test_a_files_own_padding_and_truncation_never_act(tmp_path):
    """As transformers writes them into the file after a padded call."""
    made = word_tokenizer(["the fox is red"], 268)
    made.save(str(tmp_path / "plain.json"))
    made.enable_padding(length=48)
    made.save(str(tmp_path / "padding.json"))
    made.no_padding()
    made.enable_truncation(2)
    made.save(str(tmp_path / "truncation.json"))
    want = tokenize(FileTokenizer(tmp_path / "plain.json"), "the fox is red", 8)
    assert want.valid == 5
    for name in ("padding.json", "truncation.json"):
        got = tokenize(FileTokenizer(tmp_path / name), "the fox is red", 8)
        assert got.valid == want.valid and got.ids.tolist() == want.ids.tolist()
