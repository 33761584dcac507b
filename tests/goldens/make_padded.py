"""Write tvdet_padded.npz and hf_detr_padded.npz: published detectors on two images of different sizes in one batch.

TORCHDYNAMO_DISABLE=1 python tests/goldens/make_padded.py torchvision      (needs torch and torchvision)
python tests/goldens/make_padded.py transformers                           (needs torch and transformers)

The weights are those of the goldens without padding (`det_weights.py`). torchvision's detectors get the two images as
they are, resize and pad them themselves (shortest edge 96, longest 144), and give boxes in the images' own pixels;
their losses are those of the resized boxes. DETR gets the padded pixels and their mask.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("det_weights", HERE / "det_weights.py")
RULE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(RULE)

IMAGES = [
    {"shape": [3, 90, 150], "seed": 11, "coarse": 9, "scale": 50, "shift": 120},
    {"shape": [3, 120, 70], "seed": 12, "coarse": 9, "scale": 50, "shift": 120},
]
"""Gray levels before they are rounded to uint8."""
TARGETS = [
    {"boxes": [[10.0, 12, 70, 60], [80, 20, 149, 88]], "labels": [3, 17]},
    {"boxes": [[5.0, 30, 66, 110]], "labels": [44]},
]
EDGE = (96, 144)
COMMON = {"weights": None, "weights_backbone": None}
DETECTORS = {
    "retinanet_resnet50_fpn": {"score_thresh": 0.0, "topk_candidates": 40, "detections_per_img": 12},
    "fcos_resnet50_fpn": {"score_thresh": 0.0, "topk_candidates": 40, "detections_per_img": 12},
    "fasterrcnn_resnet50_fpn": {
        "box_score_thresh": 0.0,
        "rpn_post_nms_top_n_test": 30,
        "rpn_pre_nms_top_n_test": 100,
        "box_detections_per_img": 12,
    },
    "ssd300_vgg16": {
        "score_thresh": 0.0,
        "topk_candidates": 40,
        "detections_per_img": 12,
        "image_std": [0.25] * 3,  # so that the scores of these weights are not all 1
    },
}


def state_dict(name):
    meta = json.loads(str(np.load(HERE / f"{name}.npz")["meta"]))
    return meta, {key: torch.from_numpy(np.array(value)) for key, value in RULE.det_state_dict(meta).items()}


def images():
    return [np.clip(np.round(RULE.det_input(spec)), 0, 255).astype(np.uint8) for spec in IMAGES]


def plain_nms(boxes, scores, iou_threshold):
    """Greedy suppression, where torchvision's compiled one is missing."""
    import torchvision

    keep, order = [], scores.argsort(descending=True, stable=True)
    iou = torchvision.ops.box_iou(boxes, boxes)
    while len(order):
        keep.append(order[0])
        order = order[1:][~(iou[order[0], order[1:]] > iou_threshold)]  # as there, NaN of empty boxes suppresses nothing
    return torch.stack(keep) if keep else torch.zeros(0, dtype=torch.long)


def losses_of(model, inputs, targets):
    """Losses of the heads on resized images and boxes; those of two stages are sampled, and left out."""
    import torchvision

    padded, targets = model.transform(inputs, targets)
    features = list(model.backbone(padded.tensors).values())
    head = model.head(features)
    anchors = model.anchor_generator(padded, features)
    if isinstance(model, torchvision.models.detection.ssd.SSD):
        matched = [
            model.proposal_matcher(torchvision.ops.box_iou(target["boxes"], anchor))
            for target, anchor in zip(targets, anchors, strict=True)
        ]
        return model.compute_loss(targets, head, anchors, matched)
    if isinstance(model, torchvision.models.detection.fcos.FCOS):
        counts = [features[i].shape[2] * features[i].shape[3] for i in range(len(features))]
        return model.compute_loss(targets, head, anchors, counts)
    return model.compute_loss(targets, head, anchors)


@torch.no_grad()
def torchvision_file():
    import torchvision

    if not torchvision.extension._has_ops():
        torchvision.ops.boxes.nms = plain_nms
    arrays, outputs = {}, {}
    inputs = [torch.from_numpy(image).float() / 255 for image in images()]
    for name, settings in DETECTORS.items():
        print(name, flush=True)
        sizes = {} if name.startswith("ssd") else {"min_size": EDGE[0], "max_size": EDGE[1]}
        model = getattr(torchvision.models.detection, name)(**COMMON, **sizes, **settings).eval()
        _, weights = state_dict(f"tvdet_{name}")
        model.load_state_dict(weights)
        for i, found in enumerate(model(inputs)):
            for key, value in found.items():
                arrays[f"{name}/{i}.{key}"] = value.numpy()
        outputs[name] = {"settings": settings}
        if not name.startswith("fasterrcnn"):
            targets = [{key: torch.tensor(value) for key, value in target.items()} for target in TARGETS]
            losses = losses_of(model, inputs, targets)
            outputs[name]["losses"] = {key: float(value) for key, value in losses.items()}
        if name.startswith("retinanet"):
            padded, _ = model.transform(inputs)
            arrays["transform/tensors"] = padded.tensors.flatten()[::97].numpy()
            arrays["transform/sizes"] = np.array(padded.image_sizes, np.int32)
            outputs["transform"] = {"shape": list(padded.tensors.shape), "stride": 97}
    meta = {
        "library": "torchvision",
        "version": torchvision.__version__,
        "torch": torch.__version__,
        "inputs": IMAGES,
        "targets": TARGETS,
        "edge": EDGE,
        "outputs": outputs,
        "note": "weights: of tvdet_NAME.npz; images: det_input, rounded to uint8, divided by 255; boxes in their pixels",
    }
    np.savez_compressed(HERE / "tvdet_padded.npz", meta=json.dumps(meta), **arrays)


@torch.no_grad()
def detr_file():
    import transformers

    base, weights = state_dict("hf_detr")
    kwargs = {
        key: transformers.ResNetConfig(**{k: v for k, v in value.items() if k != "__class__"})
        if isinstance(value, dict) and value.get("__class__") == "ResNetConfig"
        else value
        for key, value in base["kwargs"].items()
    }
    model = transformers.DetrForObjectDetection._from_config(
        transformers.DetrConfig(**kwargs), attn_implementation="eager"
    ).eval()
    model.load_state_dict(weights)
    sizes = [[64, 71], [37, 96]]
    x = torch.from_numpy(RULE.det_input({"shape": [2, 3, 64, 96], "seed": 9}))
    mask = torch.zeros(2, 64, 96, dtype=torch.long)
    for i, (h, w) in enumerate(sizes):
        mask[i, :h, :w] = 1
    x = x * mask[:, None]
    labels = [
        {"class_labels": torch.tensor([1, 3]), "boxes": torch.tensor([[0.3, 0.4, 0.2, 0.3], [0.6, 0.5, 0.4, 0.5]])},
        {"class_labels": torch.tensor([2]), "boxes": torch.tensor([[0.5, 0.5, 0.9, 0.7]])},
    ]
    found = model(pixel_values=x, pixel_mask=mask, labels=labels)
    meta = {
        "library": "transformers",
        "version": transformers.__version__,
        "torch": torch.__version__,
        "sizes": sizes,
        "losses": {key: float(value) for key, value in found.loss_dict.items()},
        "note": "weights and pixel_values: of hf_detr.npz, zero outside the upper left (height, width) of `sizes`",
    }
    arrays = {"logits": found.logits.numpy(), "pred_boxes": found.pred_boxes.numpy()}
    arrays["unmasked_pred_boxes"] = model(pixel_values=x, pixel_mask=torch.ones_like(mask)).pred_boxes.numpy()
    np.savez_compressed(HERE / "hf_detr_padded.npz", meta=json.dumps(meta), **arrays)


if __name__ == "__main__":
    {"torchvision": torchvision_file, "transformers": detr_file}[sys.argv[1]]()
