"""Published networks by their names: a hub id, a folder or a file becomes a network that runs on photographs."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Family": "family",
        "Pretrained": "network",
        "Processor": "processor",
        "from_pretrained": "door",
        "open_snapshot": "snapshot",
        "save_pretrained": "publish",
    },
)
