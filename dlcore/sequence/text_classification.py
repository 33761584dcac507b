"""Text classification on a pretrained transformer: one new linear layer on the features of one token.

    p(c | tokens) = softmax(W h + b)_c        h: features of the last token (GPT), or of a token put in front (BERT)

GPT reads from left to right, so that only its last token has seen the whole text (Radford et al. 2018, "Improving
language understanding by generative pre-training"). BERT reads both ways, and its first token, [CLS], stands for the
text (Devlin et al. 2018, arXiv:1810.04805). The network is fine-tuned with the head, or stays as it is. Of the papers
we leave out GPT's auxiliary language-modeling loss, its special tokens, and BERT's tanh layer between h and W, which
only weights that were trained to tell whether one sentence follows another have.
"""

from typing import Annotated, Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.classification import supervised
from dlcore.learner import Learner, Range, check_arguments
from dlcore.models.decoder_only import DecoderOnly
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["PADDING", "Pooling", "TextClassifier", "learner", "pool_features"]

PADDING = -1
"""Behind the tokens of a text that is shorter than its row."""
Pooling = Literal["first", "last", "mean"]


def pool_features(features: jax.Array, mask: jax.Array, pooling: Pooling) -> jax.Array:
    """Take a vector of each text from the features of its tokens.

    Args:
      features: [B, T, D].
      mask: [B, T] bool, True where there is a token; tokens stand before padding, and each text has one at least.
      pooling: features of the first token, of the last, or their mean.

    Returns:
      [B, D]; NaN for a traced text without a token.
    """
    check_choice("pooling", pooling, Pooling)
    check_shapes(features=(features, "B T D"), mask=(mask, "mask B T"))
    count = mask.sum(1, keepdims=True)[..., None]  # [B, 1, 1]
    if not isinstance(count, jax.core.Tracer) and not np.asarray(count).all():
        raise ValueError(f"mask[{np.asarray(count).argmin()}]: a text without a token; allowed: one token at least")
    if not isinstance(mask, jax.core.Tracer) and (gap := (np.diff(np.asarray(mask, np.int32)) > 0).any(1)).any():
        raise ValueError(f"mask[{gap.argmax()}]: a token behind padding; allowed: tokens before padding")
    if pooling == "first":
        pooled = features[:, 0]
    elif pooling == "last":
        pooled = jnp.take_along_axis(features, count - 1, 1)[:, 0]
    else:
        pooled = jnp.where(mask[..., None], to_acc_dtype(features), 0).sum(1) / count[:, 0]
        pooled = pooled.astype(result_dtype(features))
    # A text without a token has no features; those of its padding would be read.
    return jnp.where(count[:, 0] > 0, pooled, jnp.nan)


class TextClassifier(nn.Module):
    """A classifier of texts: tokens [B, T], with PADDING behind a text, -> logits [B, num_classes].

    Args:
      network: a GPT or another `DecoderOnly`, or a BERT, whose `features` returns [B, T, D].
      num_classes: K.
      pooling: pooling whose features the head reads: those of the first token, of the last, or the mean over the
        tokens.
      cls_token: token that is put in front of each text; None for none.
      dropout: probability to drop a feature before the head in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    network: nn.Module
    num_classes: int
    pooling: Pooling = "last"
    cls_token: int | None = None
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Classify texts.

        Args:
          tokens: [B, T] int; PADDING behind the tokens of a shorter text.
          train: apply dropout, with the "dropout" rng.

        Returns:
          logits [B, num_classes], at least float32; they start at zero.
        """
        if self.cls_token is not None:
            tokens = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=self.cls_token)
        mask = tokens != PADDING  # [B, T]
        tokens = jnp.where(mask, tokens, 0)
        # Padding behind a text is in no causal token's past; an encoder needs the mask.
        if isinstance(self.network, DecoderOnly):
            features = self.network.features(tokens, train)  # [B, T, D]
        else:
            features = self.network.features(tokens, train, mask)
        x = pool_features(features, mask, self.pooling)  # [B, D]
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        logits = Dense(self.num_classes, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="head")(x)
        return to_acc_dtype(logits)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    l2: Annotated[float, Range(0)] = 0.0,
) -> Learner:
    """Train a classifier of `{"text": [B, T] int, "label": [B] int32, "index": [B]}`, as `supervised.learner` does.

    Args:
      model: `__call__(tokens [B, T], train) -> logits [B, num_classes]`, such as a `TextClassifier`.
      optimizer: any optax transformation.
      label_smoothing: weight of the uniform distribution in the target.
      l2: weight of half the squared norm of the kernels (`is_kernel`).

    Returns:
      The learner. `predict` returns `{"logits": [B, C], "probabilities": [B, C]}`.
    """
    base = supervised.learner(model=model, optimizer=optimizer, label_smoothing=label_smoothing, l2=l2)

    def on_text(function: Any) -> Any:
        # The batch is the last argument of every function of a learner.
        return lambda *args: function(*args[:-1], {**args[-1], "image": args[-1]["text"]})

    names = ("init", "update", "evaluate", "predict", "loss", "classes")
    return base._replace(**{name: on_text(getattr(base, name)) for name in names})
