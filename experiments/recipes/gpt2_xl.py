"""GPT-2 of 1.5 B parameters on a text of 16-bit tokens, such as OpenWebText, from scratch.

python -m experiments.recipes.gpt2_xl --data_dir=D             (recipe, not run; 2.54 nats by the published weights)
python -m experiments.recipes.gpt2_xl --mode=plan --topology=v5e:4x4 --precision=bf16 --meshes=data:16 --rules=fsdp
python -m experiments.recipes.gpt2_xl --smoke --data_dir=D     (a tiny network on the same files)

Radford et al. 2019. The settings are those of `gpt2_124m`, but for the size, a learning rate of 2e-4 and activations
that are computed again in the backward pass. By its plan a step takes 14.9 GiB of a chip and at least 1.97 s.
"""

import dataclasses
from functools import partial

from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from experiments.recipes import gpt2_124m as small

experiment = dataclasses.replace(
    small.experiment,
    file=__file__,
    doc=__doc__,
    network=dataclasses.replace(
        small.experiment.network,
        network=partial(GPT2, num_layers=48, num_heads=25, width=1600, dropout=0.0, remat="full"),
    ),
    optimizer=dataclasses.replace(small.experiment.optimizer, learning_rate=2e-4),
)

if __name__ == "__main__":
    main(experiment)
