"""All measures and goals. Most are ratios of two measurements, which hold on other machines as well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A row of the report.

    Args:
        measure: What is measured.
        unit: The unit of the ratio.
        goal: G1 to G25, or an empty string for a row without a goal.
        sense: "at most" or "at least", or an empty string.
        limit: The limit, or None.
    """

    measure: str
    unit: str
    goal: str = ""
    sense: str = ""
    limit: float | None = None


_STEP = "x (clean step + share x full attack)"
_NUMPY = "x `import numpy`"
_TORCH = "x PyTorch"
_OURS = "x our PyTorch"
_RESNET, _DIGITS = "PGD-7 step, ResNet-18, batch 64", "PGD-7 step, small-cnn on 8x8 digits, batch 64"
_BARE = "x bare loop"
_AA = "x as fast as the package's own run"
TENSORFLOW_OPTIONS = (
    "plain",
    "TRADES",
    "label smoothing",
    "N-FGSM",
    "restarts",
    "Free-AT",
    "EMA",
    "clipping",
    "micro-batches",
    "mixup",
    "AWP",
    "hardest",
)
"""Of a step, each measured beside a bare loop that has it; ``plain`` is SAT without any."""

GOALS = {
    "resnet18-64-10": Goal("SAT step, A = 10 %, ResNet-18, batch 64", _STEP, "G1", "at most", 1.12),
    "resnet18-64-30": Goal("SAT step, A = 30 %, ResNet-18, batch 64", _STEP, "G1", "at most", 1.08),
    "resnet18-64-50": Goal("SAT step, A = 50 %, ResNet-18, batch 64", _STEP, "G1", "at most", 1.05),
    "resnet18-16-10": Goal("SAT step, A = 10 %, ResNet-18, batch 16", _STEP, "", "at most", 1.15),
    "small-cnn-64-10": Goal("SAT step, A = 10 %, small-cnn on 8x8 digits, batch 64", _STEP),
    "study-training": Goal("training of the digits study", "x its gradients in a bare loop", "G14", "at most", 1.15),
    "full-step": Goal("step with A = everything, small-cnn on 8x8 digits, batch 64", "x clean step"),
    "recorder": Goal("difficulty recorder against scipy, 4096 x 1000 logits", "x as fast", "G2", "at least", 5.0),
    "recorder-kept": Goal("difficulty recorder against scipy, freed memory kept", "x as fast"),
    "import": Goal("`import sat_core`", _NUMPY, "G3", "at most", 1.5),
    "help": Goal("`sat --help`", _NUMPY, "G4", "at most", 2.0),
    "tensorflow-step-resnet18": Goal("TensorFlow, PGD-7 step, ResNet-18, batch 16", _TORCH, "G5", "at most", 1.5),
    "tensorflow-step-small-cnn": Goal("TensorFlow, PGD-7 step, small-cnn on 8x8 digits, batch 64", _TORCH),
    "tensorflow-apgd-ce-resnet18": Goal("TensorFlow, APGD-CE, ResNet-18, 8 images", _TORCH, "G6", "at most", 1.5),
    "tensorflow-fab-t-resnet18": Goal("TensorFlow, FAB-T, ResNet-18, 8 images", _TORCH, "G6", "at most", 1.5),
    "tensorflow-apgd-ce-small-cnn": Goal("TensorFlow, APGD-CE, small-cnn, 64 digits", _TORCH),
    "tensorflow-fab-t-small-cnn": Goal("TensorFlow, FAB-T, small-cnn, 64 digits", _TORCH),
    **{
        f"tensorflow-option-{name}": Goal(
            f"TensorFlow, step with {name}, small-cnn, 32x32, batch 64", _BARE, "G24", "at most", 1.1
        )
        for name in TENSORFLOW_OPTIONS
    },
    "stream-rate": Goal(
        "decoding JPEG files of 256 px, 2 workers", "x ImageFolder + DataLoader", "G7", "at least", 0.8
    ),
    "stream-memory": Goal("peak memory of that, 20,000 files, all processes", "GiB", "G8", "at most", 2.0),
    "stream-growth": Goal("peak memory, 20,000 files against 2,500", "x", "G8", "at most", 1.1),
    "status-seconds": Goal("`sat status` of 1,000 finished arms", "s", "G9", "at most", 5.0),
    "status-memory": Goal("peak memory of that", "GiB", "G9", "at most", 1.0),
    "report-seconds": Goal("`sat report` of 1,000 finished arms", "s", "G9", "at most", 5.0),
    "report-memory": Goal("peak memory of that", "GiB", "G9", "at most", 1.0),
    **{
        f"{name}-10000-{unit}": Goal(
            f"{what} of 10,000 arms{', peak memory' if unit == 'memory' else ''}", of, "G22", "at most", limit
        )
        for name, what in (
            ("dry-run", "`sat run --dry-run`"),
            ("prepare", "preparing the units"),
            ("status", "`sat status --all`"),
            ("report", "`sat report`"),
        )
        for unit, of, limit in (("seconds", "s", 30.0), ("memory", "GiB", 1.0))
    },
    "two-processes-pgd": Goal(
        "two processes, PGD-7 step, ResNet-18, batch 64", "x as fast as one", "G23", "at least", 1.7
    ),
    "two-processes-autoattack": Goal(
        "two processes, AutoAttack's APGD-CE, ResNet-18", "x as fast as one", "G23", "at least", 1.8
    ),
    **{
        f"option-{name}": Goal(f"step with {name}, small-cnn, 32x32, batch 64", _BARE, "G24", "at most", 1.1)
        for name in (
            "TRADES",
            "N-FGSM",
            "Free-AT",
            "restarts",
            "EMA",
            "clipping",
            "micro-batches",
            "mixup",
            "AWP",
            "hardest of each batch",
        )
    },
    "dry-run": Goal("`sat reproduce fig2 --dry-run`", _NUMPY, "G4", "at most", 4.0),
    "peers-resnet18": Goal(f"{_RESNET}: fastest peer", _OURS, "G10", "at least", 1.1),
    "peers-resnet18-TensorFlow": Goal(f"{_RESNET}: fastest peer", "x our TensorFlow", "G10", "at least", 1.0),
    "peers-small-cnn": Goal(f"{_DIGITS}: fastest peer", _OURS, "G10", "at least", 2.0),
    "peers-small-cnn-TensorFlow": Goal(f"{_DIGITS}: fastest peer", "x our TensorFlow"),
    "peers-resnet18-Linf": Goal("Linf PGD-7 step, ResNet-18, batch 16: fastest peer", _OURS),
    "peers-small-cnn-Linf": Goal("Linf PGD-7 step, small-cnn on 8x8 digits, batch 64: fastest peer", _OURS),
    **{
        f"peers-{row}-{name}": Goal(f"{step}: {name}", _OURS)
        for row, step in (("resnet18", _RESNET), ("small-cnn", _DIGITS))
        for name in ("torchattacks", "foolbox", "ART", "ART AdversarialTrainer", "ours, channels_last")
    },
    "peers-resnet18-ART TensorFlow": Goal(f"{_RESNET}: ART AdversarialTrainer, TensorFlow", "x our TensorFlow"),
    "imagenet": Goal("recorder, rankings, splits, 1.28 M x 1000 logits", "x summing the logits", "G11", "at most", 8.0),
    "training-memory": Goal("peak memory of training, ResNet-18", _BARE, "G12", "at most", 1.1),
    "evaluation-memory": Goal("peak memory of evaluation, ResNet-18", _BARE, "G12", "at most", 1.1),
    "training-memory-beyond": Goal("that of training, without what network, images and PyTorch take", _BARE),
    "evaluation-memory-beyond": Goal("that of evaluation, without what network, images and PyTorch take", _BARE),
    "autoattack-package-resnet18": Goal(
        "AutoAttack, engine package, ResNet-18, 2 threads", _AA, "G13", "at least", 1.2
    ),
    "autoattack-fast-resnet18": Goal("AutoAttack, engine fast, ResNet-18, 2 threads", _AA, "G13", "at least", 1.5),
    "autoattack-folded-resnet18": Goal("AutoAttack, engine folded, ResNet-18, 2 threads", _AA),
    "autoattack-package-small-cnn": Goal("AutoAttack, engine package, small-cnn, digits, 2 threads", _AA),
    "autoattack-folded-small-cnn": Goal("AutoAttack, engine folded, small-cnn, digits, 2 threads", _AA),
    "autoattack-fast-small-cnn": Goal(
        "AutoAttack, engine fast, small-cnn, digits, 2 threads", _AA, "G13", "at least", 3.0
    ),
    "autoattack-memory-package": Goal(
        "peak memory of AutoAttack, engine package, 64 images, ResNet-18", "x the package", "G12", "at most", 1.1
    ),
    "autoattack-memory-fast": Goal(
        "peak memory of AutoAttack, engine fast, 64 images, ResNet-18", "x the package", "G12", "at most", 1.1
    ),
    "demo-seconds": Goal("`make demo` after the install", "s", "G21", "at most", 180.0),
    **{
        f"plan-{name}": Goal(
            f"`examples/{name}.toml`: seconds taken", "x expected, or its inverse", "G25", "at most", 1.25
        )
        for name in ("digits", "digits-strategies")
    },
    "gpu-rate": Goal(
        "ResNet-18, 32x32, PGD-7, batch 128, bf16, full AT, on an H100", "images/s", "G15", "at least", 12_000
    ),
    "gpu-peers": Goal("that, each in its best precision", "x the fastest peer", "G15", "at least", 3.0),
    "gpu-share-10%": Goal("SAT step on a GPU, A = 10 %, ResNet-18, bf16", _STEP, "G16", "at most", 1.2),
    "gpu-share-30%": Goal("SAT step on a GPU, A = 30 %, ResNet-18, bf16", _STEP, "G16", "at most", 1.1),
    "gpu-share-50%": Goal("SAT step on a GPU, A = 50 %, ResNet-18, bf16", _STEP, "G16", "at most", 1.05),
    "gpu-recipe-100%": Goal("the recipe's 201 epochs, wide network, full AT", "minutes", "G17", "at most", 30),
    "gpu-recipe-50%": Goal("the recipe's 201 epochs, wide network, 50 % ESAT", "minutes", "G17", "at most", 17),
    "gpu-utilisation": Goal("full AT of the wide network", "% of the bf16 matrix rate", "G17", "at least", 40),
    "gpu-idle": Goal("the device idles in a step of ResNet-18, bf16", "% of the time", "G18", "at most", 5),
    "gpu-autoattack": Goal(
        "AutoAttack standard, ResNet-18, two thirds robust: package", "x engine fast", "G19", "at least", 4.0
    ),
    "gpu-flags": Goal("flags in which the two differ", "of 1,000", "G19", "at most", 3),
    "gpu-more-robust": Goal("robust images of fast, beyond those of the package", "images", "G19", "at most", 0),
    "cpu-peers": Goal("PGD-7 step on a CPU, ResNet-18, float32", "x the fastest peer", "G20", "at least", 1.1),
    "cpu-bf16": Goal("that in bf16, on a processor with AMX", "x as fast as float32", "G20", "at least", 2.0),
}
