"""Two machines are told apart by the facts that matter to who asks."""

from dataclasses import replace

from harness.machine import identity, system


def test_only_the_facts_that_are_named_tell_machines_apart() -> None:
    here = system.describe()
    other = replace(here, cpu_model="Another CPU", kernel="0.0")
    assert identity.unlike(here, here, identity.HARDWARE) == []
    assert identity.unlike(here, other, identity.HARDWARE) == ["cpu_model"]
    assert identity.unlike(here, other, ("kernel", "sockets")) == ["kernel"]


def test_what_an_older_document_does_not_state_is_the_same() -> None:
    here = replace(system.describe(), cpu_signature="6-1-1", sockets=2)
    older = replace(here, cpu_signature=None, sockets=None)
    assert identity.unlike(here, older, identity.HARDWARE) == ["sockets"]


def test_an_instruction_set_is_a_list_in_a_document() -> None:
    here = replace(system.describe(), isa=("avx2",))
    assert identity.values(here, ("isa", "usable_cpus")) == {"isa": ["avx2"], "usable_cpus": here.usable_cpus}
    assert identity.values(replace(here, isa=None), ("isa",)) == {"isa": []}
