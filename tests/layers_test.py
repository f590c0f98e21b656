"""Who may import whom (the design's layer rules), read from the source."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "shotstream_jax"

MODELS = {"core", "flow", "nn", "memory", "text", "vae", "dit", "presets", "model"}
ALLOWED = {  # layer → layers of ours that it may import, besides itself
    "core": set(),
    "cli": {"configs", "core"},
    "configs": set(),
    "doctor": {"__version__", "cli", "core", "nn", "presets"},
    "__main__": {"__version__", "cli", "core"},
    "flow": {"core"},
    "nn": {"core"},
    "memory": {"core"},
    "text": {"core", "nn"},
    "vae": {"core", "nn"},
    "dit": {"core", "nn", "memory"},
    "presets": {"core", "flow", "memory", "text", "vae", "dit"},
    "model": MODELS - {"model", "flow"},
    "convert": {"core", "text", "dit", "vae", "presets", "model"},
    "convert.__main__": {"core", "cli", "presets", "model"},
    "load": {"convert", "core", "model", "nn", "presets", "text"},
    "generate": MODELS,
    "generate.__main__": MODELS | {"generate", "load", "cli"},
    "data": {"core", "memory", "text"},
    "data.world.__main__": {"core", "cli", "generate"},
    "data.world.vocabulary": {"core", "cli", "text"},
    "train": MODELS | {"data", "generate", "load"},
    "train.__main__": MODELS | {"cli", "data", "load"},
    "train.ode_pairs": MODELS | {"cli", "data", "load"},
    "train.aot": MODELS | {"cli", "data", "load"},
    "precompute": MODELS | {"cli", "convert", "data", "generate", "load"},
    "eval": MODELS | {"cli", "convert", "data", "generate", "load", "train"},
    "eval.look_error": MODELS | {"cli", "data", "generate", "load", "precompute", "train"},
    "bench": MODELS | {"cli", "generate", "load", "train"},
    "testing": MODELS | {"load"},
    "__init__": {"generate", "load", "presets"},
}
ONLY_IN = {  # library → the only places that may import it
    "torch": ("convert",),
    "safetensors": ("convert",),
    "optax": (
        "train",
        "eval.train_probe",
    ),  # the probe has a training of its own: no stage, no mesh, no resuming
    "scenedetect": ("eval.cuts",),
    "qwix": ("nn.quantize",),
    "grain": ("data",),
    "array_record": ("data",),
    "orbax": ("core.snapshots",),
    "tensorstore": ("core.checkpoint", "data"),
    "tensorboardX": ("train.log",),
    "ml_collections": ("cli",),
    "av": ("generate.video", "data"),
    "tqdm": (
        "generate.__main__",
        "convert.__main__",
        "data.world.__main__",
        "precompute",
        "train",
        "eval",
    ),
}


def imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def module_name(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports(path):
    name = module_name(path)
    layer = name.split(".")[0]
    allowed = ALLOWED.get(name, ALLOWED.get(layer))
    assert allowed is not None, f"{name} is in no layer: add it to ALLOWED"
    for imported in imports(path):
        top, *rest = imported.split(".")
        if top == "shotstream_jax" and rest:
            assert rest[0] in allowed | {layer}, f"{name} must not import {imported}"
        if places := ONLY_IN.get(top):
            assert name.startswith(places), f"{name} must not import {top}"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.name)
def test_recipes_import_only_their_parents(path):
    own = "shotstream_jax.configs"
    found = {own if name.startswith(own) else name.split(".")[0] for name in imports(path)}
    assert found <= {own, "collections", "ml_collections"}


def test_the_rules_bite(tmp_path):
    """A file that breaks a rule is seen."""
    bad = tmp_path / "bad.py"
    bad.write_text("from shotstream_jax.generate import stream\nimport torch\n")
    assert {"shotstream_jax.generate", "torch"} <= imports(bad)
