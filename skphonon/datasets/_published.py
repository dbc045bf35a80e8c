"""Files that others published: found in a folder or downloaded, and proved by hash.

A file is trusted for its sha256 alone, wherever it came from.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from skphonon._warnings import warn_user

_log = logging.getLogger(__name__)

SYNTHETIC = "SYNTHETIC: simulated with noise, not measured"  # source of such data


class SyntheticDataWarning(UserWarning):
    """Measured data could not be had, and simulated ones were returned instead."""


class RemoteFile(NamedTuple):
    """Path of a file in its authors' repository, and its sha256."""

    path: str
    sha256: str


class PublishedFiles(NamedTuple):
    """The files of one data set, by the names they are kept under in `folder`."""

    base_url: str
    folder: str
    files: Mapping[str, RemoteFile]

    def find(
        self, data_home: str | os.PathLike[str] | None, download_if_missing: bool
    ) -> tuple[dict[str, Path], Path, str]:
        """Return the paths of the files, the folder that was searched, and advice.

        Missing files are downloaded where that is allowed; the advice tells how to get
        the others.
        """
        home, download, advice = self._choose_folder(data_home, download_if_missing)
        paths = {}
        for name, remote in self.files.items():
            places = home / self.folder / name, home / name, home / remote.path
            path = next((place for place in places if place.is_file()), None)
            if path is None and download:
                path = self._download(name, home / self.folder)
            if path is not None:
                paths[name] = path
        return paths, home, advice

    def read(self, name: str, paths: Mapping[str, Path]) -> bytes:
        """Return the content of a file, if its hash shows that it is the right one."""
        remote = self.files[name]
        content = paths[name].read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != remote.sha256:
            raise ValueError(
                f"{paths[name]} must have sha256 {remote.sha256}, got {digest}: it is "
                "damaged, or not the published file. Delete it, to have it downloaded "
                f"at the next call, or put {self.base_url}{remote.path} in its place."
            )
        return content

    def _choose_folder(
        self, data_home: str | os.PathLike[str] | None, download_if_missing: bool
    ) -> tuple[Path, bool, str]:
        """Return the folder to look in, whether to fill it, and advice if it is not."""
        import pooch

        folder = os.environ.get("SKPHONON_DATA")
        if data_home is None and folder:
            advice = (
                "Add the files to that folder, named by SKPHONON_DATA, from "
                f"{self.base_url}; or unset SKPHONON_DATA or pass data_home to have "
                "them downloaded."
            )
            return Path(folder), False, advice
        home = pooch.os_cache("skphonon") if data_home is None else data_home
        advice = (
            "Pass download_if_missing=True to have the files downloaded, or copy them "
            f"there from {self.base_url}."
        )
        return Path(home).expanduser(), download_if_missing, advice

    def _download(self, name: str, folder: Path) -> Path:
        """Download one file, leaving it in `folder` only if it is the published one."""
        import pooch

        _log.info("downloading %s to %s", name, folder)
        remote = self.files[name]
        url = self.base_url + remote.path
        try:
            path = pooch.retrieve(
                url,
                f"sha256:{remote.sha256}",
                fname=name,
                path=folder,
                # The files are small; a stream would be left open by an HTTP error.
                downloader=pooch.HTTPDownloader(stream=False),
            )
        except ValueError as error:
            raise ValueError(
                f"{url} must be the published file, got another one, which was "
                f"discarded: {error} Try again later; if it stays so, the download is "
                "being altered on the way or the repository has changed."
            ) from error
        except OSError as error:
            raise OSError(
                f"Could not download {url} to {folder}: {error}. Check the connection "
                f"and try again, or copy the file there under the name {name}."
            ) from error
        return Path(path)


def warn_of_synthetic(what: str, reason: object) -> str:
    """Say that data are simulated, in a warning and in the words for their source."""
    warn_user(
        f"{what} could not be had; SYNTHETIC data are returned, simulated with noise. "
        f"{reason}",
        SyntheticDataWarning,
    )
    return SYNTHETIC


def description(name: str) -> str:
    """Return the text that comes with a data set."""
    folder = resources.files("skphonon.datasets") / "descr"
    return (folder / f"{name}.rst").read_text(encoding="utf-8")
