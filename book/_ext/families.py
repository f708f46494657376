"""Try every family of masked language models that transformers knows, and write the table of what works.

    python book/_ext/families.py            # writes book/families.md

Each family is tried as a small model of random weights: saved, loaded by `kmod.load_model`, edited, undone and saved
again. All that the table says is computed here. Nothing is downloaded.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED
from transformers.utils import logging

import kmod
from kmod.models import MaskedLM, build_tokenizer
from kmod.models.activations import activations
from kmod.parts import INSIDE, blocks, layout, unshared

PAGE = Path(__file__).parents[1] / "families.md"
WIDTH, SPREAD = 16, 0.3  # the weights are large enough for every part to matter
SMALL = {
    "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "initializer_range": SPREAD, "pad_token_id": 0, "bos_token_id": 2,
    "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "mask_token_id": 4,
}  # fmt: skip
NARROW = {"embedding_size": 8}
SEQ2SEQ = {
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "init_std": SPREAD,
}  # fmt: skip
XLM = {"init_std": SPREAD, "embed_init_std": SPREAD}
VISION = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
          "image_size": 32, "patch_size": 16}  # fmt: skip
OWN = {  # what a family calls otherwise, or needs to be small; None takes a setting of SMALL away
    "albert": NARROW, "convbert": NARROW, "electra": NARROW, "mobilebert": NARROW | {"intra_bottleneck_size": 8},
    "bart": SEQ2SEQ, "mbart": SEQ2SEQ, "mvp": SEQ2SEQ, "flaubert": XLM, "xlm": XLM,
    "distilbert": {"hidden_dim": 32},
    "funnel": {"block_sizes": [2, 1], "d_model": WIDTH, "n_head": 2, "d_head": 8, "d_inner": 32,
               "num_decoder_layers": 1, "hidden_size": None, "num_hidden_layers": None, "num_attention_heads": None},
    "layoutlm": {"max_2d_position_embeddings": 16}, "longformer": {"attention_window": 8},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "neomme": {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "embedding_rank": 8},
    "nystromformer": {"segment_means_seq_len": 16, "num_landmarks": 4},  # as published: fewer landmarks than tokens
    "perceiver": {"num_latents": 8, "d_latents": WIDTH, "d_model": WIDTH, "num_self_attends_per_block": 3,
                  "num_self_attention_heads": 2, "num_cross_attention_heads": 2,
                  "hidden_size": None, "num_hidden_layers": None},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh", "local"], "feed_forward_size": 32,
                 "attention_head_size": 8, "num_buckets": 2, "hash_seed": 0},
    "rembert": {"input_embedding_size": 8, "output_embedding_size": 8},
    "roc_bert": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10, "pronunciation_embed_dim": 4,
                 "shape_embed_dim": 4},
    "roformer": {"embedding_size": WIDTH}, "squeezebert": {"embedding_size": WIDTH, "q_groups": 2, "k_groups": 2,
                 "v_groups": 2, "intermediate_groups": 2, "output_groups": 2},
    "ultrabert": {"prediction_head_size": WIDTH}, "xmod": {"default_language": "en_XX"},
}  # fmt: skip
COMPOSITE = {"modernvbert": "modernbert", "ultravbert": "ultrabert"}  # a language model beside a vision model


def facts() -> kmod.FactBase:
    """A few facts, some with objects of several word pieces, whose statements differ in length."""
    atlas = kmod.load_facts("atlas")
    relations = ("P397", "P1303")
    few = [fact for relation in relations for fact in [f for f in atlas if f.relation == relation][:3]]
    return kmod.FactBase(few, {r: atlas.relations[r] for r in relations}, "few")


def small_net(family: str, vocab_size: int) -> torch.nn.Module:
    """A model of `family` with random weights."""
    settings = SMALL | {"vocab_size": vocab_size} | OWN.get(COMPOSITE.get(family, family), {})
    settings = {name: value for name, value in settings.items() if value is not None}
    if family in COMPOSITE:
        text = settings | {"model_type": COMPOSITE[family]}
        settings = {"text_config": text, "vision_config": VISION, "image_token_id": 5, "initializer_range": SPREAD}
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **settings)).eval()


@dataclass
class Row:
    """What works for a family; `reason` says why it is refused."""

    family: str
    reason: str = ""
    parts: str = ""
    kept: str = ""
    edit: str = ""

    def __str__(self) -> str:
        cells = ["no: " + self.reason, "", "", ""] if self.reason else ["yes", self.parts, self.kept, self.edit]
        return "| " + " | ".join([f"`{self.family}`", *cells]) + " |"


def trial(family: str, base: kmod.FactBase, tokenizer) -> Row:
    """Try one family. Raises AssertionError if anything is silently wrong."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        small_net(family, len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        try:
            model = kmod.load_model(folder, device="cpu")
        except ValueError as error:
            assert len(str(error)) <= 300 and "\n" not in str(error), error
            return Row(family, reason=str(error).partition(" cannot be edited: ")[2] or str(error))
        row = Row(family, parts=parts(model, base), kept=kept_states(model, base))
        row.edit = edit(model, base, folder)
        if row.kept == "no" and unshared(model.net):
            assert any(str(warning.message).endswith("right, but slower") for warning in said)
    return row


def alone(model: MaskedLM, examples, most: int | None = None) -> torch.Tensor:
    """The logits of the slots from the plain net, one statement at a time and without padding; of the first `most`."""
    logits = []
    for i in range(most or len(examples)):
        batch = examples.collate(np.array([i]))
        logits.append(model.net(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.slots])
    return torch.cat(logits)


@torch.no_grad()
def parts(model: MaskedLM, base: kmod.FactBase) -> str:
    """The number of blocks and their components. A change of a block must move the answers and leave what the blocks
    below it give; every answer must be that of the plain net."""
    examples = model.examples(base, "tests")
    right = alone(model, examples)
    order = {int(i): part for chosen, logits, batch in model.logits(examples, 7)
             for row, i in enumerate(chosen) for part in [logits[batch.rows == row]]}  # fmt: skip
    torch.testing.assert_close(torch.cat([order[i] for i in range(len(examples))]), right, rtol=1e-3, atol=1e-4)
    modules, places, batch = [m for _, m in blocks(model.net)], layout(model.net), examples.collate(np.array([0]))

    def outputs() -> list[torch.Tensor]:
        """What each block gives for one statement, then the answers to it."""
        seen: list[torch.Tensor] = []

        def note(_, __, result) -> None:
            seen.append(result[0] if isinstance(result, tuple) else result)

        with ExitStack() as hooks:
            for module in modules:
                hooks.enter_context(module.register_forward_hook(note))
            model.net(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        return [*seen, alone(model, examples, 3)]

    for block in range(len(modules)):
        own = [model.net.get_parameter(name) for name, (at, _) in places.items() if at == block]
        before, kept = outputs(), [p.clone() for p in own]
        for p in own:
            p.add_(torch.linspace(-0.3, 0.3, p.shape[-1]))
        after = outputs()
        for p, value in zip(own, kept, strict=True):
            p.copy_(value)
        assert not torch.equal(before[-1], after[-1]), f"block {block} does not reach the answers"
        for below in range(block):
            assert torch.equal(before[below], after[below]), f"block {block} reaches block {below}"
    found = [c for c in INSIDE if any(component == c for _, component in places.values())]
    return f"{len(modules)}: {', '.join(found)}"


def kept_states(model: MaskedLM, base: kmod.FactBase) -> str:
    """How edits of the last block run: "yes", "yes, faster" where kmod's own code runs the blocks above, "shared" where
    a block serves several depths, "no"."""
    examples = model.examples(base, "tests")
    kept = activations(model, examples, len(blocks(model.net)) - 1 or 1)
    if kept is None:
        return "shared" if model.net.config.get_text_config().num_hidden_layers > len(blocks(model.net)) else "no"
    return "yes, faster" if kept.upper else "yes"


def edit(model: MaskedLM, base: kmod.FactBase, folder: str) -> str:
    """Edit the head and the last block; apply, undo, save and load. The losses that a training reports must be those of
    the plain net."""
    change = base.modify(4, seed=0)
    before = model.fingerprint()
    examples = model.examples(base, "evidences", change.modified)
    targets = torch.from_numpy(examples.targets).long()
    head = any(component == "head" for _, component in layout(model.net).values())
    for where in [{"component": "head"}] * head + [{"block": -1}]:
        # The loss that a longer training meets at its last step is the one that the shorter training has reached.
        settings = where | {"batch_size": 10_000, "lr": 0.01}
        made, longer = (kmod.finetune(model, change, steps=n, **settings) for n in (3, 4))
        curve = longer.made["curve"]
        assert curve[-1] < curve[0], f"the loss does not fall: {curve}"
        with made(model), torch.no_grad():
            reached = cross_entropy(alone(model, examples), targets).item()
        assert abs(reached - longer.made["loss"]) < 1e-3 * max(reached, 1), (where, reached, longer.made["loss"])
    assert model.fingerprint() == before, "undo is not exact"
    made.save(f"{folder}/edit.safetensors")
    made.merge(model, f"{folder}/merged")
    again = kmod.load_model(f"{folder}/merged", device="cpu")
    assert again.fingerprint() == made.after, "the merged folder is another model"
    kmod.Edit.load(f"{folder}/edit.safetensors").undo(again)
    assert again.fingerprint() == before
    return "yes"


def rows(families: list[str] | None = None) -> Iterator[Row]:
    """The rows of `families`, or of all."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    base = facts()
    tokenizer = build_tokenizer(base)
    try:
        for family in families or sorted(MASKED):
            yield trial(family, base, tokenizer)
    finally:
        logging.set_verbosity(level)


def page(found: list[Row]) -> str:
    """The page of the book."""
    works = sum(not row.reason for row in found)
    return "\n".join([
        "# Families of models", "",
        f"`kmod.load_model` takes {works} of the {len(found)} families of masked language models that transformers "
        f"{transformers.__version__} knows, and refuses the others in one line. `python book/_ext/families.py` tries "
        "each as a small model of random weights and writes this page; a test compares them.", "",
        "- *Blocks*: how many the small model has, and the components of them that `kmod.plan` finds.",
        "- *Kept states*: whether edits start from hidden states kept below the lowest edited block. \"Yes, faster\": "
        "kmod's own code runs the blocks above. \"No\": the whole model runs in every step, and a warning says so. "
        "\"Shared\": one block serves all depths, so there is nothing below it to keep.",
        "- *Edit*: an edit of the last block reaches the loss that it reports, is undone to the bit, and comes back "
        "from its file and from a merged folder.", "",
        "| family | loads | blocks | kept states | edit |",
        "|---|---|---|---|---|",
        *map(str, found), "",
    ])  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:]:
        for row in rows(sys.argv[1:]):
            print(row)
    else:
        PAGE.write_text(page(list(rows())), "utf-8")
        print(PAGE.read_text("utf-8"))
