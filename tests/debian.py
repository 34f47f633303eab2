"""Debian's packages for tests that install what they need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping


def install(packages: Mapping[str, str]) -> None:
    """Install the packages whose programs are missing (program to package); RuntimeError says which cannot be."""
    missing = [package for program, package in packages.items() if not found(program, strict=False)]
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *arguments], capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(f"{', '.join(missing)} cannot be installed: {done.stderr.strip()[-500:]}")


def found(program: str, strict: bool = True) -> str:
    """Where a program lies; daemons are not on everyone's PATH."""
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if path is None and strict:
        raise RuntimeError(f"{program} is not installed")
    return path or ""
