"""Evaluates a finished arm at another level: its picked epoch is attacked anew, nothing is trained."""

from __future__ import annotations

import attrs

from sat_core import checkpoint, files
from sat_core.arm_results import ArmResults
from sat_core.errors import RunDirectoryError
from sat_core.job import Job
from sat_core.results import clean_and_robust, level_results, weaker_levels


def evaluate_arm(job: Job, level: str) -> ArmResults:
    """Attack the picked epoch of a finished arm at a level of evaluation, on the images that the arm reported.

    The results keep what they had; those of the strongest level are the reported ones. An evaluation that was
    interrupted is continued, and a level that the results have is not run again.

    Args:
        job: Of the arm, with its folder, data and backend.
        level: One of `sat_core.autoattack.LEVELS`.

    Returns:
        The new content of ``results.json``.

    Raises:
        DataError: The folder has no results of this arm, or they are damaged.
        CheckpointError: The weights of the picked epoch are gone, damaged, or of another training.
        RunDirectoryError: The data are others than when the arm was trained.
        Interrupted: A stop was requested; the state is saved.
    """
    folder = job.folder
    results = folder.own_results()
    if results.at(level) is not None:
        return results
    if results.data.fingerprint != job.data.fingerprint():
        raise RunDirectoryError(
            f"{folder}: images or labels of {job.data.name} are others than when the arm was trained\n"
            "put the data back as they were"
        )
    checkpoint.read(folder.best_checkpoint).check(results.experiment)
    with job.session():
        classifier = job.load_best()
        evaluation = job.attack(classifier, level, folder.report_name(level), "evaluation")
    split, classes = results.split, job.data.classes
    clean, _ = clean_and_robust(evaluation, split, classes)
    measured = level_results(evaluation, level, split, classes)
    for each in (measured, *weaker_levels(evaluation, level, split, classes)):
        if results.at(each.attacks.level) is None:
            results = results.with_level(clean, each)
    seconds = {**results.cost.seconds, "evaluation": round(folder.seconds().get("evaluation", 0.0), 3)}
    results = attrs.evolve(results, cost=attrs.evolve(results.cost, seconds=seconds))
    files.write_json(folder.results_file, results.to_json())
    return results
