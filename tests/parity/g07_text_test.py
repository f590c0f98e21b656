"""Group 7: the text encoder, its position buckets, cleaning and the byte tokeniser."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.text.tokenizer import ByteTokenizer, clean, tokenize
from shotstream_jax.text.umt5 import UMT5, relative_buckets
from tests.parity.reference import CONFIG, ROOT, T5, arrays, weights

DATA = arrays("g07_t5.npz")
CLEANED = json.loads((ROOT / "g07_text_clean.json").read_text())["cases"]
PROMPTS = (
    "A quiet harbour at dawn. shot0:A gull lands.",
    "色调艳丽，过曝",
    "x",
    "  two   spaces &amp; <b>tags</b>\t\n",
)


def embed(ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    apply = UMT5(T5).apply
    return np.asarray(
        apply(
            {"params": weights("text", "t5")},
            jnp.asarray(ids, jnp.int32),
            jnp.asarray(lengths, jnp.int32),
        )
    )


ENCODED = {  # output → ids, mask
    "prompt_embeds": ("in/ids", "in/mask"),
    "prompt_embeds_long": ("in/ids_long", "in/mask_long"),
    "toy_prompt_embeds": ("out/toy_ids", "out/toy_mask"),
    "nomask": ("in/ids", None),
    "raw": ("in/ids", "in/mask"),
    "raw_long": ("in/ids_long", "in/mask_long"),
}


@pytest.mark.parametrize("case", ENCODED, ids=lambda case: f"g07-{case}")
def test_embeddings(case, close):
    ids, mask = ENCODED[case]
    mask = np.ones_like(DATA[ids]) if mask is None else DATA[mask]
    want = DATA[f"out/{case}"]
    if case.startswith(
        "raw"
    ):  # recorded before the padding rows are set to zero, which ours always does
        want = want * mask[..., None]
    close(embed(DATA[ids], mask.sum(-1)), want, case)


BUCKETS = [key.removeprefix("out/") for key in DATA if key.startswith("out/rel_bucket")]


@pytest.mark.parametrize("case", BUCKETS, ids=lambda case: f"g07-{case}")
def test_buckets(case):
    buckets = int(case.removeprefix("rel_bucket"))
    found = relative_buckets(DATA["out/rel_pos"], buckets, max_distance=128)
    assert np.array_equal(found, DATA[f"out/{case}"])


@pytest.mark.parametrize("case", CLEANED, ids=lambda case: f"g07-clean-{CLEANED.index(case):02d}")
def test_cleaning(case):
    assert clean(case["input"]) == case["cleaned"]


@pytest.mark.parametrize("row", range(len(PROMPTS)), ids=lambda row: f"g07-toy-tokens-{row}")
def test_byte_tokens(row):
    tokens = tokenize(ByteTokenizer(), PROMPTS[row], CONFIG["text_len"])
    assert np.array_equal(tokens.ids, DATA["out/toy_ids"][row])
    assert tokens.valid == DATA["out/toy_mask"][row].sum()
