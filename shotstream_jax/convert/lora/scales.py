"""By what factor an adapter's product B·A is added: alpha / rank, or alpha / √rank (rsLoRA).

Alpha is the first of these that is there:

1. the caller's own (`--alpha`)
2. the layer's `alpha` tensor
3. `adapter_config.json` beside the file, as PEFT writes it: alpha_pattern, then lora_alpha
4. the texts of the file's header (in a .pt file what stands beside the tensors): PEFT's settings,
   as diffusers keeps them, or an alpha alone

Without any of them the factor is 1.
"""

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from shotstream_jax.convert.lora.targets import peft_name
from shotstream_jax.core.errors import InputError

CONFIG_NAME = "adapter_config.json"
_PEFT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")

# Patterns are regular expressions from the file.
_LONGEST_PATTERN = 200  # characters
_REPEATS = ("*", "+", "{")
_MOST_REPEATS = 3
_NESTED = re.compile(r"\)[*+{]")  # a repeated group
_TRANSFORMER = "transformer."  # before the settings of one network among several
_ALPHA = "lora_alpha"
_KOHYA_ALPHA = "ss_network_alpha"
_KOHYA_NAMES = ("lora_unet_", "lycoris_")

# Settings of PEFT that make another value of the same tensors, and what they are.
_UNREAD_SETTINGS = {
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "layer_replication": "repeated layers",
    "target_parameters": "LoRA of parameters that are no layers",
    "trainable_token_indices": "trained tokens",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "a router between adapters",
    "monteclora_config": "MonteCLoRA",
    "kasa_config": "KaSA",
}
# Starts that take something out of the base's weights, which the file does not have.
_UNREAD_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclasses.dataclass(frozen=True)
class ScaleRules:
    """What stands beside an adapter's tensors about their scale.

    source: where it stands; empty if there is nothing. rank: that alpha is divided by (None: that
    of the tensors). rslora: by its root instead. Patterns of layers' names go before the rest.
    is_peft: the file is of PEFT, which saves whole modules beside factors. is_doubtful: the alpha
    may have been multiplied in already.
    """

    source: str = ""
    alpha: float | None = None
    rank: int | None = None
    rslora: bool = False
    alpha_pattern: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rank_pattern: Mapping[str, float] = dataclasses.field(default_factory=dict)
    is_peft: bool = False
    is_doubtful: bool = False

    def scale(self, layer: str, rank: int, alpha: float | None) -> float:
        """The factor of a layer's product.

        layer: its name in the file. rank: of its tensors. alpha: the caller's or its own tensor's
        (None: as the rules say). Raises InputError if the rules do not fit the tensors.
        """
        if alpha is None:
            alpha = self._alpha_of(layer, rank)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def _alpha_of(self, layer: str, rank: int) -> float | None:
        name = peft_name(layer)
        expected = _matching(self.rank_pattern, name, self.rank)
        if expected is not None and expected != rank:
            raise InputError(
                f"{self.source} says rank {expected:g} of {layer}, its tensors have {rank}"
            )
        alpha = _matching(self.alpha_pattern, name, self.alpha)
        if self.is_doubtful and alpha is not None and alpha != rank:
            raise InputError(
                f"{self.source} says {_KOHYA_ALPHA} {alpha:g} of rank {rank}, but the adapter is "
                f"not in its program's form, and converters mostly multiply alpha in: say --alpha "
                f"{rank} if so, or --alpha {alpha:g}"
            )
        return alpha


def _matching(pattern_values: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """PEFT's rule: the first pattern that is a whole name, or its end after a dot."""
    for pattern, value in pattern_values.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return otherwise


def find_rules(path: pathlib.Path, texts: Mapping[str, str], names: Iterable[str]) -> ScaleRules:
    """What is said beside an adapter's tensors.

    path: its file. texts: of the file's header. names: of its tensors. Raises InputError if what is
    said cannot be read, or asks for another kind of adapter.
    """
    config = path.parent / CONFIG_NAME
    if config.is_file() and _is_of(config, path):
        return _peft_rules(_read_json(config.read_bytes(), str(config)), str(config))

    header = f"the header of {path}"
    for text in texts.values():
        if _ALPHA in text and text.lstrip().startswith("{"):
            settings = _of_transformer(_read_json(text.encode(), header))
            if _ALPHA in settings:
                return _peft_rules(settings, header)
    # PEFT's own name goes before others that end so.
    for name in sorted(texts, key=lambda name: (name != _ALPHA, name)):
        if name.lower().endswith("alpha") and texts[name] != "None":
            return _alpha_rules(name, texts, header, names)
    return ScaleRules()


def _alpha_rules(
    name: str, texts: Mapping[str, str], source: str, names: Iterable[str]
) -> ScaleRules:
    """An alpha that a header has by itself, under this name."""
    alpha = _number(texts[name], name, source)
    rslora = texts.get("use_rslora") in ("true", "True", "1")
    is_kohya = any(tensor.startswith(_KOHYA_NAMES) for tensor in names)
    is_doubtful = name == _KOHYA_ALPHA and not is_kohya
    return ScaleRules(source, alpha, rslora=rslora, is_doubtful=is_doubtful)


def _is_of(config: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether a config is a file's: it has PEFT's name, or is the folder's only weight file."""
    if path.name in _PEFT_FILES:
        return True
    weights = [file for file in config.parent.iterdir() if file.suffix in _WEIGHT_ENDINGS]
    return len(weights) == 1


def _read_json(text: bytes, source: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not readable as PEFT's settings ({error})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{source} holds a {type(settings).__name__}, not PEFT's settings")
    return settings


def _of_transformer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The transformer's settings, which diffusers keeps under its name, without it."""
    chosen = {}
    for name, value in settings.items():
        if name.startswith(_TRANSFORMER):
            chosen[name.removeprefix(_TRANSFORMER)] = value
    return chosen or dict(settings)


def _peft_rules(settings: Mapping[str, Any], source: str) -> ScaleRules:
    """An adapter_config.json, or what diffusers keeps of it."""
    # What would change the product B·A, or the base, is refused by its name.
    kind = settings.get("peft_type") or "LORA"
    if kind != "LORA":
        raise InputError(f"{source} describes an adapter of the kind {kind}, which is not read")
    for name, meaning in _UNREAD_SETTINGS.items():
        if settings.get(name):
            raise InputError(f"{source} has {name} ({meaning}), which is not read")
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_UNREAD_STARTS):
        raise InputError(
            f"{source} has init_lora_weights {start!r}, which changes the base too: save the "
            "adapter with path_initial_model_for_weight_conversion"
        )
    # PEFT always writes an alpha: without one the file is not PEFT's own.
    if settings.get(_ALPHA) is None:
        raise InputError(f"{source} has no {_ALPHA}: add it")
    return ScaleRules(
        source,
        _number(settings[_ALPHA], _ALPHA, source),
        rank=_rank(settings.get("r"), source),
        rslora=bool(settings.get("use_rslora")),
        alpha_pattern=_pattern(settings, "alpha_pattern", source),
        rank_pattern=_pattern(settings, "rank_pattern", source),
        is_peft=True,
    )


def _pattern(settings: Mapping[str, Any], name: str, source: str) -> dict[str, float]:
    """Regular expressions of layers' names and their values."""
    found = settings.get(name) or {}
    if not isinstance(found, dict):
        raise InputError(f"{source} has a {name} that is no table of names")
    values = {}
    for pattern, value in found.items():
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(f"{source} has the {name} {pattern[:40]!r}: {error}") from None
        # What would take for ever to compare: they come from the file.
        repeats = sum(pattern.count(sign) for sign in _REPEATS)
        if len(pattern) > _LONGEST_PATTERN or repeats > _MOST_REPEATS or _NESTED.search(pattern):
            raise InputError(f"{source} has a {name} that is too involved: {pattern[:40]!r}")
        values[pattern] = _number(value, name, source)
    return values


def _rank(value: Any, source: str) -> int | None:
    if value is None:
        return None
    rank = _number(value, "r", source)
    if rank < 1 or rank != int(rank):
        raise InputError(f"{source} has the rank {value!r}, expected a whole number above 0")
    return int(rank)


def _number(value: Any, name: str, source: str) -> float:
    """A number as JSON or as text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{source} has {name} {value!r}, which is no number: say --alpha")
    return number
