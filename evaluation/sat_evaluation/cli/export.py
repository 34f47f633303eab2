"""`sat export`, `sat push` and `sat pull`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import

_EXPORT = "A network as a folder that others load: weights, config.json and a model card made from the results."
_PUSH = "An exported folder to Hugging Face's hub, or to that of HF_ENDPOINT, by the package huggingface_hub."
_PULL = "An exported folder from a hub, whole or not at all; sat_core.load_model(DIR) loads it."
_NAME = "OWNER/NAME on the hub"


def add(commands: Any) -> None:
    """Add the commands and their arguments."""
    export = commands.add_parser("export", help="a network as a folder that others load", description=_EXPORT)
    export.add_argument("path", metavar="PATH", help="folder of a finished arm, or a checkpoint")
    export.add_argument("directory", metavar="DIR", help="a new folder, or an export of the same weights")
    export.add_argument("--licence", default="", help="of the network, as apache-2.0 (default: said to be unknown)")
    export.add_argument("--model", help="package.module:factory of your own network, to check the folder with")
    export.add_argument("--onnx", action="store_true", help="also model.onnx, checked where onnxruntime is installed")
    export.add_argument("--backend", help="torch or tensorflow (default: that which trained)")
    add_import(export)
    add_debug(export)
    export.set_defaults(run=_export)
    push = commands.add_parser("push", help="an exported folder to a hub", description=_PUSH)
    push.add_argument("directory", metavar="DIR", help="a folder that `sat export` made")
    push.add_argument("name", metavar="NAME", help=_NAME)
    push.add_argument("--private", action="store_true", help="only its owner sees it, if it is made now")
    push.add_argument("--revision", metavar="BRANCH", help="made if it is not there (default: the main one)")
    push.add_argument("--message", default="", help="of the commit")
    add_debug(push)
    push.set_defaults(run=_push)
    pull = commands.add_parser("pull", help="an exported folder from a hub", description=_PULL)
    pull.add_argument("name", metavar="NAME", help=_NAME)
    pull.add_argument("directory", metavar="DIR", help="a new folder, or an export of the same weights")
    pull.add_argument("--revision", metavar="R", help="a branch, a tag or a commit (default: what is newest)")
    add_debug(pull)
    pull.set_defaults(run=_pull)


def _export(arguments: argparse.Namespace) -> int:
    from sat_evaluation.publish.export import export

    names = ("licence", "model", "onnx", "backend")
    made = export(arguments.path, Path(arguments.directory), **{name: getattr(arguments, name) for name in names})
    size = sum((made.folder / name).stat().st_size for name in made.files)
    print(f"{made.folder}: {', '.join(made.files)}, {size / 1e6:.1f} MB")
    if not made.checked:
        print("a network of your own: --model package.module:factory checks that the weights load into it")
    if not arguments.licence:
        print("the card says that its licence is unknown; --licence NAME names one")
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from sat_evaluation.publish.hub import push

    names = ("private", "revision", "message")
    options = {name: getattr(arguments, name) for name in names}
    print(push(arguments.directory, arguments.name, **options))
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from sat_evaluation.publish.hub import pull

    folder = pull(arguments.name, arguments.directory, revision=arguments.revision)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0
