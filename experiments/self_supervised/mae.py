"""MAE (masked autoencoder): learn features by reconstructing masked patches; here below k-NN on pixels.

python -m experiments.self_supervised.mae                   (fine-tuned with 117 labels 94.8 %, untrained 88.4 %)
python -m experiments.self_supervised.mae --dataset=fashion_mnist --data_dir=D --steps=3000 \\
    --batch_size=256 --fine_tune=500,5000 --eval_every=1500   (with 500 labels 76.8 %, untrained 70.4 %)
python -m experiments.self_supervised.mae --dataset=cifar10 --data_dir=D --mae.patch_size=4 --norm_pix_loss \\
    --steps=12000 --batch_size=256 --fine_tune=500,5000                                               (not run)
python -m experiments.self_supervised.mae --dataset=folder --data_dir=D --input_size=224 --mae.decoder_width=512 \\
    --init_from=hf:facebook/vit-mae-base                                                              (not run)

`loss` is the squared error of the masked patches, `mean_patch` that of the mean of the image's seen patches. On
Fashion-MNIST the loss ends at a quarter of it; the second command's numbers are means of three seeds.
"""

from functools import partial

from dlcore.data.images import FixedAugmentation, Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.self_supervised import mae
from dlcore.self_supervised.masked_autoencoder import MaskedAutoencoder
from dlcore.weights.start import NetworkWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(mae.learner, norm_pix_loss=False),
    data=Images(
        "digits", valid_fraction=0.1, resizing=Resizing(), augmentation=FixedAugmentation("auto"), labels=False
    ),
    network=MaskedAutoencoder(
        {
            "patch_size": 4,
            "depth": 4,
            "width": 96,
            "num_heads": 4,
            "mlp_features": 384,
            "decoder_depth": 2,
            "decoder_width": 64,
            "decoder_heads": 4,
            "decoder_features": 256,
            "mask_ratio": 0.75,
        }
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Steps(6000, batch_size=128, eval_every=1000, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=NetworkWeights(),
    smoke={
        **ENCODERS,
        "mae.depth": 1,
        "mae.width": 8,
        "mae.num_heads": 2,
        "mae.mlp_features": 8,
        "mae.decoder_depth": 1,
        "mae.decoder_width": 8,
        "mae.decoder_heads": 2,
        "mae.decoder_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
