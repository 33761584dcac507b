"""Adapters: parameter-efficient fine-tuning (PEFT) of a frozen network by a few new parameters.

    BitFit         the biases alone learn                                        Zaken et al. 2021, arXiv:2106.10199
    IA3            k, v and hidden units of MLPs are rescaled by learned vectors       Liu et al. 2022, arXiv:2205.05638
    Bottleneck     h <- h + W_up gelu(W_down h) behind each MLP, W_up zero at the start
                                                                             Houlsby et al. 2019, arXiv:1902.00751
    Prompts        p learned tokens beside the image's (VPT), before the first block or anew before each (deep)
                                                                                  Jia et al. 2022, arXiv:2203.12119

`dlcore.transfer.lora` has LoRA and DoRA. Each is a record with three functions, so that `Adapted` makes any of them a
model that any learner trains: `init` makes its parameters, `merge` changes the network's (identity where it changes
none), `intercept` changes what its layers compute. All but Prompts start as the network itself.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.learner import Range
from dlcore.ops.checks import check_shapes
from dlcore.transfer.frozen import is_named

__all__ = ["IA3", "Adapted", "BitFit", "Bottleneck", "Prompts", "Target", "find_targets"]

PARTS = {"q": 0, "k": 1, "v": 2}
"""Thirds of a layer that gives queries, keys and values at once."""


class Target(NamedTuple):
    """A kernel, or a part of its output features.

    Args:
      path: path of the kernel, such as blocks_0/attn/qkv/kernel.
      part: q, k or v of a layer that gives all three; None for the whole layer.
    """

    path: str
    part: str | None = None

    @property
    def name(self) -> str:
        """Name of its adapter."""
        return self.path if self.part is None else f"{self.path}:{self.part}"

    def columns(self, features: int) -> slice:
        """Return the output features that it stands for.

        Args:
          features: output features of the layer.

        Returns:
          A slice of them.
        """
        if self.part is None:
            return slice(None)
        third = features // 3
        return slice(PARTS[self.part] * third, (PARTS[self.part] + 1) * third)


def find_targets(params: Any, patterns: Sequence[str]) -> list[Target]:
    """Find the kernels that patterns name.

    Args:
      params: parameters of a network, or their shapes.
      patterns: shell patterns of layers, such as "*attn/qkv:q" (its queries) or "*mlp/fc1"; `*` also matches `/`.

    Returns:
      The targets, in the order of the parameters.
    """
    if isinstance(patterns, str):
        raise ValueError(f"targets={patterns!r}: one string; allowed: a tuple of patterns")
    paths = ["/".join(path) for path in flatten_dict(params) if path[-1] == "kernel"]
    targets = []
    for pattern in patterns:
        layer, _, part = pattern.partition(":")
        if part and part not in PARTS:
            raise ValueError(f"targets={pattern!r}: no part {part!r}; allowed: LAYER:q, LAYER:k, LAYER:v, LAYER")
        matches = [path for path in paths if fnmatchcase(path.removesuffix("/kernel"), layer)]
        if not matches:
            layers = sorted({re.sub(r"\d+", "*", path.removesuffix("/kernel")) for path in paths})
            raise ValueError(f"targets={pattern!r}: names no layer; allowed: patterns of {', '.join(layers[:12])}")
        targets += [Target(path, part or None) for path in matches]
    return sorted(targets, key=lambda target: (paths.index(target.path), target.part or ""))


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A network of which an adapter and the head learn, for any learner that calls `init` and `apply`.

    Its collection `params` holds what learns, {"adapter": ..., "trained": ...}; `frozen` holds the other parameters,
    for which an optimizer keeps no state.

    Args:
      model: the network.
      method: `BitFit`, `IA3`, `Bottleneck`, `Prompts` or `dlcore.transfer.lora.LoRA`.
      trained: patterns of the network's own parameters that learn as they are, such as "head*", or "!backbone*" for
        all but the backbone's, see `dlcore.transfer.frozen.is_named`.
    """

    model: nn.Module
    method: Any
    trained: Sequence[str] = ("head*",)

    def split(self, params: Any) -> tuple[Any, Any]:
        """Divide the network's parameters.

        Args:
          params: parameters of the network.

        Returns:
          (those that learn, those that are frozen), trees with the paths of the network.
        """
        patterns = (*self.trained, *getattr(self.method, "TRAINED", ()))
        trained, frozen = {}, {}
        for path, leaf in flatten_dict(params).items():
            (trained if is_named("/".join(path), patterns) else frozen)[path] = leaf
        return unflatten_dict(trained), unflatten_dict(frozen)

    def init(self, rng: jax.Array, *args: Any, **kwargs: Any) -> Any:
        """Initialize the network and the adapter.

        Args:
          rng: PRNG key.
          *args: arguments of the model's `init`.
          **kwargs: keyword arguments of the model's `init`.

        Returns:
          {"params": {"adapter", "trained"}, "frozen": ..., further collections of the model}.
        """
        variables = dict(self.model.init(rng, *args, **kwargs))
        return self.adapt(jax.random.fold_in(rng, 1), variables, *args, **kwargs)

    def adapt(self, rng: jax.Array, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Add an adapter to a trained network.

        Args:
          rng: PRNG key.
          variables: variables of the network.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          What `init` returns.
        """
        params = variables["params"]
        trained, frozen = self.split(params)
        new = self.method.init(rng, self.model, variables, *args, **kwargs)
        collections = {name: value for name, value in variables.items() if name != "params"}
        return {"params": {"adapter": new, "trained": trained}, "frozen": frozen, **collections}

    def network_variables(self, variables: Any) -> Any:
        """Take the network out of the variables, as it is without the adapter.

        Args:
          variables: what `init` returns.

        Returns:
          Variables of `model`.
        """
        params = flatten_dict(variables["frozen"]) | flatten_dict(variables["params"]["trained"])
        collections = {name: value for name, value in variables.items() if name not in ("params", "frozen")}
        return {"params": unflatten_dict(params), **collections}

    def rebase(self, variables: Any, network: Any) -> Any:
        """Put another network's variables in the place of the network's, and keep the new adapter.

        Args:
          variables: what `init` returns.
          network: variables of `model`.

        Returns:
          What `adapt` returns for it, with the adapter of `variables`.
        """
        trained, frozen = self.split(network["params"])
        adapter = variables["params"]["adapter"]
        if hasattr(self.method, "rebase"):
            adapter = self.method.rebase(network["params"], adapter)
        collections = {name: value for name, value in network.items() if name != "params"}
        return {"params": {"adapter": adapter, "trained": trained}, "frozen": frozen, **collections}

    def network_params(self, variables: Any) -> Any:
        """Join the parameters of the network, changed by the adapter.

        Args:
          variables: what `init` returns.

        Returns:
          Parameters of the network; no gradient reaches frozen ones.
        """
        frozen = flatten_dict(jax.lax.stop_gradient(variables["frozen"]))
        params = unflatten_dict(frozen | flatten_dict(variables["params"]["trained"]))
        return self.method.merge(params, variables["params"]["adapter"])

    def merge(self, variables: Any) -> Any:
        """Write the adapter into the network's own parameters.

        Args:
          variables: what `init` returns.

        Returns:
          Variables of `model` alone, with the same outputs.
        """
        if hasattr(self.method, "intercept"):
            name = type(self.method).__name__
            raise ValueError(f"method={name}: stays beside the network; allowed to merge: LoRA, IA3, BitFit")
        collections = {name: value for name, value in variables.items() if name not in ("params", "frozen")}
        return {"params": self.network_params(jax.tree.map(jnp.asarray, variables)), **collections}

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the adapted network.

        Args:
          variables: what `init` returns.
          *args: arguments of the model's `apply`.
          **kwargs: keyword arguments of the model's `apply`.

        Returns:
          What the model's `apply` returns.
        """
        inner = {name: value for name, value in variables.items() if name != "frozen"}
        inner["params"] = self.network_params(variables)
        if isinstance(kwargs.get("mutable"), list | tuple):
            kwargs["mutable"] = [name for name in kwargs["mutable"] if name != "frozen"]
        if not hasattr(self.method, "intercept"):
            return self.model.apply(inner, *args, **kwargs)
        with nn.intercept_methods(self.method.intercept(variables["params"]["adapter"])):
            return self.model.apply(inner, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "model"), name)


class BitFit(NamedTuple):
    """The biases of all layers learn, and nothing is added."""

    TRAINED = ("*bias",)

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict:
        """Add nothing.

        Args:
          rng: PRNG key.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {}.
        """
        return {}

    def merge(self, params: Any, new: Any) -> Any:
        """Change nothing.

        Args:
          params: parameters of the network.
          new: parameters of the adapter.

        Returns:
          The parameters.
        """
        return params


class IA3(NamedTuple):
    """Rescale keys, values and the hidden units of MLPs: (x W + b) * l, l = 1 at the start.

    Args:
      outputs: patterns of layers whose outputs are rescaled.
      inputs: patterns of layers whose inputs are rescaled.
    """

    outputs: tuple[str, ...] = ("*attn/qkv:k", "*attn/qkv:v")
    inputs: tuple[str, ...] = ("*mlp/fc2",)

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, jax.Array]:
        """Make the vectors.

        Args:
          rng: PRNG key, not used.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {name of a layer: ones, of its output features or of its input features}.

        Raises:
          ValueError: a pattern names no layer.
        """
        params, flat = variables["params"], flatten_dict(variables["params"])
        vectors = {}
        for target in find_targets(params, self.outputs):
            features = flat[tuple(target.path.split("/"))].shape[-1]
            vectors[target.name] = jnp.ones(len(range(features)[target.columns(features)]))
        for target in find_targets(params, self.inputs):
            vectors[f"{target.name}:inputs"] = jnp.ones(flat[tuple(target.path.split("/"))].shape[-2])
        return vectors

    def merge(self, params: Any, new: dict[str, jax.Array]) -> Any:
        """Rescale the layers.

        Args:
          params: parameters of the network.
          new: the vectors.

        Returns:
          Parameters with kernel * l and bias * l of outputs, l * kernel of inputs.
        """
        flat = dict(flatten_dict(params))
        for name, vector in new.items():
            path, _, part = name.partition(":")
            kernel_path = tuple(path.split("/"))
            kernel = flat[kernel_path]
            if part == "inputs":
                flat[kernel_path] = kernel * vector[:, None]
                continue
            columns = Target(path, part or None).columns(kernel.shape[-1])
            flat[kernel_path] = kernel.at[..., columns].multiply(vector)
            bias_path = (*kernel_path[:-1], "bias")
            if bias_path in flat:
                flat[bias_path] = flat[bias_path].at[columns].multiply(vector)
        return unflatten_dict(flat)


Interceptor = Callable[[Any, tuple, dict, Any], Any]


class Bottleneck(NamedTuple):
    """A small MLP behind layers: h + W_up gelu(W_down h + b) + c, zero at the start.

    Args:
      features: hidden units.
      targets: patterns of modules that it follows.
    """

    features: Annotated[int, Range(1)] = 8
    targets: tuple[str, ...] = ("*blocks_*/mlp",)

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make the MLPs.

        Args:
          rng: PRNG key.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {path of a module: {"down", "down_bias", "up", "up_bias"}}.
        """
        check_shapes(features=(self.features, "int >= 1"))
        widths: dict[str, int] = {}

        def record(call: Any, arguments: tuple, keywords: dict, context: Any) -> Any:
            outputs = call(*arguments, **keywords)
            path = "/".join(context.module.path)
            if context.method_name == "__call__" and any(fnmatchcase(path, pattern) for pattern in self.targets):
                widths[path] = outputs.shape[-1]
            return outputs

        def run(variables: Any) -> Any:
            with nn.intercept_methods(record):
                return model.apply(variables, *args, **kwargs)

        jax.eval_shape(run, variables)
        if not widths:
            raise ValueError(f"targets={self.targets}: name no module; allowed: patterns such as *blocks_*/mlp")
        return {
            path: {
                "down": nn.initializers.lecun_normal()(jax.random.fold_in(rng, i), (width, self.features)),
                "down_bias": jnp.zeros(self.features),
                "up": jnp.zeros((self.features, width)),
                "up_bias": jnp.zeros(width),
            }
            for i, (path, width) in enumerate(sorted(widths.items()))
        }

    merge = BitFit.merge

    def intercept(self, new: dict[str, Any]) -> Interceptor:
        """Build what is called in place of each layer.

        Args:
          new: the MLPs.

        Returns:
          An interceptor of `flax.linen.intercept_methods`.
        """

        def call_adapted(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
            h, path = call(*args, **kwargs), "/".join(context.module.path)
            if context.method_name != "__call__" or path not in new:
                return h
            mlp = jax.tree.map(lambda leaf: leaf.astype(h.dtype), new[path])
            hidden = nn.gelu(h @ mlp["down"] + mlp["down_bias"])
            return h + hidden @ mlp["up"] + mlp["up_bias"]

        return call_adapted


class Prompts(NamedTuple):
    """Visual prompt tuning (VPT): learned tokens behind those of the image, which are cut off after the last block.

    Args:
      tokens: p, number of learned tokens.
      deep: learn p tokens for each block, which take the place of those of the block before.
      blocks: name of the blocks without their number.
      inside: name of the module that has the blocks, such as backbone; empty for the network itself.
    """

    tokens: Annotated[int, Range(1)] = 10
    deep: bool = False
    blocks: str = "blocks_"
    inside: str = ""

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, jax.Array]:
        """Draw the tokens.

        Args:
          rng: PRNG key.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {"tokens": [1, p, D], or [L, p, D] where they are deep}, uniform as Xavier's of a patch.
        """
        check_shapes(tokens=(self.tokens, "int >= 1"))
        params = variables["params"][self.inside] if self.inside else variables["params"]
        model = getattr(model, self.inside) if self.inside else model
        names = {name for name in params if re.fullmatch(rf"{self.blocks}\d+", name)}
        if not names:
            raise ValueError(f"blocks={self.blocks!r}: the network has none; allowed: a transformer with such blocks")
        width = next(iter(flatten_dict(params[f"{self.blocks}0"]["norm1"]).values())).shape[-1]
        bound = (6 / (3 * getattr(model, "patch_size", 16) ** 2 + width)) ** 0.5
        shape = (len(names) if self.deep else 1, self.tokens, width)
        return {"tokens": jax.random.uniform(rng, shape, minval=-bound, maxval=bound)}

    merge = BitFit.merge

    def intercept(self, new: dict[str, jax.Array]) -> Interceptor:
        """Build what is called in place of each block.

        Args:
          new: the tokens.

        Returns:
          An interceptor of `flax.linen.intercept_methods`.
        """

        def call_prompted(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
            module, name = context.module, self.blocks
            if context.method_name != "__call__" or not re.fullmatch(rf"{name}\d+", module.name or ""):
                return call(*args, **kwargs)
            if self.inside and module.path[:-1] != (self.inside,):
                return call(*args, **kwargs)
            block, x = int(module.name.removeprefix(name)), args[0]
            depth = sum(bool(re.fullmatch(rf"{name}\d+", key)) for key in module.parent.variables["params"])
            if block == 0 or self.deep:
                tokens = new["tokens"][block if self.deep else 0].astype(x.dtype)  # [p, D]
                x = jnp.concatenate([x, jnp.broadcast_to(tokens, (x.shape[0], *tokens.shape))], 1)
            x = call(x, *args[1:], **kwargs)  # [B, T + p, D]
            return x[:, : -self.tokens] if self.deep or block == depth - 1 else x

        return call_prompted
