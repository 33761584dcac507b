"""LoRA (low-rank adaptation) and DoRA: a frozen kernel and the product of two thin matrices.

    W' = W + (alpha / r) A B          A: [in, r], uniform at the start; B: [r, out], zero, so that W' = W    LoRA
    W' = W + (alpha / sqrt(r)) A B                                                                    rank-stabilized
    W' = m (W + s A B) / |W + s A B|  m: the norm of each output's weights; the norm is a constant for the gradient
                                                                                                               DoRA
    W' = W - s A0 B0 + s A B          A0, B0, where A and B start: the first r singular vectors of W, PiSSA, or the
                                      first r columns and rows of its QR decomposition, OLoRA

Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rsLoRA); Liu et al. 2024, arXiv:2402.09353
(DoRA); Meng et al. 2024, arXiv:2404.02948 (PiSSA); Büyükakyüz 2024, arXiv:2406.01775 (OLoRA). The kernel has our
layout, [in, out]. `dlcore.transfer.adapters.Adapted` trains it, `merge` writes the product into W, which costs nothing
in use, and `dlcore.transfer.peft_files` reads and writes it as peft does.
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.transfer.adapters import Target, find_targets

__all__ = ["LoRA"]


class LoRA(NamedTuple):
    """Low-rank adaptation of layers.

    Args:
      rank: r, columns of A and rows of B.
      alpha: the product's factor is alpha / r.
      targets: patterns of layers, such as "*attn/qkv:q" (its queries) or "*mlp/fc1".
      rank_stabilized: take alpha / sqrt(r) (rsLoRA).
      dora: learn the norm of each output's weights apart from their direction (DoRA).
      start: A and B at the start: noise and zero; pissa or olora, parts of W, which W is less of from then on. `merge`
        finds them anew, so that training takes an SVD or a QR decomposition of each W in each step.
    """

    rank: Annotated[int, Range(1)] = 8
    alpha: Annotated[float, Range(0)] = 16.0
    targets: tuple[str, ...] = ("*attn/qkv:q", "*attn/qkv:v")
    rank_stabilized: bool = False
    dora: bool = False
    start: Annotated[Literal["noise", "pissa", "olora"], "if changed"] = "noise"

    @property
    def scale(self) -> float:
        """Factor of the product."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make the matrices.

        Args:
          rng: PRNG key.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {name of a target: {"a": [..., in, r], "b": [r, out], with `dora` also "m": [out]}}.
        """
        check_shapes(rank=(self.rank, "int >= 1"), alpha=(self.alpha, ">= 0"))
        check_choice("start", self.start, ("noise", "pissa", "olora"))
        flat, new = flatten_dict(variables["params"]), {}
        for i, target in enumerate(find_targets(variables["params"], self.targets)):
            kernel = flat[tuple(target.path.split("/"))]
            kernel = kernel[..., target.columns(kernel.shape[-1])]
            a_shape = (*kernel.shape[:-1], self.rank)
            bound = 1 / np.prod(kernel.shape[:-1]) ** 0.5  # peft's: uniform, of variance 1 / (3 in)
            a = jax.random.uniform(jax.random.fold_in(rng, i), a_shape, minval=-bound, maxval=bound)
            b = jnp.zeros((self.rank, kernel.shape[-1]))
            a, b = (a, b) if self.start == "noise" else self._parts(kernel, self.rank)
            new[target.name] = {"a": a, "b": b}
            if self.dora:
                new[target.name]["m"] = _column_norms(kernel)
        return new

    def rebase(self, params: Any, new: dict[str, Any]) -> dict[str, Any]:
        """Start from other parameters of the network: DoRA's norms and the parts of PiSSA and OLoRA are theirs.

        Args:
          params: parameters of the network.
          new: the matrices.

        Returns:
          The matrices.
        """
        flat, rebased = flatten_dict(params), {}
        for name, old in new.items():
            path, columns = _place(flat, name)
            kernel, rebased[name] = flat[path][..., columns], dict(old)
            if self.start != "noise" and path[-1] == "kernel" and "a" in old:
                rebased[name]["a"], rebased[name]["b"] = self._parts(kernel, old["a"].shape[-1])
            if "m" in old:
                rebased[name]["m"] = _column_norms(kernel)
        return rebased

    def merge(self, params: Any, new: dict[str, Any]) -> Any:
        """Add the products to the kernels.

        Args:
          params: parameters of the network.
          new: the matrices. Adapters from files may also have {"value"}, what takes the place of a parameter, such as a
            head or a bias, and "bias" [out] beside A and B, which is added to the layer's, times the product's factor.

        Returns:
          Parameters with W' in place of W.
        """
        flat = dict(flatten_dict(params))
        for name, matrices in new.items():
            if "value" in matrices:  # a head may have other classes
                path, columns = _place(flat, name)
                leaf = jnp.asarray(flat[path])
                value = _without_ones(matrices["value"], leaf[..., columns].shape)
                flat[path] = leaf.at[..., columns].set(value) if ":" in name else value
        for name, matrices in new.items():
            if "a" not in matrices:
                continue
            kernel_path, columns = _place(flat, name)
            leaf = jnp.asarray(flat[kernel_path])
            kernel = to_acc_dtype(leaf[..., columns])
            product = _without_ones(matrices["a"] @ matrices["b"], kernel.shape)  # [..., in, out]
            if product.shape != kernel.shape:
                raise ValueError(f"{name}: A B {list(product.shape)}; allowed: {list(kernel.shape)}, as the kernel")
            if self.start != "noise" and kernel_path[-1] != "embedding":  # peft's tables start with noise
                a, b = jax.lax.stop_gradient(self._parts(kernel, matrices["a"].shape[-1]))
                product = product - a @ b
            adapted = kernel + self.scale * product
            if "m" in matrices:
                adapted = adapted * (matrices["m"] / jax.lax.stop_gradient(_column_norms(adapted)))
            flat[kernel_path] = leaf.at[..., columns].set(adapted.astype(leaf.dtype))
            if "bias" in matrices:
                bias_path = (*kernel_path[:-1], "bias")
                if bias_path not in flat:
                    raise ValueError(f"{name}: a bias of B; allowed: none, as the layer has no bias")
                bias = jnp.asarray(flat[bias_path])
                flat[bias_path] = bias.at[columns].add((self.scale * matrices["bias"]).astype(bias.dtype))
        return unflatten_dict(flat)

    def _parts(self, kernel: jax.Array, rank: int) -> tuple[jax.Array, jax.Array]:
        """A0 and B0 of a kernel [in, out], as peft takes them of its transpose."""
        if kernel.ndim != 2:
            raise ValueError(f"start={self.start!r}: of a kernel {list(kernel.shape)}; allowed: linear layers")
        kernel = to_acc_dtype(kernel)
        if self.start == "olora":
            q, r = jnp.linalg.qr(kernel.T)
            return r[:rank].T, q[:, :rank].T
        u, s, v = jnp.linalg.svd(kernel, full_matrices=False)
        root = jnp.sqrt(s[:rank] / self.scale)
        return u[:, :rank] * root, root[:, None] * v[:rank]


def _place(flat: dict[tuple[str, ...], Any], name: str) -> tuple[tuple[str, ...], slice]:
    """(path of a parameter, the output features that a target's name stands for)."""
    path, _, part = name.partition(":")
    key = tuple(path.split("/"))
    return key, Target(path, part or None).columns(flat[key].shape[-1])


def _without_ones(value: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Leave out or insert axes of size 1: a 1x1 convolution as a linear layer, a table [1, N, D] as [N, D]."""
    same = [n for n in value.shape if n > 1] == [n for n in shape if n > 1]
    return value.reshape(shape) if same and value.ndim != len(shape) else value


def _column_norms(kernel: jax.Array) -> jax.Array:
    """[..., out] -> the norm of each output's weights, [out]."""
    return jnp.sqrt(jnp.square(to_acc_dtype(kernel)).sum(tuple(range(kernel.ndim - 1)))).astype(kernel.dtype)
