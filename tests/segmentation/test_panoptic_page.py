"""What is shown and written of panoptic maps: COCO's form, sizes of files, the report of two images."""

import json
from types import SimpleNamespace

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.facts import Facts
from dlcore.data.masks import pack_masks
from dlcore.data.source import Source
from dlcore.evaluators import segment_results
from dlcore.experiment.resolve import resolve
from dlcore.weights import segment_networks
from experiments.segmentation.panoptic import experiment

SPEC = {"class_names": ["cat", "dog"], "stuff_names": ["grass"], "image_shape": [6, 8, 3]}


@pytest.fixture
def outputs():
    """Two images with a cat, a dog and grass; object 1 is not used, and the first row has no segment."""
    segments = np.full((2, 6, 8), 3)
    segments[:, 0] = -1
    segments[:, 2:4, :4], segments[:, 2:4, 4:6] = 0, 2
    labels = np.array([[1, -1, 2, 0]] * 2)
    return {"segments": segments, "segment_labels": labels, "classes": np.where(segments < 0, 255, labels[0][segments])}


def test_segments_are_described_by_their_shares(outputs):
    (row, _) = segment_results.FindSegments().describe(outputs, Facts.of(SPEC))
    assert row["segments"] == [
        {"class": "grass", "share": round(28 / 48, 4)},
        {"class": "cat", "share": round(8 / 48, 4)},
        {"class": "dog", "share": round(4 / 48, 4)},
    ]
    assert row["text"] == "grass 58.3 %  cat 16.7 %  dog 8.3 %"


def test_maps_are_written_in_cocos_form(outputs, tmp_path):
    files = []
    for i, size in enumerate(((8, 6), (16, 12))):
        files.append(tmp_path / f"x{i}.png")
        Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(files[-1])
    # More than 255 segments, so that the number of one needs two bytes.
    outputs["segments"] = np.where(outputs["segments"] == 3, 300, outputs["segments"])
    labels = np.concatenate([outputs["segment_labels"][:, :3], np.full((2, 297), -1), [[0], [0]]], 1)
    outputs["segment_labels"] = labels
    written = segment_results.FindSegments().write(
        tmp_path / "out", outputs, None, [str(f) for f in files], Facts.of(SPEC)
    )
    assert [path.name for path in written] == [
        "x0_panoptic.png",
        "x0_overlay.png",
        "x1_panoptic.png",
        "x1_overlay.png",
        "panoptic.json",
    ]
    content = json.loads(written[-1].read_text())
    assert [(c["name"], c["isthing"]) for c in content["categories"]] == [("grass", 0), ("cat", 1), ("dog", 1)]
    for number, scale in ((0, 1), (1, 2)):
        pixels = np.asarray(Image.open(written[2 * number])).astype(int) @ [1, 256, 65536]
        chex.assert_shape(pixels, (6 * scale, 8 * scale))
        assert (pixels[:scale] == 0).all()
        note = content["annotations"][number]
        assert note["file_name"] == written[2 * number].name
        found = {info["id"]: info for info in note["segments_info"]}
        assert set(found) == set(np.unique(pixels)) - {0} == {1, 3, 301}
        assert {key: (pixels == key).sum() for key in found} == {key: info["area"] for key, info in found.items()}
        assert found[1]["bbox"] == [0, 2 * scale, 4 * scale, 2 * scale]
        assert [found[key]["category_id"] for key in (1, 3, 301)] == [2, 3, 1]


def test_the_report_shows_the_worst_image_first_beside_what_the_semantic_map_tells(outputs):
    masks = np.stack([outputs["segments"] == 0, outputs["segments"] == 2], 1)
    arrays = {
        "image": np.zeros((2, 6, 8, 3), np.uint8),
        "masks": pack_masks(masks),
        "labels": np.array([[0, 1]] * 2),
        "box_mask": np.ones((2, 2), bool),
        "semantic": np.where(outputs["segments"] == 3, 0, 255),
    }
    outputs["segment_labels"] = np.array([[1, -1, 2, 0], [2, -1, 2, 0]])  # the second cat is called a dog
    context = SimpleNamespace(
        spec=SPEC,
        data=SimpleNamespace(test=Source(arrays)),
        numbers={"pq": 0.5, "pq/cat": 0.25, "components_pq": 0.125},
        outputs=outputs,
        history=[],
    )
    images, table, *_ = segment_results.panels(context)
    assert images.html.index("2 wrong or missed") < images.html.index("0 wrong or missed")
    assert images.html.count("<img") == 6
    assert "25.0" in table.html
    assert "12.5" in table.html
    chex.assert_shape(segment_results.pictures(context)["panoptic"], (6, 16, 3))


def test_only_scenes_have_stuff():
    flags = resolve(experiment, ["--smoke", "--dataset=coco", "--data_dir=x"])
    with pytest.raises(ValueError, match="dataset=coco: its folders have no semantic maps; allowed: scenes"):
        experiment.run(flags).load()
    data = experiment.run(resolve(experiment, ["--smoke", "--image_size=48,48"])).load()
    assert segment_networks.class_names(Facts.of(data.spec))[:4] == ["smooth", "striped", "checked", "circle"]
    assert {"masks", "semantic"} <= set(data.test.arrays)
