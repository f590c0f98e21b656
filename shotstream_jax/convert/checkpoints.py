"""Import, export and LoRA-merging of whole checkpoints, one tensor at a time."""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shotstream_jax.checkpoint import folder as native
from shotstream_jax.checkpoint.folder import Part, Progress
from shotstream_jax.convert import public
from shotstream_jax.convert.files import write_safetensors
from shotstream_jax.convert.rules import (
    Lazy,
    State,
    check_keys,
    from_public,
    state_bytes,
    to_public,
)
from shotstream_jax.convert.tables import lora_table, part_table
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.lora import LoraConfig, abstract_lora
from shotstream_jax.model import Params, abstract_params
from shotstream_jax.presets import PRESETS, Preset, preset_from_dict

Sources = Mapping[str, pathlib.Path]  # part → public file


def open_sources(sources: Sources, key: str | None = None) -> dict[str, State]:
    """The state dict of every part."""
    states = {}
    for part, path in sources.items():
        states[part] = (
            public.open_transformer(path, key) if part == "dit" else public.open_flat(path)
        )
    return states


def find_preset_of(states: Mapping[str, State]) -> Preset:
    """The first preset that all parts fit; if none does, the error names the nearest one's first differing key."""
    problems = {}
    for preset in PRESETS.values():
        differing = [d for part, state in states.items() for d in _differing(preset, part, state)]
        if not differing:
            return preset
        problems[preset.name] = differing
    name = min(problems, key=lambda n: len(problems[n]))
    raise InputError(
        f"the weights fit no preset; the nearest is {name}, which differs first in {problems[name][0]}"
    )


def _differing(preset: Preset, part: str, state: State) -> list[str]:
    shapes = part_table(preset, part).shapes()
    names = [*shapes, *(key for key in state if key not in shapes)]
    found = {key: tuple(state[key].shape) if key in state else None for key in names}
    return [
        f"{key} ({_show(found[key])} for {_show(shapes.get(key))})"
        for key in names
        if found[key] != shapes.get(key)
    ]


def _show(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))


@dataclasses.dataclass(frozen=True)
class Import:
    """A checked import: nothing of it can be refused any more but by the disk."""

    preset: Preset
    parts: dict[str, Part]
    out: pathlib.Path
    tokenizer: pathlib.Path | None

    @property
    def nbytes(self) -> int:
        return sum(state_bytes(part.state) for part in self.parts.values())


def prepare_import(
    sources: Sources,
    out: pathlib.Path,
    *,
    preset: Preset | None = None,
    tokenizer: pathlib.Path | None = None,
    key: str | None = None,
) -> Import:
    """Opens and checks the public files of some parts; reads no weights and writes nothing.

    preset: refuse anything else (default: the one that the files match). key: which transformer of a training file.
    """
    if tokenizer and not tokenizer.is_file():
        raise InputError(f"there is no tokeniser {tokenizer}")
    states = open_sources(sources, key)
    preset = preset or find_preset_of(states)
    parts = {}
    for part, state in states.items():
        table = part_table(preset, part)
        try:
            check_keys(table, state)
        except InputError as error:
            raise InputError(f"{sources[part]}: {error} (preset {preset.name})") from None
        parts[part] = Part(table, abstract_params(preset, part), state, sources[part])
        native.part_types(parts[part])
    plan = Import(preset, parts, out, tokenizer)
    native.check_new(out, plan.nbytes)
    return plan


def prepare_copy(
    folder: pathlib.Path,
    out: pathlib.Path,
    dtype: np.dtype,
    parts: Sequence[str],
    shot_phase: float | None = None,
) -> Import:
    """The same for parts of a native folder, in another type; with another shot phase in its sizes."""
    narrow = lambda array: Lazy(array.shape, dtype, lambda: np.asarray(array).astype(dtype))  # noqa: E731
    copied = {}
    for part in parts:
        preset, state = open_native(folder, part)
        state = {name: narrow(array) for name, array in state.items()}
        copied[part] = Part(part_table(preset, part), abstract_params(preset, part), state)
    if shot_phase is not None:
        preset = dataclasses.replace(
            preset, dit=dataclasses.replace(preset.dit, shot_phase=shot_phase)
        )
    tokenizer = folder / "tokenizer.json"
    plan = Import(preset, copied, out, tokenizer if tokenizer.is_file() else None)
    native.check_new(out, plan.nbytes)
    return plan


def write_import(plan: Import, progress: Progress = lambda _: None) -> None:
    """Public files → a native folder, which has its name only when it is whole."""
    partial = native.stage(plan.out)
    try:
        written = {
            name: native.write_part(partial / name, part, progress)
            for name, part in plan.parts.items()
        }
        if plan.tokenizer:
            shutil.copy(plan.tokenizer, partial / "tokenizer.json")
        native.finish(partial, plan.out, dataclasses.asdict(plan.preset), written)
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {plan.out}: {error.strerror or error}") from None


def open_native(folder: pathlib.Path, part: str) -> tuple[Preset, State]:
    """A part of a native folder under its public names."""
    config = native.read_config(folder)
    if part not in config["parts"]:
        raise InputError(
            f"{folder} has no {part}: it holds {', '.join(config['parts']) or 'nothing'}"
        )
    preset = preset_from_dict(config["sizes"])
    return preset, native.read_part(folder / part, part_table(preset, part))


def export_part(
    state: State,
    part: str,
    out: pathlib.Path,
    *,
    key: str = "generator",
    progress: Progress = lambda _: None,
) -> None:
    """A part → a public file: `.safetensors`, or `.pt`/`.pth` (there a transformer is wrapped as in training files)."""
    wrap = part == "dit" and out.suffix != ".safetensors"
    write_public(public.wrapped(state, key) if wrap else {"": state}, out, progress)


def write_public(content: Mapping[str, Any], out: pathlib.Path, progress: Progress) -> None:
    """Writes what public.open_file reads."""
    if out.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"cannot write {out}: name a .safetensors, .pt or .pth file")
    if out.suffix == ".safetensors" and set(content) != {""}:
        raise InputError(
            f"cannot write {', '.join(content)} to {out}: a .pt file can hold more than weights"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".safetensors":
            write_safetensors(content[""], out, progress)
        else:
            own = content.get("", {})
            write_torch(
                out, dict(own) | {key: value for key, value in content.items() if key}, progress
            )
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None


def lora_rank(lora: State) -> int:
    """The rank of a PEFT-named adapter; 0 if it is none."""
    return next(
        (array.shape[0] for name, array in lora.items() if name.endswith("lora_A.weight")), 0
    )


def read_lora(
    path: pathlib.Path, preset: Preset, key: str = "generator_lora", rank: int | None = None
) -> Params:
    """An adapter tree (dit/lora) from a PEFT-named file; `rank` refuses another one."""
    state = public.open_lora(path, key)
    found = lora_rank(state)
    if not found or found != (rank or found):
        raise InputError(
            f"{path} holds an adapter of rank {found}, not {rank or 'one for this model'}"
        )
    named = {f"base_model.model.{name}": array for name, array in state.items()}
    abstract = abstract_lora(abstract_params(preset, "dit"), found)
    return from_public(lora_table(preset.dit, found), abstract, named)


def write_lora(
    adapters: Mapping[str, Params], preset: Preset, rank: int, step: int, out: pathlib.Path
) -> None:
    """Adapter trees, e.g. {"generator_lora": …, "critic_lora": …}, as the training files have them (`.pt`)."""
    table = lora_table(preset.dit, rank)
    write_public(
        {k: to_public(table, a) for k, a in adapters.items()} | {"step": step}, out, lambda _: None
    )


def merge(state: State, lora: State, alpha: float | None = None, rank: int | None = None) -> State:
    """A transformer with an adapter added: W + (alpha/rank)·B·A, in float32, then in W's own type.

    alpha: by default the rank. rank: refuses another one; the adapter's must be the same everywhere.
    """
    targets = {key.removesuffix(".lora_A.weight") for key in lora if key.endswith(".lora_A.weight")}
    strange = {k for k in lora if k.rpartition(".lora_")[0] not in targets}
    strange |= {
        t for t in targets if f"{t}.weight" not in state or f"{t}.lora_B.weight" not in lora
    }
    if strange or not targets:
        names = ", ".join(sorted(strange)[:10]) or "it is empty"
        raise InputError(f"the adapter does not fit the transformer: {names}")
    rank = lora_rank(lora) if rank is None else rank
    cfg = LoraConfig(rank, rank if alpha is None else alpha)
    return dict(state) | {f"{t}.weight": _merged(state, lora, t, cfg) for t in sorted(targets)}


def _merged(state: State, lora: State, target: str, cfg: LoraConfig) -> Lazy:
    weight, a, b = (
        state[f"{target}.weight"],
        lora[f"{target}.lora_A.weight"],
        lora[f"{target}.lora_B.weight"],
    )
    outputs, inputs = weight.shape
    if tuple(a.shape) != (cfg.rank, inputs) or tuple(b.shape) != (outputs, cfg.rank):
        factors = f"{list(b.shape)}·{list(a.shape)}"
        raise InputError(
            f"the adapter of {target} is {factors} for weights {list(weight.shape)} and rank {cfg.rank}"
        )

    def read() -> np.ndarray:
        wide, down, up = (np.asarray(x, np.float32) for x in (weight, a, b))
        return (wide + cfg.scale * (up @ down)).astype(weight.dtype)

    return Lazy(tuple(weight.shape), weight.dtype, read)
