"""`--mode=plan`: will the training step fit a machine that is not there, and over which mesh is it fastest?"""

from dlcore.experiment.mode import Mode
from dlcore.modes.plan.plan import plan
from dlcore.setting import Setting

__all__ = ["MODE"]

MODE = Mode(
    plan,
    {
        "topology": Setting(
            None,
            "machines with commas, such as v5e:4x4,h100:8; by default this one; dlcore.modes.plan.topology lists them",
            str | None,
            identity=False,
        ),
        "meshes": Setting(
            None,
            "meshes to compare, such as data:16,data:4,model:4; several sensible ones by default",
            str | None,
            identity=False,
        ),
        "rules": Setting(
            None, "rules for parameters to compare; all that suit the mesh by default", str | None, identity=False
        ),
    },
)
