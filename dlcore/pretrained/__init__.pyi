from dlcore.pretrained.door import from_pretrained as from_pretrained
from dlcore.pretrained.family import Family as Family
from dlcore.pretrained.network import Pretrained as Pretrained
from dlcore.pretrained.processor import Processor as Processor
from dlcore.pretrained.publish import save_pretrained as save_pretrained
from dlcore.pretrained.snapshot import open_snapshot as open_snapshot
