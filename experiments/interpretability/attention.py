"""Attention maps and attention rollout of a vision transformer, or of a language model.

python -m experiments.interpretability.attention                  (a small ViT of scenes, trained first: two minutes)
python -m experiments.interpretability.attention --network=weights/vit_b_16 --input=PHOTO
python -m experiments.interpretability.attention --network=weights/vit_b_16 --input=PHOTO --layer=blocks_5
python -m experiments.interpretability.attention --language_model=runs/sequence.language_model/HASH --prompt="ROMEO:"

The report shows each image beside the attention of its class token: traced back through all layers by rollout, of one
layer as the mean over heads, and of each of that layer's heads. For a language model it shows which characters each
character has read. By default a ViT learns the name of the single shape of a scene and sees no box; the claim is that
the largest value of the rollout lies in the object's box more often than the middle of the image does.

References: Dosovitskiy et al. 2020, arXiv:2010.11929; Abnar & Zuidema 2020, arXiv:2005.00928.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.decoding import load_image
from dlcore.data.image_folder import list_images
from dlcore.data.normalization import normalizer
from dlcore.data.scenes import SHAPES
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.interpretability.attention_maps import attention_rollout, attention_weights_of, layer_weights, token_map
from dlcore.interpretability.attribution import draw_maps
from dlcore.interpretability.cam import resize_map
from dlcore.interpretability.scores import pointing_game
from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from dlcore.models.vit import ViT
from dlcore.report.figure import new_figure
from dlcore.weights import earlier_run
from dlcore.weights.network import check_studied, load_network, open_classifier
from experiments.studies.attribution import masks_of
from experiments.studies.scene_classifier import fit, single_shapes
from experiments.studies.small_detectors import standardize


class Named(nn.Module):
    """A ViT with the outputs of a scene classifier: (logits, maps)."""

    vit: ViT

    def __call__(self, x):
        return self.vit(x), {}


def small_vit(size: int, width: int) -> ViT:
    """A ViT of scenes with 8 x 8 patches."""
    return ViT(len(SHAPES), size, size // 8, depth=3, width=width, num_heads=4, mlp_features=2 * width)


def check_layer(model: ViT, layer: str, x: jax.Array) -> None:
    """Check the name of a layer before anything is trained."""
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    layer_weights(jax.eval_shape(lambda v: attention_weights_of(model, v, x), variables), layer)


def maps_of(model: ViT, variables: Any, x: jax.Array, layer: str | None) -> dict[str, np.ndarray]:
    """Maps [B, H, W] by title: rollout, the mean over heads of one layer, and its heads."""

    @jax.jit
    def all_maps(variables, x):
        weights = attention_weights_of(model, variables, x)
        selected = layer_weights(weights, layer) if layer else list(weights.values())[-1]
        grid = tuple(side // model.patch_size for side in x.shape[1:3])
        query = 0 if model.pool == "token" else None
        rows = {"rollout": attention_rollout(list(weights.values())), "mean of heads": selected.mean(1)}
        rows |= {f"head {i}": selected[:, i] for i in range(min(4, selected.shape[1]))}
        return {name: resize_map(token_map(r, grid, query), x.shape[1:3]) for name, r in rows.items()}

    return jax.tree.map(np.asarray, all_maps(variables, x))


def explain_images(network: str, path: str | None, layer: str | None, most: int) -> StudyResult:
    """Show where a trained ViT looks in images."""
    if path is None:
        raise ValueError("input=None: --network needs images to look at; allowed: an image file or a folder")
    check_studied(open_classifier(network, "network"))
    trained = load_network(network)
    if not isinstance(trained.model, ViT):
        raise ValueError(f"network={network!r}: {trained.name} is no vision transformer; allowed: a ViT or DeiT")
    if trained.model.token_last:
        raise ValueError(f"network={network!r}: its class token stands last; allowed: networks where it stands first")
    files = list_images(path)[:most]
    images = np.stack([load_image(file, trained.side, len(trained.mean)) for file in files])
    x = jnp.asarray(normalizer(trained.mean, trained.std, size=trained.input_size)(jnp.asarray(images)))
    maps = maps_of(trained.model, trained.variables, x, layer)
    logits = jax.jit(trained.model.apply)(trained.variables, x)
    probability = np.asarray(jax.nn.softmax(logits))
    names = [f"{Path(f).name}: {trained.class_names[p.argmax()]}" for f, p in zip(files, probability, strict=True)]
    pictures = np.asarray(jax.image.resize(to_float(images), (*x.shape[:3], images.shape[3]), "nearest"))
    numbers = {f"probability, {name}": float(p.max()) for name, p in zip(names, probability, strict=True)}
    headline = Headline("mean probability of the named classes", float(probability.max(1).mean()), "images")
    return StudyResult(numbers, "; ".join(names) + ".", {"maps": draw_maps(pictures, maps, names)}, headline=headline)


def explain_text(run: str, prompt: str, layer: str | None) -> StudyResult:
    """Show which characters of a prompt each character has read."""
    phase = earlier_run.load(Path(run))
    vocabulary = list(phase.spec["vocabulary"])
    unknown = sorted(set(prompt) - set(vocabulary))
    if unknown or not 1 < len(prompt) <= phase.flags.window:
        problem = f"{len(prompt)} characters, unknown {unknown}"
        raise ValueError(
            f"prompt={prompt!r}: {problem}; allowed: 2 to {phase.flags.window} characters of the run's text"
        )
    model = GPT2(len(vocabulary), phase.flags.window, **phase.flags.group("model"))
    tokens = jnp.array([[vocabulary.index(c) for c in prompt]])
    weights = jax.jit(lambda v, t: attention_weights_of(model, v, t))({"params": phase.params}, tokens)
    selected = layer_weights(weights, layer) if layer else list(weights.values())[-1]
    maps = {"rollout": attention_rollout(list(weights.values()))[0], "mean of heads": selected[0].mean(0)}
    figure, axes = new_figure((10, 5), 1, 2)
    for ax, (name, values) in zip(axes, maps.items(), strict=True):
        ax.imshow(values, cmap="magma", vmin=0)
        ax.set(title=name, xticks=range(len(prompt)), yticks=range(len(prompt)), xlabel="read", ylabel="reader")
        ax.set_xticklabels(list(prompt))
        ax.set_yticklabels(list(prompt))
    back = float(
        (np.arange(len(prompt))[:, None] - np.arange(len(prompt))).ravel() @ np.asarray(selected[0].mean(0)).ravel()
    )
    numbers = {"mean distance read back, characters": back / len(prompt)}
    verdict = f"In the chosen layer a character reads {back / len(prompt):.1f} characters back on average."
    return StudyResult(numbers, verdict, {"who reads whom": figure}, headline=Headline(*numbers.popitem(), "text"))


def study(
    *,
    network: str | None = None,
    input: str | None = None,
    language_model: str | None = None,
    prompt: str = "ROMEO:",
    layer: str | None = None,
    num_train: Annotated[int, Range(8)] = 3000,
    num_test: Annotated[int, Range(2)] = 100,
    image_size: Annotated[int, Range(16)] = 48,
    width: Annotated[int, Range(4)] = 64,
    steps: PositiveInt = 1200,
    num_seeds: PositiveInt = 1,
    most: PositiveInt = 6,
) -> StudyResult:
    """Show where a transformer looks.

    Args:
      network: a run's folder or a folder of `dlcore convert` of a ViT; by default a ViT of scenes is trained.
      input: an image file or a folder of images, for `network`.
      language_model: folder of a run of sequence.language_model, to look at text in place of images.
      prompt: text for `language_model`.
      layer: such as blocks_2; by default the last.
      num_train: training scenes of one shape.
      image_size: side of the scenes in pixels, a multiple of 8.
      width: channels of a token of the small ViT.
      most: images that are drawn.
    """
    if language_model is not None:
        return explain_text(language_model, prompt, layer)
    if network is not None:
        return explain_images(network, input, layer, most)
    if input is not None:
        raise ValueError(f"input={input!r}: needs a network; allowed: with --network=RUN")
    if image_size % 8:
        raise ValueError(f"image_size={image_size}: not a multiple of 8; allowed: {image_size - image_size % 8}")
    data, test = single_shapes(num_train, 0, image_size), single_shapes(num_test, 1, image_size)
    x, inside = standardize(jnp.asarray(test["image"])), masks_of(test["box"], image_size)
    model = small_vit(image_size, width)
    if layer is not None:
        check_layer(model, layer, x[:1])
    maps, points, accuracy = {}, [], []
    for seed in range(num_seeds):
        fitted = fit(Named(model), data["image"], data["label"], steps, 32, seed, learning_rate=1e-3)
        variables = {"params": fitted["params"]["vit"]}
        seed_maps = maps_of(model, variables, x, layer)
        maps = maps or seed_maps
        points.append({name: float(pointing_game(values, inside).mean()) for name, values in seed_maps.items()})
        predicted = np.asarray(jax.jit(model.apply)(variables, x)).argmax(1)
        accuracy.append(float((predicted == test["label"]).mean()))
    return report(points, accuracy, test, maps, most)


def report(points: list[dict[str, float]], accuracy: list[float], test: dict, maps: dict, most: int) -> StudyResult:
    """Judge the pointing game of each seed."""
    size = test["image"].shape[1]
    middle = float(masks_of(test["box"], size)[:, size // 2, size // 2].mean())
    mean = {name: float(np.mean([row[name] for row in points])) for name in points[0]}
    holds = min(row["rollout"] for row in points) > middle
    verdict = (
        f"The largest value lies in the object's box: rollout {mean['rollout']:.2f}, mean of the last layer's heads "
        f"{mean['mean of heads']:.2f}; the middle of the image {middle:.2f}. The ViT names {np.mean(accuracy):.0%}."
    )
    names = [SHAPES[label] for label in test["label"][:most]]
    figure = draw_maps(test["image"][:most], {k: v[:most] for k, v in maps.items()}, names)
    numbers: dict[str, Any] = {f"pointing, {name}": [row[name] for row in points] for name in points[0]}
    headline = Headline(
        "pointing game of attention rollout",
        [row["rollout"] for row in points],
        "scenes of one shape",
        tolerance=0.1,
        baseline=(middle, "the middle of the image", "higher"),
    )
    numbers |= {"pointing, middle": middle, "accuracy": accuracy}
    return StudyResult(numbers, verdict, {"maps": figure}, bool(holds), headline=headline)


SMOKE = {"num_train": 16, "num_test": 4, "image_size": 16, "width": 8, "steps": 2, "most": 2}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
