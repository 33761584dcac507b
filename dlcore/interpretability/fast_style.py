"""Fast style transfer: a feed-forward network renders any photograph in one of many styles, in one pass.

Johnson, Alahi & Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution" (2016),
arXiv:1603.08155; many styles in one network by conditional instance norm: Dumoulin, Shlens & Kudlur, "A learned
representation for artistic style" (2016), arXiv:1610.07629.

    min_w  E_{p, s} [ alpha L_content(phi(f_w(p, s)), phi(p)) + beta L_style(phi(f_w(p, s)), gram phi(a_s)) + gamma TV ]

The loss is that of `dlcore.interpretability.style_transfer`; there the image is optimized, here the weights w of the
network f, once for all photographs p. The styles share all convolutions; each style has a scale and a bias per channel
(`ConditionalInstanceNorm`), and weights over the styles mix them. The network adds its output to the photograph, so
that training starts from the content, whereas the papers' networks output the image itself; upsampling is nearest
resize and convolution.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import to_float
from dlcore.interpretability.style_transfer import style_grams, transfer_terms
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.models.backbone import check_layers
from dlcore.nn import ConditionalInstanceNorm, Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.optim import apply_gradients

__all__ = ["FastStyleState", "StyleNet", "learner"]


class StyleNet(nn.Module):
    """Residual network that renders images [B, H, W, C] in a style: down 4x, residual blocks, up 4x.

    Args:
      num_styles: number of styles.
      width: channels at full resolution; a quarter of those at the lowest.
      num_blocks: residual blocks.
      dtype: dtype of computation; None takes the input's.
    """

    num_styles: int
    width: Annotated[int, Range(1)] = 16
    num_blocks: Annotated[int, Range(0)] = 3
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """Render images.

        Args:
          x: [B, H, W, C] in [0, 1].
          style: [B] int ids in [0, num_styles), or [B, num_styles] weights of a mixture.

        Returns:
          [B, H, W, C], about [0, 1].
        """
        dtype = compute_dtype(self.dtype, x, self.variables)

        def block(h, features, kernel, name, stride=1, activation=nn.relu):
            h = Conv(features, (kernel, kernel), strides=stride, dtype=dtype, name=f"{name}_conv")(h)
            return activation(ConditionalInstanceNorm(self.num_styles, dtype=dtype, name=f"{name}_norm")(h, style))

        def upsample(h, reference):
            h = jnp.repeat(jnp.repeat(h, 2, 1), 2, 2)
            return h[:, : reference.shape[1], : reference.shape[2]]

        full = h = block(2 * x - 1, self.width, 5, "stem")
        half = h = block(h, 2 * self.width, 3, "down0", 2)
        h = block(h, 4 * self.width, 3, "down1", 2)
        for k in range(self.num_blocks):
            inner = block(h, 4 * self.width, 3, f"block{k}_0")
            h = h + block(inner, 4 * self.width, 3, f"block{k}_1", activation=lambda h: h)
        h = block(upsample(h, half), 2 * self.width, 3, "up0")
        h = block(upsample(h, full), self.width, 3, "up1")
        head = Conv(x.shape[-1], (5, 5), dtype=dtype, name="head", kernel_init=nn.initializers.normal(1e-3))(h)
        return x + jnp.tanh(head.astype(acc_dtype_of(dtype or x.dtype)))


@struct.dataclass
class FastStyleState(State):
    """Training state.

    Args:
      network: frozen variables of the network that compares images.
      grams: {layer: [num_styles, C, C]}, Gram matrices of the styles, each divided by its map's size.
    """

    network: Any
    grams: Any


def _weighted(
    terms: dict[str, jax.Array], weights: dict[str, float | jax.Array], mask: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Return the mean over examples of the weighted sum of terms [B], and all terms to log."""
    losses = sum(weights[name] * term for name, term in terms.items())  # [B]
    metrics = {"loss": Sum.of(losses, mask), **{name: Sum.of(term, mask) for name, term in terms.items()}}
    return masked_mean(losses, mask), metrics


@check_arguments
def learner(
    *,
    model: nn.Module,
    network: nn.Module,
    variables: Any,
    optimizer: optax.GradientTransformation,
    styles: Sequence[np.ndarray],
    mean: np.ndarray,
    std: np.ndarray,
    content_layer: str = "relu2_2",
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
    content_weight: Annotated[float, Range(0)] = 1.0,
    style_weight: Annotated[float, Range(0)] = 20.0,
    variation_weight: Annotated[float, Range(0)] = 0.2,
) -> Learner:
    """Train a network to render the photographs `{"content": [B, H, W, C]}` in several styles.

    Args:
      model: `StyleNet` with one style per image of `styles`.
      network: network whose `features(x)` returns {name: feature map}.
      variables: variables of `network`, frozen.
      optimizer: optax transformation for the parameters of `model`.
      styles: images [h, w, C] whose styles to learn, uint8, or float in [0, 1]; sizes may differ.
      mean: [C], of the pixels that `network` was trained on.
      std: [C], of the pixels that `network` was trained on.
      content_layer: name of the map that is matched location by location.
      style_layers: names of the maps whose Gram matrices are matched.
      content_weight: alpha, weight of the content loss.
      style_weight: beta, weight of the mean style loss of the layers.
      variation_weight: gamma, weight of the total variation.

    Returns:
      The learner. A step renders each photograph in one random style; `evaluate` averages over all styles and gives the
      unweighted terms too; `predict` returns `{"images": [B, num_styles, H, W, C] in [0, 1]}`.
    """
    check_shapes(mean=(mean, "..."), std=(std, "... > 0"))
    check_layers(network, variables, len(mean), content_layer=(content_layer,), style_layers=style_layers)
    if (num_styles := len(styles)) != model.num_styles:
        raise ValueError(f"styles={len(styles)} images: wrong number; allowed: {model.num_styles}, as model.num_styles")
    weights = {"content": content_weight, "style": style_weight, "variation": variation_weight}

    def features(frozen, image):
        return network.apply(frozen, (image - mean) / std, method="features")

    def init(rng: jax.Array, batch: dict) -> FastStyleState:
        frozen = jax.tree.map(jnp.asarray, variables)
        params = model.init(jax.random.fold_in(rng, 0), to_float(batch["content"][:1]), jnp.zeros(1, jnp.int32))
        grams = [style_grams(features(frozen, to_float(jnp.asarray(image))[None]), style_layers) for image in styles]
        return FastStyleState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 1),
            params=params["params"],
            opt_state=optimizer.init(params["params"]),
            network=frozen,
            grams=jax.tree.map(lambda *g: jnp.concatenate(g), *grams),
        )

    def terms_of(params, state, content, style):
        """Unweighted terms [B] of photographs rendered in the styles of the ids [B]."""
        rendered = model.apply({"params": params}, content, style)  # [B, H, W, C]
        target = jax.lax.stop_gradient(features(state.network, content)[content_layer])
        grams = jax.tree.map(lambda g: g[style], state.grams)  # {layer: [B, C, C]}
        return transfer_terms(features(state.network, rendered), rendered, target, grams, content_layer)

    def loss(params: Any, state: FastStyleState, batch: dict) -> tuple[jax.Array, Metrics]:
        # Draw a style for each photograph.
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        style = jax.vmap(lambda key: jax.random.randint(key, (), 0, num_styles))(keys)  # [B]
        return _weighted(terms_of(params, state, to_float(batch["content"]), style), weights, mask_of(batch))

    def update(state: FastStyleState, batch: dict) -> tuple[FastStyleState, Metrics]:
        # Gradient of the three terms by the style network alone, then the optimizer step.
        gradient, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        return apply_gradients(state, optimizer, gradient), metrics

    def evaluate(state: FastStyleState, batch: dict) -> Metrics:
        content, mask = to_float(batch["content"]), mask_of(batch)
        each = [terms_of(state.params, state, content, jnp.full(mask.shape, s, jnp.int32)) for s in range(num_styles)]
        terms = jax.tree.map(lambda *values: sum(values) / num_styles, *each)
        return _weighted(terms, weights, mask)[1]

    def predict(state: FastStyleState, batch: dict) -> dict[str, jax.Array]:
        content = to_float(batch["content"])
        each = [
            model.apply({"params": state.params}, content, jnp.full(content.shape[:1], s, jnp.int32))
            for s in range(num_styles)
        ]
        return {"images": jnp.clip(jnp.stack(each, 1), 0, 1)}

    return Learner(init, update, evaluate, predict, loss)
