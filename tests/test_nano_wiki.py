"""The pretrained model that comes with the package: it is what its record says, and knows words that no fact taught."""

import hashlib
import json

import pytest
import torch
from torch.nn.functional import cross_entropy

import kmod
from kmod.models import PACKAGED
from kmod.models.statements import encode

FOLDER = PACKAGED["nano-wiki"]()
TEXT = """He was born in the city of | London
She was the daughter of a king and a | queen
The band released their first | album
The team played in the national | league
They won the match by two | goals
The river flows into the | sea
The school has more than five hundred | students
The book was written by an English | author
He died at the age of | 70
The film was directed by an American | director
She studied law at the | university
During the second world | war
The party won the | election
The village is in the north of the | country
He was elected to the | parliament
The species is found in South | America
The song was written and | recorded
The church was built in the nineteenth | century
He served in the United States | army
The town lies on the bank of the | river""".splitlines()


@pytest.fixture(scope="module")
def nano():
    return kmod.load_model("nano-wiki", device="cpu")


def loss(model, statements, objects) -> float:
    """Nats a masked token."""
    examples = encode(model.tokenizer, statements, objects, range(len(statements)), model.limit)
    with torch.no_grad():
        batch = examples.collate(torch.arange(len(examples)).numpy())
        return cross_entropy(model(batch.input_ids, batch.attention_mask, batch.slots), batch.targets).item()


def test_it_is_small_and_the_one_that_its_record_speaks_of(nano):
    record = json.loads((FOLDER / "record.json").read_text("utf-8"))
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert len(weights) <= 12e6
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    assert record["runs"][-1]["validation_loss"] < record["runs"][-1]["frequency_loss"] - 1
    assert (nano.net.config.num_hidden_layers, nano.net.config.hidden_size) == (4, 128)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in nano.net.parameters())


def test_every_word_of_the_atlas_is_a_piece(nano, atlas):
    objects = {word for fact in atlas for word in kmod.models.vocabulary.words_of([fact.object])}
    assert all(len(nano.tokenizer.tokenize(word)) == 1 for word in objects)


def test_what_stands_around_a_word_tells_it_much(nano):
    """Against the same model with all of the sentence masked, which leaves it the frequencies of words and a length."""
    lines = [line.split(" | ") for line in TEXT]
    statements, objects = [f"{start} [MASK]." for start, _ in lines], [end for _, end in lines]
    bare = [" ".join(["[MASK]"] * len(start.split()) + ["[MASK]", "."]) for start, _ in lines]
    assert loss(nano, statements, objects) < bare_loss(nano, bare, objects) - 1
    guesses = [{word for word, _ in best} for best in nano.answers(statements, objects, k=50)]
    assert sum(word.lower() in words for word, words in zip(objects, guesses, strict=True)) >= len(objects) / 3


def bare_loss(model, statements, objects) -> float:
    total = 0.0
    for statement, word in zip(statements, objects, strict=True):
        ids = torch.tensor([model.tokenizer(statement)["input_ids"]])
        with torch.no_grad():
            logits = model(ids, None, (torch.tensor([0]), torch.tensor([ids.shape[1] - 3])))
        total += cross_entropy(
            logits, torch.tensor(model.tokenizer(word, add_special_tokens=False)["input_ids"])
        ).item()
    return total / len(statements)


def test_a_part_of_the_atlas_is_memorised_from_it(nano, facts):
    report = kmod.memorise(kmod.load_model("nano-wiki", device="cpu"), facts, batch_size=64, progress=False)
    assert report.tests.value >= 0.95, report
