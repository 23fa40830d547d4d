"""Folders that hold data sets, and downloads into them."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from detox_sim.data.base import check_option

CONNECT, READ = 3, 30  # seconds without an answer before the next mirror is tried


def root() -> Path:
    """Return the folder that data sets share: DETOX_SIM_DATA, else the user's cache folder.

    Its layout is that of torchvision's root, so that both can share it.
    """
    import pooch

    given = os.environ.get("DETOX_SIM_DATA")
    return Path(given).expanduser() if given else Path(pooch.os_cache("detox-sim"))


def given_folder(folder: str | None) -> Path | None:
    """Return the option `folder` as a path, None if it is not given."""
    if folder is None:
        return None
    check_option("folder", folder, str)
    return Path(folder).expanduser()


def fetch(name: str, md5: str, mirrors: Sequence[str], folder: Path) -> Path:
    """Return the path of a file in a folder; download it first if it is not there.

    Parameters
    ----------
    name : str
    md5 : str
        Checksum of a download; a file that is there already is not checked.
    mirrors : sequence of str
        Addresses, each ending with "/", that are tried one after the other.
    folder : Path
        Made if it does not exist. The file gets its name only when it is complete and checked.

    Raises
    ------
    ConnectionError
        When no mirror has that file; names the error of each.
    ValueError
        When the folder cannot be written into.

    Examples
    --------
    >>> fetch("a.gz", "0" * 32, ["http://127.0.0.1:9/"], Path("/tmp"))
    Traceback (most recent call last):
    ConnectionError: 127.0.0.1:9 (ConnectionError)
    """
    import pooch

    path, tried = folder / name, []
    downloader = pooch.HTTPDownloader(timeout=(CONNECT, READ), chunk_size=2**20)
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{name} cannot be downloaded into {folder}: {error.strerror}; name another with the "
            "variable DETOX_SIM_DATA"
        ) from error
    for mirror in mirrors:
        try:
            pooch.retrieve(
                mirror + name, f"md5:{md5}", fname=name, path=folder, downloader=downloader
            )
            return path
        except (OSError, ValueError) as error:
            tried.append(f"{urlsplit(mirror).netloc} ({_reason(error)})")
    raise ConnectionError(", ".join(tried))


def _reason(error: Exception) -> str:
    """Return in a few words why a download failed."""
    if "hash" in str(error):
        return "wrong checksum"
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    return getattr(error, "strerror", None) or type(error).__name__
