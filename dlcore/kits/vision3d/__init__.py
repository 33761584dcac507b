"""What pages of 3D vision share: voxel grids, shapes from one image."""
