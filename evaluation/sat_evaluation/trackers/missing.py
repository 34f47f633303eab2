"""What a tracker says where its library is missing."""

from __future__ import annotations

from importlib.util import find_spec

from sat_core.errors import NotInstalledError


def require(tracker: str, package: str, remedy: str) -> None:
    """Raise NotInstalledError, with what to do, unless a package can be imported; it is not imported."""
    if find_spec(package) is None:
        raise NotInstalledError(f"--track {tracker} needs {package}: {remedy}")
