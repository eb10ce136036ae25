"""What is common to all formats: the model that is written, and what a format adds around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.backend.deployment import Interface
from harness.backend.settings import CompileSettings

MODEL_FILE = "model.xml"

_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Deployment:
    """One version of a model, with the settings that it is served with."""

    name: str
    version: int
    interface: Interface
    settings: CompileSettings
    description: str
    """Of the model, for people."""

    @property
    def batch(self) -> int:
        """Images that a call holds."""
        return self.interface.inputs[0].shape[0]

    @property
    def properties(self) -> dict[str, str]:
        """OpenVINO's properties as texts."""
        return {name: in_text(value) for name, value in self.settings.properties.items()}


@dataclass(frozen=True)
class Files:
    """The text files that a format adds: paths from their place to their content."""

    of_version: Mapping[str, str]
    """In the version's folder, beside the model."""
    of_model: Mapping[str, str]
    """In the model's folder; all versions share them."""
    of_folder: Mapping[str, str]
    """In the whole folder, in place of those that are there; all models share them."""


@dataclass(frozen=True)
class Start:
    """How a server is started, and where the model is then."""

    command: str
    port: int
    """Of gRPC."""
    model: str
    """The model's name there."""

    @property
    def endpoint(self) -> str:
        return f"grpc://127.0.0.1:{self.port}/{self.model}"


class Format(Protocol):
    """A module that knows one server's layout."""

    @property
    def SERVER(self) -> str:
        """The server's name."""

    @property
    def REMARKS(self) -> tuple[str, ...]:
        """What to know before use, in sentences."""

    def properties(self, deployment: Deployment) -> dict[str, str]:
        """Return OpenVINO's properties as far as the server is told them."""

    def files(self, deployment: Deployment, folder: Path) -> Files:
        """Return the files beside the model, for a folder that may hold other models.

        Raises:
            OutputError: what the folder holds does not go with them.
        """

    def start(self, deployment: Deployment, folder: Path) -> Start:
        """Return how to start the server on this machine with what lies in `folder`."""


def in_text(value: str | int | bool) -> str:
    """Return a property of OpenVINO as the text that it reads."""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value)


def program(name: str) -> str:
    """Return the source of a program of `harness.serving.programs`, which goes beside the model."""
    return (_PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
