"""`sat export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sat_evaluation.cli.options import add_debug, add_import

_EXPORT = "A network as a folder that others load: weights, config.json and a model card made from the results."


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
