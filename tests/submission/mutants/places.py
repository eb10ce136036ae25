"""Mutants of names and places: folders, models, strangers, links."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..broken_tree import OFFLINE, RUN, Tree
from .changes import Change, Named


def _names() -> Named:
    def scenario(name: str) -> Change:
        return lambda tree: tree.rename(tree.model / OFFLINE, name)

    def submitter(name: str) -> Change:
        return lambda tree: (tree.set(tree.system, submitter=name), tree.rename(tree.home, name))

    def system(name: str) -> Change:
        return lambda tree: (
            tree.rename(tree.system, f"{name}.json"),
            tree.rename(tree.home / "results" / "this-machine", name),
        )

    for name in (
        "offline",
        "OFFLINE",
        "OffLine",
        "Offline2",
        "Server",
        "MultiStream",
        "Interactive",
        "server",
    ):
        yield "offline", f"the scenario is called {name}", scenario(name)
    for name in ("offline", "OFFLINE", "OffLine", "Server"):
        yield "closed", f"the scenario is called {name}", scenario(name)
    for name in ("a b", ".us", "us.", "Ü", "u{s}", "u,s", " us", "__pycache__", "US"):
        yield "offline", f"the submitter is called {name!r}", submitter(name)
    for name in ("a b", ".us"):
        yield "closed", f"the submitter is called {name!r}", submitter(name)
    for name in ("a b", ".m", "m.", "m.json", "Ü", "m{x}", "m,x", "__pycache__"):
        yield "offline", f"the system is called {name!r}", system(name)
    for upper in ("Performance", "perf"):
        yield "offline", f"performance is called {upper}", _renamed("performance", upper)
    for other in ("run_2", "run1"):
        yield "offline", f"run_1 is called {other}", _renamed(RUN, other)
    yield "offline", "accuracy is called Accuracy", _renamed("accuracy", "Accuracy")
    yield "offline", "the division is called OPEN", lambda tree: tree.rename(tree.home.parent, "OPEN")
    yield "offline", "the division is called network", lambda tree: tree.rename(tree.home.parent, "network")
    for base in ("offline", "closed"):
        yield (
            base,
            "Offline and offline side by side",
            lambda tree: shutil.copytree(tree.model / "Offline", tree.model / "offline"),
        )


def _renamed(path: str, name: str) -> Change:
    return lambda tree: tree.rename(tree.model / OFFLINE / path, name)


def _models() -> Named:
    def named(name: str, mapping: dict[str, Any] | None, base: str = "offline") -> Change:
        def apply(tree: Tree) -> None:
            path = tree.home / "model_mapping.json"
            if mapping is None:
                path.unlink(missing_ok=True)
            else:
                tree.write(path, json.dumps(mapping))
            tree.rename(tree.model, name)

        return apply

    for name in (
        *("bert-99", "llama3.1-8b", "retinanet", "yolo-95", "yolo-99", "whisper", "rgat", "ssd-resnet34"),
        *(
            "resnet",
            "resnet50",
            "mobilenet",
            "mine-of-old",
            "mine",
            "my-efficientnet",
            "llama3_1-8b",
            "bert-99-mine",
        ),
        *("wan-2.2-t2v-a14b", "e2e-rag-qna", "dlrm-v3", "3d-unet-99", "stable-diffusion-xl", "gptj-99"),
    ):
        yield "offline", f"the model is called {name} and mapped to resnet", named(name, {name: "resnet"})
        yield "offline", f"the model is called {name}", named(name, None)
    for value in ("resnet50", "yolo-99", "bert-99", "nothing", "", None, 1, ["resnet"], "Resnet"):
        yield "offline", f"the model is mapped to {value!r}", named("mine", {"mine": value})
        yield (
            "offline",
            f"another model is mapped to {value!r}",
            named("mine", {"mine": "resnet", "other": value}),
        )
    for name in ("resnet", "resnet50-int8", "mobilenet", "yolo-99", "ResNet50"):
        yield "closed", f"the model is called {name}", named(name, None)


def _strangers() -> Named:
    def file(name: str) -> Change:
        return lambda tree: tree.write(tree.root / name, "{}")

    def beside(name: str) -> Change:
        return lambda tree: tree.write(tree.model / OFFLINE / name, "{}")

    def at_home(name: str) -> Change:
        return lambda tree: tree.write(tree.home / name, "{}")

    def folder(where: Callable[[Tree], Path], name: str) -> Change:
        return lambda tree: (where(tree) / name).mkdir()

    for name in (
        "out.csv",
        "README.md",
        "LICENSE.md",
        "notes.pdf",
        "assets/x.png",
        ".gitignore",
        ".github/x",
    ):
        yield "offline", f"{name} in the root", file(name)
    for name in ("x.txt", "x.md"):
        yield (
            "offline",
            f"{name} in the division",
            lambda tree, name=name: tree.write(  # type: ignore[misc]
                tree.home.parent / name, "x"
            ),
        )
    for name in (
        *(
            "code/x.py",
            "code/resnet/x.py",
            "calibration.md",
            "notes.md",
            "notes.txt",
            "LICENSE",
            "src/a b.txt",
        ),
        *("src/.keep", "src/__pycache__/x.pyc", "measurements/x.json", "compliance/x.txt", "results/x.csv"),
        *("results/this-machine/privateid.json", "results/this-machine/x.txt", "systems/x.txt"),
        *("systems/other.json", "results/this-machine/mine/x.txt", "results/other/x.txt", "code/a b.py"),
    ):
        yield "offline", f"{name} at home", at_home(name)
    for name in (
        *("accuracy/results.json", f"{RUN}/results.json", "results.json", f"{RUN}/mlperf_log_trace.json"),
        *("accuracy/mlperf_log_trace.json", f"{RUN}/mlperf_log_accuracy.json", f"{RUN}/x.txt", "x.txt"),
        *("accuracy/x.txt", "accuracy/baseline_accuracy.txt", "mlperf.conf", "audit.config", "x/y.txt"),
        *("performance/run_2/x.txt", "performance/x.txt", f"{RUN}/x/y.txt", "accuracy/x/y.txt"),
        *("accuracy/.gitkeep", f"{RUN}/.gitkeep", "performance/power/x.txt", "performance/ranging/x.txt"),
    ):
        yield "offline", f"{name} in the scenario", beside(name)
    for name in (
        *("TEST01/accuracy/results.json", f"TEST01/{RUN}/results.json", f"TEST04/{RUN}/results.json"),
        *(f"TEST01/{RUN}/x.txt", "TEST01/x.txt", "TEST01/accuracy/x.txt", "TEST04/accuracy/x.txt"),
        *("TEST05/x.txt", f"TEST01/{RUN}/mlperf_log_accuracy.json", f"TEST04/{RUN}/mlperf_log_trace.json"),
    ):
        yield "closed", f"{name} in the scenario", beside(name)
    yield "offline", "a folder beside the scenarios", _copied("backup")
    yield "offline", "an empty folder at home", folder(lambda tree: tree.home, "empty")
    yield "offline", "an empty folder in a run", folder(lambda tree: tree.model / OFFLINE / RUN, "empty")
    yield "offline", "an unknown division", folder(lambda tree: tree.root, "opened")
    yield (
        "offline",
        "a submitter without results",
        lambda tree: tree.write(tree.home.with_name("Them") / "README.md", "x"),
    )
    yield "offline", "a system without models", folder(lambda tree: tree.home / "results", "other")
    yield (
        "offline",
        "a description without results",
        lambda tree: shutil.copy(tree.system, tree.system.with_name("other.json")),
    )
    for what, where in (
        ("in the sources", lambda tree: tree.home / "src" / "link"),
        ("at home", lambda tree: tree.home / "notes.md"),
        ("in the division", lambda tree: tree.home.parent / "Them"),
        ("in the root", lambda tree: tree.root / "assets"),
        ("among the systems", lambda tree: tree.home / "results" / "other"),
        ("among the scenarios", lambda tree: tree.model / "SingleStream"),
    ):
        yield "offline", f"a link to a folder {what}", _linked(where, "src")
        yield "offline", f"a link to a file {what}", _linked(where, "src/README.md")
    yield "offline", "a broken link", _linked(lambda tree: tree.home / "src" / "link", "nowhere")
    yield "offline", "a link in a circle", _linked(lambda tree: tree.home / "src" / "link", "src/link")


def _copied(name: str) -> Change:
    return lambda tree: shutil.copytree(tree.model / OFFLINE, tree.model / name)


def _linked(where: Callable[[Tree], Path], target: str) -> Change:
    return lambda tree: where(tree).symlink_to(tree.home / target)


def all_of_them() -> Named:
    """Yield the mutants of this module."""
    yield from _names()
    yield from _models()
    yield from _strangers()
