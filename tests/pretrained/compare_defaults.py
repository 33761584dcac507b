"""Compare dlcore/pretrained/defaults.json with the configuration classes of transformers, and list what differs.

python tests/pretrained/compare_defaults.py                      (in an environment with transformers)

Some differences are meant. A class without sliding windows hides their default size, which counts where a file has
them. The types idefics3 and smolvlm stand for their vision towers, as in files of 2024. A network of one family reads
hidden_act and tie_word_embeddings, which some classes name otherwise.
"""

import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "dlcore" / "pretrained" / "defaults.json"


def main():
    from transformers import CONFIG_MAPPING

    for kind, values in json.loads(FILE.read_text(encoding="utf-8")).items():
        config = CONFIG_MAPPING[kind]()
        for name, value in values.items():
            default = json.loads(json.dumps(getattr(config, name, "no such key"), default=list))
            if default != value:
                print(f"{kind}.{name}: {value} here, {default} there")


if __name__ == "__main__":
    main()
