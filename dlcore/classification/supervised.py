"""Supervised classification by softmax cross-entropy.

    L(w) = 1/B sum_i [ -sum_c q_ic log softmax(f_w(x_i))_c ] + 1/2 lambda ||W||^2
    q_i  = (1 - eps) onehot(y_i) + eps / C

The multinomial logistic loss of Bridle 1990 on a network's logits; label smoothing eps is Szegedy et al. 2016
(arXiv:1512.00567). The penalty is over kernels only (leaves of two axes or more). Mixup and CutMix blend x and q of two
training examples (dlcore.data.augment.mixing). Auxiliary heads in the middle of a network have the same targets, 0.3 of
the weight in training, and no part in evaluation (Szegedy et al. 2014, arXiv:1409.4842).
"""

import functools
from typing import Annotated, Any

import jax
import optax
from flax import linen as nn

from dlcore.classification.custom_loss import Loss, per_example_loss
from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.augment.mixing import Mixing, augmented_batch
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, mask_of
from dlcore.losses import is_kernel, l2_penalty, masked_mean
from dlcore.metrics import Calibration, ConfusionMatrix, accuracy, top_k_accuracy
from dlcore.nn.apply import apply_with_auxiliary
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_model_state

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss | None = None,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
    l2: Annotated[float, Range(0)] = 0.0,
    mixing: Mixing = Mixing(),
    auxiliary_weight: Annotated[float, Range(0)] = 0.3,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C], "label": [B] int32, "index": [B]}`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation; it receives `value`, `grad` and `value_fn` too, for line searches.
      loss: `(logits [B, C], labels [B] int) -> [B]`, such as a loss of `dlcore.losses` or your own; None for softmax
        cross-entropy. With mixup or cutmix, labels in training are probabilities, [B, C] float.
      preprocess: batch of images to the model's input, the same in training and use.
      augment: `(key, image [H, W, C]) -> image`, applied to each preprocessed training image under its own key.
      label_smoothing: weight of the uniform distribution in the target.
      l2: weight of half the squared norm of the kernels (`is_kernel`).
      mixing: mixup and CutMix of training examples.
      auxiliary_weight: weight of the loss of each auxiliary head, where the model has a method `auxiliary(x,
        train) -> (logits, {name: logits})`.

    Returns:
      The learner. `predict` returns `{"logits": [B, C], "probabilities": [B, C]}`.
    """
    loss_of = per_example_loss(loss, label_smoothing)
    apply = functools.partial(apply_with_auxiliary, model)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params, model_state, images, targets, batch, dropout=None):
        logits, auxiliaries, model_state = apply(params, model_state, images, dropout)
        mask = mask_of(batch)
        losses, *auxiliary_losses = (loss_of(s, targets) for s in (logits, *auxiliaries.values()))
        # Auxiliary classifiers (GoogLeNet, Inception) count in training alone.
        auxiliary = sum(masked_mean(other, mask) for other in auxiliary_losses)
        # L2 penalty on kernels.
        penalty = l2 * l2_penalty(params, half=True, where=is_kernel)
        metrics = {"loss": Sum.of(losses, mask), "accuracy": accuracy(logits, batch["label"], mask)}
        return masked_mean(losses, mask) + auxiliary_weight * auxiliary + penalty, (model_state, metrics, logits)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state.model_state, preprocess(batch["image"]), batch["label"], batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Augment and mix the images; of mixed ones the labels are distributions.
        outputs = jax.eval_shape(predict, state, batch)["logits"]
        images, targets = augmented_batch(rng, preprocess(batch["image"]), batch, augment, mixing, outputs.shape[-1])
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))

        def value_fn(params):
            return objective(params, state.model_state, images, targets, batch, dropout)

        # Gradient of the cross-entropy, auxiliary losses and L2 penalty.
        (value, (model_state, metrics, _)), gradients = jax.value_and_grad(value_fn, has_aux=True)(state.params)
        # Optimizer step; line searches evaluate the loss again.
        search = {"value": value, "value_fn": lambda params: value_fn(params)[0]}
        return apply_gradients(state, optimizer, gradients, model_state=model_state, **search), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        images, label, mask = preprocess(batch["image"]), batch["label"], mask_of(batch)
        _, (_, metrics, logits) = objective(state.params, state.model_state, images, label, batch)
        return {
            **metrics,
            # Of twenty classes or fewer a guess is among the best five in every fourth case.
            **({"top5": top_k_accuracy(logits, label, 5, mask)} if logits.shape[-1] > 20 else {}),
            "confusion": ConfusionMatrix.of(logits, label, mask),
            "calibration": Calibration.of(logits, label, mask),
        }

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        logits, *_ = apply(state.params, state.model_state, preprocess(batch["image"]))
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    def classes(state: ModelState, batch: dict) -> dict[str, int]:
        return {"label": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
