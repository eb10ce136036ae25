"""What native code prints on stderr is heard, and nothing is lost."""

import os
import sys

import pytest

from harness.process.native_stderr import overhear


def test_native_lines_get_the_name_of_the_work_that_prints_them(capfd: pytest.CaptureFixture[str]) -> None:
    def work(name: str) -> None:
        if name != "good":
            os.write(2, f"libjpeg says {name}\n".encode())

    with overhear() as heard:
        before = heard.size()
        work("bad")
        assert heard.size() > before
        os.write(2, b"another library\n")
        print("a note of ours", file=sys.stderr)
        assert heard.sort_out(["good", "bad"], work) == {"bad": "libjpeg says bad"}
    os.write(2, b"afterwards\n")
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["a note of ours", "afterwards", "another library"]


def test_an_error_inside_gives_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    def break_off() -> None:
        with overhear():
            os.write(2, b"printed before the end\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    print("python", file=sys.stderr)
    assert capfd.readouterr().err.splitlines() == ["printed before the end", "python"]
