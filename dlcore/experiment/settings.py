"""The settings that every experiment has."""

from typing import Literal

from dlcore.data.input_pipeline import INPUT_PIPELINES
from dlcore.learner import Range
from dlcore.setting import Seed, Setting

__all__ = ["FOLDER", "RUN", "STEPS"]

STEPS = Range(1, 2**31 - 1)
"""Allowed numbers of steps; a state counts steps in int32."""


FOLDER = {
    "smoke": Setting(
        False,
        "small settings and a few steps, in seconds, to see that everything works",
        identity=False,
        essential=True,
    ),
    "run_dir": Setting(
        None,
        "folder of this run; runs/EXPERIMENT/HASH of the settings by default",
        str | None,
        identity=False,
        essential=True,
    ),
    "runs": Setting("runs", "where run folders go", identity=False),
    "traceback": Setting(False, "show the traceback of an error", identity=False),
}
"""Settings of every experiment and study."""


RUN = {
    "epochs": Setting(
        10.0,
        "epochs: passes over the training split; replaces the steps that an experiment or --config_json sets",
        limits=Range(1e-6),
        essential=True,
    ),
    "steps": Setting(None, "training steps, instead of epochs", int | None, STEPS, essential=True),
    "batch_size": Setting(
        128, "batch size: examples of a training step, over all devices and processes", limits=Range(1), essential=True
    ),
    "seed": Setting(
        0, "random seed of initialization, data order, augmentation and the validation split", Seed, essential=True
    ),
    "select": Setting("best", "the checkpoint to test: best on validation, or last", Literal["best", "last"]),
    "eval_every": Setting(None, "steps between two validations; once an epoch by default", int | None, Range(1)),
    "patience": Setting(
        0,
        "early stopping: number of validations in a row without improvement of the monitored metric; 0: never",
        limits=Range(0),
    ),
    "eval_batch_size": Setting(256, "batch size of evaluation", limits=Range(1), identity=False),
    "precision": Setting("f32", "compute precision; parameters stay float32", Literal["f32", "bf16"], essential=True),
    "mesh": Setting(
        None,
        "device mesh by axis, such as data:8, data:4,model:2 or data:2,spatial:4; by default all devices on data",
        str | None,
        essential=True,
    ),
    "sharding": Setting(
        "replicate",
        "sharding rule of the parameters; zero1 splits the optimizer's state alone",
        Literal["replicate", "zero1", "fsdp", "tensor", "fsdp+tensor"],
        essential=True,
    ),
    "spmd": Setting("jit", "transformation that distributes the step over devices", Literal["jit", "pmap"]),
    "device_data": Setting(False, "keep the training split on the device and gather batches there", identity=False),
    "input_pipeline": Setting(
        "dlcore",
        "what reads batches ahead of the training: threads of dlcore, or grain; the batches are the same",
        Literal[INPUT_PIPELINES],
        identity="if changed",
    ),
    "deterministic": Setting(False, "ask a GPU for deterministic kernels"),
    "distributed": Setting(
        "auto",
        "join the other processes of the job: where JAX_COORDINATOR_ADDRESS or srun says so; on: else an error; off",
        Literal["auto", "on", "off"],
        identity=False,
    ),
    "heartbeat_seconds": Setting(
        10.0, "several processes: silence after which one counts as lost", limits=Range(1), identity=False
    ),
    "join_seconds": Setting(
        300.0, "several processes: how long to wait for all to arrive", limits=Range(1), identity=False
    ),
    "checkpoint_seconds": Setting(
        60.0, "longest time between two checkpoints; 0: off", limits=Range(0), identity=False
    ),
    "checkpoint_steps": Setting(0, "most steps between two checkpoints; 0: off", limits=Range(0), identity=False),
    "grace_seconds": Setting(
        60.0,
        "seconds that SIGTERM and Ctrl-C leave a step to end, and again the checkpoint; then the process ends",
        limits=Range(0),
        identity=False,
    ),
    "keep_last": Setting(2, "newest checkpoints to keep, beside the best", limits=Range(1), identity=False),
    "fresh": Setting(
        False, "train anew; an earlier run of the folder is kept under another name", identity=False, essential=True
    ),
    "changed_data": Setting(
        False,
        "resume although the training data is no longer the run's, or measure on examples that it was trained on",
        identity=False,
    ),
    "run": Setting(
        None,
        "an earlier run's folder, for evaluate, predict and export; A,B,C are an ensemble, for evaluate and predict",
        str | None,
        identity=False,
        essential=True,
    ),
    "config_json": Setting(None, "an earlier run's config.json to take settings from", str | None, identity=False),
    "log_every": Setting(
        None,
        "steps between two lines of the log; by default 50, or a twentieth of a shorter run, and step 1",
        int | None,
        Range(1),
        identity=False,
    ),
    "progress": Setting(True, "show progress", identity=False),
    "track": Setting(
        ("tensorboard",),
        "trackers that show the metrics: each row of metrics.jsonl, offline, in the run's folder",
        tuple[Literal["tensorboard", "mlflow", "wandb"], ...],
        identity=False,
    ),
    "watch": Setting(
        0,
        "steps between two looks inside the network (updates, gradients, activations) for the report; 0: none; the log "
        "follows where --log_every is not given",
        limits=Range(0),
        identity=False,
    ),
    **FOLDER,
}
"""Settings of every experiment; a mode adds its own (`dlcore.experiment.mode`)."""
