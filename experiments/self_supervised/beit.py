"""BEiT: learn features by predicting the codes of masked patches, which a trained VQ-VAE gives.

python -m experiments.self_supervised.beit    (k-NN 80.0 %, untrained 57.2 %; probe 89.6 %, untrained 83.4 %)
python -m experiments.self_supervised.beit --tokenizer=RUN_OF_VQ_VAE

The first command first trains the tokenizer, a run of `experiments.generative.vq_vae` that later commands find and use
again. The codes have a perplexity of 36, and the loss ends at 1.62. `loss` is the cross-entropy of the masked patches
in nats, and `accuracy` the fraction of them whose most probable code is correct. A guess by the frequencies of the
codes has the loss log `perplexity`, here 3.58. As with MAE, judge the features by fine-tuning.
"""

from functools import partial

from dlcore.data.images import FixedAugmentation, Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.self_supervised import beit
from dlcore.self_supervised.patch_encoder import PatchEncoder
from dlcore.self_supervised.patch_predictors import PatchViT
from dlcore.weights.tokenizer import EncoderAndTokenizer, TrainedTokenizer, log_codes
from experiments.generative import vq_vae
from experiments.smoke import ENCODERS, MASKED_PATCHES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(beit.learner, num_codes=64, mask_ratio=0.4, cell=1),
    data=Images(
        "digits", valid_fraction=0.1, resizing=Resizing(), augmentation=FixedAugmentation("auto"), labels=False
    ),
    network=EncoderAndTokenizer(
        PatchEncoder(partial(PatchViT, patch_size=4, depth=3, width=64, num_heads=4, mlp_features=256)),
        vqvae={"width": 32, "embedding_dim": 16, "downsamplings": 1, "num_res_blocks": 1},
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Steps(1000, batch_size=64, eval_every=250, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=TrainedTokenizer(vq_vae.experiment, tokenizer_steps=1500),
    sanity=Sanity(expected_loss=log_codes),
    smoke={**ENCODERS, **MASKED_PATCHES, "num_codes": 8, "vqvae.width": 8},
)

if __name__ == "__main__":
    main(experiment)
