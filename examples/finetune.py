"""Make a clean network robust in a few epochs. Run it: python examples/finetune.py [FOLDER]"""

import sys
from pathlib import Path

import sat_core as sat


def main(out: str = "runs/finetune", epochs: int = 10) -> dict[str, sat.TrainingResult]:
    """Train a clean network, then SAT for a quarter of the epochs, from its weights and from new ones."""
    folder, short = Path(out), max(1, epochs // 4)
    clean = sat.train("small-cnn", "digits", subset=0.0, strategy="random", epochs=epochs, out=folder / "clean")

    # a file of any program will do (.pt, .safetensors, .keras), or "timm:NAME?pretrained" as the name of the model
    weights = folder / "clean" / "arms" / clean.results.arm
    options = {"subset": 0.3, "strategy": "random", "eps": 0.5, "epochs": short}
    trained = {
        "clean": clean,
        "fine-tuned": sat.train("small-cnn", "digits", settings={"model.weights": str(weights)}, **options),
        "from new weights": sat.train("small-cnn", "digits", **options),
    }
    data = sat.get_dataset("digits")
    attack = sat.AttackSpec(norm="L2", eps=0.5, steps=20)
    for name, result in trained.items():
        adversarial = result.classifier.perturb(data.test.images, data.test.labels, attack)
        right = result.classifier.logits(adversarial).argmax(axis=1) == data.test.labels
        print(f"{name}: clean {result.clean_accuracy.value:.1%}, PGD-20 {right.mean():.1%}")
    return trained


if __name__ == "__main__":
    main(*sys.argv[1:])
