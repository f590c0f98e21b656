"""The XLA flags of all tests: most of the suite's time is compilation."""

from importlib import metadata

# Level 0 halves the time of compilation, and without the emitters of fused loops it halves again.
FAST_COMPILATION = "--xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):
    # XLA refuses a flag that it does not know, so this one is for versions that were tried.
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
