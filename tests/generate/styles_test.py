"""Styles on the fly: adapters beside the model, their strengths, and shots remade with them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.convert.lora.adapter import read_adapter
from shotstream_jax.convert.lora.merge import Weighted, merge_adapters
from shotstream_jax.convert.tables import dit_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings, part_mesh
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import Cue, Shot, StyleCue, StyleUse
from shotstream_jax.generate.live import advance, begin, cut, remake, restyle, retell
from shotstream_jax.generate.side_by_side import stream_stories
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.nn.quantize import quantize_blocks
from shotstream_jax.presets import find_preset
from shotstream_jax.styles import read_style, with_styles
from shotstream_jax.testing import tiny_model
from tests.convert.containers import write_safetensors_file
from tests.public_layout import from_public, to_public

BARE = tiny_model()
TABLE = dit_table(BARE.preset.dit)
ATTENTIONS = ("self_attn.q", "self_attn.o", "cross_attn.k", "cross_attn.v")
ALL = [f"{attn}_attn.{linear}" for attn in ("self", "cross") for linear in "qkvo"]
ALL += ["ffn.0", "ffn.2"]


def adapter_state(seed, layers=ALL, rank=3, alpha=None, size=0.3, preset=BARE.preset):
    """An adapter's factors for these layers of all blocks, in the names of ComfyUI."""
    rng = np.random.default_rng(seed)
    shapes = dit_table(preset.dit).shapes()
    state = {}
    for block in range(preset.dit.layers):
        for layer in layers:
            name = f"blocks.{block}.{layer}"
            outputs, inputs = shapes[f"{name}.weight"]
            down = rng.standard_normal((rank, inputs)).astype(np.float32)
            up = rng.standard_normal((outputs, rank)).astype(np.float32)
            state[f"diffusion_model.{name}.lora_A.weight"] = size / np.sqrt(inputs) * down
            state[f"diffusion_model.{name}.lora_B.weight"] = up
            if alpha is not None:
                state[f"diffusion_model.{name}.alpha"] = np.float32(alpha)
    return state


def written(folder, name, state):
    path = folder / f"{name}.safetensors"
    write_safetensors_file(path, state)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def film(folder):
    return read_style(written(folder, "film", adapter_state(0, alpha=6.0)), BARE.preset)


@pytest.fixture(scope="module")
def ink(folder):
    path = written(folder, "ink", adapter_state(1, ATTENTIONS, rank=2))
    return read_style(path, BARE.preset, strength=0.0)


@pytest.fixture(scope="module")
def styled(film, ink):
    """A model with two adapters, both at strength 0, and a third slot."""
    return with_styles(BARE, [dataclasses.replace(film, strength=0), ink], slots=3, rank=4)


def streamed(model, shots, story=None):
    """The latents of a story's next shots, and the story after them."""
    story = story or new_story(BARE, "A fox.", 3)
    latents = []
    for chunk in stream_generate(model, shots, story=story):
        latents.append(np.asarray(chunk.latents))
        story = chunk.story or story
    return np.concatenate(latents), story


def finished(model, live):
    """The latents of all of a live shot's chunks, and its story."""
    while not live.is_finished:
        live, _ = advance(model, live)
    return np.concatenate(live.made, axis=1)[0], live.story


def merged(path, strength):
    """The model with an adapter merged into its weights by the converter."""
    state = to_public(TABLE, BARE.params["dit"])
    state = merge_adapters(state, [Weighted(read_adapter(path, TABLE.shapes()), strength)])
    dit = from_public(TABLE, BARE.params["dit"], state)
    return dataclasses.replace(BARE, params=BARE.params | {"dit": jax.tree.map(jnp.asarray, dit)})


@pytest.mark.parametrize("layer", [*ALL, "all"])
def test_a_strength_is_that_of_merged_weights(folder, layer):
    """A chunk's latents, for every Linear that can have an adapter."""
    state = adapter_state(2, ALL if layer == "all" else [layer], alpha=1.5, size=0.1)
    path = written(folder, "one", state)
    model = with_styles(BARE, [read_style(path, BARE.preset)], slots=2, rank=4)
    for strength in (1.0, -0.5):
        live = begin(model, new_story(model), Shot("x", styles={"one": strength}))
        got, _ = advance(model, live)
        other = merged(path, strength)
        want, _ = advance(other, begin(other, new_story(other), "x"))
        bare, _ = advance(BARE, begin(BARE, new_story(BARE), "x"))
        assert np.abs(bare.made[0] - want.made[0]).max() > 1e-3
        np.testing.assert_allclose(got.made[0], want.made[0], atol=1e-5)


def test_without_styles_the_parameters_are_the_model_s_own():
    assert BARE.transformer([{}]) is BARE.params["dit"]


def test_strength_0_and_empty_slots_are_the_bare_model(styled):
    plain, bare_story = streamed(BARE, ["the fox runs", "it sleeps"])
    for model in (styled, with_styles(BARE, [], slots=3, rank=4)):
        latents, story = streamed(model, ["the fox runs", "it sleeps"])
        assert np.array_equal(latents, plain)
        for record, bare in zip(story.shots, bare_story.shots, strict=True):
            assert record.is_same(bare) and record.styles == ()


def test_nothing_is_compiled_for_strengths_and_adapters(folder, styled, film):
    """Other strengths, another adapter in a slot, and one more in an empty slot."""
    programs = (steps.prefill, steps.chunk_step, steps.commit, steps.replace_captions)
    live, _ = advance(styled, begin(styled, new_story(styled), "one"))
    finished(styled, retell(styled, restyle(styled, live, {"film": 0.5}), "two"))
    before = [program._cache_size() for program in programs]
    other = read_style(written(folder, "other", adapter_state(5, rank=4)), BARE.preset)
    for styles in ([other, film], [*styled.styles.styles, other], [film], []):
        model = with_styles(styled, styles)
        assert (model.styles.slots, model.styles.rank) == (3, 4)
        named = {style.name: 0.25 for style in styles}
        live, _ = advance(model, begin(model, new_story(model), Shot("x", styles=named)))
        live = restyle(model, live, dict.fromkeys(named, -1))
        finished(model, retell(model, live, "y", again=bool(named)))
    assert [program._cache_size() for program in programs] == before


def test_a_restyled_shot_turns_from_the_next_chunk_on_and_is_remade(styled, tmp_path):
    story = new_story(BARE, "A fox.", 3)
    plain, _ = streamed(styled, ["the fox runs"], story)
    live, _ = advance(styled, begin(styled, story, "the fox runs"))
    live = restyle(styled, live, {"film": 0.6})
    live, _ = advance(styled, live)
    live = retell(styled, live, "a red balloon", again=True)
    live = restyle(styled, live, {"ink": 1, "film": 0.1})
    latents, after = finished(styled, live)
    chunk = BARE.preset.memory.chunk
    assert np.array_equal(latents[:chunk], plain[:chunk])
    for first in range(chunk, len(plain), chunk):
        assert not np.array_equal(latents[first : first + chunk], plain[first : first + chunk])
    record = after.shots[-1]
    assert record.cues == (
        Cue(0, "the fox runs"),
        StyleCue(1, {"film": 0.6}),
        Cue(2, "a red balloon"),
        StyleCue(2, {"ink": 1.0, "film": 0.1}),
    )
    assert [(use.name, use.strength) for use in record.styles] == [("film", 0.0), ("ink", 0.0)]
    # Saved and loaded, it is remade to the bit, and also where the adapters have other names.
    after.save(tmp_path / "story")
    kept = Story.load(tmp_path / "story").shots[-1]
    assert kept.is_same(record)
    styles = [dataclasses.replace(s, name=f"my {s.name}", strength=2) for s in styled.styles.styles]
    for model in (styled, with_styles(styled, styles)):
        again = remake(model, story, kept)
        assert np.array_equal(np.concatenate(again.made, axis=1)[0], latents)
    # A cut shot knows only what came to a chunk.
    live, _ = advance(styled, begin(styled, story, "the fox runs"))
    assert cut(styled, restyle(styled, live, {"film": 1})).shots[-1].styles == ()


def test_what_was_made_is_remembered_as_it_was_styled(styled):
    story = new_story(BARE, "A fox.", 3)
    live, _ = advance(styled, begin(styled, story, "the fox runs"))
    other, _ = advance(styled, begin(styled, story, "the fox runs"))
    live = restyle(styled, live, {"film": 1})
    params = styled.transformer([other.progress.strengths])
    ids = other.progress.conditions.shot_ids(BARE.preset.memory.chunk)
    expected = steps.commit(styled.student, params, other.made[0], ids, other.caches)
    assert jax.tree.all(jax.tree.map(np.array_equal, live.caches, expected))


def test_the_shot_s_strengths_go_before_the_model_s(styled, film):
    own = with_styles(styled, [dataclasses.replace(film, strength=0.5)])
    latents, story = streamed(own, ["the fox runs", Shot("it sleeps", styles={"film": 0.2})])
    assert [record.styles[0].strength for record in story.shots] == [0.5, 0.2]
    shots = [Shot("the fox runs", styles={"film": 0.5}), Shot("it sleeps", styles={"film": 0.2})]
    same, _ = streamed(styled, shots)
    assert np.array_equal(latents, same)


def test_an_adapter_added_in_mid_shot_has_strength_0_there(styled, film):
    """As a person who types does: the model grows while a shot is in the making."""
    live, _ = advance(BARE, begin(BARE, new_story(BARE), "the fox runs"))
    undisturbed, _ = streamed(BARE, ["the fox runs"], new_story(BARE))
    grown = with_styles(styled, [dataclasses.replace(film, strength=1)])
    latents, story = finished(grown, live)
    assert np.array_equal(latents, undisturbed) and story.shots[-1].styles == ()


def test_stories_side_by_side_have_their_own_strengths(styled):
    begun = [new_story(BARE, "A fox.", 3), new_story(BARE, "A hen.", 5)]
    shots = [[Shot("it runs", styles={"film": 0.7})], [Shot("it sits", styles={"ink": 0.4}), "x"]]
    side_by_side = [[], []]
    for row, chunk in stream_stories(styled, list(zip(begun, shots, strict=True))):
        side_by_side[row].append(np.asarray(chunk.latents))
    for story, asked, latents in zip(begun, shots, side_by_side, strict=True):
        alone, _ = streamed(styled, asked, story)
        np.testing.assert_allclose(np.concatenate(latents), alone, atol=1e-4)


def test_weights_in_8_bits_take_adapters_too(styled):
    dit = quantize_blocks(BARE.params["dit"], "int8")
    bare = dataclasses.replace(BARE, params=BARE.params | {"dit": dit})
    model = with_styles(bare, styled.styles.styles, slots=3, rank=4)
    plain, _ = streamed(bare, ["the fox runs"])
    same, _ = streamed(model, ["the fox runs"])
    other, _ = streamed(model, [Shot("the fox runs", styles={"film": 1})])
    exact, _ = streamed(styled, [Shot("the fox runs", styles={"film": 1})])
    # The tests' compiler rounds a product and a sum together in one of the two programs.
    np.testing.assert_allclose(same, plain, atol=1e-4)
    assert np.abs(other - exact).mean() < 0.2 * np.abs(other - plain).mean()


def test_a_mesh_has_the_adapters_too(styled):
    shots = [Shot("it runs", frames=BARE.preset.memory.chunk, styles={"film": 0.7})]
    alone, _ = streamed(styled, shots)
    mesh = part_mesh({"sequence": 2, "tensor": 2})
    params = {}
    for part, tree in BARE.params.items():
        params[part] = jax.device_put(tree, param_shardings(mesh, part, tree))
    bare = dataclasses.replace(BARE, params=params)
    model = with_styles(bare, styled.styles.styles, slots=3, rank=4)
    split, _ = streamed(model, shots)
    np.testing.assert_allclose(split, alone, atol=1e-4)


def test_the_command_has_a_style_for_the_whole_story(run, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    preset = find_preset("tiny")
    written(tmp_path, "film", adapter_state(0, preset=preset))
    words = ["--story", "story.json", "--out", "x.mp4", "--save-story", "kept", "--resume"]
    assert run(*words, "--style", "film.safetensors:0.25", "--report", "r.json")[0] == 0
    film = read_style(tmp_path / "film.safetensors", preset)
    for record in Story.load(tmp_path / "kept").shots:
        assert record.styles == (StyleUse("film", film.checksum, 0.25),)
    assert "style film at 0.25" in json.loads((tmp_path / "r.json").read_text())["weights"]
    # What is not the same, or none, is refused before anything is written.
    for styles in ([], ["--style", "film.safetensors"]):
        code, err = run(*words, *styles)
        assert code == 2 and "shot 1 in kept has other styles" in err
    code, err = run(*words[:2], "--out", "y.mp4", "--style", "none.safetensors")
    assert code == 2 and "none.safetensors" in err
    code, err = run(*words[:2], "--out", "y.mp4", *["--style", "film.safetensors:0.5"] * 2)
    assert code == 2 and "two adapters are called film" in err
    assert not (tmp_path / "y.mp4").exists()


@pytest.mark.parametrize(
    ("name", "array", "how"),
    [
        ("blocks.0.self_attn.q.diff_b", np.zeros(48), "as a whole"),
        ("blocks.1.norm3.diff", np.zeros(48), "as a whole"),
        ("blocks.1.modulation.diff", np.zeros((1, 6, 48)), "as a whole"),
        ("blocks.0.self_attn.q.dora_scale", np.ones((48, 1)), "by DoRA"),
        ("text_embedding.2.lora_", np.ones(48), "outside of the blocks"),
    ],
)
def test_what_cannot_be_a_style_is_named_with_its_remedy(folder, name, array, how):
    state = adapter_state(3, ["self_attn.q"])
    state = {key.removeprefix("diffusion_model."): value for key, value in state.items()}
    array = array.astype(np.float32)
    if name.endswith("lora_"):
        state |= {f"{name}A.weight": array[None], f"{name}B.weight": array[:, None]}
    else:
        state[name] = array
    with pytest.raises(InputError, match=rf"{how}, which cannot be a style: merge .*--lora"):
        read_style(written(folder, "whole", state), BARE.preset)


def test_misuse_is_named(folder, styled, film, ink):
    story = new_story(BARE)
    cases = [
        (lambda: begin(BARE, story, Shot("x", styles={"film": 1})), "with_styles adds one"),
        (lambda: begin(styled, story, Shot("x", styles={"fim": 1})), "it has film, ink"),
        (lambda: Shot("x", styles={"film": "much"}), "must be a finite number"),
        (lambda: Shot("x", styles={"film": float("nan")}), "must be a finite number"),
        (lambda: Shot("x", styles=["film"]), "strengths by the adapters' names"),
        (lambda: with_styles(BARE, [film, ink], slots=1), "2 adapters do not fit into 1 slots"),
        (lambda: with_styles(BARE, [film], rank=2), "has rank 3, a slot has 2"),
        (lambda: with_styles(BARE, [film, film]), "two adapters are called film"),
        (
            lambda: with_styles(BARE, [film, dataclasses.replace(film, name="b")]),
            "the adapter b is there twice",
        ),
        (lambda: read_style(folder / "none.safetensors", BARE.preset), "none.safetensors"),
    ]
    for misuse, message in cases:
        with pytest.raises(InputError, match=message):
            misuse()
    # A shot's adapters must stay, and be the same ones.
    live, _ = advance(styled, begin(styled, story, Shot("x", styles={"film": 1})))
    with pytest.raises(InputError, match="which the model has no more"):
        advance(BARE, live)
    swapped = with_styles(styled, [dataclasses.replace(ink, name="film")])
    with pytest.raises(InputError, match="made with another adapter film"):
        restyle(swapped, live, {"film": 1})
    _, after = finished(styled, live)
    for model in (BARE, swapped):
        with pytest.raises(InputError, match=rf"adapter film \(checksum {film.checksum}\)"):
            remake(model, story, after.shots[-1])
    live = begin(styled, after, "y")
    while not live.is_finished:
        live, _ = advance(styled, live)
    with pytest.raises(InputError, match="nothing is left to style"):
        restyle(styled, live, {"film": 1})


def test_a_checksum_is_of_the_adapter_and_not_of_its_file(folder, film):
    kohya = {}
    for name, array in adapter_state(0).items():
        layer, ending = name.removeprefix("diffusion_model.").split(".lora_")
        ending = {"A.weight": "down.weight", "B.weight": "up.weight"}[ending]
        kohya[f"lora_unet_{layer.replace('.', '_')}.lora_{ending}"] = array
        kohya[f"lora_unet_{layer.replace('.', '_')}.alpha"] = np.float32(6)
    assert read_style(written(folder, "kohya", kohya), BARE.preset).checksum == film.checksum
    stronger = written(folder, "stronger", adapter_state(0, alpha=3.0))
    assert read_style(stronger, BARE.preset).checksum != film.checksum


def test_records_without_styles_load_and_wrong_ones_are_named(styled, tmp_path):
    _, story = streamed(styled, [Shot("x", styles={"film": 0.5})])
    story.save(tmp_path / "story")
    path = next((tmp_path / "story").glob("*.npz"))
    with np.load(path) as archive:
        arrays = dict(archive)
    facts = json.loads(str(arrays["meta"]))

    def load(**changed):
        kept = {name: value for name, value in (facts | changed).items() if value is not None}
        np.savez(path, **arrays | {"meta": json.dumps(kept)})
        return Story.load(tmp_path / "story").shots[-1]

    assert load(styles=None).styles == ()
    cues = [[0, "x", True], [1, {"ink": 0.5}]]
    for wrong in (
        {"styles": [["film"]]},
        {"styles": "film"},
        {"styles": [["film", "abc", "much"]]},
        {"cues": cues},
        {"cues": cues[1:]},
    ):
        with pytest.raises(InputError, match="damaged"):
            load(**wrong)
