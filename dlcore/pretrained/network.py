"""A published network that runs on photographs and gives the outputs that its library gives."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import ScopeParamShapeError

from dlcore.ops.checks import check_finite, check_indices, check_range, check_shapes, check_values
from dlcore.pretrained.family import Family
from dlcore.pretrained.packing import PatchProcessor
from dlcore.pretrained.processor import Processor, clips_of

__all__ = ["Pretrained"]


def _check_texts(tokens: np.ndarray, mask: jax.Array | None, end_token: int | None) -> None:
    """Check texts [B, T] of a CLIP, which reads them up to their end token, or of a SigLIP, which has none."""
    is_read = np.ones(tokens.shape, bool)
    if end_token is not None:
        if (missing := ~(tokens == end_token).any(1)).any():
            raise ValueError(f"input_ids[{missing.argmax()}]: no end token; allowed: texts with a token {end_token}")
        is_read = np.arange(tokens.shape[1]) <= (tokens == end_token).argmax(1)[:, None]
    if mask is not None and (is_read & (np.asarray(mask) == 0)).any():
        raise ValueError("attention_mask: 0 at a token that the network reads; allowed: 1 there, or no mask")


class Pretrained:
    """A published network: `net(photograph)` -> {"logits": ...}.

    Args:
      name: name of the network in `dlcore.models.list_models`.
      fields: fields of `create_model` that the configuration gave.
      model: the flax module.
      variables: its variables.
      family: its family.
      config: content of its config.json.
      preprocess: its processor; None where it takes no photograph or none was published.
      classes: names of its classes; None without classes.
      folder: folder of its files, which may hold its tokenizer.
    """

    def __init__(
        self,
        name: str,
        fields: dict[str, Any],
        model: nn.Module,
        variables: Any,
        family: Family,
        config: Mapping[str, Any],
        preprocess: Processor | PatchProcessor | None,
        classes: tuple[str, ...] | None,
        folder: Path | None = None,
    ):
        self.name, self.fields, self.model, self.variables = name, fields, model, variables
        self.folder = folder
        self.family, self.config, self.preprocess, self.classes = family, dict(config), preprocess, classes
        self._tokenizer: Any = None
        self._outputs = jax.jit(functools.partial(family.outputs, model))

    def __repr__(self) -> str:
        return f"Pretrained({self.name!r}, {self.fields})"

    def __call__(self, images: np.ndarray | Sequence[np.ndarray] | None = None, **inputs: Any) -> dict[str, jax.Array]:
        """Run the network.

        Args:
          images: a photograph [H, W, 3] uint8, or several of any sizes (a list, or [B, H, W, 3]), which `preprocess`
            prepares; paths and images of Pillow are read. A network of clips takes a clip, its frames as a list or [T,
            H, W, 3], or several of them.
          **inputs: inputs by the library's names, in place of photographs or beside them, such as `input_ids`. Arrays
            of images and maps have channels last; torch's order, channels first, is recognized by the number of
            channels. A network that reads `input_ids` also reads `text`, one or a list, by the folder's tokenizer.

        Returns:
          Outputs by the library's names, such as `logits`; images and maps have channels last.
        """
        if "text" in inputs and "input_ids" in self.family.inputs:
            inputs = {**self._tokens(inputs.pop("text")), **inputs}
        names = {alias: key.split("|")[0] for key in self.family.inputs for alias in key.split("|")}
        if unknown := [key for key in inputs if key not in names]:
            raise ValueError(f"{unknown[0]}: no input of {self.name}; allowed: {', '.join(self.family.inputs)}")
        arrays = {names[key]: self._array(names[key], value) for key, value in inputs.items()}
        if images is not None:
            if (first := self.family.inputs[0].split("|")[0]) in arrays:
                raise ValueError(f"images: given beside {first}; allowed: one of them")
            arrays = {**self._photographs(images), **arrays}
        if not arrays:
            raise ValueError(f"images: missing; allowed: photographs, or {', '.join(self.family.inputs)} as arrays")
        self._check(arrays)
        run = functools.partial(self._outputs, self.variables)
        try:
            arrays = arrays if self.family.prepare is None else self.family.prepare(self.config, arrays)
            return run(arrays) if self.family.call is None else self.family.call(run, arrays, self.preprocess)
        except KeyError as error:
            if error.args[0] not in names.values():
                raise
            raise ValueError(f"{error.args[0]}: missing; allowed: {', '.join(self.family.inputs)}") from error
        except (TypeError, ScopeParamShapeError) as error:
            shapes = ", ".join(f"{k}={list(array.shape)}" for k, array in arrays.items() if hasattr(array, "shape"))
            raise ValueError(f"{shapes}: no inputs of {self.name} ({error}); allowed: shapes as published") from error

    @property
    def reads_clips(self) -> bool:
        """Whether the network reads clips [B, T, H, W, C]."""
        return self.family.kind == "video" or getattr(self.model, "tubelet", None) is not None

    def _check(self, arrays: Mapping[str, jax.Array]) -> None:
        """Refuse what a compiled program would read silently: tokens outside the table, masks of other shapes."""
        if any(isinstance(array, jax.core.Tracer) for array in arrays.values()):
            return
        parts = (self.model, getattr(self.model, "clip", None))
        ids, pixels = arrays.get("input_ids"), arrays.get("pixel_values")
        for name, field, what in (
            ("input_ids", "vocab_size", "tokens"),
            ("decoder_input_ids", "vocab_size", "tokens"),
            ("token_type_ids", "num_segments", "segments"),
        ):
            if name in arrays:
                check_shapes(**{name: (arrays[name], "int B T")})
                size = next((getattr(part, field) for part in parts if hasattr(part, field)), None)
                if size is not None:
                    check_indices(name, arrays[name], size, what)
        if ids is not None and ids.shape[1] < 1:
            raise ValueError(f"input_ids={list(ids.shape)}: no token; allowed: at least 1")
        shapes = {"attention_mask": (ids, np.shape(ids)), "pixel_mask": (pixels, np.shape(pixels)[:-1])}
        for name, (values, shape) in shapes.items():
            if name in arrays and values is not None:
                check_values(name, arrays[name], (0, 1))
                if arrays[name].shape != shape:
                    raise ValueError(f"{name}={list(arrays[name].shape)}: another shape; allowed: {list(shape)}")
                if not arrays[name].any(tuple(range(1, arrays[name].ndim))).all():
                    raise ValueError(f"{name}: all 0 in a row; allowed: something to read in each")
        if ids is not None and self.family.kind == "pairs":
            from dlcore.models.clip import CLIP, SigLIP

            if isinstance(self.model, CLIP):
                end_token = None if isinstance(self.model, SigLIP) else self.model.end_token
                _check_texts(np.asarray(ids), arrays.get("attention_mask"), end_token)
        if "timestep" in arrays:
            check_finite("timestep", arrays["timestep"])
            check_range("timestep", arrays["timestep"], 0)

    def _photographs(self, images: Any) -> dict[str, jax.Array]:
        first = self.family.inputs[0].split("|")[0]
        if self.preprocess is None:
            allowed = ", ".join(self.family.inputs)
            raise ValueError(f"images: {self.name} has no processor for photographs; allowed: {allowed} as arrays")
        if self.reads_clips and isinstance(self.preprocess, Processor):
            clips = clips_of(images)
            values = [self.preprocess(frames)["pixel_values"] for frames in clips]
            if len({value.shape for value in values}) > 1:
                shapes = " and ".join(sorted({str(value.shape[:3]) for value in values}))
                raise ValueError(f"images: clips of {shapes}, (T, H, W); allowed: clips of one size")
            return {first: jnp.asarray(np.stack(values))}
        batch = self.preprocess(images)
        arrays = {key: jnp.asarray(batch[key]) for key in self.family.inputs[1:] if key in batch}
        return {first: jnp.asarray(batch["pixel_values"]), **arrays}

    def _tokens(self, texts: Any) -> dict[str, np.ndarray]:
        """Read texts by the folder's tokenizer, filled up to the longest; a CLIP reads none of what fills them up."""
        from dlcore.models.clip import SigLIP
        from dlcore.pretrained.prompt_encoder import open_tokenizer, pad_token_of

        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"text={texts!r}: no texts; allowed: a str, or a list of them")
        if self.folder is None or isinstance(self.model, SigLIP):
            raise ValueError(f"text: {self.name} has no tokenizer here; allowed: input_ids, [B, T] int")
        if self._tokenizer is None:
            self._tokenizer = open_tokenizer(self.folder)
        rows = [self._tokenizer.encode(text).ids for text in texts]
        length = max(map(len, rows))
        window = getattr(self.model, "window", length)
        if length > window:
            raise ValueError(f"text: {length} tokens with start and end; allowed: at most {window}")
        is_token = np.arange(length) < np.array([len(row) for row in rows])[:, None]
        tokens = np.full(is_token.shape, pad_token_of(self.folder, self._tokenizer), np.int32)
        tokens[is_token] = np.concatenate(rows)
        if "attention_mask" in self.family.inputs:
            return {"input_ids": tokens, "attention_mask": is_token.astype(np.int32)}
        if not is_token.all() and self.family.architectures[0] != "CLIPTextModel":
            raise ValueError(f"text: of {len({*map(len, rows)})} lengths; allowed: of one, without a mask")
        return {"input_ids": tokens}

    def _array(self, name: str, value: Any) -> jax.Array:
        if isinstance(value, np.ndarray) and jnp.issubdtype(value.dtype, jnp.floating):
            check_finite(name, value)
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: a {type(value).__name__}; allowed: arrays of numbers") from None
        if array.shape[:1] == (0,):
            raise ValueError(f"{name}.shape={array.shape}: no example; allowed: at least 1")
        channels = self.config.get("in_channels")
        if not isinstance(channels, int):  # EfficientNet's are of its stages
            channels = self.config.get("num_channels", 3)
        channels = self.config.get("latent_channels", channels) if name == "z" else channels
        is_float = jnp.issubdtype(array.dtype, jnp.floating)
        if array.ndim in (4, 5) and not is_float and not name.startswith("input_"):
            raise ValueError(f"{name}: {array.dtype}; allowed: floats of `preprocess`, or photographs as images")
        is_map = is_float and array.ndim in (4, 5, 6) and name != "input_points"
        if is_map and array.shape[-1] != channels and array.shape[-3] == channels:
            return jnp.moveaxis(array, -3, -1)
        return array
