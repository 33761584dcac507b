"""How robust is a network? Attack any trained classifier on any images, by the worst of a list of attacks.

python -m experiments.adversarial.attack                                   (a small network of digits, trained first)
python -m experiments.adversarial.attack --network=runs/adversarial.training/HASH
python -m experiments.adversarial.attack --network=weights/resnet50 --input=FOLDER --epsilons=0.002,0.004,0.016 \\
    --attacks=fgsm,pgd --batch_size=8
python -m experiments.adversarial.attack --network=RUN --target=3 --attacks=fgsm,pgd
python -m experiments.adversarial.attack --dataset=mnist --data_dir=DATA --network_steps=1500 --count=1000 \\
    --batch_size=100 --epsilons=0.1,0.2,0.3 --attacks=fgsm,pgd,pgd_margin,random_signs [--threshold=0.5]

Test images of `--dataset` have their true classes; your own images have the class that the network names, or `--label`.
`--threshold` makes each pixel black or white before the network sees it, a strong defense of images that are nearly so,
such as MNIST's; the gradient passes as if pixels were left alone.
The report shows the accuracy under each attack and under the worst of them over `--epsilons` (largest change of a pixel
in [0, 1]), the attacked images with the change, and the checks for masked gradients: a network that passes a gradient
attack and fails one of them is not robust. `--transfer_from` attacks a second network and carries the images over.

References: Carlini et al. 2019, arXiv:1902.06705; Athalye et al. 2018, arXiv:1802.00420.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from dlcore.adversarial.evaluation import ATTACKS, BLACK_BOX, Attacked, AttackSettings, attack_images, masking_checks
from dlcore.data.augment import to_float
from dlcore.data.decoding import load_image
from dlcore.data.image_classification import load
from dlcore.data.image_folder import list_images
from dlcore.data.normalization import normalizer
from dlcore.data.streaming import streamed_images
from dlcore.experiment import Headline, PositiveInt, Range, Seed, Study, StudyResult
from dlcore.generative.vq_vae import straight_through
from dlcore.main import main
from dlcore.report.adversarial import attacked_images
from dlcore.report.figure import GRAY, PALETTE, new_figure
from dlcore.weights.network import TrainedNetwork, check_studied, load_network, open_classifier
from experiments.adversarial.training import experiment as training


def small_network(dataset: str, data_dir: str | None, steps: int, seed: int) -> str:
    """The folder of a small network without a defense, which is trained unless it was before."""
    words = ["--defense=standard", "--eval_every=100000", "--eval_steps=2", f"--steps={steps}", f"--seed={seed}"]
    if dataset != "digits":
        words.append(f"--dataset={dataset}")
    if data_dir is not None:
        words.append(f"--data_dir={data_dir}")
    return str(training.trained(words, f"training a network of {dataset}"))


def images_of(
    network: TrainedNetwork, path: str | None, count: int, dataset: str = "digits", data_dir: str | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images [N, H, W, C] in [0, 1] of the network's size, and their labels where they are of the test split."""
    if path is not None:
        files = list_images(path)[:count]
        images = np.stack([load_image(Path(file), network.side, len(network.mean)) for file in files])
        return np.asarray(to_float(images)), None
    test = load(dataset, data_dir).test
    if tuple(test.class_names) != network.class_names:
        raise ValueError(
            f"dataset={dataset!r}: its classes are not those of the network; allowed: the network's own data set, or "
            "--input, an image file or a folder"
        )
    if streamed_images(test) is not None:
        raise ValueError(f"dataset={dataset!r}: does not fit in memory; allowed: --input, an image file or a folder")
    images = np.asarray(to_float(test.arrays["image"][:count]))
    return images, np.asarray(test.arrays["label"][:count])


def check_settings(epsilons, attacks, target, label, class_names) -> tuple[str, ...]:
    """Check what needs neither weights nor images, and return the attacks."""
    if not epsilons or list(epsilons) != sorted(set(epsilons)):
        raise ValueError(f"epsilons={epsilons}: not in rising order; allowed: one or more numbers in [0, 1]")
    for epsilon in epsilons:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilons={epsilon}: out of range; allowed: [0, 1], in units of images in [0, 1]")
    for name, value in (("target", target), ("label", label)):
        if value is not None and value not in class_names:
            raise ValueError(f"{name}={value!r}: no class of the network; allowed: {', '.join(class_names[:20])}")
    least = 3 if target is None else 4
    supported = [a for a in ATTACKS if not (target is not None and a in BLACK_BOX)]
    supported = [a for a in supported if a != "pgd_dlr" or len(class_names) >= least]
    for attack in attacks:
        if attack not in supported:
            raise ValueError(f"attacks={attack!r}: unknown or not for these classes; allowed: {', '.join(supported)}")
    return tuple(attacks or supported)


def black_or_white(images: jax.Array, threshold: float) -> jax.Array:
    """Pixels above the threshold as 1, others as 0; the gradient passes as if they were unchanged.

    It is the straight-through estimate of Athalye et al. 2018, without which the network has no gradient at all.
    """
    return straight_through(images, (images > threshold).astype(images.dtype))


def curve(epsilons, accuracy: dict[str, list[float]], ylabel: str):
    """Draw the curves over the radius; the worst attack is thick, those without gradients are dashed."""
    figure, ax = new_figure((6.5, 3.4))
    for color, (name, values) in zip(PALETTE * 2, accuracy.items(), strict=False):
        thick = name == "worst attack"
        color = "0.1" if thick else GRAY if name == "random_signs" else color
        style = "o--" if name in BLACK_BOX else "o-"
        ax.plot(epsilons, values, style, color=color, lw=2.6 if thick else 1.2, ms=3, label=name)
    ax.set(xlabel="epsilon, largest change of a pixel in [0, 1]", ylabel=ylabel, ylim=(-0.03, 1.03))
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def study(
    *,
    network: str | None = None,
    input: str | None = None,
    epsilons: tuple[Annotated[float, Range(0, 1)], ...] = (0.05, 0.1, 0.15, 0.2, 0.3),
    attacks: tuple[str, ...] = (),
    target: str | None = None,
    label: str | None = None,
    transfer_from: str | None = None,
    dataset: str = "digits",
    data_dir: str | None = None,
    threshold: Annotated[float | None, Range(0, 1)] = None,
    count: PositiveInt = 100,
    steps: PositiveInt = 40,
    restarts: PositiveInt = 1,
    max_queries: PositiveInt = 1000,
    network_steps: PositiveInt = 400,
    batch_size: PositiveInt = 32,
    seed: Seed = 0,
) -> StudyResult:
    """Attack a network and look for masked gradients.

    Args:
      network: a run's folder, a folder of `dlcore convert` or a packed .npz; by default a network of `dataset` is
        trained.
      input: an image file or a folder of images; by default test images of `dataset`.
      epsilons: radii of the ball, in rising order, of images in [0, 1].
      attacks: list of attacks; by default all that suit the network.
      target: name of the class to be taken for; by default any wrong one.
      label: name of the true class of your images; by default the class that the network names.
      transfer_from: a second network, as `network`, whose attacked images are shown to the first.
      dataset: digits, folder, or a tfds name such as mnist.
      data_dir: folder of the data set; digits need none.
      threshold: gray above which a pixel is white, and below black, before `network` sees it; by default pixels are
        left alone.
      count: images, at most.
      steps: gradient steps of PGD.
      restarts: random starts of PGD.
      max_queries: most queries of NES, for an image.
      network_steps: training steps of the network, where none is given.
      batch_size: images that are attacked at once.
    """
    names = tuple(map(str, range(10))) if network is None and dataset == "digits" else None
    source_run = None if network is None else open_classifier(network, "network")
    if source_run is not None:
        names = tuple(source_run.class_names or ())
    if names:
        attacks = check_settings(epsilons, attacks, target, label, names)
    if input is not None:
        list_images(input)
    if transfer_from is not None:
        open_classifier(transfer_from, "transfer_from")
    if network is None:
        network = small_network(dataset, data_dir, network_steps, seed)
    check_studied(open_classifier(network, "network"))
    trained = load_network(network)
    attacks = check_settings(epsilons, attacks, target, label, trained.class_names)
    images, labels = images_of(trained, input, count, dataset, data_dir)

    def forward_of(net: TrainedNetwork, threshold: float | None = None):
        normalize = normalizer(net.mean, net.std, size=net.input_size)

        def forward(variables, x):
            model_input = x if threshold is None else black_or_white(x, threshold)
            return net.model.apply(variables, normalize(model_input), train=False)

        return forward

    forward = forward_of(trained, threshold)
    logits = np.asarray(
        jax.jit(lambda v, x: jax.lax.map(lambda i: forward(v, i[None])[0], x))(trained.variables, images)
    )
    predictions = logits.argmax(-1)
    if labels is None:
        labels = predictions if label is None else np.full(len(images), trained.class_names.index(label))
    goal = None if target is None else trained.class_names.index(target)
    if goal is not None:
        rows = np.flatnonzero(labels != goal)
        if not len(rows):
            raise ValueError(f"target={target!r}: the class of every image; allowed: another class")
        images, labels, predictions = images[rows], labels[rows], predictions[rows]
    settings = AttackSettings(steps, restarts, max_queries)
    shared: dict[str, Any] = {"target": goal, "seed": seed, "batch_size": batch_size}

    def run(attack: str, radii=epsilons, **changes) -> list[Attacked]:
        arguments = {"settings": settings, **shared, **changes}
        return attack_images(forward, trained.variables, images, labels, radii, attack, **arguments)

    results = {attack: run(attack) for attack in attacks}
    if transfer_from is not None:
        other = load_network(transfer_from, "transfer_from", channels=images.shape[-1], class_names=trained.class_names)
        results["transfer"] = run("pgd", source=(forward_of(other), other.variables))
    succeeded = {name: np.stack([r.succeeded for r in rows]) for name, rows in results.items()}
    before = predictions != labels if goal is None else predictions == goal
    worst = np.logical_or.reduce([*succeeded.values()]) | before
    few = unbounded = None
    if "pgd" in attacks:
        few = np.stack([r.succeeded for r in run("pgd", settings=settings._replace(steps=max(1, steps // 4)))])
        (all_images,) = run("pgd", (1.0,))
        unbounded = all_images.succeeded
    checks = masking_checks(succeeded, few, unbounded)
    masked = [check.name for check in checks if not check.passed]
    left = {name: [float(1 - row.mean()) for row in rows] for name, rows in succeeded.items()}
    left["worst attack"] = [float(1 - row.mean()) for row in worst]
    what = "accuracy" if goal is None else f"not taken for {target}"
    numbers: dict[str, Any] = {f"{what}, no attack": float(1 - before.mean())}
    numbers |= {f"{what}, {n}, {e:g}": v for n, values in left.items() for e, v in zip(epsilons, values, strict=True)}
    numbers |= {f"masking: {check.name}": check.measured for check in checks}
    numbers["largest change"] = max(r.max_change for rows in results.values() for r in rows)
    verdict = (
        f"Of {len(images)} images, {what} is {1 - before.mean():.1%} without attack, and under the worst of "
        f"{', '.join(results)}: "
        + "; ".join(f"{v:.1%} at {e:g}" for e, v in zip(epsilons, left["worst attack"], strict=True))
        + (f". Signs of masked gradients: {'; '.join(masked)}." if masked else ". No sign of masked gradients.")
    )
    example_attack = "pgd" if "pgd" in attacks else attacks[0]
    middle = len(epsilons) // 2
    example = results[example_attack][middle]
    titles = [
        f"{trained.class_names[a]} as {trained.class_names[b]}"
        for a, b in zip(labels[:8], example.classes[:8], strict=True)
    ]
    pictures = attacked_images(images[:8], example.images[:8], epsilons[middle], titles)
    reference = left.get("random_signs", [float(1 - before.mean())] * len(epsilons))
    headline = Headline(
        f"{what} under the worst attack at {epsilons[-1]:g}",
        left["worst attack"][-1],
        dataset if input is None else "images",
        baseline=(reference[-1], "random signs of the same size" if "random_signs" in left else "no attack", "lower"),
    )
    figures = {"robustness": curve(epsilons, left, what), f"{example_attack} at {epsilons[middle]:g}": pictures}
    return StudyResult(numbers, verdict, figures, headline=headline)


SMOKE = {"network_steps": 2, "count": 4, "steps": 2, "attacks": ("fgsm", "pgd"), "epsilons": (0.1, 0.3)}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
