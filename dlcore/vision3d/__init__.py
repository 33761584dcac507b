"""Three dimensions: point sets, meshes, voxels, implicit surfaces, depth and structure from motion."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
