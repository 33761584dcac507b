from dlcore.models.pretrained.door import from_pretrained as from_pretrained
from dlcore.models.registry import create_model as create_model
from dlcore.models.registry import feature_info as feature_info
from dlcore.models.registry import input_shape as input_shape
from dlcore.models.registry import list_models as list_models
from dlcore.models.torch_weights import load_torch as load_torch
from dlcore.models.torch_weights import torch_names as torch_names
