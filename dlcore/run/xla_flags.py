"""XLA's flags that dlcore's programs set for themselves."""

import os
from importlib.metadata import version

from dlcore.ops import use_onednn

__all__ = ["CPU_CONVOLUTIONS", "use_fast_cpu_convolutions"]

CPU_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
"""Takes convolutions on CPUs from YNNPACK."""
TRIED = ("0.10.",)
"""Versions of jaxlib that know the flag; others may leave the process at an unknown one."""


def use_fast_cpu_convolutions() -> None:
    """Have oneDNN and Eigen compute convolutions on CPUs instead of YNNPACK, in all programs compiled afterwards.

    jaxlib 0.10 gives convolutions on a CPU to YNNPACK, which uses one core only and is slow in the gradients
    (`experiments.bench.conv_algorithms`). Accelerators do not notice. `dlcore.ops.cpu.onednn` says which convolutions
    and matrix products oneDNN computes. Eigen computes the other convolutions; reductions and the other products stay
    with YNNPACK.

    It sets an entry of the environment's XLA_FLAGS, which counts until jax starts its backends (the first array or
    `jax.devices()`) and for processes started later. Nothing changes where XLA_FLAGS has another value of the flag
    already (`XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=individual_convolution,reduce`: YNNPACK) or where the
    installed jaxlib has not been tried with it. dlcore's command lines call it; who imports the model functions may.
    """
    options = os.environ.get("XLA_FLAGS", "")
    if not version("jaxlib").startswith(TRIED):
        return
    if CPU_CONVOLUTIONS.partition("=")[0] not in options:
        os.environ["XLA_FLAGS"] = options = f"{options} {CPU_CONVOLUTIONS}".strip()
    if CPU_CONVOLUTIONS in options.split():
        use_onednn()
