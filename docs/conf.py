"""How Sphinx builds these pages: `make docs`. Nothing is fetched, neither while they are built nor by the pages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

from sphinx.ext.autodoc.mock import mock

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "backends", "datasets", "evaluation", "docs/_ext")]

# No framework is needed to read the docstrings of a backend.
autodoc_mock_imports = ["torch", "torchvision", "tensorflow", "keras", "h5py"]
with mock(autodoc_mock_imports):
    importlib.import_module("keras").backend = SimpleNamespace(backend=lambda: "tensorflow")
    packages = {name: importlib.import_module(name) for name in ("sat_core", "sat_torch", "sat_tensorflow")}
    for package in packages.values():
        # names that load on first use are not among its variables yet
        vars(package).update({name: getattr(package, name) for name in package.__all__})
        # functions first, then classes
        package.__all__ = sorted(package.__all__, key=lambda name: isinstance(vars(package)[name], type))
homes = [
    (vars(package)[name].__module__, name)
    for package in packages.values()
    for name in package.__all__
    if getattr(vars(package)[name], "__module__", package.__name__) != package.__name__
]

project = "sat-core"
author = "the sat-core authors"
project_copyright = author
version = release = packages["sat_core"].__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "docstrings",
    "mathml",
    "repository",
    "offline",
]
exclude_patterns = ["_build", "_ext"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [
    # no inventory of other projects is fetched, so their names lead nowhere
    (r"py:.*", r"(abc|attrs|collections|keras|matplotlib|nn|np|numpy|pandas|pathlib|tensorflow|tf|torch|typing)\..*"),
    (r"py:(class|obj)", r".*\.T"),
    (r"py:class", r"sat_(datasets|evaluation|tensorflow|torch)\..*"),  # types of modules that have no page
    (r"py:class", r"sat_core\..*\._\w+"),  # types that a module keeps to itself
    (r"py:class", r"\w+"),  # a name that is imported for type checkers only
]

html_theme = "furo"
html_title = f"sat-core {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks come with their outputs; tests/docs/test_notebooks.py executes them

autosummary_generate = True
autosummary_context = {
    "exports": {name: list(package.__all__) for name, package in packages.items()},
    # what a package exports is described on its own page, and not again on that of the module which defines it
    "exported": {home: [name for module, name in homes if module == home] for home, _ in homes},
}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
