"""The memorised model in the package: what its record says it is, and what the committed records began with."""

import json
from pathlib import Path

import pytest

import kmod
from kmod.cli import main
from kmod.experiments.settings import Setting
from kmod.experiments.starts import SHIPPED, Bench
from kmod.lab.trial import try_edit
from kmod.models import packaged_record

RECORDS = Path(__file__).parents[1] / "results" / "rq1_reliability" / "cpu.jsonl"


@pytest.fixture(scope="module")
def nano():
    return kmod.load_model("nano-atlas", device="cpu")


def test_it_is_the_one_that_its_record_speaks_of(nano, atlas):
    record = packaged_record("nano-atlas")
    assert nano.matches(record["fingerprint"]) and record["facts_fingerprint"] == atlas.fingerprint()
    tests = kmod.score(nano, atlas, ["tests"]).rate("tests")
    assert tests == kmod.Rate(**record["tests"]) and tests.value > 0.98
    assert record["evidences"]["value"] > 0.999 and record["settings"]["seed"] == 0
    with pytest.raises(ValueError, match="no model that comes with kmod"):
        packaged_record("nano")


def test_the_records_of_training_0_began_with_it(nano):
    (state,) = SHIPPED
    prepared = Bench().prepared(state)
    assert prepared.model.fingerprint() == nano.fingerprint()
    records = map(json.loads, RECORDS.read_text("utf-8").splitlines())
    models = {record["model"] for record in records if Setting(**record["settings"]).state == state}
    assert len(models) == 1 and nano.matches(models.pop())


def test_one_edit_is_tried(nano, atlas):
    before = nano.fingerprint()
    trial = try_edit(nano, atlas, "France", "P36", "Rome")
    assert nano.fingerprint() == before and trial.learnt == len(trial.answers) == 2
    assert [answer.after[0] for answer in trial.answers] == ["Rome", "Rome"] and trial.fact.object == "Paris"
    free = try_edit(nano, atlas, "France", "P36", "Rome", block="all", delta=None)
    assert len(trial.broken) < 30 < len(free.broken) <= free.known
    assert "✓ learnt: 2 of 2 unseen phrasings" in str(trial) and f"and {len(free.broken) - 8:,} more" in str(free)
    tight = str(try_edit(nano, atlas, "France", "P36", "Rome", delta=1e-6))
    assert "✗ not learnt: 0 of 2 unseen phrasings; 0 of" in tight and "broken:" not in tight


def test_try_on_the_command_line(capsys):
    assert main(["try", "France", "P36", "Rome"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("France: Paris → Rome\n✓ learnt") and "edit --set France P36 Rome --block -1" in said
    assert main(["try", "France", "P36", "Paris"]) == 2
    assert "already has the object" in capsys.readouterr().err
