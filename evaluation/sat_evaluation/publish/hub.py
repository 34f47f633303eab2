"""Exported folders to a hub and back: the work of `sat push` and `sat pull`."""

from __future__ import annotations

import shutil
from pathlib import Path

from sat_core.checkpoint import EXPORTED as WEIGHTS
from sat_core.errors import CheckpointError
from sat_core.exported import CONFIG, Exported
from sat_core.hub import check_name, download, hub_errors, library
from sat_evaluation.publish.export import CARD, MODULE, ONNX, check_target, is_export, new_folder

FILES = (CONFIG, WEIGHTS, CARD, MODULE, ONNX)
"""What goes to a hub and comes from it; other files of a folder stay where they are."""


def push(
    folder: str | Path, name: str, *, private: bool = False, revision: str | None = None, message: str = ""
) -> str:
    """Copy an exported folder to a hub; returns its address there.

    The hub is Hugging Face's, or that of the environment variable HF_ENDPOINT; the token is that of ``hf auth login``
    or of HF_TOKEN.

    Args:
        folder: Made by `sat_evaluation.publish.export.export`.
        name: ``owner/name``; made if it is not there.
        private: Whether only its owner sees it; for one that is made.
        revision: A branch, made if it is not there; by default the main one.
        message: Of the commit.

    Raises:
        SatError: It is no export, or the hub refuses, or cannot be reached.
    """
    folder = Path(folder)
    exported = Exported.read(folder)
    if not is_export(folder):
        raise CheckpointError(f"{folder}: expected an export of sat-core, found no {WEIGHTS}\n`sat export` makes one")
    check_name(name)
    hub = library()
    with hub_errors(name):
        api = hub.HfApi(library_name="sat-core")
        address = api.create_repo(name, private=private or None, exist_ok=True)
        if revision:
            api.create_branch(name, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=[*FILES],
            revision=revision,
            commit_message=message or f"{exported.model or 'A network'}, exported by sat-core",
        )
    return str(address)


def pull(name: str, directory: str | Path, *, revision: str | None = None) -> Path:
    """Fetch an exported folder from a hub, whole or not at all.

    Args:
        name: ``owner/name``.
        directory: A new or an empty folder, or one with an export of the same weights.
        revision: A branch, a tag or a commit; by default what is newest.

    Raises:
        SatError: What is there is no export; or it cannot be had; or `directory` has other files.
    """
    target = Path(directory)
    with new_folder(target) as partial:
        download(name, FILES, revision, into=partial)
        # The library keeps notes on what it has fetched there.
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        try:
            exported = Exported.read(partial)
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {str(error).partition(': ')[2]}") from error
        if not is_export(partial):
            raise CheckpointError(f"{name}: expected an export of sat-core, found no {WEIGHTS}")
        check_target(target, exported.origin)
    return target
