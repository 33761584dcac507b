"""Compare self-supervised training steps, augmentation included, with PyTorch, and k-means with scikit-learn.

python -m experiments.bench.self_supervised
python -m experiments.bench.self_supervised --tasks=mae --width=48 --patch_size=2 --batch_size=128 --depth=12 \\
    --num_repeats=4                                                                                     (ViT-Tiny)

SimCLR and DINO: a residual network for CIFAR. Ours draws the views inside the compiled step; PyTorch's come from its
loader (`--workers` processes; 0 draws them in the same process), one image after the other, as lightly's do: a crop to
full size, a mirror, brightness and contrast. MAE: a small ViT, against ViTMAEForPreTraining of transformers of the same
form; no augmentation. All networks, optimizers (Adam, without decay) and batches are equal in size. A turn lasts a
second at least (`--least_seconds`), after a call that is not timed: PyTorch's threads spin for a while after its turn,
and memory that it gave back makes the next page faults of ours 8 times dearer.

`augmentation's share` is the time of ours that the views alone take. `MAE's encoder, FLOPs by the full ViT's` is read
off the compiled programs. The claims: at least as fast as each peer, and the encoder at 0.45 of the full ViT at most.

Measured on two quiet cores (Intel Xeon with AVX-512, convolutions and products by oneDNN): SimCLR 1.20x and DINO 1.30x
PyTorch, the views 3 % of each step; MAE 0.81x transformers, its encoder 0.23 of the FLOPs; k-means 1.16x scikit-learn.
The second command: MAE 0.71x. On an AMD EPYC, where PyTorch's products are slower, MAE had 1.27x before oneDNN computed
ours. The claims hold on the Xeon but for MAE's.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classic_ml.kmeans import lloyd
from dlcore.cost.compiled import compiled_cost
from dlcore.data import augment
from dlcore.data.augment import jitter, occlusion
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.learner import Learner, example_keys
from dlcore.main import main
from dlcore.models import create_model
from dlcore.models.mae import MAE, visible_count
from dlcore.run import provenance
from dlcore.self_supervised import dino, mae, simclr
from dlcore.self_supervised.networks import DINONet, Embedder
from dlcore.self_supervised.views import crops
from experiments.bench.timing import advancing, bar_chart, interleaved, ratio, torch_on_all_cores

TASKS = ("simclr", "dino", "mae", "kmeans")
MOST_FLOPS = 0.45
"""Of MAE's encoder by the full ViT's."""
LOCAL = 2
"""Small crops of DINO, of half the side."""
OUTPUTS, HIDDEN = 256, 64


def view(area: tuple[float, float], side: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return augment.compose(
        occlusion.random_resized_crop(area, side=side), augment.random_flip(), jitter.color_jitter(0.4, 0.4)
    )


def our_learner(task: str, side: int, width: int, patch_size: int, depth: int) -> Learner:
    if task == "mae":
        return mae.learner(model=our_mae(width, patch_size, depth), optimizer=optax.adam(1e-3))
    backbone = create_model("resnet8_cifar", num_classes=1, width=width)
    if task == "simclr":
        model = Embedder(backbone, "mlp_norm", HIDDEN)
        return simclr.learner(model=model, optimizer=optax.adam(1e-3), augment=view((0.3, 1.0), side))
    return dino.learner(
        model=DINONet(backbone, OUTPUTS, HIDDEN, HIDDEN),
        optimizer=optax.adam(1e-3),
        augment=view((0.4, 1.0), side),
        augment_local=view((0.1, 0.4), side // 2),
        teacher_momentum=lambda step: 0.996,
        local_crops=LOCAL,
    )


def our_mae(width: int, patch_size: int, depth: int) -> MAE:
    heads = max(1, width // 8)
    sizes = {"width": 4 * width, "num_heads": heads, "mlp_features": 16 * width, "decoder_features": 8 * width}
    return MAE(3, patch_size, depth, decoder_depth=1, decoder_width=2 * width, decoder_heads=heads, **sizes)


def our_steps(learner: Learner, images: np.ndarray, batch_size: int, num_steps: int) -> Callable[[], Any]:
    """A call that takes the steps."""
    data = jnp.asarray(images)

    def step(state, _):
        start = state.step * batch_size % (len(data) - batch_size + 1)
        batch = {
            "image": jax.lax.dynamic_slice_in_dim(data, start, batch_size),
            "index": start + jnp.arange(batch_size),
        }
        state, metrics = learner.update(state, batch)
        return state, metrics["loss"].total / metrics["loss"].count

    run_all = jax.jit(lambda state: jax.lax.scan(step, state, None, num_steps), donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0), {"image": data[:batch_size], "index": jnp.arange(batch_size)})
    return advancing(run_all, state)


def our_views(task: str, images: np.ndarray, batch_size: int, num_steps: int) -> Callable[[], Any]:
    """A call that draws the views of as many steps, and no more."""
    data, side = jnp.asarray(images[:batch_size]), images.shape[1]
    kinds = {"simclr": [((0.3, 1.0), side, 2)], "dino": [((0.4, 1.0), side, 2), ((0.1, 0.4), side // 2, LOCAL)]}[task]

    def step(total, k):
        keys = example_keys(jax.random.fold_in(jax.random.key(0), k), {"index": jnp.arange(batch_size)})
        crop_batches = [crops(view(area, size), keys, data, count) for area, size, count in kinds]
        return total + sum(x.sum() for x in crop_batches), None

    return jax.jit(lambda: jax.lax.scan(step, 0.0, jnp.arange(num_steps))[0])


def torch_network(width: int):
    """The same residual network: a convolution, three blocks, and the mean of the last map."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
            self.stride, self.more = stride, after - before

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
            return F.relu(y + short)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            self.blocks = nn.Sequential(
                Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)
            )

        def forward(self, x):
            return self.blocks(self.stem(x)).mean((2, 3))

    torch.manual_seed(0)
    return Net()


def torch_loader(images: np.ndarray, batch_size: int, kinds: list, workers: int):
    """Batches of lists of views, forever; each image is augmented by itself."""
    import torch
    from torch.nn import functional as F

    def one(x, area: tuple[float, float], size: int):
        side = x.shape[-1]
        fraction = float(torch.empty(()).uniform_(*area))
        log_ratio = float(torch.empty(()).uniform_(-0.28, 0.28))
        height, width = (max(1, min(side, round(side * fraction**0.5 * np.exp(s * log_ratio / 2)))) for s in (1, -1))
        top, left = (int(torch.randint(0, side - n + 1, ())) for n in (height, width))
        x = x[:, top : top + height, left : left + width]
        x = F.interpolate(x[None], (size, size), mode="bilinear", align_corners=False)[0]
        x = x.flip(-1) if torch.rand(()) < 0.5 else x
        brightness, contrast = (1 + 0.8 * (torch.rand(()) - 0.5) for _ in range(2))
        x = (x * brightness).clamp(0, 1)
        return (x * contrast + (1 - contrast) * x.mean()).clamp(0, 1)

    class Views(torch.utils.data.Dataset):
        def __init__(self):
            self.data = torch.tensor(images.transpose(0, 3, 1, 2).copy())

        def __len__(self):
            return len(self.data)

        def __getitem__(self, i):
            return [one(self.data[i], area, size) for area, size, count in kinds for _ in range(count)]

    loader = torch.utils.data.DataLoader(
        Views(), batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from loader


def torch_steps(
    task: str,
    images: np.ndarray,
    batch_size: int,
    num_steps: int,
    width: int,
    patch_size: int,
    depth: int,
    workers: int,
) -> Callable[[], Any]:
    """The same steps in eager PyTorch."""
    import copy

    import torch
    from torch import nn
    from torch.nn import functional as F

    side = images.shape[1]
    if task == "mae":
        return torch_mae(images, batch_size, num_steps, our_mae(width, patch_size, depth))
    if task == "simclr":
        head = nn.Sequential(
            nn.Linear(4 * width, 4 * width, bias=False),
            nn.BatchNorm1d(4 * width),
            nn.ReLU(),
            nn.Linear(4 * width, HIDDEN),
        )
        net = nn.Sequential(torch_network(width), head)
        batches = torch_loader(images, batch_size, [((0.3, 1.0), side, 2)], workers)

        def loss_of(views):
            z = F.normalize(net(torch.cat(views)))
            scores = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
            return F.cross_entropy(scores, (torch.arange(len(z)) + batch_size) % len(z))

        after = list
    else:
        sizes = (4 * width, HIDDEN, HIDDEN, HIDDEN)
        layers = [layer for i in range(3) for layer in (nn.Linear(*sizes[i : i + 2]), nn.GELU())][:-1]
        net = nn.ModuleDict({"body": nn.Sequential(torch_network(width), *layers)})
        net.register_parameter("prototypes", nn.Parameter(torch.randn(OUTPUTS, HIDDEN)))
        teacher, center = copy.deepcopy(net).eval(), torch.zeros(OUTPUTS)
        batches = torch_loader(images, batch_size, [((0.4, 1.0), side, 2), ((0.1, 0.4), side // 2, LOCAL)], workers)

        def logits(net, x):
            return F.normalize(net["body"](x)) @ F.normalize(net.prototypes).T

        def loss_of(views):
            nonlocal center
            with torch.no_grad():
                teacher_logits = logits(teacher, torch.cat(views[:2])).chunk(2)
                target = [F.softmax((t - center) / 0.04, -1) for t in teacher_logits]
                center = 0.9 * center + 0.1 * torch.cat(teacher_logits).mean(0)
            student_logits = [
                *logits(net, torch.cat(views[:2])).chunk(2),
                *logits(net, torch.cat(views[2:])).chunk(LOCAL),
            ]
            pairs = [(t, s) for t in range(2) for s in range(len(student_logits)) if t != s]
            return sum(
                -(target[t] * F.log_softmax(student_logits[s] / 0.1, -1)).sum(-1).mean() for t, s in pairs
            ) / len(pairs)

        def after():
            with torch.no_grad():
                for slow, fast in zip(teacher.parameters(), net.parameters(), strict=True):
                    slow.lerp_(fast, 0.004)

    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run() -> list[float]:
        losses = []
        for _ in range(num_steps):
            loss = loss_of(next(batches))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after()
            losses.append(loss.item())
        return losses

    return run


def torch_mae(images: np.ndarray, batch_size: int, num_steps: int, model: MAE) -> Callable[[], Any]:
    """Steps of transformers' ViTMAEForPreTraining, of the form of ours."""
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=model.width,
        num_hidden_layers=model.depth,
        num_attention_heads=model.num_heads,
        intermediate_size=model.mlp_features,
        image_size=images.shape[1],
        patch_size=model.patch_size,
        decoder_hidden_size=model.decoder_width,
        decoder_num_hidden_layers=model.decoder_depth,
        decoder_num_attention_heads=model.decoder_heads,
        decoder_intermediate_size=model.decoder_features,
        mask_ratio=model.mask_ratio,
    )
    torch.manual_seed(0)
    net = ViTMAEForPreTraining(config).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    data, count = torch.tensor(images.transpose(0, 3, 1, 2).copy()), 0

    def run() -> list[float]:
        nonlocal count
        losses = []
        for _ in range(num_steps):
            start = count * batch_size % (len(data) - batch_size + 1)
            x, count = data[start : start + batch_size], count + 1
            loss = net(x).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return run


def flops_share(model: MAE, batch_size: int, side: int) -> float:
    """FLOPs of the encoder on the seen patches by those on all, of the compiled programs."""
    x = jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.float32)
    count = (side // model.patch_size) ** 2
    visible_idx = jnp.zeros((batch_size, visible_count(count, model.mask_ratio)), jnp.int32)
    some, whole = (compiled_cost(model, x, *more, method="encode").flops for more in ((visible_idx,), ()))
    return some / whole


def kmeans_calls(points: int, features: int, clusters: int) -> dict[str, Callable[[], Any]]:
    """Twenty iterations of Lloyd's algorithm from the same centers, ours and scikit-learn's."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    x = rng.normal(size=(points, features)).astype(np.float32)
    centers = x[rng.choice(points, clusters, replace=False)]
    peer = KMeans(clusters, init=centers, n_init=1, max_iter=20, tol=0.0, algorithm="lloyd")
    return {"ours": lambda: lloyd(x, centers, max_iterations=20).inertia, "sklearn": lambda: peer.fit(x).inertia_}


def measure(
    *,
    tasks: tuple[str, ...] = TASKS,
    batch_size: Annotated[int, Range(2)] = 64,
    side: Annotated[int, Range(8)] = 32,
    width: Annotated[int, Range(8)] = 16,
    patch_size: PositiveInt = 4,
    depth: PositiveInt = 4,
    num_steps: PositiveInt = 4,
    num_repeats: PositiveInt = 5,
    least_seconds: NonNegativeFloat = 1.0,
    workers: Annotated[int, Range(0)] = 0,
    points: Annotated[int, Range(10)] = 10_000,
    clusters: Annotated[int, Range(2)] = 100,
) -> StudyResult:
    """Time ours and theirs in shuffled turns.

    Args:
      tasks: one or more of simclr, dino, mae and kmeans.
      width: channels of the residual network's first stage; the ViT has four times as many features.
      patch_size: patch size of MAE.
      depth: blocks of MAE's encoder.
      points: number of points of k-means, with 128 numbers each.
      clusters: number of clusters of k-means.

    Raises:
      ValueError: a task is unknown.
    """
    if unknown := [task for task in tasks if task not in TASKS]:
        raise ValueError(f"tasks={unknown[0]}: unknown; allowed: {', '.join(TASKS)}")
    peer = torch_on_all_cores()
    images = np.random.default_rng(0).random((10 * batch_size, side, side, 3), np.float32)
    numbers, speeds, summaries = {}, {}, []
    for task in tasks:
        if task == "kmeans":
            functions, steps, other = kmeans_calls(points, 128, clusters), 1, "sklearn"
        else:
            learner = our_learner(task, side, width, patch_size, depth)
            functions, steps = {"ours": our_steps(learner, images, batch_size, num_steps)}, num_steps
            other = "transformers" if task == "mae" else "torch"
            if task != "mae":
                functions["views"] = our_views(task, images, batch_size, num_steps)
            if peer and (task != "mae" or find_spec("transformers") is not None):
                form = (images, batch_size, num_steps, width, patch_size, depth, workers)
                functions[other] = torch_steps(task, *form)
        times = interleaved(functions, num_repeats, steps=steps, least_seconds=least_seconds)
        numbers |= {f"{task}, {name}: s": t.median for name, t in times.items() if name != "views"}
        if "views" in times:
            fraction = times["views"].median / times["ours"].median
            numbers[f"{task}, augmentation's share"] = fraction
            summaries.append(f"augmentation takes {100 * fraction:.0f}% of {task}'s step")
        if other in times:
            speed = ratio(times, other, "ours")
            numbers |= speed.rows(f"{task}, {other} over ours")
            speeds[task] = speed.median
            summaries.append(f"{task} {speed.median:.2f}x {other}")
        if task == "mae":
            fraction = flops_share(our_mae(width, patch_size, depth), batch_size, side)
            numbers["MAE's encoder, FLOPs by the full ViT's"] = fraction
            summaries.append(f"MAE's encoder has {fraction:.2f} of the full ViT's FLOPs (at most {MOST_FLOPS})")
    fraction = numbers.get("MAE's encoder, FLOPs by the full ViT's", 0.0)
    holds = bool(all(speed >= 1 for speed in speeds.values()) and fraction <= MOST_FLOPS)
    first = next(iter(speeds), None)
    headline = (
        None
        if first is None
        else Headline(f"{first} step, time of the peer's over ours", speeds[first], "synthetic", tolerance=0.5)
    )
    figures = {
        "speed": bar_chart({task: {"ours": speed} for task, speed in speeds.items()}, "times as fast as the peer")
    }
    return StudyResult(numbers, f"{provenance.hardware()}: {'; '.join(summaries)}.", figures, holds, headline)


SMOKE = {
    "batch_size": 2,
    "side": 8,
    "width": 8,
    "depth": 1,
    "num_steps": 1,
    "num_repeats": 1,
    "least_seconds": 0.0,
    "points": 20,
    "clusters": 2,
}
experiment = Study(__file__, __doc__, measure, SMOKE)

if __name__ == "__main__":
    main(experiment)
