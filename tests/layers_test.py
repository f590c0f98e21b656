"""Which module may import which, read from the source.

Layers, import circles, libraries, and one meaning for each name.
"""

import ast
import graphlib
import pathlib
from collections import defaultdict

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "shotstream_jax"

# A layer is a folder or file of the package → the layers that it may import, besides itself.
MODELS = {"core", "flow", "nn", "memory", "text", "vae", "dit", "presets", "model"}
APPLICATION = MODELS | {
    "aot",
    "checkpoint",
    "cli",
    "data",
    "fit",
    "generate",
    "media",
    "train",
    "world",
}
ALLOWED = {
    "version": set(),
    "configs": set(),
    "core": set(),
    "aot": {"core"},
    "cli": {"core", "configs"},
    "media": {"core"},
    "flow": {"core"},
    "nn": {"core"},
    "memory": {"core"},
    "text": {"core", "nn"},
    "vae": {"core", "nn"},
    "dit": {"core", "nn", "memory"},
    "presets": {"core", "flow", "memory", "text", "vae", "dit"},
    "model": MODELS - {"model", "flow"},
    "checkpoint": {"core", "nn", "text", "presets", "model"},
    "convert": {
        "core",
        "cli",
        "flow",
        "text",
        "dit",
        "vae",
        "presets",
        "model",
        "checkpoint",
        "generate",
    },
    "fit": MODELS | {"checkpoint"},
    "generate": MODELS | {"cli", "checkpoint", "fit", "media", "styles"},
    # Reads an adapter's public file for a model that streams: all that a stream needs of convert.
    "styles": {"core", "dit", "presets", "model", "convert"},
    "world": {"core", "cli", "data", "media", "text"},
    "data": MODELS | {"checkpoint", "media"},
    "train": APPLICATION - {"train"},
    # Applications: nobody imports them, but for score.
    # It reads the weights of another network from PyTorch's file.
    # Its clips are encoded by the command that is there for it.
    "prepare": APPLICATION | {"convert", "precompute"},
    "precompute": APPLICATION,
    "eval": APPLICATION,
    # It judges films by what eval measures and prepare finds in them.
    "score": APPLICATION | {"eval", "prepare"},
    "bench": APPLICATION,
    "doctor": APPLICATION,
    "plan": APPLICATION,
    # `--style` reads an adapter.
    "serve": APPLICATION | {"styles"},
    # For programs without a device: nothing that imports jax.
    "client": {"core", "media"},
    "testing": MODELS | {"checkpoint"},
    "__init__": {"checkpoint", "generate", "presets", "version"},
    "__main__": {"cli", "core"},
}
ONLY_IN = {  # library → the only layers that may import it
    "safetensors": {"checkpoint", "convert", "eval", "score"},
    "optax": {"train", "eval"},
    "scenedetect": {"eval"},
    "cv2": {"prepare", "score"},
    "torch": {"score"},
    "torchvision": {"score"},
    "transformers": {"score"},
    "matplotlib": {"eval"},
    "grain": {"data"},
    "array_record": {"data"},
    "orbax": {"train"},
    "tensorstore": {"checkpoint"},
    "huggingface_hub": {"checkpoint"},
    "tensorboardX": {"train"},
    "ml_collections": {"cli", "configs", "train"},
    "av": {"media"},
    "PIL": {"media"},
    "tokenizers": {"text", "world"},
    "ftfy": {"text"},
    "gguf": {"convert"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "pydantic": {"serve"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "websockets": {"client", "serve"},
    "ray": {"core", "precompute", "prepare", "serve"},
    "readline": {"generate"},
    "textual_image": {"media"},
    "rich": {"media"},
}


def imports(path: pathlib.Path) -> set[str]:
    """Every module that a file imports, and the names imported from it, which may be modules."""
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
    assert layer in ALLOWED, f"{name} is in no layer: add it to ALLOWED"
    for imported in imports(path):
        top, *rest = imported.split(".")
        if top == "shotstream_jax" and rest:
            is_allowed = rest[0] in ALLOWED[layer] | {layer} or rest[0] == "__version__"
            assert is_allowed, f"{name} must not import {imported}"
        if top in ONLY_IN:
            assert layer in ONLY_IN[top], f"{name} must not import {top}"


def test_no_import_circle():
    """The modules have an order in which each imports only earlier ones, also inside functions."""
    names = {f"shotstream_jax.{module_name(path)}": path for path in FILES}
    graph = {}
    for name, path in names.items():
        graph[name] = {imported for imported in imports(path) if imported in names} - {name}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) == len(FILES)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.name)
def test_recipes_import_only_recipes(path):
    for name in imports(path):
        is_recipe = name.startswith("shotstream_jax.configs")
        of_package = name.split(".")[0] == "shotstream_jax"
        assert is_recipe or not of_package, f"{path.name} must not import {name}"


def public_names() -> dict[str, list[str]]:
    """Name → the modules whose top level defines it as a class, a function or a type."""
    found = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found[node.name].append(module_name(path))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                is_type = name[0].isupper() and not name.isupper()
                if is_type:
                    found[name].append(module_name(path))
    return found


def test_no_name_is_defined_for_two_things():
    entry_points = {"main", "parser"}  # what every command has
    twice = {}
    for name, modules in public_names().items():
        if not name.startswith("_") and name not in entry_points and len(modules) > 1:
            twice[name] = modules
    assert not twice


def test_the_rules_bite(tmp_path):
    """A file that breaks a rule is seen."""
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from shotstream_jax.generate import stream\n    import torch\n")
    assert {"shotstream_jax.generate", "shotstream_jax.generate.stream", "torch"} <= imports(bad)
