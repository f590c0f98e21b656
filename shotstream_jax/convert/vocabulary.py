"""The tokeniser of an import: a tokenizer.json, a SentencePiece model, or the folder of one."""

import pathlib

import numpy as np
from absl import logging

from shotstream_jax.convert.reader import read_weights
from shotstream_jax.core.errors import InputError
from shotstream_jax.text.sentencepiece import convert_sentencepiece
from shotstream_jax.text.tokenizer import check_tokenizer

# What a tokeniser's folder may hold; the first that is there is taken.
_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")

# What lies beside it and is none; some name it for the folder.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "config.json")


def read_vocabulary(path: pathlib.Path, rows: int) -> bytes:
    """A tokeniser's file, or the one in its folder, as the content of a tokenizer.json.

    rows: of the text encoder's table. Raises InputError if it is none, or another model's.
    """
    file = _file_of(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the tokeniser {file}: {error.strerror}") from None
    # JSON is an object; a SentencePiece model starts with the length of a piece.
    if not content.lstrip().startswith(b"{"):
        content = convert_sentencepiece(content, str(file)).encode()
    check_tokenizer(content, rows, str(file))
    return content


def inner_vocabulary(path: pathlib.Path, rows: int) -> bytes | None:
    """The same of a SentencePiece model among the weights of a file; None if it has none.

    One that is damaged is named, and not used.
    """
    model = read_weights(path).tokenizer
    if model is None:
        return None
    where = f"spiece_model in {path.name}"
    try:
        content = convert_sentencepiece(np.asarray(model).tobytes(), where).encode()
        check_tokenizer(content, rows, where)
    except InputError as error:
        logging.warning("not used: %s; name a tokeniser with --tokenizer", error)
        return None
    logging.info("%s is the tokeniser", where)
    return content


def _file_of(path: pathlib.Path) -> pathlib.Path:
    """The tokeniser's file: `path`, or one in that folder."""
    if path.name in _BESIDE:
        path = path.parent
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"there is no tokeniser {path}")
    for folder in (path, path / "tokenizer"):
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
    raise InputError(f"{path} has no tokeniser: expected one of {', '.join(_FILES)}")
