"""Archives (.tar, .zip) and folders of files.  Nothing is ever unpacked to disk, and no archive in an archive opened.

A member is a regular file; links, devices and folders are none.  A name that climbs out of its archive is set aside.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from workflow_scripts.corpora import containers
from workflow_scripts.corpora.containers import bounded, check_head, opened, suffix_of, unchanged
from workflow_scripts.corpora.records import Unreadable
from workflow_scripts.errors import CorpusError


@dataclass(frozen=True)
class Member:
    """A file in an archive or folder; `open` is good until the next member is taken."""

    archive: Path
    name: str
    offset: int
    """Where its header begins in the archive, decompressed; 0 in a folder."""
    open: Callable[[], BinaryIO]

    @property
    def climbs_out(self) -> bool:
        """Whether its name leads out of the archive."""
        return PurePosixPath(self.name).is_absolute() or ".." in self.name.replace("\\", "/").split("/")

    def read(self) -> bytes | Unreadable:
        """Its bytes, or why there are none: too large, damaged, encrypted, or named to climb out of the archive.

        Raises CorpusError where a tar archive ends within it.
        """
        if self.climbs_out:
            return Unreadable("unsafe_path", 0, self.offset)
        try:
            with self.open() as file:
                return bounded(file, self.offset)
        except (zipfile.BadZipFile, zlib.error, EOFError, LZMAError, NotImplementedError) as error:
            return Unreadable("damaged_member", 0, self.offset, str(error))
        except tarfile.TarError as error:
            raise broken_archive(self.archive, self.offset, f"{error} in {self.name}") from error
        except OSError as error:  # bz2's word for damage; that of the system has a number
            if error.errno is not None:
                raise
            return Unreadable("damaged_member", 0, self.offset, str(error))
        except UnicodeDecodeError:
            return Unreadable("invalid_name", 0, self.offset)
        except RuntimeError:  # zipfile's answer to a member that needs a password
            return Unreadable("encrypted_member", 0, self.offset)


def members(path: Path) -> Iterator[Member]:
    """The files in a .tar (compressed or not) or .zip archive, in their order, or below a folder, by name.

    Raises CorpusError if the archive is cut off, damaged between members, or changed before the last one is taken.
    """
    if path.is_dir():
        yield from _folder_members(path)
    elif suffix_of(path) == ".zip":
        yield from _zip_members(path)
    else:
        with opened(path) as stream:
            yield from tar_members(stream, path)


def _folder_members(path: Path) -> Iterator[Member]:
    for file in files_below(path):
        with unchanged(file):
            yield Member(path, file.relative_to(path).as_posix(), 0, partial(open, file, "rb"))


def files_below(folder: Path) -> list[Path]:
    """Regular files by name; links are not followed, and `.git` folders left out."""
    found = (path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _zip_members(path: Path) -> Iterator[Member]:
    with unchanged(path):
        check_head(path)
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path}: byte 0: not a whole zip archive ({error}); fetch it again") from error
        with archive:
            for entry in archive.infolist():
                if not entry.is_dir() and not stat.S_ISLNK(entry.external_attr >> 16):
                    yield Member(path, entry.filename, entry.header_offset, partial(archive.open, entry))


def tar_members(stream: BinaryIO, path: Path) -> Iterator[Member]:
    """The files in an open tar archive; `path` stands in messages."""
    forward = _Forward(stream)
    try:
        with tarfile.open(fileobj=forward, mode="r:") as archive:
            while (entry := archive.next()) is not None:
                if entry.isreg():
                    yield Member(path, entry.name, entry.offset, partial(archive.extractfile, entry))
                archive.members.clear()  # tarfile remembers every member
        if forward.last_block.strip(b"\0") or not forward.last_block:  # tarfile takes a broken header for the end
            raise tarfile.ReadError("broken header, or no end of the archive")
        while more := stream.read(containers.BUFFER):
            if more.strip(b"\0"):
                raise tarfile.ReadError("something follows its end, as in archives that were put together by `cat`")
    except tarfile.TarError as error:
        raise broken_archive(path, forward.tell(), str(error)) from error


def broken_archive(path: Path, offset: int, cause: str) -> CorpusError:
    return CorpusError(f"{path}: broken after byte {offset:,} (decompressed): {cause}; fetch or write it again")


class _Forward:
    """A stream as tarfile wants it: it seeks forward, and reads no header longer than the largest record."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self.last_block = b""

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int) -> None:
        while self._offset < offset and self._take(min(containers.BUFFER, offset - self._offset)):
            pass

    def read(self, size: int) -> bytes:
        if size > containers.LARGEST_RECORD + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last_block = self._take(size)
        return self.last_block

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._offset += len(data)
        return data
