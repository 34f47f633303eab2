"""The front door: train, evaluate and rank with one call each, in this process.

Everything here is put together from the parts below it, which take the same settings one by one: `sat_core.study` for
many trainings, `sat_core.job` and `sat_core.arm` for one, and the step of each backend for a loop of your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sat_core.arm import run_arm
from sat_core.arrays import check_images
from sat_core.autoattack import AUTOATTACK
from sat_core.backend import Backend
from sat_core.difficulty import extra_metrics
from sat_core.errors import SpecError, quoted
from sat_core.evaluated_model import classifier_of
from sat_core.evaluation import Evaluation
from sat_core.evaluator import get_evaluator
from sat_core.fields import fraction
from sat_core.images import ImageSource
from sat_core.outcome import TrainingResult
from sat_core.own_data import Data
from sat_core.preparation import prepare, rank_in_folder
from sat_core.progress_bar import progress_bar
from sat_core.ranking import Ranking, needs_ranking


def train(
    model: Any,
    data: Data,
    *,
    subset: float | int | str | Sequence[int | str] = 0.5,
    by: str | None = None,
    strategy: str | None = None,
    eps: float | str | None = None,
    norm: str = "L2",
    attack: str = "pgd",
    loss: str = "ce",
    averaging: str = "none",
    epochs: int = 30,
    ranking: Ranking | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    backend: str | Backend | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Train a robust classifier with adversarial examples for a subset of the training data only.

    The training set is split into A and B. Both are trained on; adversarial examples are made for A (paper, Eq. 2). If
    the strategy needs a ranking by difficulty, a non-robust classifier of the same architecture is trained first. After
    each learning-rate drop, AutoAttack on a part of the test set picks the epoch; on the rest it measures the accuracy
    that is reported (paper, section 4.1).

    Args:
        model: The name of one of the backend's models, or a `torch.nn.Module` or `keras.Model` that takes images in
            [0, 1] and returns logits. A model that you pass is trained in place. Named models normalise their input
            with the mean and deviation of the training images; yours gets the images as they are.
        data: See `Data`. Images `(n, h, w, c)`, uint8 or float32 in [0, 1]; labels integers `(n,)`.
        subset: What A is: a share in [0, 1] (with a decimal point), a number of examples or classes (an integer), or a
            class name, or a list of class names or numbers.
        by: "examples" (ESAT) or "classes" (CSAT): what the share is a share of. Default: "examples".
        strategy: Which examples or classes are taken first: "hardest", "easiest" or "random"; or how each batch chooses
            its own: "online-random", "online-hardest" or "online-boundary". Default: "hardest"; a list of classes is
            "listed" and takes no other.
        eps: Radius of the threat model in units of [0, 1] pixels, such as 0.5 or "8/255". Default: 0.5 for L2, 8/255
            for Linf.
        norm: "L2" or "Linf".
        attack: That of the training: "pgd", or with a single step "fgsm", "rs-fgsm", "n-fgsm" or "free".
        loss: Of the members of A: "ce", "trades", "mart" or "alp".
        averaging: "ema:0.999" or "swa:0.75" checks, reports and returns an average of the weights.
        epochs: Passes over the training set.
        ranking: A ranking that was made before; see `rank`.
        seed: Of the weights (of named models), the order of examples, augmentation and random starts.
        settings: More settings as in a study file, as keys or tables: ``{"training.lr": 0.05, "loss": {"beta": 3.0}}``.
            They win over the arguments.
        backend: "torch" or "tensorflow", or a backend. Default: the model's own; for a name, the environment variable
            SAT_BACKEND, or PyTorch.
        device: "cpu", "cuda" or "cuda:N". Default: where the model is; the CPU for a name.
        out: Folder for results and checkpoints, the same as that of a study with one arm. The same call continues there
            after an interruption, and returns at once when all is done. Without it nothing is kept on disk.
        progress: Show a progress bar.

    Returns:
        The trained classifier with its accuracies, per-image results, split and ranking.

    Raises:
        SatError: Settings, model or data do not fit, before anything is trained; or the folder is another experiment's.

    Example:
        >>> import sat_core as sat
        >>> result = sat.train("small-cnn", "digits", subset=0.5, eps=0.5, epochs=30)  # doctest: +SKIP
        >>> result.robust_accuracy.value, result.robust_accuracy.interval  # doctest: +SKIP
    """
    keys: dict[str, Any] = {"training.epochs": epochs, "attack.norm": norm, "training.seed": seed}
    keys |= {"attack.kind": attack, "loss.kind": loss, "training.averaging": averaging}
    keys |= {} if eps is None else {"attack.eps": eps}
    size: Any = subset.item() if isinstance(subset, np.number) else subset
    if isinstance(size, int | float):
        keys |= {"subset.kind": by or "examples", "subset.strategy": strategy or "hardest", "subset.size": size}
    else:
        for name, value, listed in (("strategy", strategy, "listed"), ("by", by, "classes")):
            if value not in (None, listed):
                raise SpecError(f'{name}: a list of classes is "{listed}", got {quoted(value)}: leave {name} out')
        classes = [size] if isinstance(size, str) else list(size)
        keys |= {"subset.kind": "classes", "subset.strategy": "listed", "subset.classes": classes}
    with prepare(model, data, keys, settings, backend, device, out, progress) as (study, job, folder):
        if ranking is None and needs_ranking(job.spec):
            ranking = rank_in_folder(study, job, folder)
        with job.folder.locked(wait=10):
            # Only under the lock: else it might remove what another process is writing.
            job.folder.sweep()
            results = run_arm(job, ranking)
        return TrainingResult.read(job, results, ranking, folder.path if out else None)


def rank(
    model: Any,
    data: Data,
    *,
    epochs: int = 10,
    metric: str = "entropy",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    backend: str | Backend | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Ranking:
    """Measure how difficult each training example is: train a non-robust classifier and record its outputs.

    Difficulty is the entropy of the softmax, averaged over the epochs of the training (paper, Eq. 3); the ranking has
    the other metrics that need no extra pass, too.

    Args:
        model: As in `train`. A model that you pass is trained from the weights that it has, which should be fresh ones,
            and gets them back afterwards.
        data: See `Data`.
        epochs: Passes over the training set.
        metric: By which examples are ordered, as `ranking.metric` of a study. One that takes an extra pass gets it;
            ``settings={"ranking.extra": [...]}`` adds more of them.
        seed: Of weights and order.
        settings: More settings as in a study file: ``{"ranking.record": "online"}``.
        backend: As in `train`.
        device: As in `train`.
        out: Folder for `ranking.npz`, where the same call continues.
        progress: Show a progress bar.

    Returns:
        Scores per example and metric; `Ranking.hardest_first()` gives the order.

    Raises:
        SatError: Settings, model or data do not fit.
    """
    keys = {"training.epochs": epochs, "ranking.epochs": epochs, "ranking.metric": metric, "training.seed": seed}
    keys |= {"ranking.extra": [metric]} if metric in extra_metrics() else {}
    with prepare(model, data, keys, settings, backend, device, out, progress) as (study, job, folder):
        try:
            return rank_in_folder(study, job, folder)
        finally:
            if job.make_classifier is not None:
                job.make_classifier()  # the user's weights are as they were, also after an error or Ctrl-C


def evaluate(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    eps: float | str,
    norm: str,
    attacks: str | Sequence[str] = "standard",
    engine: str = "package",
    batch_size: int | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
    classes: int | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    output: str = "",
    backend: str | Backend | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure robust accuracy with AutoAttack (Croce & Hein 2020).

    Args:
        model: A `torch.nn.Module` or `keras.Model` that takes images in [0, 1] and returns logits, a `Classifier`, or
            the result of `train`; the path of a checkpoint of ours, of an exported folder, or of a ``.keras``; or the
            name of a network: ``timm:resnet18d?pretrained``, ``package.module:factory``.
        images: `(n, h, w, c)`, uint8 or float32 in [0, 1].
        labels: Integers `(n,)`.
        eps: Radius in units of [0, 1] pixels: 0.5 or "8/255".
        norm: "L2" or "Linf".
        attacks: A level, "screening", "standard" or "plus", or one or several names of AutoAttack's attacks.
        engine: Whose attacks: "package" (the reference, for every number that is reported), "folded" or "fast".
        batch_size: Images attacked at a time; part of the result, as the attacks draw random numbers per batch. If
            memory runs out, half of it is taken. Default: 250; the engine "fast", which draws alike in every batch,
            takes as many as keep a GPU busy.
        seed: Of the attacks.
        weights: Path of what the model is to have first: a file of `torch.save` with a state dict, alone or beside
            other things, safetensors, ``.weights.h5``, ``.keras`` or ``.h5``, of any program. Nothing in it is
            executed. A model that you pass takes them over.
        classes: Number of logits. Default: as many as the model has.
        mean: Per channel, in units of [0, 1] pixels: subtracted before the model, for models that expect normalised
            images. Nothing is normalised unless this says so, or the record of the model's library, or the checkpoint
            is of a training here.
        std: What images are divided by then.
        output: Which part of what the model returns are its logits, as ``"0"`` or ``"head.logits"``; by default the
            usual, see `sat_core.outputs.logits_in`.
        backend: As in `train`.
        device: As in `train`.
        out: Path of an .npz file that the evaluation is saved to after every batch, and continued from.
        progress: Show a progress bar.

    Returns:
        Robust and clean accuracy with intervals, and for each image which attack broke it.

    Raises:
        SatError: The model gives no logits for these images, the weights are not its own, a setting is wrong, or
            AutoAttack is not installed.

    Example:
        >>> import sat_core as sat
        >>> sat.evaluate(network, images, labels, weights="own.pt", norm="Linf", eps="8/255")  # doctest: +SKIP
    """
    if not isinstance(images, ImageSource):
        images = check_images(images)  # before the model: what is wrong with images is not to look like its fault
    classifier = classifier_of(
        model,
        images.shape[1:],
        labels,
        weights=weights,
        classes=classes,
        mean=mean,
        std=std,
        output=output,
        backend=backend,
        device=device,
    )
    if isinstance(attacks, str):
        attacks = (attacks,) if attacks in AUTOATTACK else attacks
    with progress_bar(progress) as bar:
        return get_evaluator()(
            classifier,
            images,
            labels,
            norm=norm,
            eps=fraction(eps),
            attacks=attacks if isinstance(attacks, str) else tuple(attacks),
            seed=seed,
            batch_size=batch_size,
            engine=engine,
            path=None if out is None else Path(out),
            progress=lambda share, attack: bar("evaluation", share, 1.0, attack),
        )
