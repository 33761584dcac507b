"""Reconstruct the solid that an image shows by voxels, a cubified mesh and its refinement (Mesh R-CNN's mesh branch).

python -m experiments.vision3d.mesh_rcnn        (Chamfer distance 0.0214, cubified 0.0296, retrieval 0.0194)
python -m experiments.vision3d.mesh_rcnn --run=RUN_DIR --mode=predict --output=FOLDER      (meshes as .obj and .ply)

Images, coordinates and measures are those of experiments.vision3d.pixel2mesh. The grid has a cell for 4 x 4 pixels and
as many depths. `voxel_iou` is of the grid, `cubified_chamfer` of the mesh before its refinement.
"""

import dataclasses

from dlcore.experiment import Experiment, Flags, Splits
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.tasks.solid_images import SMOKE, SolidMeshes
from dlcore.vision3d import mesh_rcnn


@dataclasses.dataclass(frozen=True)
class SolidMeshesWithGrids(SolidMeshes):
    """Solids with occupancy grids, whose side is a quarter of the image's."""

    def data(self, flags: Flags) -> Splits:
        """Render the solids."""
        return super().data(flags, grid=flags.image_size // 4)


experiment = Experiment(
    __file__,
    __doc__,
    mesh_rcnn.learner,
    task=SolidMeshesWithGrids(modules={"mesh_rcnn": mesh_rcnn.MeshRCNN}),
    optimizer=AdamW(learning_rate=3e-3, weight_decay=0.01, clip_norm=1.0),
    defaults={"steps": 1200, "batch_size": 8, "eval_every": 400, "normal_weight": 0.02, "edge_weight": 0.05},
    smoke={
        **SMOKE,
        "num_samples": 16,
        "mesh_rcnn.widths": (4, 8),
        "mesh_rcnn.features": 4,
        "mesh_rcnn.stages": 1,
        "mesh_rcnn.blocks": 0,
    },
)

if __name__ == "__main__":
    main(experiment)
