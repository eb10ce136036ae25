"""What a fleet refuses, in one sentence, before it has measured anything."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import harness
from conftest import Oracle

from harness.commands.fleet import words
from harness.errors import HarnessError
from harness.fleet import home, luggage, member, session, table
from harness.machine import system

RUN = ("--address", "auto", "--", "compare", "--model", "builtin-resnet50")
SERVED = ("--address", "auto", "--", "run", "--model", "builtin-resnet50", "--data", "store")
SERVED += ("--scenario", "Offline", "--endpoint", "grpcs://host:1/it")


def a_member(stores: Mapping[str, str] | None = None, **changes: Any) -> member.Member:
    return member.of("", member.hello([]) | {"stores": stores or {}} | changes)


def test_another_version_is_refused_with_the_difference() -> None:
    here = member.versions(system.describe())
    one = a_member()
    member.require_same([one], here)
    other = replace(one, versions={**here, "openvino": "2020.4"}, hostname="there")
    with pytest.raises(HarnessError, match=r"\(there\) has openvino 2020.4, here is 20\d\d"):
        member.require_same([one, other], here)
    lacks = replace(one, versions={**here, "nncf": None}, hostname="there")
    with pytest.raises(HarnessError, match=r"\(there\) has nncf not installed"):
        member.require_same([lacks], here)


def test_other_code_of_the_same_version_is_refused() -> None:
    here = member.versions(system.describe())
    with pytest.raises(HarnessError, match=r"\(there\) has other code of the harness .*--send-harness"):
        member.require_same([a_member(code="0" * 12, hostname="there")], here)


def test_a_machine_with_a_harness_that_says_less_or_more_is_refused_by_its_version() -> None:
    here = member.versions(system.describe())
    said = {name: value for name, value in member.hello([]).items() if name != "code"}
    with pytest.raises(HarnessError, match=r"has harness 0\.0\.1, here is"):
        member.require_same([member.of("", said | {"versions": here | {"harness": "0.0.1"}, "new": 1})], here)
    with pytest.raises(HarnessError, match=r"has other code of the harness .* \(unknown, here"):
        member.require_same([member.of("", said)], here)


def test_another_store_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    path, recipe = str(oracle.store.path), oracle.card.input.recipe.key
    one = a_member(member.hello([path], [recipe])["stores"])
    member.require_stores([one, one])
    with pytest.raises(HarnessError, match="holds other samples"):
        member.require_stores([one, replace(one, stores={path: "another"}, hostname="there")])
    missing = str(tmp_path / "nothing")
    with pytest.raises(HarnessError, match=r"cannot use the store .*nothing"):
        member.require_stores([a_member(member.hello([missing])["stores"])])
    with pytest.raises(HarnessError, match="no samples of the recipe another"):
        member.require_stores([a_member(member.hello([path], ["another"])["stores"])])


def test_a_store_whose_samples_were_changed_is_refused(new_oracle: Any) -> None:
    store = new_oracle(count=10).store
    (entry,) = store.recipes.values()
    with (store.path / entry.file).open("r+b") as file:
        file.seek(5)
        file.write(b"\xff")
    with pytest.raises(HarnessError, match="has other pixels than were prepared"):
        member.require_stores([a_member(member.hello([str(store.path)])["stores"])])


def test_the_harness_that_travels_is_whole(tmp_path: Path) -> None:
    package = luggage.pack(tmp_path)
    code = "from harness import resources; from harness.fleet import luggage; import json; " + (
        "print(json.dumps([luggage.is_sent(), luggage.digest(), resources.MLPERF_CONF.exists(), "
        "sorted(path.name for path in resources.MODELS.iterdir())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    is_sent, digest, has_rules, models = json.loads(done.stdout)
    assert (is_sent, digest, has_rules) == (True, luggage.digest(), True)
    assert "builtin-resnet50" in models
    assert not luggage.is_sent()


def test_a_kind_that_no_machine_is_of_is_refused_with_those_there_are() -> None:
    one, other = a_member(kind="cpu-1c"), a_member(kind="cpu-2c", host="1" * 16)
    assert member.choose([one, other, replace(one, host="2" * 16)], ()) == [one, other]
    assert member.choose([one, other], (other.name,)) == [other]
    with pytest.raises(HarnessError, match=r"no machine 'cpu-3c', only cpu-1c, cpu-2c\. Did you mean"):
        member.choose([one, other], ("cpu-1c", "cpu-3c"))


def test_only_values_of_the_options_that_name_models_are_taken_for_models(oracle: Oracle) -> None:
    card, other = str(oracle.card_path), "builtin-resnet50"
    order = words.parse(["compare", "--model", card, f"--model={other}", "--baseline", card, "--data", card])
    assert order.words[2].startswith("{CARD ")
    assert order.words[3:9] == ("--model", other, "--baseline", card, "--data", card)
    assert order.cards == (order.words[2], other)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--address", "127.0.0.1:9", *RUN[2:]], "Nobody answers at"),
        (["--address", "nowhere", *RUN[2:]], "is no address"),
        (["--address", "local:0", *RUN[2:]], "as in local:1"),
        (["--address", "local:²", *RUN[2:]], "as in local:1"),
        (["--address", "auto", "--", "prepare"], "A fleet cannot do 'prepare'"),
        (["--address", "auto", "--", "compare", "--model", "builtin-resnet5"], "Did you mean"),
        ([*RUN, "--out=x"], "leave them out"),
        ([*SERVED, "--ca", __file__], "--ca does not travel"),
        ([*RUN, "--price", "1", "EUR"], "give `fleet run` --prices FILE"),
        (["--dataset", "custom", *RUN], "give it, too"),
        (["--address", "auto", "--prepare", "x", "--", "frontier", "--data", "store"], "it names none"),
        (["--prices", "nothing.toml", *RUN], "Cannot use --prices nothing.toml"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(given: list[str], told: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install '.[fleet]'")
    done = harness("fleet", "run", "--out", tmp_path / "out", *given)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_patterns_of_published_networks_are_no_cards_of_ours() -> None:
    order = words.parse(["frontier", "--models", "regnet*", "--card", "builtin-resnet50"])
    assert order.cards == ("builtin-resnet50",)
    assert order.words[:3] == ("frontier", "--models", "regnet*")


def test_a_machine_whose_tests_did_not_all_pass_says_so_and_what_to_do(tmp_path: Path) -> None:
    one = a_member()
    task = home.Task(one.name, one.kind, one.host, one.hostname, ("run",), "", "", 0, (), 0, "{}")
    rows = [session.Row(one, tmp_path / str(code), replace(task, exit_code=code)) for code in (0, 1)]
    good, bad = table.rows(rows, tmp_path).splitlines()[-2:]
    assert "measured  " in good
    assert "measured: a test is invalid or misses its target; to measure anew, remove the folder" in bad


def test_without_ray_the_extra_is_named(harness_without: Any) -> None:
    done = harness_without("ray", "fleet", "status", "--address", "auto")
    assert done.returncode == 2
    assert "inference-harness[fleet]" in done.stderr
