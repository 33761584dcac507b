"""Fine-tuning: the accuracy of an encoder after training all its weights with few labels.

    min over w, W, b  of  mean_i -log softmax(W f(x_i; w) + b)[y_i],    w pretrained, or at initialization

Both networks get the same labels, batches, head and steps, so that their difference is the gain of pretraining. The
supervised baseline trains the untrained network with all labels of the bank; k-NN and the linear probe evaluate its
features too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.activity import activity
from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.data.source import Source
from dlcore.data.stratified import stratified_sample
from dlcore.evaluators.knn import knn_predict
from dlcore.learner import Evaluator, root_key
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics.classification import class_predictions
from dlcore.models.encoder import Encoder
from dlcore.ops.checks import check_class_ids, check_range, check_shapes
from dlcore.optim import create_optimizer, create_schedule

__all__ = ["Recipe", "Tuning", "fine_tuning", "label_counts"]

_CHUNK = 500


class Recipe(NamedTuple):
    """Hyperparameters of fine-tuning: AdamW with warm-up over a tenth of the steps and cosine decay.

    Args:
      steps: number of updates, for any number of labels.
      batch_size: examples per update; fewer labels repeat within a batch.
      learning_rate: peak learning rate.
      weight_decay: decoupled weight decay of the kernels.
    """

    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05


def label_counts(amounts: Sequence[float], size: int, num_classes: int, name: str = "fine_tune") -> tuple[int, ...]:
    """Convert amounts of labels to counts.

    Args:
      amounts: counts, or below 1 fractions of the training examples.
      size: number of training examples.
      num_classes: number of classes; a fraction gives at least one label per class.
      name: name of the argument, for errors.

    Returns:
      Unique counts in ascending order.
    """
    check_shapes(size=(size, "int >= 1"), num_classes=(num_classes, "int >= 1"))
    counts = set()
    for amount in amounts:
        if not amount > 0 or (amount >= 1 and amount % 1 != 0):
            raise ValueError(f"{name}={amount:g}: no number of labels; allowed: a count, or a share between 0 and 1")
        if amount > size:
            raise ValueError(f"{name}={amount:g}: more than the training examples; allowed: at most {size}")
        counts.add(int(amount) if amount >= 1 else min(size, max(num_classes, round(amount * size))))
    return tuple(sorted(counts))


class Tuning:
    """Training of an encoder with a linear head, with one program for all numbers of labels and steps.

    Args:
      encoder: encoder to train.
      recipe: hyperparameters.
      num_classes: number of classes.
      seed: random seed of the head, the order of the images, and the keys.

    Raises:
      ValueError: a number of the recipe, `num_classes` or `seed` is out of range.
    """

    def __init__(self, encoder: Encoder, recipe: Recipe, num_classes: int, seed: int = 0):
        check_shapes(steps=(recipe.steps, "int >= 1"), batch_size=(recipe.batch_size, "int >= 1"))
        check_shapes(learning_rate=(recipe.learning_rate, "> 0"), weight_decay=(recipe.weight_decay, ">= 0"))
        check_shapes(num_classes=(num_classes, "int >= 1"), seed=(seed, "int >= 0"))
        self.recipe, self.num_classes, self.seed = recipe, num_classes, seed
        self._encode = jax.jit(lambda variables, images: encoder.apply(variables, encoder.prepare(images), None)[0])

        def update(trained, rest, opt_state, images, labels, key, rate):
            def objective(trained):
                variables = {"params": trained["encoder"], **rest}
                x = encoder.prepare(images)
                if encoder.augment is not None:
                    x = jax.vmap(encoder.augment)(jax.random.split(key, len(x)), x)
                features, model_state = encoder.apply(variables, x, key)
                logits = features @ trained["head"]["kernel"] + trained["head"]["bias"]
                return softmax_cross_entropy_loss(logits, labels).mean(), model_state

            gradients, rest = jax.grad(objective, has_aux=True)(trained)
            updates, opt_state = self._optimizer(rate).update(gradients, opt_state, trained)
            return optax.apply_updates(trained, updates), rest, opt_state

        self._update = jax.jit(update)

    def _optimizer(self, rate: jax.Array | float) -> optax.GradientTransformation:
        return create_optimizer("adamw", rate, weight_decay=self.recipe.weight_decay)

    def train(self, variables: dict, labeled: Source, steps: int | None = None) -> tuple[dict, dict]:
        """Train on all of a source.

        Args:
          variables: initial variables of the encoder.
          labeled: images with `label`.
          steps: updates; None takes the recipe's.

        Returns:
          (variables of the encoder, the head's {"kernel": [D, K], "bias": [K]}).
        """
        check_class_ids("label", labeled.arrays["label"], self.num_classes)
        root, batch_size, steps = root_key(self.seed), self.recipe.batch_size, steps or self.recipe.steps
        rate = create_schedule("cosine", self.recipe.learning_rate, steps, steps // 10)
        size = jax.eval_shape(self._encode, variables, labeled[:1]["image"]).shape[-1]
        kernel = jax.random.normal(jax.random.fold_in(root, 2**31 - 1), (size, self.num_classes)) / np.sqrt(size)
        trained = {"encoder": variables["params"], "head": {"kernel": kernel, "bias": jnp.zeros(self.num_classes)}}
        rest = {name: leaves for name, leaves in variables.items() if name != "params"}
        opt_state = jax.jit(self._optimizer(0.0).init)(trained)
        rng, num_samples = np.random.default_rng((self.seed, 5)), steps * batch_size
        order = np.concatenate([rng.permutation(len(labeled)) for _ in range(-(-num_samples // len(labeled)))])[
            :num_samples
        ]
        with activity(f"fine-tuning with {len(labeled)} labels, step", steps) as show_count:
            for step, rows in enumerate(order.reshape(steps, batch_size)):
                show_count(step)
                batch = labeled[rows]
                example = batch["image"], batch["label"], jax.random.fold_in(root, step), rate(step)
                trained, rest, opt_state = self._update(trained, rest, opt_state, *example)
        return {"params": trained["encoder"], **rest}, jax.device_get(trained["head"])

    def features(self, variables: dict, source: Source) -> np.ndarray:
        """Encode a source.

        Args:
          variables: variables of the encoder.
          source: images.

        Returns:
          [N, D].
        """
        parts, chunk = [], min(_CHUNK, len(source))
        for start in range(0, len(source), chunk):
            rows = np.minimum(np.arange(start, start + chunk), len(source) - 1)  # full chunks: one program
            parts.append(np.asarray(self._encode(variables, source[rows]["image"])))
        return np.concatenate(parts)[: len(source)]


def fine_tuning(
    source: Any,
    train: Source,
    queries: Source,
    *,
    encoder: Encoder,
    counts: Sequence[int],
    num_classes: int,
    recipe: Recipe | None = None,
    supervised: int = 0,
    k: int = 20,
    seed: int = 0,
) -> Evaluator:
    """Build the evaluator of accuracy after fine-tuning with few labels, of the trained and an untrained encoder.

    Args:
      source: any source that is evaluated anyway, such as the bank and queries of k-NN; `predict` runs over it.
      train: labeled images; labels are sampled by class in turn, so that a larger count contains a smaller one's.
      queries: labeled images to classify.
      encoder: encoder to fine-tune.
      counts: numbers of labels, see `label_counts`.
      num_classes: number of classes.
      recipe: hyperparameters; None takes the defaults.
      supervised: number of labels of the supervised encoder, which starts untrained and trains for the recipe's steps
        or five epochs, whichever is more; 0 trains none.
      k: number of neighbors of k-NN on the supervised encoder's features.
      seed: random seed of the labels, the untrained encoder and the steps.

    Returns:
      The evaluator of `fine_tune_N` and `fine_tune_N_untrained` for each count N; with `supervised` also of
      `supervised`, `knn_supervised` and `probe_supervised`.
    """
    check_shapes(
        counts=(np.asarray(counts, None if len(counts) else int), "int N"),
        supervised=(supervised, "int >= 0"),
        k=(k, "int >= 1"),
    )
    check_range("counts", counts, 1, len(train))
    recipe = recipe or Recipe()
    tuning = Tuning(encoder, recipe, num_classes, seed)
    names = [f"fine_tune_{count}{end}" for count in counts for end in ("", "_untrained")]
    names += ["supervised", "knn_supervised", "probe_supervised"] if supervised else []

    def finish(trained: dict) -> dict[str, float]:
        targets, measures = np.asarray(queries.arrays["label"]), {}
        untrained = jax.device_get(jax.jit(encoder.init)(root_key(seed)))

        def accuracy(predicted: np.ndarray) -> float:
            return float((predicted == targets).mean())

        for count in counts:
            labeled = stratified_sample(train, count, seed)
            for end, variables in (("", trained), ("_untrained", untrained)):
                tuned, head = tuning.train(variables, labeled)
                logits = tuning.features(tuned, queries) @ head["kernel"] + head["bias"]
                measures[f"fine_tune_{count}{end}"] = accuracy(class_predictions(logits))
        if supervised:
            labeled, passes = stratified_sample(train, supervised, seed), -(-5 * supervised // recipe.batch_size)
            tuned, head = tuning.train(untrained, labeled, max(recipe.steps, passes))
            bank, z = tuning.features(tuned, labeled), tuning.features(tuned, queries)
            label = np.asarray(labeled.arrays["label"])
            measures["supervised"] = accuracy(class_predictions(z @ head["kernel"] + head["bias"]))
            measures["knn_supervised"] = accuracy(knn_predict(bank, label, z, min(k, len(bank))))
            measures["probe_supervised"] = accuracy(probe_predict(bank, label, z))
        return measures

    def add(trained: dict, outputs: Any, rows: Any) -> dict:
        return trained

    return Evaluator(add, finish, source, tuple(names), lambda state: jax.device_get(encoder.variables(state)))
