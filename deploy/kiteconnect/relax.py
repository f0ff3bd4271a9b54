"""A build backend that fetches the official kiteconnect wheel and relaxes its one stale pin.

kiteconnect asks for ``autobahn[twisted]==19.11.2`` (2019); every daphne of this decade needs a newer autobahn, so pip
can install no current pair of the two. The wheel is downloaded by its SHA-256, its ``Requires-Dist`` line for autobahn
is loosened and its version gets the local label ``+relaxed``. Not one byte of its code changes.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

NAME = "kiteconnect"
VERSION = "5.2.2"
SHA256 = "16adcd62b0a3f364c9b68f5941acbb1ed2354be4d116517eb2572a64569f3fc6"
RELAXED = f"{VERSION}+relaxed"
STALE_PIN = re.compile(r"^Requires-Dist: autobahn\[twisted\]==19\.11\.2$", re.MULTILINE)
# A fixed stamp makes two builds the same, byte for byte.
STAMP = (2020, 1, 1, 0, 0, 0)


def get_requires_for_build_wheel(config_settings: Mapping[str, str] | None = None) -> list[str]:
    """PEP 517: pip itself is all this backend needs, and it is in `requires` already."""
    return []


def build_wheel(
    wheel_directory: str, config_settings: Mapping[str, str] | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517: write the relaxed wheel into `wheel_directory` and return its file name.

    Raises
    ------
    subprocess.CalledProcessError
        If the wheel cannot be downloaded or its hash differs.
    RuntimeError
        If the stale pin is gone from the metadata: then this folder has done its work and can be deleted.
    """
    file_name = f"{NAME}-{RELAXED}-py3-none-any.whl"
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(_download(Path(folder))) as official,
        zipfile.ZipFile(Path(wheel_directory, file_name), "w", zipfile.ZIP_DEFLATED) as relaxed,
    ):
        _copy(official, relaxed)
    return file_name


def _download(folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{NAME}=={VERSION} --hash=sha256:{SHA256}\n")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--dest", str(folder), "--requirement", str(requirement)),
        ],
        check=True,
    )
    return next(folder.glob("*.whl"))


def _copy(official: zipfile.ZipFile, relaxed: zipfile.ZipFile) -> None:
    old_info, new_info = f"{NAME}-{VERSION}.dist-info", f"{NAME}-{RELAXED}.dist-info"
    record: list[str] = []
    for name in official.namelist():
        if name.endswith("/RECORD"):
            continue
        data = official.read(name)
        if name.endswith("/METADATA"):
            data = _relax(data.decode()).encode()
        new_name = name.replace(old_info, new_info)
        _write(relaxed, new_name, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{new_name},sha256={digest},{len(data)}")
    _write(relaxed, f"{new_info}/RECORD", "\n".join([*record, f"{new_info}/RECORD,,", ""]).encode())


def _relax(metadata: str) -> str:
    metadata = re.sub(r"^Version: .*$", f"Version: {RELAXED}", metadata, count=1, flags=re.MULTILINE)
    metadata, found = STALE_PIN.subn("Requires-Dist: autobahn[twisted]>=22.4.2", metadata)
    if found != 1:
        raise RuntimeError("kiteconnect no longer pins autobahn==19.11.2: delete deploy/kiteconnect and pin it plainly")
    return metadata


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, STAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
