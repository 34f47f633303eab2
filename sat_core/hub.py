"""Networks on a hub of Hugging Face's, through the package ``huggingface_hub`` where that is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sat_core.errors import DataError, NotInstalledError, SatError, quoted

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TOKEN = re.compile(r"hf_\w+|(?i:bearer)\s+\S+")
_CLIENTS = {"httpx", "httpx2", "httpcore", "requests", "urllib3"}
"""Packages by which releases of the library speak to the hub."""
_UNREACHED = "the hub cannot be reached"
_MEANING = {
    401: "needs a token that may do this: `hf auth login`, or HF_TOKEN",
    403: "the token may not do this",
    404: "not found, or private: check the name and the revision, and `hf auth login` for what is private",
    409: "exists already as something else",
    429: "too many requests; try again later",
}


def check_name(name: str) -> str:
    """Return `name`; DataError unless it is ``owner/name``."""
    if not _NAME.fullmatch(name):
        here = "is a folder here; " if Path(name).is_dir() else ""
        there = "" if here else "a folder that is there, or "
        raise DataError(f"{quoted(name)}: {here}expected {there}OWNER/NAME of a network on a hub")
    return name


def library() -> Any:
    """Return ``huggingface_hub``; NotInstalledError in one line if it is missing."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise NotInstalledError(
            f"hub: huggingface_hub is not installed ({error}): pip install huggingface_hub"
        ) from error
    return huggingface_hub


def download(name: str, files: Sequence[str], revision: str | None = None, into: Path | None = None) -> Path:
    """Fetch files of an export from the hub; returns the folder where they are.

    Args:
        name: ``owner/name``.
        files: Their names; those that are not there are left out.
        revision: A branch, a tag or a commit; by default what is newest.
        into: Where the files go; by default into the library's cache.

    Raises:
        SatError: It is not there, not to be had by this token, or the hub cannot be reached.
    """
    check_name(name)
    hub = library()
    with hub_errors(name):
        target = {} if into is None else {"local_dir": into}
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[*files], **target))


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turn errors of the library into one clear line, without addresses and tokens."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # Without their causes: a traceback shows what the library was doing, and with which headers.
    try:
        yield
    except SatError:
        raise
    except OfflineModeIsEnabled:
        raise DataError(f"{name}: HF_HUB_OFFLINE is set, so only what is in the cache is to be had") from None
    except LocalEntryNotFoundError as error:
        if library().constants.HF_HUB_OFFLINE:
            here = "is a folder here, which needs no hub" if Path(name).is_dir() else "no folder of that name here"
            raise DataError(
                f"{name}: {here}, and HF_HUB_OFFLINE is set, so only what is in the cache is to be had"
            ) from None
        cause = error.__cause__
        reason = _status(cause) if isinstance(cause, HfHubHTTPError) else _UNREACHED
        here = " (it is a folder here, which needs no hub)" if Path(name).is_dir() else ""
        raise DataError(f"{name}: {reason}{here}") from None
    except HfHubHTTPError as error:
        raise DataError(f"{name}: {_status(error)}") from None
    except Exception as error:
        modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if modules & _CLIENTS or isinstance(error, ConnectionError):
            raise DataError(f"{name}: {_UNREACHED} ({type(error).__name__})") from None
        if not isinstance(error, ValueError | OSError):
            raise
        raise DataError(f"{name}: {_TOKEN.sub('…', str(error).splitlines()[0])}") from None


def _status(error: Any) -> str:
    code = getattr(getattr(error, "response", None), "status_code", 0)
    return f"{_MEANING.get(code, 'the hub refused')} ({code})"
