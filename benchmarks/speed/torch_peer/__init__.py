"""The mathematics of docs/method.md in PyTorch's own layers, to be timed beside ours."""

try:
    import torch
except ModuleNotFoundError:
    raise SystemExit("this needs PyTorch: pip install 'shotstream-jax[convert]'") from None

__all__ = ["torch"]
