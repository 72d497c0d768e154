"""Atomic writes: the old file or the whole new one, whatever happens."""

import os
from pathlib import Path

import pytest

from mlcore.data.files import atomic_write, missing, require_file
from mlcore.kernels.errors import InputError, MissingFileError


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_new_file_stands_after_the_body(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_temporary_name_is_in_the_same_folder_with_the_same_suffix(tmp_path):
    with atomic_write(tmp_path / "a.npz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        assert temporary.name.startswith(".")
        temporary.touch()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_old_file_survives_any_exception(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with atomic_write(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failed_rename_leaves_no_temporary_file(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == []


def test_content_is_synced_before_the_rename(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (calls.append("rename"), replace(*a))[1])
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert calls[:2] == ["sync", "rename"]


def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "a.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_two_writers_do_not_share_a_temporary_name(tmp_path):
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_errors_name_the_place(tmp_path, monkeypatch):
    with (
        pytest.raises(MissingFileError, match=r"the folder .*nowhere does not exist"),
        atomic_write(tmp_path / "nowhere" / "a"),
    ):
        pass
    with pytest.raises(InputError, match="it is a folder"), atomic_write(tmp_path):
        pass
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="is not writable"), atomic_write(tmp_path / "a"):
        pass


def test_missing_names_the_nearest_file(tmp_path):
    (tmp_path / "train.h5").touch()
    assert str(missing(tmp_path / "trian.h5")).endswith("Did you mean 'train.h5'?")
    assert "nor does the folder" in str(missing(tmp_path / "no" / "a.h5"))
    assert isinstance(missing(tmp_path / "a"), FileNotFoundError)


def test_require_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with pytest.raises(MissingFileError):
        require_file(path)
    with pytest.raises(InputError, match="is not a file"):
        require_file(tmp_path)
    path.touch()
    assert require_file(path) == path
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be read"):
        require_file(path)
