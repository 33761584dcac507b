"""Video: clips, fusion over time, optical flow as input, and networks in space and time."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
