"""The settings that every page has, and the modes that it can be run in."""

from typing import Literal

from dlcore.diagnostics.gradient_check import METHODS
from dlcore.learner import Range
from dlcore.run.flags import Setting

__all__ = ["MODES", "RUN", "VOLATILE"]

MODES = {
    "train": "dlcore.run.train:train",
    "evaluate": "dlcore.run.use:evaluate_mode",
    "predict": "dlcore.run.use:predict_mode",
    "sanity": "dlcore.run.sanity:sanity",
    "export": "dlcore.run.export:export_mode",
    "gradcheck": "dlcore.run.gradcheck:gradcheck",
    "profile": "dlcore.run.profile:profile",
    "plan": "dlcore.run.plan:plan",
}
"""What a page can do; a new mode is a function (Job) -> exit status and a line here."""

RUN = {
    "mode": Setting("train", "what to do", Literal[tuple(MODES)]),
    "smoke": Setting(False, "a few steps on small settings, in seconds, to see that everything works"),
    "seed": Setting(0, "of initialisation, order, augmentation and the validation split", limits=Range(0)),
    "epochs": Setting(10.0, "passes over the training split", limits=Range(0)),
    "steps": Setting(None, "training steps, instead of epochs", int | None, Range(1)),
    "batch_size": Setting(128, "examples a step, over all devices and processes", limits=Range(1)),
    "eval_batch_size": Setting(256, "examples a step when measuring", limits=Range(1)),
    "mesh": Setting(None, "devices by axis: data:8, data:4,model:2, data:2,spatial:4; all on data if none", str | None),
    "sharding": Setting("replicate", "rule for parameters", Literal["replicate", "fsdp", "tensor", "fsdp+tensor"]),
    "distributed": Setting(
        "auto",
        "join the other processes of the job: where JAX_COORDINATOR_ADDRESS or srun says so; on: else an error; off",
        Literal["auto", "on", "off"],
    ),
    "heartbeat_seconds": Setting(10.0, "several processes: silence after which one counts as lost", limits=Range(1)),
    "join_seconds": Setting(300.0, "several processes: how long to wait for all to arrive", limits=Range(1)),
    "spmd": Setting("jit", "what spreads the step over devices", Literal["jit", "pmap"]),
    "precision": Setting("f32", "compute precision; parameters stay float32", Literal["f32", "bf16"]),
    "device_data": Setting(False, "keep the training split on the device and gather batches there"),
    "log_every": Setting(50, "steps between two lines of the log", limits=Range(1)),
    "eval_every": Setting(None, "steps between two validations; once an epoch by default", int | None, Range(1)),
    "checkpoint_seconds": Setting(60.0, "longest time between two checkpoints; 0: off", limits=Range(0)),
    "checkpoint_steps": Setting(0, "most steps between two checkpoints; 0: off", limits=Range(0)),
    "keep_last": Setting(2, "newest checkpoints to keep, beside the best", limits=Range(1)),
    "select": Setting("best", "the checkpoint to test: best on validation, or last", Literal["best", "last"]),
    "watch": Setting(
        0,
        "steps between two looks inside the network (updates, gradients, activations) for the report; 0: none",
        limits=Range(0),
    ),
    "deterministic": Setting(False, "ask a GPU for deterministic kernels"),
    "progress": Setting(True, "show progress"),
    "fresh": Setting(False, "train again where the run had finished; the old folder is kept under another name"),
    "run_dir": Setting(None, "folder of this run; runs/PAGE/HASH of the settings by default", str | None),
    "runs": Setting("runs", "where run folders go"),
    "run": Setting(None, "an earlier run's folder, for evaluate and predict", str | None),
    "config_json": Setting(None, "an earlier run's config.json to take settings from", str | None),
    "input": Setting(None, "predict: a file or a folder", str | None),
    "format": Setting("text", "how evaluate and predict print", Literal["text", "json"]),
    "split": Setting("test", "which split to evaluate", Literal["train", "valid", "test"]),
    "gradcheck_method": Setting("centred", "how gradcheck measures slopes", Literal[METHODS]),
    "gradcheck_h": Setting(None, "gradcheck: the step; 1e-5, for a complex step 1e-20", float | None, Range(0)),
    "gradcheck_samples": Setting(3, "gradcheck: coordinates of each array", limits=Range(1)),
    "topology": Setting(None, "plan: machines with commas, such as v5e:4x4,h100:8 (dlcore.run.topology)", str | None),
    "meshes": Setting(None, "plan: data:16,data:4,model:4 and so on; several sensible ones by default", str | None),
    "rules": Setting(None, "plan: rules for parameters, with commas; all that suit the mesh by default", str | None),
    "profile_steps": Setting(5, "profile: steps to trace", limits=Range(1)),
    "traceback": Setting(False, "show where an error was raised"),
}

VOLATILE = {
    "workers", "mode", "smoke", "eval_batch_size", "device_data", "checkpoint_seconds", "checkpoint_steps",
    "keep_last", "progress", "fresh", "run_dir", "runs", "run", "config_json", "input", "format", "split", "traceback",
    "log_every", "gradcheck_method", "gradcheck_h", "gradcheck_samples", "watch", "profile_steps", "distributed",
    "heartbeat_seconds", "join_seconds",
}  # fmt: skip
"""Settings that do not change what is learnt; they are not part of a run's identity."""
