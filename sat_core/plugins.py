"""Code of others that a study names: modules that register rules, losses and so on, and factories of networks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from sat_core.errors import SpecError, brief, quoted, shortened
from sat_core.zoos import ZOOS

PLUGINS = "plugins"
"""Key of a study: the modules that are imported before any of its values is looked at."""


def check_plugins(value: Any) -> tuple[str, ...]:
    """Return the names of modules in `value`, each once; SpecError if it is no list of names."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise SpecError(f'{PLUGINS}: expected a list of modules, as ["my_package.rules"], got {quoted(value)}')
    return tuple(dict.fromkeys(value))


def load_plugins(names: Any, key: str = PLUGINS) -> tuple[str, ...]:
    """Import modules, each of which registers what it brings; returns their names, each once.

    Args:
        names: A list of modules, of installed packages or of the working directory.
        key: What messages call the list.

    Raises:
        SpecError: One cannot be imported, or it is no list of names.
    """
    modules = check_plugins(names)
    for name in modules:
        if name not in sys.modules:
            import_module(name, key, name, "the name of a module")
    return modules


def not_loaded(tables: Mapping[str, Any]) -> bool:
    """Return whether a spec names plug-ins that this process has not imported.

    Who only reads a folder must not import what it names: it may come from anybody.
    """
    names = tables.get(PLUGINS, ())
    return not isinstance(names, list | tuple) or not all(name in sys.modules for name in names)


def check_loaded(tables: Mapping[str, Any], folder: object) -> None:
    """Raise SpecError if a spec names plug-ins, or factories of networks, whose modules this process has not imported.

    It imports none. For commands that compute with what a folder says: only who runs them knows whether its modules can
    be trusted.

    Args:
        tables: The spec.
        folder: Where it was found.
    """
    named = dict.fromkeys([*check_plugins(tables.get(PLUGINS, ())), *_factory_modules(tables)])
    missing = [name for name in named if name not in sys.modules]
    if missing:
        options = " ".join(f"--import {name}" for name in missing)
        raise SpecError(
            f"{folder}: names the modules {shortened(', '.join(missing))}; give {shortened(options)} if you trust "
            f"{'it' if len(missing) == 1 else 'them'}"
        )


def _factory_modules(tables: Any, key: str = "") -> Iterator[str]:
    """Modules of the factories in a spec, wherever its grid or its arms name them."""
    if isinstance(tables, Mapping):
        for name, value in tables.items():
            yield from _factory_modules(value, f"{key}.{name}")
    elif isinstance(tables, list | tuple):
        for value in tables:
            yield from _factory_modules(value, key)
    elif isinstance(tables, str) and key.endswith((".model.name", ".ranking.model")):
        module, colon, _ = tables.partition(":")
        if colon and module not in ZOOS:
            yield module


def import_module(module: str, key: str, shown: str, expected: str) -> ModuleType:
    """Import a module of the user's.

    The working directory is searched last, so that no file in it stands in for an installed package, and stays on
    `sys.path`: what is imported may import more of it when it is called.

    Args:
        module: Its name.
        key: Of the setting that names it.
        shown: The setting.
        expected: What the setting is to be.

    Raises:
        SpecError: It cannot be imported.
    """
    if "" not in sys.path:  # which is the working directory, whatever it is when something is imported
        sys.path.append("")
    try:
        return importlib.import_module(module)
    except SpecError as error:  # a name that is taken: the message is ours already
        raise SpecError(f"{key}: cannot import {quoted(shown)}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise _not_imported(module, key, shown, expected, error) from error


def user_factory(name: str) -> Callable[..., Any]:
    """Import what ``package.module:factory`` names. SpecError if there is none."""
    module, _, attribute = name.partition(":")
    expected = "package.module:factory"
    found = import_module(module, "model.name", name, expected)
    try:
        factory = getattr(found, attribute)
    except Exception as error:
        raise _not_imported(module, "model.name", name, expected, error) from error
    if not callable(factory):
        raise SpecError(f"model.name: expected {quoted(name)} to be callable, got {type(factory).__name__}")
    return factory


def _not_imported(module: str, key: str, shown: str, expected: str, error: BaseException) -> SpecError:
    package = module.partition(".")[0]
    # Installed packages come first. One of the same name lacks the user's module: say which file was found.
    where = getattr(sys.modules.get(package), "__file__", None)
    absent = where and isinstance(error, AttributeError | ModuleNotFoundError)
    shadowed = f"\n{package!r} is {where}; if that is not yours, give yours another name" if absent else ""
    return SpecError(f"{key}: cannot import {quoted(shown)} ({brief(error)}); expected {expected}{shadowed}")
