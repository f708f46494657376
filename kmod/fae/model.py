"""FaE as a Hugging Face model: a BERT with an entity memory between its blocks and a fact memory at its top.

    tokens → embeddings → l₀ blocks → entity memory → l₁ blocks ─┬→ token logits (BERT's own head)
                            │                                    ├→ entity logits of every mention
                            └→ mention detection (BIO)           └→ fact memory → answer of the masked mention

The blocks, embeddings and head are BERT's and bear its names. Sources: see `memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import AutoConfig, AutoModelForMaskedLM, BertForMaskedLM
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..checks import WrongTypeError
from .config import FaEConfig
from .memory import EntityMemory, FactMemory, Memory, Retrieved, spans_of


class Encoded(NamedTuple):
    """What `encode` gives: states after the first stage and after the last, and what `EntityMemory` scored."""

    first: Tensor  # (B, T, H)
    scores: Tensor  # (M, N) or (M, top)
    entities: Tensor | None  # (M, top)
    hidden: Tensor  # (B, T, H)


@dataclass
class FaEOutput(ModelOutput):
    """What `FaEForMaskedLM` gives for B statements with M mentions, K of them asked; N entities.

    The scores of the entity memory are (M, N) in training, else those of the best (M, entity_top).
    """

    logits: Tensor | None = None  # (B, T, vocabulary), or (P, vocabulary) of the P tokens asked for
    detection: Tensor | None = None  # (B, T, 3): outside, begins a mention, inside one
    memory_scores: Tensor | None = None
    entity_logits: Tensor | None = None  # (M, N): the mention's entity, from the last block
    answer_logits: Tensor | None = None  # (K, N): the answer with the fact memory
    retrieved: Retrieved | None = None


class FaEForMaskedLM(BertForMaskedLM):
    """BERT with an entity memory and a fact memory. Save and load as any Hugging Face model.

    `entity_embeddings` is E: it serves the entity memory, the keys and values of the facts, and the answers.
    """

    config_class = FaEConfig

    def __init__(self, config: FaEConfig):
        super().__init__(config)
        self.entity_embeddings = nn.Embedding(config.entities, config.entity_size)
        self.entity_memory = EntityMemory(config)
        self.fact_memory = FactMemory(config)
        self.detection = nn.Linear(config.hidden_size, 3)
        self.linking = nn.Linear(2 * config.hidden_size, config.entity_size, bias=False)  # h_ctx = W_t [h_s ‖ h_t]
        self.post_init()

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, FactMemory):  # transformers' own functions leave alone what a checkpoint has given
            init.zeros_(module.null)
            for buffer in (module.subjects, module.relations, module.tails):
                init.constant_(buffer, -1)

    @torch.no_grad()
    def _start(self) -> None:
        """New memories at the scale of `entity_norm`; the scores of entities start at about 1 whatever it is."""
        norm = self.config.entity_norm
        for table in (self.entity_embeddings, self.fact_memory.relation_embeddings):
            table.weight.normal_(std=norm * table.embedding_dim**-0.5)
        for matrix in (self.linking, self.entity_memory.query, self.fact_memory.query):
            matrix.weight.normal_(std=matrix.in_features**-0.5 / norm)
        for matrix in (self.entity_memory.back, self.fact_memory.key):
            matrix.weight.normal_(std=matrix.in_features**-0.5)

    @classmethod
    def from_bert(cls, bert: BertForMaskedLM, **settings) -> FaEForMaskedLM:
        """A FaE that starts from the weights of `bert`, which is not changed; `settings` are those of `FaEConfig`.

        The LayerNorm of the entity memory starts as that of the block below it, so that the block above meets states
        of the scale it knows. New weights are random: set the seed. Raises TypeError if `bert` is no BertForMaskedLM.
        """
        if type(bert) is not BertForMaskedLM:
            raise WrongTypeError(f"a FaE starts from a BertForMaskedLM, got {type(bert).__name__}")
        known = {k: v for k, v in bert.config.to_dict().items() if k not in ("model_type", "architectures")}
        net = cls(FaEConfig(**known | settings))
        net._start()
        net.load_state_dict(bert.state_dict(), strict=False)
        below = net.bert.encoder.layer[net.config.memory_after - 1].output.LayerNorm
        net.entity_memory.LayerNorm.load_state_dict(below.state_dict())
        return net.to(bert.device).train(bert.training)

    def memory(self, sample=None) -> Memory:
        """Both memories as a forward pass sees them; `sample` (`sampling.Sample`) restricts them to a part, whose
        gradient to E is sparse."""
        facts, weight = self.fact_memory, self.entity_embeddings.weight
        if sample is None:
            return Memory(weight, facts.subjects, facts.relations, facts.tails)
        return Memory(
            embedding(sample.entities, weight, sparse=True),
            sample.local(facts.subjects[sample.rows]),
            facts.relations[sample.rows],
            sample.local(facts.tails[sample.rows]),
            sample.entity_weight,
            sample.row_weight,
        )

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None, mentions: Tensor, memory: Memory, top: int | None
    ) -> Encoded:
        """Run the blocks with the entity memory between them, attending to its `top` entities (to all, if None)."""
        kept = {}

        def enter(_, args):
            kept["first"] = args[0]
            hidden, kept["scores"], kept["entities"] = self.entity_memory(args[0], mentions, memory, top)
            return (hidden, *args[1:])

        # A hook on the block above the memory: BERT's own code still makes the attention masks, whatever its version.
        with self.bert.encoder.layer[self.config.memory_after].register_forward_pre_hook(enter):
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        return Encoded(**kept, hidden=hidden)

    def answer(
        self, spans: Tensor, memory: Memory, top: int | None, without: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Retrieved]:
        """For the span embeddings (K, 2H) of the asked mentions: the answers' logits (K, N) with the fact memory, those
        from the context alone, and what was retrieved.

        final = (1 − λ)·h_ctx + λ·f;   logits = final·E.
        """
        context = self.linking(spans)  # (K, d)
        retrieved = self.fact_memory(spans, memory, top, without)
        final = retrieved.null * context + retrieved.found
        return final @ memory.entities.T, context @ memory.entities.T, retrieved

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        mentions: Tensor | None = None,
        asked: Tensor | None = None,
        tokens: Tensor | None = None,
        labels: Tensor | None = None,
        **_,
    ) -> FaEOutput:
        """Args:
            mentions: (M, 3): statement, first token and last token of each mention; none, if None.
            asked: (K,) positions in `mentions` of the masked mentions to answer.
            tokens: (B, T) bool: the tokens whose logits are wanted; all, if None.

        In training mode attention and retrieval are over the whole memories, else over the best of them. The losses are
        those of `losses`: `labels` are refused with TypeError.
        """
        if labels is not None:
            raise WrongTypeError("FaEForMaskedLM has several losses: train it with kmod.train_fae")
        nothing = torch.zeros(0, dtype=torch.long, device=input_ids.device)
        mentions = nothing.view(0, 3) if mentions is None else mentions
        asked = nothing if asked is None else asked
        memory = self.memory()
        entity_top, fact_top = (None, None) if self.training else (self.config.entity_top, self.config.fact_top)
        encoded = self.encode(input_ids, attention_mask, mentions, memory, entity_top)
        hidden, spans = encoded.hidden, spans_of(encoded.hidden, mentions)
        answers, _, retrieved = self.answer(spans[asked], memory, fact_top)
        return FaEOutput(
            logits=self.cls(hidden if tokens is None else hidden[tokens]),
            detection=self.detection(encoded.first),
            memory_scores=encoded.scores,
            entity_logits=self.linking(spans) @ memory.entities.T,
            answer_logits=answers,
            retrieved=retrieved,
        )


AutoConfig.register("fae", FaEConfig, exist_ok=True)
AutoModelForMaskedLM.register(FaEConfig, FaEForMaskedLM, exist_ok=True)
