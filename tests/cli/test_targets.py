"""Targets on the command line: amounts with units, and what latency is measured on."""

import argparse

import pytest

import spa
from spa.cli.targets import add_targets, machine_of, target_of


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_targets(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (("--rf", "2"), spa.Target(rf=2)),
        (("--bytes", "10MB"), spa.Target(bytes=1e7)),
        (("--bytes", "2.5 KiB"), spa.Target(bytes=2560)),
        (("--bytes", "4096"), spa.Target(bytes=4096)),
        (("--latency", "5ms"), spa.Target(latency_ms=5)),
        (("--latency", "0.5 s"), spa.Target(latency_ms=500)),
        (("--latency-ratio", "2"), spa.Target(latency_ratio=2)),
    ],
)
def test_amounts_have_units(words, target):
    assert target_of(parsed(*words)) == target


@pytest.mark.parametrize(
    "words",
    [("--latency", "5"), ("--latency", "5 hours"), ("--bytes", "ten"), ("--bytes=-1MB",),
     ("--bytes", "nanMB"), ("--latency-ratio", "0.5")],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(words):
    with pytest.raises(spa.SettingError):
        target_of(parsed(*words))


def test_a_machine_is_named():
    machine = machine_of(parsed("--rf", "2", "--threads", "0", "--batch", "4"))
    assert str(machine) == "CPUExecutionProvider, all cores, batch 4"
    with pytest.raises(spa.SettingError, match="no Imagined here; it has .*CPUExecutionProvider"):
        machine_of(parsed("--rf", "2", "--provider", "Imagined"))
    with pytest.raises(spa.SettingError, match="threads must be 0 or more"):
        machine_of(parsed("--rf", "2", "--threads", "-1"))
