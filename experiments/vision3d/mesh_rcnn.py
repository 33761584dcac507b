"""Reconstruct the solid that an image shows by voxels, a cubified mesh and its refinement (Mesh R-CNN's mesh branch).

python -m experiments.vision3d.mesh_rcnn        (Chamfer distance 0.0214, cubified 0.0296, retrieval 0.0194)
python -m experiments.vision3d.mesh_rcnn --run=RUN_DIR --mode=predict --output=FOLDER      (meshes as .obj and .ply)

Images, coordinates and measures are those of experiments.vision3d.pixel2mesh. The grid has a cell for 4 x 4 pixels and
as many depths. `voxel_iou` is of the grid, `cubified_chamfer` of the mesh before its refinement.
"""

from functools import partial

from dlcore.data.solid_images import SolidImages
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.report.predicted_meshes import PredictMeshes, shape_panels
from dlcore.vision3d import mesh_rcnn
from dlcore.vision3d.mesh_rcnn import MeshRCNN
from experiments.smoke import SOLIDS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(mesh_rcnn.learner, normal_weight=0.02, edge_weight=0.05),
    data=SolidImages(image_size=32, num_images=1400, surface_points=256, cell_size=4),
    network=Network(MeshRCNN, prefix="mesh_rcnn"),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(1200, batch_size=8, eval_every=400),
    measures=[Measure("chamfer", "min")],
    report=[shape_panels],
    use=PredictMeshes(),
    smoke={
        **SOLIDS,
        "num_samples": 16,
        "mesh_rcnn.widths": (4, 8),
        "mesh_rcnn.features": 4,
        "mesh_rcnn.stages": 1,
        "mesh_rcnn.blocks": 0,
    },
)

if __name__ == "__main__":
    main(experiment)
