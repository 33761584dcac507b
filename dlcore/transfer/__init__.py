"""Transfer: networks that were trained elsewhere, on few labels, in other domains, one task after the other."""

from dlcore.lazy import lazy_exports

lazy_exports(globals())
