"""Import, export and LoRA-merging of whole checkpoints, one tensor at a time."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shotstream_jax.convert import native, public
from shotstream_jax.convert.files import write_safetensors
from shotstream_jax.convert.native import NativeState, Part, Progress
from shotstream_jax.convert.public import Renamed
from shotstream_jax.convert.rules import LazyState, check_keys, from_public, to_public
from shotstream_jax.convert.tables import lora_table, part_table
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.lora import abstract_lora
from shotstream_jax.model import Params, abstract_params
from shotstream_jax.presets import PRESETS, Preset, preset_from_dict

Sources = Mapping[str, pathlib.Path]  # part → public file


def open_sources(sources: Sources, key: str | None = None) -> dict[str, LazyState]:
    """The state dict of every part."""
    states = {}
    for part, path in sources.items():
        states[part] = public.open_transformer(path, key) if part == "dit" else public.open_flat(path)
    return states


def find_preset_of(states: Mapping[str, LazyState]) -> Preset:
    """The first preset that all parts fit; if none does, the error names the nearest one's first differing key."""
    problems = {}
    for preset in PRESETS.values():
        differing = [d for part, state in states.items() for d in _differing(preset, part, state)]
        if not differing:
            return preset
        problems[preset.name] = differing
    name = min(problems, key=lambda n: len(problems[n]))
    raise InputError(f"the weights fit no preset; the nearest is {name}, which differs first in {problems[name][0]}")


def _differing(preset: Preset, part: str, state: LazyState) -> list[str]:
    shapes = part_table(preset, part).shapes()
    names = [*shapes, *(key for key in state if key not in shapes)]
    found = {key: state.shape(key) if key in state else None for key in names}
    return [
        f"{key} ({_show(found[key])} for {_show(shapes.get(key))})" for key in names if found[key] != shapes.get(key)
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
    native.check_new(out)
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
    return Import(preset, parts, out, tokenizer)


def write_import(plan: Import, progress: Progress = lambda _: None) -> None:
    """Public files → a native folder, which has its name only when it is whole."""
    partial = native.stage(plan.out)
    try:
        written = {name: native.write_part(partial / name, part, progress) for name, part in plan.parts.items()}
        if plan.tokenizer:
            shutil.copy(plan.tokenizer, partial / "tokenizer.json")
        native.finish(partial, plan.out, dataclasses.asdict(plan.preset), written)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {plan.out}: {error.strerror}") from None


def state_bytes(state: LazyState) -> int:
    """Bytes of all its tensors."""
    return sum(int(np.prod(state.shape(k))) * state.dtype(k).itemsize for k in state)


def open_native(folder: pathlib.Path, part: str) -> tuple[Preset, NativeState]:
    """A part of a native folder under its public names."""
    config = native.read_config(folder)
    if part not in config["parts"]:
        raise InputError(f"{folder} has no {part}: it holds {', '.join(config['parts']) or 'nothing'}")
    preset = preset_from_dict(config["sizes"])
    return preset, NativeState(folder / part, part_table(preset, part))


def export_part(
    state: LazyState, part: str, out: pathlib.Path, *, key: str = "generator", progress: Progress = lambda _: None
) -> None:
    """A part → a public file: `.safetensors` with plain names, or `.pt`/`.pth`, where a transformer is wrapped in
    {key: {"model.…"}} as the training files have it."""
    write_public(public.wrapped(state, key) if part == "dit" and out.suffix == ".pt" else {"": state}, out, progress)


def write_public(content: Mapping[str, Any], out: pathlib.Path, progress: Progress) -> None:
    """Writes what public.open_file reads."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".safetensors" and set(content) == {""}:
            write_safetensors(content[""], out, progress)
        elif out.suffix in (".pt", ".pth"):
            write_torch(out, content.get("", dict(content)), progress)
        else:
            raise InputError(f"cannot write {out}: name a .safetensors, .pt or .pth file")
    except OSError as error:
        out.with_name(out.name + ".partial").unlink(missing_ok=True)
        raise InputError(f"cannot write {out}: {error.strerror}") from None


def read_lora(path: pathlib.Path, preset: Preset, key: str = "generator_lora", rank: int | None = None) -> Params:
    """An adapter tree (dit/lora) from a PEFT-named file; `rank` refuses another one."""
    state = public.open_lora(path, key)
    found = next((state.shape(name)[0] for name in state if name.endswith("lora_A.weight")), 0)
    if not found or found != (rank or found):
        raise InputError(f"{path} holds an adapter of rank {found}, not {rank or 'one for this model'}")
    named = Renamed(state, {f"base_model.model.{name}": name for name in state})
    abstract = abstract_lora(abstract_params(preset, "dit"), found)
    return from_public(lora_table(preset.dit, found), abstract, named)


def write_lora(adapters: Mapping[str, Params], preset: Preset, rank: int, step: int, out: pathlib.Path) -> None:
    """Adapter trees, e.g. {"generator_lora": …, "critic_lora": …}, as the training files have them (`.pt`)."""
    table = lora_table(preset.dit, rank)
    write_public({k: to_public(table, a) for k, a in adapters.items()} | {"step": step}, out, lambda _: None)


class Merged(LazyState):
    """A transformer with an adapter added: W + scale·B·A, in float32, then in W's own type."""

    def __init__(self, state: LazyState, lora: LazyState, scale: float, rank: int | None = None):
        self._state, self._lora, self._scale = state, lora, scale
        self._targets = {key.removesuffix(".lora_A.weight") for key in lora if key.endswith(".lora_A.weight")}
        strange = {k for k in lora if k.rpartition(".lora_")[0] not in self._targets}
        strange |= {t for t in self._targets if f"{t}.weight" not in state or f"{t}.lora_B.weight" not in lora}
        if strange or not self._targets:
            raise InputError(
                f"the adapter does not fit the transformer: {', '.join(sorted(strange)[:10]) or 'it is empty'}"
            )
        for target in sorted(self._targets):
            (r, inputs), (outputs, r_b) = (lora.shape(f"{target}.lora_{x}.weight") for x in "AB")
            if (outputs, inputs) != tuple(state.shape(f"{target}.weight")) or r != r_b or r != (rank or r):
                raise InputError(
                    f"the adapter of {target} is [{outputs}, {r_b}]·[{r}, {inputs}] for weights "
                    f"{list(state.shape(f'{target}.weight'))}" + (f" and rank {rank}" if rank else "")
                )

    def __getitem__(self, key: str) -> np.ndarray:
        array, target = self._state[key], key.removesuffix(".weight")
        if target not in self._targets or not key.endswith(".weight"):
            return array
        a, b = (np.asarray(self._lora[f"{target}.lora_{x}.weight"], np.float32) for x in "AB")
        return (np.asarray(array, np.float32) + self._scale * (b @ a)).astype(array.dtype)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._state.shape(key)

    def dtype(self, key: str) -> np.dtype:
        return self._state.dtype(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)
