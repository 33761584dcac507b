"""Attribution maps of a classifier: gradients, guided backpropagation, occlusion, CAM and Grad-CAM.

python -m experiments.interpretability.attribution        (a small network of digits, trained first)
python -m experiments.interpretability.attribution --network=runs/classification.supervised/HASH --input=PHOTO
python -m experiments.interpretability.attribution --network=weights/resnet50 --input=FOLDER \\
    --methods=gradient,grad_cam,cam --window=32
python -m experiments.interpretability.attribution --network=weights/vit_b_16 --input=PHOTO --methods=grad_cam \\
    --layer=block11 --explain=tabby
python -m experiments.interpretability.attribution --unit=stage2:5

`--unit=LAYER:CHANNEL` explains the mean activation of a channel in place of a class, and `LAYER:CHANNEL@ROW:COLUMN`
that of the unit at one position; `experiments.interpretability.unit_images` draws what such units look for.

The report shows each image beside its maps. `--explain` asks why it might be another class. CAM is there for networks
whose head is one dense layer on the mean of the last map: the mean of its map is then the class's logit without the
bias, and the largest difference is among the numbers. Guided backpropagation and the deconvnet draw edges of any
object, whatever the class; `experiments.studies.attribution` measures all of them.

References: Zhou et al. 2016, arXiv:1512.04150; Selvaraju et al. 2017, arXiv:1610.02391; Zeiler & Fergus 2013,
arXiv:1311.2901; Simonyan et al. 2013, arXiv:1312.6034; Springenberg et al. 2014, arXiv:1412.6806; Smilkov et al. 2017,
arXiv:1706.03825; Sundararajan et al. 2017, arXiv:1703.01365.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.decoding import load_image
from dlcore.data.image_classification import load
from dlcore.data.image_folder import list_images
from dlcore.data.normalization import normalizer
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.interpretability.attribution import ANY_NETWORK, METHODS, attribution_maps, draw_maps
from dlcore.interpretability.cam import class_activation_map, default_layer, layers_in_order, logits_and_maps
from dlcore.interpretability.unit_images import Unit, check_units, parse_unit, unit_activation
from dlcore.main import main
from dlcore.weights.network import TrainedNetwork, check_studied, load_network, open_classifier
from experiments.classification.supervised import experiment as supervised

OF_UNITS = tuple(name for name in ANY_NETWORK if name != "grad_cam")
"""Methods that explain any unit: Grad-CAM looks back from the scores of classes."""


def digits_network(steps: int, seed: int) -> str:
    """The folder of a small network of digits, which is trained unless it was before."""
    words = ["--augment=shift", "--model=resnet8_cifar", "--model.width=16", "--eval_every=100000"]
    words += [f"--steps={steps}", f"--seed={seed}"]
    return str(supervised.trained(words, "training a network of digits"))


def check_class(explain: str | None, names: tuple[str, ...]) -> None:
    """Check that a class to explain is one of the network's."""
    if explain is not None and explain not in names:
        raise ValueError(f"explain={explain!r}: unknown; allowed: {', '.join(names[:20])}")


def check_settings(
    network: str | None,
    input: str | None,
    methods: tuple[str, ...],
    explain: str | None,
    unit: str | None,
    layer: str | None,
) -> None:
    """Check what can be known before a network is trained or an image read."""
    if unit is not None:
        parse_unit(unit)
        if explain is not None:
            raise ValueError(f"explain={explain!r}: a class, and unit={unit!r} is given; allowed: one of the two")
        if layer is not None:
            raise ValueError(f"layer={layer!r}: unit={unit!r} names its own layer; allowed: one of the two")
        if of_classes := [method for method in methods if method in ("cam", "grad_cam")]:
            allowed = ", ".join(OF_UNITS)
            raise ValueError(f"methods={of_classes[0]!r}: explains a class; allowed with unit: {allowed}")
    names = tuple("0123456789") if network is None else open_classifier(network, "network").class_names
    if names is not None:
        check_class(explain, names)
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"methods={method!r}: unknown; allowed: {', '.join(METHODS)}")
    if input is not None:
        list_images(input)


def pictures_of(network: TrainedNetwork, path: str | None, most: int) -> tuple[np.ndarray, list[str]]:
    """Images [N, H, W, C] uint8 of the network's size, and their names: files, or a test digit of each class."""
    if path is not None:
        files = list_images(path)[:most]
        images = np.stack([load_image(file, network.side, len(network.mean)) for file in files])
        return images, [Path(file).name for file in files]
    test = load("digits").test
    if tuple(test.class_names) != network.class_names:
        raise ValueError("input=None: digits are shown to a network of digits only; allowed: an image file or a folder")
    label = test.arrays["label"]
    rows = [int(np.flatnonzero(label == k)[0]) for k in range(10)][:most]
    return test.arrays["image"][rows], [f"a {label[row]}" for row in rows]


def head_kernel(variables: Any, features: jax.Array) -> np.ndarray | None:
    """The kernel [D, K] of a head that is one dense layer over the channels of the map; None where it is not."""
    kernel = variables["params"].get("head", {}).get("kernel")
    return kernel if kernel is not None and kernel.ndim == 2 and len(kernel) == features.shape[-1] else None


def resized(images: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The images as floats, of the size at which the network sees them."""
    return np.asarray(jax.image.resize(to_float(images), (*x.shape[:3], images.shape[3]), "nearest"))


def explain_unit(unit: Unit, forward, variables, x, images, names, methods, window: int, seed: int) -> StudyResult:
    """Explain the activation of a unit in place of the score of a class."""
    shapes = {layer: v.shape for layer, v in jax.eval_shape(forward, variables, x)[1].items()}
    check_units((unit,), shapes)

    def activations(variables, x, perturbations=None):
        _, features = forward(variables, x, perturbations)
        return unit_activation(features, unit)[:, None], features  # [B, 1]

    values = np.asarray(jax.jit(activations)(variables, x)[0][:, 0])
    settings = {"window": window, "seed": seed, "occluded": lambda activation: activation}
    maps = attribution_maps(activations, variables, x, np.zeros(len(x), int), methods, **settings)
    lines = [f"{name}: {value:.3g}" for name, value in zip(names, values, strict=True)]
    where = "the mean" if unit.position is None else "position {}, {}".format(*unit.position)
    verdict = f"Explained the activation of channel {unit.channel} of {unit.layer}, {where}: " + "; ".join(lines) + "."
    numbers = {f"activation, {name}": float(value) for name, value in zip(names, values, strict=True)}
    headline = Headline("mean activation of the explained unit", float(values.mean()), "images")
    return StudyResult(numbers, verdict, {"maps": draw_maps(resized(images, x), maps, lines)}, headline=headline)


def study(
    *,
    network: str | None = None,
    input: str | None = None,
    methods: tuple[str, ...] = (),
    explain: str | None = None,
    unit: Annotated[str | None, "if changed"] = None,
    layer: str | None = None,
    window: int = 0,
    steps: PositiveInt = 400,
    most: PositiveInt = 8,
    seed: Seed = 0,
) -> StudyResult:
    """Explain the classes that a network names.

    Args:
      network: a run's folder, a folder of `dlcore convert` or a packed .npz; by default a network of digits is trained.
      input: an image file or a folder of images; by default a test digit of each class.
      methods: methods of the maps; by default all that suit the network.
      explain: name of the class to explain; by default the one that the network names.
      unit: LAYER:CHANNEL or LAYER:CHANNEL@ROW:COLUMN to explain in place of a class.
      layer: layer of CAM and Grad-CAM; by default the last one whose map the head sees.
      window: side of the window of occlusion, in pixels; 0 for a quarter of the image.
      most: images, at most.
    """
    check_settings(network, input, methods, explain, unit, layer)
    if network is None:
        network = digits_network(steps, seed)
    check_studied(open_classifier(network, "network"))
    trained = load_network(network)
    check_class(explain, trained.class_names)
    images, names = pictures_of(trained, input, most)
    x = np.asarray(normalizer(trained.mean, trained.std, size=trained.input_size)(jnp.asarray(images)))
    variables = trained.variables

    def forward(variables, x, perturbations=None):
        return logits_and_maps(trained.model, variables)(x, perturbations)

    window = window or max(2, x.shape[1] // 4)
    if unit is not None:
        return explain_unit(parse_unit(unit), forward, variables, x, images, names, methods or OF_UNITS, window, seed)
    logits, features = jax.jit(forward)(variables, x)
    labels = np.asarray(logits.argmax(1)) if explain is None else np.full(len(x), trained.class_names.index(explain))
    layer = layer or default_layer(trained.model, layers_in_order(lambda x: forward(variables, x), x[:1]))
    kernel = head_kernel(variables, features[layer]) if layer in features else None
    maps = attribution_maps(
        forward,
        variables,
        x,
        labels,
        methods or (*ANY_NETWORK, *(["cam"] if kernel is not None else [])),
        kernel=kernel,
        layer=layer,
        window=window,
        seed=seed,
    )
    probability = np.asarray(jax.nn.softmax(logits))[np.arange(len(x)), labels]
    class_texts = [f"{trained.class_names[k]} ({p:.0%})" for k, p in zip(labels, probability, strict=True)]
    numbers: dict[str, Any] = {f"probability, {name}": float(p) for name, p in zip(names, probability, strict=True)}
    if "cam" in maps:
        means = class_activation_map(features[layer], kernel, jnp.asarray(labels)).mean((1, 2))
        target_logits = (logits - variables["params"]["head"]["bias"])[np.arange(len(x)), labels]
        numbers["largest difference of the mean of CAM from the logit"] = float(jnp.abs(means - target_logits).max())
    lines = [f"{name}: {words}" for name, words in zip(names, class_texts, strict=True)]
    verdict = f"Explained at layer {layer}: " + "; ".join(lines) + "."
    pictures = resized(images, x)
    headline = Headline(
        "mean probability of the explained classes", float(probability.mean()), "digits" if input is None else "images"
    )
    return StudyResult(numbers, verdict, {"maps": draw_maps(pictures, maps, lines)}, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"steps": 2, "most": 2})

if __name__ == "__main__":
    main(experiment)
