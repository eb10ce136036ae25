"""An export, start to finish: settings, the model's next version, what the server wants beside it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.backend import answers
from harness.backend import deployment as written
from harness.console import note
from harness.dataset.form import Form
from harness.loadgen.settings import RunSettings, within_limits
from harness.machine import system
from harness.measurement import tuned
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card
from harness.serving import repository
from harness.serving.formats import FORMATS
from harness.serving.layout import MODEL_FILE, Deployment, Format, Start
from harness.task import task_of

DOCUMENT = "export.json"
_FORMAT = 1


@dataclass(frozen=True)
class Request:
    """What to export."""

    card: Card
    format: str
    """A key of FORMATS."""
    out: Path
    settings: RunSettings
    """What the user gave; a tuning for its scenario fills in the rest."""
    version: int | None = None
    """None: the next one."""
    scores: bool = False
    """Whether the model gives its own output in place of its task's answers."""
    tuning: bool = True


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    """The version's."""
    deployment: Deployment
    properties: dict[str, str]
    """OpenVINO's, as far as the server is told them."""
    start: Start

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "folder": str(self.folder),
            "version": self.deployment.version,
            "inputs": [asdict(one) for one in self.deployment.interface.inputs],
            "outputs": [asdict(one) for one in self.deployment.interface.outputs],
            "openvino": self.properties,
            "start": self.start.command,
            "endpoint": self.start.endpoint,
        }


def export(request: Request) -> Exported:
    """Write the next version of a model for a server.

    Raises:
        OutputError: the version is not the next one, the folder has other settings, or cannot be written.
        ModelError: the model is unusable, or does not admit what was asked for.
    """
    card, kind, folder = request.card, FORMATS[request.format], request.out.resolve()
    machine = system.describe()
    found = tuned.find(tuned.key_of(card, request.settings, machine)) if request.tuning else None
    if found is not None and request.settings.scenario.facts.paced:
        # It is the largest of a ladder; an export has one batch, to which a sample alone would be padded.
        found = replace(found, settings=found.settings | {"batch": None})
    settings = request.settings if found is None else found.apply(request.settings)
    settings = within_limits(settings, machine)
    if settings.pinning is None:
        settings = replace(settings, pinning=system.default_pinning())
    if found is not None:
        note(found.told())
    files.require_plain_name(card.name, "The model's name")
    with repository.writing(folder) as staging:
        version = repository.next_version(folder / card.name, request.version)
        staged = staging / str(version)
        staged.mkdir()
        interface = written.write(card, staged / MODEL_FILE, settings.batch or 1, scores=request.scores)
        deployment = Deployment(card.name, version, interface, settings.compile_settings, card.description)
        added, properties = kind.files(deployment, folder), kind.properties(deployment)
        repository.require_same(folder / card.name, added.of_model)
        for name, text in added.of_version.items():
            files.write_text(staged / name, text)
        files.write_json(staged / DOCUMENT, _document(request, deployment, properties))
        repository.write_sums(staged)
        start = kind.start(deployment, folder)
        readme = _readme(deployment, kind, properties, start, request)
        place = repository.place(staged, folder, card.name, version, added, readme)
    return Exported(place, deployment, properties, start)


def run_line(card: Card, scenario: Scenario, deployment: Deployment, start: Start) -> str | None:
    """Return the command that measures a model where `start` serves it; None for a detector."""
    if task_of(card).FORM is Form.BOXES:
        # What harness.backend.served takes from a server is a single tensor.
        return None
    batch = "" if deployment.batch == 1 else f"--batch {deployment.batch} "
    return (
        f"harness run --model {card.named} --data STORE --scenario {scenario} {batch}"
        f"--endpoint {start.endpoint} --out DIR"
    )


def _document(request: Request, deployment: Deployment, properties: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "harness": __version__,
        "model": request.card.name,
        "model_sha256": model_file.sha256(request.card),
        "server": request.format,
        "version": deployment.version,
        "inputs": [asdict(one) for one in deployment.interface.inputs],
        "outputs": [asdict(one) for one in deployment.interface.outputs],
        "openvino": dict(properties),
    }


def _readme(
    deployment: Deployment, kind: Format, properties: Mapping[str, str], start: Start, request: Request
) -> str:
    interface, card = deployment.interface, request.card
    rgb = "RGB pixels, row by row, as `harness prepare` writes them: nothing else is to be done to them"
    measuring = run_line(card, request.settings.scenario, deployment, start)
    answer = "the model's own output" if request.scores else answers.end_of(card).words
    lines = [
        f"# {card.name} for {kind.SERVER}",
        "",
        *([card.description, ""] if card.description else []),
        *(f"- takes {one}: {rgb}" for one in interface.inputs),
        *(f"- gives {one}: {answer}" for one in interface.outputs),
        f"- OpenVINO: {', '.join(f'{name} {value}' for name, value in properties.items())}",
        *(f"- {remark}" for remark in kind.REMARKS),
        "",
        "Start the server:",
        "",
        f"    {start.command}",
        "",
        *(["Measure it with LoadGen, accuracy included:", "", f"    {measuring}", ""] if measuring else []),
        f"Check the files of a version: `cd VERSION && sha256sum -c {repository.SUMS}`.",
    ]
    return "\n".join(lines) + "\n"
