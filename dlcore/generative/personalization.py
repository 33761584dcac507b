"""DreamBooth and textual inversion: teach a trained text-to-image network one subject from a few images.

Ruiz et al. 2022, arXiv:2208.12242 (DreamBooth); Gal et al. 2022, arXiv:2208.01618 (textual inversion); the form with
low-rank matrices is LoRA, Hu et al. 2021, arXiv:2106.09685.

    L = |eps - eps_theta(x_t, t, "a V circle")|^2 + lambda |eps' - eps_theta(x'_t', t', "a red circle")|^2

x is an image of the subject, V a word that the network has not learned. x' is drawn by the network before its first
update from a prompt of the class: prior preservation, so that the class keeps its look and its variety.

    dreambooth           the whole U-Net learns; the words' encoder is frozen, and V has a random embedding
    lora                 low-rank matrices beside the U-Net's attention learn, with the same loss
    textual_inversion    the embedding of V alone learns; no other prompt changes, so that no prior term is needed

The papers take a rare word of a large vocabulary, which has an embedding that training hardly moved. A small vocabulary
has none: `add_token` appends a row to the table.
"""

import functools
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.data.augment import to_float
from dlcore.data.shape_grid import foreground
from dlcore.generative import ddpm
from dlcore.generative.denoising import DiffusionState
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.pixels import normalize
from dlcore.generative.samplers import Prediction
from dlcore.generative.text_to_image import prompt_condition
from dlcore.learner import Evaluator, Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.l2_normalize import unit_rows
from dlcore.optim import apply_gradients
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.lora import LoRA

__all__ = [
    "PersonalizationState",
    "Technique",
    "TokenEmbedding",
    "add_token",
    "learner",
    "object_pixels",
    "start_from",
    "subject_similarity",
]

Technique = Literal["dreambooth", "lora", "textual_inversion"]
"""What learns: the U-Net, low-rank matrices beside its attention, or the embedding of the new word."""

TABLE = ("words", "embed", "embedding")
"""Path of the table of embeddings in the parameters of a `TextUNet`."""


@struct.dataclass
class PersonalizationState(DiffusionState):
    """The state of personalization.

    Args:
      class_image: [M, H, W, C] in [0, 1], drawn from the prompts of the class before the first update.
      token: token of the new word.
      lora: the low-rank matrices of lora.
    """

    class_image: jax.Array
    token: int = struct.field(pytree_node=False)
    lora: LoRA = struct.field(pytree_node=False)


class TokenEmbedding(NamedTuple):
    """Textual inversion as an adapter: one row of the table of embeddings learns.

    Args:
      token: number of the row.
    """

    token: int

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Copy the row.

        Args:
          rng: not used.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {"embedding": [D]}.
        """
        return {"embedding": flatten_dict(variables["params"])[TABLE][self.token]}

    def merge(self, params: Any, new: dict[str, Any]) -> Any:
        """Write the row into the table.

        params, parameters of the network; new {"embedding": [D]} -> parameters of the network.
        """
        flat = dict(flatten_dict(params))
        flat[TABLE] = jnp.asarray(flat[TABLE]).at[self.token].set(new["embedding"])
        return unflatten_dict(flat)


class _AdaptedUNet(Adapted):
    """An adapted network whose frozen parameters stand beside the adapter, where `ddpm.learner` locks them."""

    def init(self, rng: jax.Array, *args: Any, **kwargs: Any) -> Any:
        variables = super().init(rng, *args, **kwargs)
        return {"params": {**variables["params"], "frozen": variables["frozen"]}}

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        params = {name: value for name, value in variables["params"].items() if name != "frozen"}
        return super().apply({"params": params, "frozen": variables["params"]["frozen"]}, *args, **kwargs)


def _personalized(model: nn.Module, technique: Technique, token: int, lora: LoRA) -> tuple[Any, tuple[str, ...]]:
    """Build the network and name the parameters that it keeps frozen."""
    if technique == "dreambooth":
        return model, ("words",)
    return _AdaptedUNet(model, lora if technique == "lora" else TokenEmbedding(token), trained=()), ("frozen",)


def add_token(params: Any, rng: jax.Array, initializer: int | None = None) -> Any:
    """Append a word to the table of embeddings.

    Args:
      params: parameters of a `TextUNet`, with a table [V, D].
      rng: PRNG key.
      initializer: token whose embedding the new word starts with; None draws it from a normal distribution, as the
        table's own rows were before training.

    Returns:
      Parameters with a table [V + 1, D].
    """
    flat = dict(flatten_dict(params))
    table = jnp.asarray(flat[TABLE])
    if initializer is not None and not 0 <= initializer < len(table):
        raise ValueError(f"initializer={initializer}: no token; allowed: 0 to {len(table) - 1}")
    row = jax.random.normal(rng, table.shape[1:], table.dtype) if initializer is None else table[initializer]
    flat[TABLE] = jnp.concatenate([table, row[None]])
    return unflatten_dict(flat)


def start_from(state: PersonalizationState, params: Any, optimizer: optax.GradientTransformation) -> Any:
    """Put the parameters of a trained network into the state before its first update.

    Args:
      state: state of `learner`.
      params: parameters of the network, with the new word, see `add_token`.
      optimizer: that of `learner`.

    Returns:
      The state; new low-rank matrices leave the network as it is.
    """
    params = jax.tree.map(jnp.asarray, params)
    if "frozen" not in state.locked:
        trained, frozen = {"unet": params["unet"]}, {"words": params["words"]}
    else:
        adapter = state.params["adapter"]
        if "embedding" in adapter:
            adapter = {"embedding": flatten_dict(params)[TABLE][state.token]}
        else:
            adapter = state.lora.rebase(params, adapter)
        trained, frozen = {"adapter": adapter, "trained": {}}, {"frozen": params}
    return state.replace(params=trained, locked=frozen, opt_state=optimizer.init(trained))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    token: int,
    class_tokens: np.ndarray,
    technique: Technique = "dreambooth",
    prior_weight: Annotated[float, Range(0)] = 1.0,
    lora: LoRA = LoRA(rank=4, alpha=4.0, targets=("unet/*attn?/to_*",)),
    noise_schedule: NoiseSchedule = NoiseSchedule(),
    prediction: Prediction = "epsilon",
    sampling: Sampling = Sampling(),
) -> Learner:
    """Personalize a `TextUNet` by `{"image": [B, *shape], "tokens": [B, T], "index": [B]}`, images of one subject.

    Args:
      model: the `TextUNet`, whose vocabulary has the new word.
      shape: shape of an image.
      token: token of the new word.
      class_tokens: [M, T], prompts of the class, one for each image of `PersonalizationState.class_image`.
      technique: what learns: dreambooth (the U-Net), lora (low-rank matrices beside its attention) or textual_inversion
        (the embedding of the new word).
      prior_weight: lambda, weight of the loss of the class's images; 0 leaves it out. textual_inversion has none.
      lora: the low-rank matrices of lora.
      prediction: what the network predicts: epsilon (the noise), v (the velocity) or sample (the clean example).

    Returns:
      The learner. `init` starts with untrained weights and black images of the class: `start_from` puts those of a
      trained network in their place, and `predict` of the state then draws the images from `class_tokens`.
    """
    check_shapes(class_tokens=(class_tokens, "M T"))
    if not len(class_tokens):
        raise ValueError("class_tokens: no prompt of the class; allowed: one or more")
    if (np.asarray(class_tokens) == token).any():
        raise ValueError(f"class_tokens: a prompt names the new word, token {token}; allowed: words of the base")
    network, frozen = _personalized(model, technique, token, lora)
    condition = prompt_condition()
    options = {"noise_schedule": noise_schedule, "prediction": prediction, "sampling": sampling}
    base = ddpm.learner(model=network, optimizer=optimizer, shape=shape, condition=condition, locked=frozen, **options)
    alphas_cumprod = noise_schedule.alphas_cumprod()
    weight = 0.0 if technique == "textual_inversion" else prior_weight

    def init(rng: jax.Array, batch: dict) -> State:
        state = base.init(rng, batch)
        images = jnp.zeros((len(class_tokens), *shape))
        return PersonalizationState(**vars(state), class_image=images, token=token, lora=lora)

    def objective(params, state, batch, rng):
        keys, mask = example_keys(rng, batch), mask_of(batch)
        images, tokens = to_float(batch["image"]), condition.read(batch)  # [B, H, W, C], [B, T]
        if weight:
            # An image of the class for each image of the subject, in one pass: [2B, ...].
            rows = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 4), (), 0, len(class_tokens)))(keys)
            images = jnp.concatenate([images, state.class_image[rows]])
            tokens = jnp.concatenate([tokens, jnp.asarray(class_tokens, jnp.int32)[rows]])
            keys = jnp.concatenate([keys, jax.vmap(lambda key: jax.random.fold_in(key, 5))(keys)])

        predicted = functools.partial(network.apply, {"params": {**params, **state.locked}})
        values = ddpm.simple_loss(predicted, keys, normalize(images), (tokens,), alphas_cumprod, prediction)
        subject, prior = values[: len(mask)], values[len(mask) :]
        metrics = {"loss": Sum.of(subject, mask)}
        if not weight:
            return masked_mean(subject, mask), metrics
        total = masked_mean(subject, mask) + weight * masked_mean(prior, mask)
        return total, {**metrics, "prior_loss": Sum.of(prior, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, state, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New timesteps, noise and images of the class at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient by what learns: the U-Net, the low-rank matrices, or one embedding.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, state, batch, rng)
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, state, batch, state.rng)[1]

    return Learner(init, update, evaluate, base.predict, loss)


def object_pixels(images: np.ndarray, side: int) -> np.ndarray:
    """Cut out the colored object of each image, around its centroid, on a background of 0.

    Args:
      images: [N, H, W, 3], uint8, or float in [0, 1].
      side: side of the cut-out in pixels.

    Returns:
      [N, side * side * 3] float32, differences from the median of the gray background; 0 where nothing is colored.
    """
    check_shapes(images=(images, "N H W 3"), side=(side, "int >= 1"))
    masks, crops = foreground(images), np.zeros((len(images), side, side, 3), np.float32)
    pixels = np.asarray(images, np.float32) / (255 if images.dtype == np.uint8 else 1)
    for crop, image, mask in zip(crops, pixels, masks, strict=True):
        if mask.any() and not mask.all():
            y, x = (int(index.mean() + 1 - side / 2) + side for index in np.nonzero(mask))
            padded = np.pad(image - np.median(image[~mask], 0), ((side, side), (side, side), (0, 0)))
            crop[:] = padded[y : y + side, x : x + side]
    return crops.reshape(len(images), -1)


def subject_similarity(reference: np.ndarray, source: Any, side: int, name: str = "subject_similarity") -> Evaluator:
    """Measure how similar samples are to images of the subject: the mean cosine of their `object_pixels`.

    Args:
      reference: [K, H, W, 3], images of the subject.
      source: prompts of the samples.
      side: side of the object in pixels.
      name: name of the measure.

    Returns:
      The evaluator: 1 for equal objects, 0 where nothing is in a sample.
    """
    if not len(reference):
        raise ValueError("reference: no image of the subject; allowed: one or more")

    def directions(images: np.ndarray) -> np.ndarray:
        return unit_rows(object_pixels(images, side))

    mean = directions(reference).mean(0)

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_finite("sample", outputs["sample"])
        return [*(acc or []), directions(np.asarray(outputs["sample"])) @ mean]

    return Evaluator(add, lambda acc: {name: float(np.concatenate(acc).mean())}, source, (name,))
