"""A Sphinx extension that writes nano-atlas and the atlas as a script that a page can load: `kmodEdit.data = {…}`.

    python book/_ext/page_model.py        # the same by hand

It writes `book/_static/edit/data.js`, which git ignores, again when the package's files are newer.

Weights are rounded to float16, which halves the script; the page computes in float32 with the rounded ones. The data:

    config      the model's, as in its config.json
    tensors     name → [shape, start]: where its values begin in `half`, counted in values; a tied tensor once
    half        all values as float16, little-endian, in base64
    vocabulary  the tokens in the order of their ids
    relations   id → {label, evidences, tests}: phrasings with [X] for the subject and [Y] for the object
    facts       [subject, relation, object], in the atlas's order
    prints      what a downloaded edit says of model and facts: the facts' name and fingerprint; of each of the model's
                tensors, [name, what a fingerprint says of it, SHA-256]; of its vocabulary, SHA-256; kmod's version
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path

import numpy as np

import kmod
from kmod.files import appearing
from kmod.models.fingerprint import digests
from kmod.models.loading import halved

TARGET = Path(__file__).parents[1] / "_static" / "edit" / "data.js"
PACKAGE = Path(kmod.__file__).parent
SOURCES = ("models/pretrained/nano_atlas/*", "sources/atlas/*")
CONFIG = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
UNUSED = "cls.predictions.decoder."  # tied to the word embeddings, and to the bias of the predictions


def page_data(model: kmod.MaskedLM, facts: kmod.FactBase) -> dict:
    """What the page needs of a BERT of kmod's own shape and of its facts. Raises ValueError for facts with statements
    of their own, which have no phrasings, and for weights that float16 cannot hold."""
    if any(fact.evidences or fact.tests for fact in facts):
        raise ValueError("the page makes its statements from the relations' phrasings; these facts have their own")
    model = halved(copy.deepcopy(model))
    where, values, start = {}, [], 0
    for name, tensor in model.tensors().items():
        if name.startswith(UNUSED) or not tensor.is_floating_point():
            continue
        half = tensor.detach().cpu().numpy().astype("<f2")
        if not np.isfinite(half).all():
            raise ValueError(f"{name} has values that float16 cannot hold")
        where[name] = [list(half.shape), start]
        values.append(half.tobytes())
        start += half.size
    vocabulary = model.tokenizer.get_vocab()
    tensors = model.tensors()
    sums = [digest.hex() for digest in digests(list(tensors.values()))]
    about = [f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in tensors.values()]
    prints = {
        "base": facts.name,
        "base_fingerprint": facts.fingerprint(),
        "fingerprint": model.fingerprint(),
        "tensors": list(zip(tensors, about, sums, strict=True)),
        "vocabulary": hashlib.sha256(repr(sorted(vocabulary.items())).encode()).hexdigest(),
        "versions": {"kmod": kmod.__version__},
    }
    return {
        "config": {name: getattr(model.net.config, name) for name in CONFIG},
        "tensors": where,
        "half": base64.b64encode(b"".join(values)).decode(),
        "vocabulary": sorted(vocabulary, key=vocabulary.get),
        "relations": {
            id: {"label": relation.label, "evidences": relation.evidences, "tests": relation.tests}
            for id, relation in facts.relations.items()
        },
        "facts": [[fact.subject, fact.relation, fact.object] for fact in facts],
        "prints": prints,
    }


def write(target: Path = TARGET) -> bool:
    """Write the script to `target` unless it is newer than the model and the facts; return whether it was written."""
    sources = [Path(__file__), *(path for pattern in SOURCES for path in PACKAGE.glob(pattern))]
    if target.exists() and target.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return False
    data = page_data(kmod.load_model("nano-atlas", device="cpu"), kmod.load_facts("atlas"))
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    with appearing(target) as draft:
        draft.write_text(f"(globalThis.kmodEdit ??= {{}}).data = {text};\n", "utf-8")
    return True


def setup(app):
    app.connect("config-inited", lambda app, config: write() and None)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print(TARGET if write() else f"{TARGET} is up to date")
