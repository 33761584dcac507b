from dlcore.models.pretrained.door import from_pretrained as from_pretrained
from dlcore.models.pretrained.family import Family as Family
from dlcore.models.pretrained.network import Pretrained as Pretrained
from dlcore.models.pretrained.processor import Processor as Processor
from dlcore.models.pretrained.publish import save_pretrained as save_pretrained
from dlcore.models.pretrained.snapshot import open_snapshot as open_snapshot
