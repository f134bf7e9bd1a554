"""Archives that lie: nothing leaves them for the disk, and none makes the memory grow."""

import bz2
import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from tests.corpora.bad_input import FILES, flipped, set_aside
from tests.corpora.dumps import (
    compressed,
    documents,
    found,
    tar,
    warc_record,
    zipped,
)
from workflow_scripts.corpora import clean
from workflow_scripts.corpora.archives import members
from workflow_scripts.corpora.counts import Counts
from workflow_scripts.errors import CorpusError

CLIMBING = ["../out.py", "r/../../out.py", "/tmp/out.py", "r\\..\\..\\out.py"]


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_path_that_climbs_out_of_its_archive_is_set_aside_and_nothing_written(pack, name, tmp_path):
    path = tmp_path / "inner" / ("repos.tar" if pack is tar else "repos.zip")
    path.parent.mkdir()
    path.write_bytes(pack({"a.py": b"good", name: b"evil", "b.py": b"good"}))
    assert set_aside("github", path) == ["good", "unsafe_path", "good"]
    assert sorted(tmp_path.rglob("*")) == [path.parent, path]


def test_links_and_devices_in_an_archive_are_no_documents(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo(f"{kind.decode()}.py")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    assert found("github", tmp_path / "a.tar") == []


def encrypted(data: bytes) -> bytes:
    """A zip archive whose first member says that it needs a password, in both of its headers."""
    central = data.index(b"PK\x01\x02")
    for place in (6, central + 8):
        data = data[:place] + struct.pack("<H", 1) + data[place + 2 :]
    return data


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        (lambda data: flipped(data, 60), "damaged_member"),
        (encrypted, "encrypted_member"),
        (lambda data: data[:8] + b"\x63\0" + data[10:].replace(b"PK\x01\x02\x14\x03\x14\0\0\0\x08", b"PK\x01\x02\x14\x03\x14\0\0\0\x63", 1), "damaged_member"),
    ],
    ids=["checksum", "password", "unknown method"],
)  # fmt: skip
def test_a_broken_member_of_a_zip_archive_is_set_aside(pack, reason, tmp_path):
    (tmp_path / "a.zip").write_bytes(pack(zipped(FILES)))
    broken, *others = set_aside("github", tmp_path / "a.zip")
    assert broken.startswith(reason)
    assert [text.encode() for text in others] == list(FILES.values())[1:]


def test_names_that_are_no_utf8_become_ids(tmp_path):
    entry = tarfile.TarInfo("r/Gr\udcf6\udcdfe.py")
    entry.size = 300
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", errors="surrogateescape") as archive:
        archive.addfile(entry, io.BytesIO(b"x = 1\n" * 50))
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    kept = list(clean.clean(documents("github", tmp_path / "a.tar"), clean.Filters(frozenset()), Counts()))
    assert [(name, document.text) for name, document in kept] == [
        (f"{tmp_path}/a.tar/r/Gr\\udcf6\\udcdfe.py", "x = 1\n" * 50)
    ]


BOMB = bytes(20_000_000)


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize(
    ("kind", "name", "pack"),
    [
        ("webtext", "a.jsonl.gz", bytes),
        ("webtext", "a.jsonl.zst", bytes),
        ("books", "a.txt.xz", bytes),
        ("oscar", "a.txt.bz2", bytes),
        ("github", "a.zip", lambda bomb: zipped({"a.py": bomb})),
        ("github", "a.tar.gz", lambda bomb: tar({"a.py": bomb})),
        ("common_crawl", "a.warc.wet.gz", lambda bomb: warc_record(bomb, "conversion", "text/plain")),
    ],
)
def test_a_bomb_of_twenty_megabytes_is_set_aside_in_little_memory(kind, name, pack, tmp_path):
    """The largest record is 1 MB here."""
    path = tmp_path / name
    path.write_bytes(compressed(name, pack(BOMB)))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert set_aside(kind, path) == ["too_large"]
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_archives_in_archives_are_not_opened(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"inner.zip": zipped({"a.py": b"code"}), "b.py": b"code"}))
    assert documents("github", tmp_path / "a.zip") == [(f"{tmp_path}/a.zip/b.py", "code")]


def test_overlapping_members_of_a_zip_bomb_are_set_aside(tmp_path):
    """Two names of one member: the trick of archives that unpack to petabytes."""
    data = zipped({"a.py": b"x" * 5000, "b.py": b"y" * 5000})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        second = archive.infolist()[1].header_offset
    entry = data.rindex(b"PK\x01\x02")
    (tmp_path / "a.zip").write_bytes(data[: entry + 42] + struct.pack("<I", 0) + data[entry + 46 :])
    assert second > 0
    assert set_aside("github", tmp_path / "a.zip")[1].startswith("damaged_member")


def test_a_damaged_bzip2_member_is_set_aside_as_others_are(tmp_path):
    """bz2 raises OSError, as a disk that fails does; that one has a number, and is nobody's record."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.py", os.urandom(5_000))
        archive.writestr("b.py", "good")
    (tmp_path / "a.zip").write_bytes(flipped((tmp_path / "a.zip").read_bytes(), 500))
    (_, broken), (_, good) = documents("github", tmp_path / "a.zip")
    assert broken.reason.startswith("damaged_member")
    assert good == "good"


def test_a_member_whose_two_names_are_no_utf8_is_told(tmp_path):
    data = bytearray(zipped({"grün.py": b"code"}))
    local = data.index("grün".encode())
    data[local + 2] = 0xFF
    (tmp_path / "a.zip").write_bytes(bytes(data))
    ((_, broken),) = documents("github", tmp_path / "a.zip")
    assert broken.reason == "invalid_name"
    central = data.index("grün".encode())
    data[central + 2] = 0xFF
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(CorpusError, match="not a whole zip archive"):
        documents("github", tmp_path / "a.zip")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_damage_of_the_stream_that_an_archive_lies_in_is_no_members(pack, tmp_path):
    """What follows cannot be told apart: no member is set aside for it, and whoever reads gets the one message."""
    files = {name: random.Random(name).randbytes(2_000_000).hex().encode() for name in ("a.py", "b.py")}
    data = pack(tar(files))
    path = tmp_path / ("a.tar.gz" if pack is gzip.compress else "a.tar.bz2")
    for place in range(300_000, len(data) - 1000, 400_000):
        path.write_bytes(flipped(data, place))
        with pytest.raises(CorpusError, match="broken after byte"):
            [member.read() for member in members(path)]
