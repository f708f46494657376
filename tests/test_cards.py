"""The cards of what the package carries say what its records say."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import kmod
from kmod.models import PACKAGED, packaged_record

ROOT = Path(__file__).parents[1]
ATLAS = ROOT / "kmod" / "sources" / "atlas"
spec = importlib.util.spec_from_file_location("croissant_card", ROOT / "book" / "_ext" / "croissant.py")
croissant = importlib.util.module_from_spec(spec)
spec.loader.exec_module(croissant)


def measured(name: str) -> list[float]:
    record = packaged_record(name)
    if "runs" in record:
        return [record["runs"][-1][key] for key in ("validation_loss", "validation_accuracy")]
    return [record[key]["value"] for key in ("evidences", "tests")]


@pytest.mark.parametrize("name", ["nano-atlas", "nano-wiki"])
def test_a_model_card_has_what_the_hub_reads_and_what_was_measured(name):
    card = ModelCard.load(PACKAGED[name]() / "README.md")
    assert (card.data.license, card.data.pipeline_tag, card.data.model_name) == ("apache-2.0", "fill-mask", name)
    assert [result.metric_value for result in card.data.eval_results] == pytest.approx(measured(name), abs=5e-5)
    assert {"## Evaluation", "## Use, and limits"} <= set(card.text.splitlines())
    size = sum(p.numel() for p in kmod.load_model(name, device="cpu").net.parameters())
    assert f"{size:,} parameters" in card.text


def test_the_card_of_the_atlas_for_machines_is_that_of_its_files(atlas):
    """After a change: python book/_ext/croissant.py"""
    written = json.loads((ATLAS / "croissant.json").read_text("utf-8"))
    assert written == croissant.card(croissant.repository.setting())
    regexes = [field["source"]["transform"]["regex"] for field in written["recordSet"][0]["field"]]
    lines = (ATLAS / "facts.tsv").read_text("utf-8").splitlines(keepends=True)
    read = [tuple(re.match(regex, line)[1] for regex in regexes) for line in lines]
    assert read == [(fact.relation, fact.subject, fact.object) for fact in atlas]
    card = (ATLAS / "README.md").read_text("utf-8")
    assert f"{len(atlas):,} true, well-known facts over {len(atlas.relations)} relations" in card
