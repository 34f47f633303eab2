"""Give a robust network to others, and load it again. Run it: python examples/export_and_load.py [FOLDER]

The command line does the same: sat export RUN/arms/ARM FOLDER, and sat push FOLDER OWNER/NAME puts it on a hub.
"""

import sys
from pathlib import Path

import numpy as np

import sat_core as sat
from sat_evaluation.publish.export import export


def main(out: str = "runs/exported", epochs: int = 10) -> sat.Classifier:
    """Train, export and load; the folder has weights, settings and a model card with the measured accuracies."""
    folder = Path(out)
    result = sat.train("small-cnn", "digits", subset=0.3, strategy="random", eps=0.5, epochs=epochs, out=folder / "run")
    exported = export(folder / "run" / "arms" / result.results.arm, folder / "network", licence="apache-2.0")
    print("wrote", *exported.files)
    print(*(exported.folder / "README.md").read_text(encoding="utf-8").splitlines()[:20], sep="\n")

    # whoever gets the folder: nothing in it is executed, and the training is not needed
    classifier = sat.load_model(exported.folder)
    images = sat.get_dataset("digits").test.images
    difference = np.abs(classifier.logits(images) - result.classifier.logits(images)).max()
    print(f"largest difference of logits: {difference:.1g}")
    return classifier


if __name__ == "__main__":
    main(*sys.argv[1:])
