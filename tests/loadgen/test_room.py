"""A disk without room: named before a test, and when LoadGen's logs were cut."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Oracle

from harness import files
from harness.errors import OutputError

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from harness.cli import main
main()
"""
_FILLED = """
import sys
from pathlib import Path
from harness import files
from harness.errors import OutputError

folder = Path(sys.argv[1])
files.require_room(folder, "LoadGen's logs")
with (folder / "mlperf_log_detail.txt").open("wb", buffering=0) as log:
    try:
        while log.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    files.require_room(folder, "LoadGen's logs")
except OutputError as error:
    print(error)
"""
# In a user and mount namespace of its own, where one may mount a small disk.
_SMALL = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


def run_words(oracle: Oracle, out: Path) -> list[str]:
    words = ["run", "--model", oracle.card_path, "--data", oracle.store.path, "--scenario", "SingleStream"]
    return [str(word) for word in [*words, "--duration", "0.5", "--out", out]]


def on_small_disk(size: str, folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    folder.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SMALL, "sh", size, str(folder)]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_disk_with_too_little_room_is_refused_before_the_probe(oracle: Oracle, tmp_path: Path) -> None:
    out = tmp_path / "small"
    done = on_small_disk("600k", out, [sys.executable, "-m", "harness", *run_words(oracle, out)])
    assert done.returncode == 2
    assert f"No room for LoadGen's logs in {out}" in done.stderr
    assert "1.0 MB needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_was_cut_at_the_limit_is_told_from_a_smaller_one(tmp_path: Path) -> None:
    code = _LIMITED.replace("from harness.cli import main\nmain()", _FILLED)
    command = [sys.executable, "-c", code, "100000", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.startswith("This process may write files of 100.0 kB at most, which is too little"), (
        done
    )


def test_logs_that_were_cut_by_a_limit_are_named_with_the_limit(oracle: Oracle, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, "4096", *run_words(oracle, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "files of 4.1 kB at most, which is too little for LoadGen's logs" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_after_a_test_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    done = on_small_disk("600k", folder, [sys.executable, "-c", _FILLED, str(folder)])
    assert done.stdout == (
        f"No room for LoadGen's logs in {folder} (No space left on device): free some space or choose "
        f"another folder, then run again.\n"
    )


def test_a_folder_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    files.require_room(tmp_path, "logs")
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_one_place_says_choose_another_folder() -> None:
    package = Path(files.__file__).parent
    told = [path.name for path in package.rglob("*.py") if "choose another folder" in path.read_text()]
    assert told == ["files.py"], "files.elsewhere names the variable where only that helps"


def test_where_only_the_cache_is_full_its_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    inside, beside = tmp_path / "cache" / "models", tmp_path / "out"
    for folder, said in ((inside, "set HARNESS_CACHE to another folder"), (beside, "choose another folder")):
        folder.mkdir(parents=True)
        with pytest.raises(OutputError, match=said):
            files.require_free_space(folder, 1 << 60, "a model")
        (folder / "file").touch()
        with pytest.raises(OutputError, match=said):
            files.make_writable_folder(folder / "file" / "below")
