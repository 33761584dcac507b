"""XLA flags that dlcore's programs set."""

import os
from importlib.metadata import version

__all__ = ["CPU_CONVOLUTIONS", "use_fast_cpu_convolutions"]

CPU_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
"""Disables YNNPACK for convolutions on CPUs."""
TRIED = ("0.10.",)
"""Versions of jaxlib that know the flag; others may exit at an unknown flag."""


def use_fast_cpu_convolutions() -> None:
    """Use Eigen instead of YNNPACK for convolutions on CPUs, in all programs compiled afterwards.

    jaxlib 0.10 computes convolutions on a CPU with YNNPACK, which uses one core only and has slow gradients
    (`experiments.bench.conv_algorithms`). YNNPACK still computes reductions and products, and accelerators are not
    affected.

    It sets the environment variable XLA_FLAGS, which takes effect if jax has not started its backends (by the first
    array or `jax.devices()`), and in child processes. Nothing changes if XLA_FLAGS sets the flag already
    (`XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=individual_convolution,reduce`: YNNPACK), or if the installed
    jaxlib is untested. dlcore's command lines call it; users of the model functions may.
    """
    options = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib").startswith(TRIED) and CPU_CONVOLUTIONS.partition("=")[0] not in options:
        os.environ["XLA_FLAGS"] = f"{options} {CPU_CONVOLUTIONS}".strip()
