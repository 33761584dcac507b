"""Compare training steps of CycleGAN with eager PyTorch, as a ratio measured in one run.

python -m experiments.bench.image_to_image
python -m experiments.bench.image_to_image --num_repeats=5

Residual generators of 6 blocks after two halvings, patch discriminators of three, a pool of 50, Adam, images of 64 x
64, batch 1. Both start from the same weights, and their generators' outputs are compared. The claim is 0.8x. Measured
on two quiet cores (Intel Xeon with AVX-512, convolutions by oneDNN): 1.21x.
"""

import random
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.generative import cycle_gan
from dlcore.generative.image_to_image import PatchDiscriminator, ResidualGenerator
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import advancing, bar_chart, interleaved, ratio, torch_on_all_cores

LEAST = 0.8
POOL = 50


def torch_network(params: dict, forward: Callable) -> tuple[Callable, list]:
    """A network of PyTorch with the weights of a flax one: (x [B, C, H, W] -> output, its parameters)."""
    import torch
    from torch.nn import functional as F

    def tensor(leaf):
        x = np.asarray(leaf)
        return torch.tensor(x.transpose(3, 2, 0, 1).copy() if x.ndim == 4 else x.copy(), requires_grad=True)

    weights = jax.tree.map(tensor, params)

    def block(x, name, stride=1, pad=0):
        x = F.conv2d(x, weights[name]["kernel"], weights[name]["bias"], stride, pad)
        norm = weights.get(f"{name}_norm")
        return x if norm is None else F.instance_norm(x, weight=norm["scale"], bias=norm["bias"])

    return lambda x: forward(block, x), jax.tree.leaves(weights)


def residual_forward(depth: int, num_blocks: int) -> Callable:
    """The forward pass of ResidualGenerator in PyTorch."""
    import torch
    from torch.nn import functional as F

    def edged(x, by):
        return F.pad(x, (by,) * 4, "reflect")

    def forward(block, x):
        x = F.relu(block(edged(x, 3), "stem"))
        for k in range(depth):
            x = F.relu(block(x, f"down{k}", 2, 1))
        for k in range(num_blocks):
            h = F.relu(block(edged(x, 1), f"block{k}_conv0"))
            x = x + block(edged(h, 1), f"block{k}_conv1")
        for k in reversed(range(depth)):
            x = F.relu(block(edged(F.interpolate(x, scale_factor=2), 1), f"up{k}"))
        return torch.tanh(block(edged(x, 3), "head"))

    return forward


def patch_forward(depth: int) -> Callable:
    """The forward pass of PatchDiscriminator in PyTorch."""
    from torch.nn import functional as F

    def forward(block, x):
        for k in range(depth):
            x = F.leaky_relu(block(x, f"down{k}", 2, 1), 0.2)
        return block(F.leaky_relu(block(x, "last", 1, 1), 0.2), "head", 1, 1)

    return forward


def torch_steps(params: dict, images: dict[str, np.ndarray], depth: int, num_blocks: int, num_steps: int) -> tuple:
    """(a call that takes the steps, what the first generator makes of the first image)."""
    import torch
    from torch.nn import functional as F

    nets = {
        (player, kind): torch_network(
            params[player][kind], residual_forward(depth, num_blocks) if player == "generator" else patch_forward(3)
        )
        for player in ("generator", "discriminator")
        for kind in ("a", "b")
    }
    to_b, to_a, judge_a, judge_b = (nets[p, k][0] for p in ("generator", "discriminator") for k in ("a", "b"))
    optimizers = {
        player: torch.optim.Adam([w for k in ("a", "b") for w in nets[player, k][1]], 2e-4, (0.5, 0.999))
        for player in ("generator", "discriminator")
    }
    data = {k: torch.tensor(2 * x.transpose(0, 3, 1, 2) - 1) for k, x in images.items()}
    pools: dict[str, list] = {"a": [], "b": []}
    shuffle, count = random.Random(0), 0
    first = to_b(data["a"][:1]).detach().numpy().transpose(0, 2, 3, 1)

    def from_pool(pool, fake):
        fake = fake.detach()
        if len(pool) < POOL:
            pool.append(fake)
            return fake
        if shuffle.random() < 0.5:
            return fake
        slot = shuffle.randrange(POOL)
        old, pool[slot] = pool[slot], fake
        return old

    def run() -> list[float]:
        nonlocal count
        losses = []
        for _ in range(num_steps):
            a, b = (data[k][count % len(data[k])][None] for k in ("a", "b"))
            count += 1
            fake_b, fake_a = to_b(a), to_a(b)
            optimizers["discriminator"].zero_grad()
            loss = sum(
                ((disc(real) - 1).square().mean() + disc(from_pool(pools[k], fake)).square().mean()) / 2
                for disc, real, fake, k in ((judge_a, a, fake_a, "a"), (judge_b, b, fake_b, "b"))
            )
            loss.backward()
            optimizers["discriminator"].step()
            optimizers["generator"].zero_grad()
            cycle = F.l1_loss(to_a(fake_b), a) + F.l1_loss(to_b(fake_a), b)
            same = F.l1_loss(to_b(b), b) + F.l1_loss(to_a(a), a)
            fooled = ((judge_a(fake_a) - 1).square().mean() + (judge_b(fake_b) - 1).square().mean()) / 2
            loss = fooled + 10 * cycle + 5 * same
            loss.backward()
            optimizers["generator"].step()
            losses.append(loss.item())
        return losses

    return run, first


def measure(
    *,
    side: Annotated[int, Range(16)] = 64,
    width: PositiveInt = 32,
    num_blocks: PositiveInt = 6,
    num_steps: PositiveInt = 4,
    num_repeats: PositiveInt = 3,
) -> StudyResult:
    """Time ours and theirs in shuffled turns.

    Args:
      side: side of the images, in pixels, a multiple of 8.
      width: channels of the first layers; the authors' code has 64.
      num_blocks: residual blocks of each generator.
    """
    depth = 2
    generator = ResidualGenerator(3, width, depth, num_blocks)
    discriminator = PatchDiscriminator(width, 3)
    learner = cycle_gan.learner(
        generators=cycle_gan.Both(generator, generator.clone()),
        discriminators=cycle_gan.Both(discriminator, discriminator.clone()),
        generator_optimizer=optax.adam(2e-4, b1=0.5),
        discriminator_optimizer=optax.adam(2e-4, b1=0.5),
        pool_size=POOL,
    )
    rng = np.random.default_rng(0)
    images = {kind: rng.random((8, side, side, 3), np.float32) for kind in ("a", "b")}
    data = jax.tree.map(jnp.asarray, images)

    def step(state, _):
        k = state.step % 8
        batch = {kind: jax.lax.dynamic_slice_in_dim(x, k, 1) for kind, x in data.items()}
        state, metrics = learner.update(state, {**batch, "index": k[None]})
        return state, metrics["cycle_l1"].total

    run_all = jax.jit(lambda state: jax.lax.scan(step, state, None, num_steps), donate_argnums=0)
    one = {**{kind: x[:1] for kind, x in data.items()}, "index": jnp.zeros(1, jnp.int32)}
    state = jax.jit(learner.init)(jax.random.key(0), one)
    params = jax.tree.map(np.asarray, state.params)
    translated = np.asarray(jax.jit(learner.predict)(state, one)["b_of_a"])
    functions, numbers = {"ours": advancing(run_all, state)}, {}
    peer = torch_on_all_cores()
    if peer:
        functions["torch"], torch_final = torch_steps(params, images, depth, num_blocks, num_steps)
        numbers["cycle_gan: largest difference of outputs"] = float(np.abs((torch_final + 1) / 2 - translated).max())
    times = interleaved(functions, num_repeats, steps=num_steps)
    numbers |= {f"cycle_gan, {name}: steps/s": 1 / t.median for name, t in times.items()}
    if not peer:
        return StudyResult(numbers, f"{provenance.hardware()}: PyTorch is not installed.", {}, holds=True)
    speed = ratio(times, "torch", "ours")
    numbers |= speed.rows("cycle_gan, torch over ours")
    verdict = (
        f"{provenance.hardware()}: {numbers['cycle_gan, ours: steps/s']:.2f} steps/s of CycleGAN, {side} x {side}, "
        f"batch 1; {speed.median:.2f}x eager PyTorch (claimed {LEAST:g}x)."
    )
    figure = bar_chart({"cycle_gan": {"ours": speed.median}}, "times as fast as eager PyTorch")
    headline = Headline("CycleGAN step, time of PyTorch's over ours", speed.median, "synthetic", tolerance=0.5)
    return StudyResult(numbers, verdict, {"speed": figure}, holds=speed.median >= LEAST, headline=headline)


experiment = Study(
    __file__, __doc__, measure, smoke={"side": 16, "width": 4, "num_blocks": 1, "num_steps": 1, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
