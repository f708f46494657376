"""The shape of a FaE, and the presets."""

from __future__ import annotations

from transformers import BertConfig

from ..checks import check_whole

ENTITY_SIZE = {"nano": 64, "mini": 96, "base": 256}  # preset of `kmod.models.PRESETS` → width of an entity

SIZES = (
    "entities", "entity_size", "memory_after", "entity_top", "relations", "relation_size", "fact_capacity",
    "tail_width", "fact_top",
)  # fmt: skip


class FaEConfig(BertConfig):
    """A BERT's configuration and that of the two memories.

    Args:
        entities: N, rows of the entity memory.
        entity_size: width of an entity and of a key; 256 in the original, with a BERT-Base.
        memory_after: how many blocks stand below the entity memory (l₀); None is a third of them.
        entity_top: how many entities a mention attends to at inference; all of them in training.
        relations: rows of the relation table.
        relation_size: width of a relation; None is that of an entity.
        fact_capacity: rows of the fact memory, used or free: a fact can be added as long as one is free.
        tail_width: how many tail entities a row can hold.
        fact_top: how many rows a query retrieves at inference; all of them in training.
        entity_norm: the norm at which entities and relations start. With e·e = 25 a retrieved entity can outweigh the
            context, even among a million; entities that start in BERT's range of 0.02 stay so short that they hardly
            count.

    Raises ValueError for sizes that make no model.
    """

    model_type = "fae"

    entities: int = 1
    entity_size: int = 256
    memory_after: int | None = None
    entity_top: int = 100
    relations: int = 1
    relation_size: int | None = None
    fact_capacity: int = 1
    tail_width: int = 4
    fact_top: int = 100
    entity_norm: float = 5.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.memory_after is None:
            self.memory_after = max(1, round(self.num_hidden_layers / 3))
        if self.relation_size is None:
            self.relation_size = self.entity_size
        for name in SIZES:
            setattr(self, name, check_whole(name, getattr(self, name)))
        if self.memory_after >= (depth := self.num_hidden_layers):
            sides = f"memory_after must leave a block on either side: 1 to {depth - 1}"
            raise ValueError(f"{sides}, got {self.memory_after}")
        self.entity_norm = float(self.entity_norm)
        if not self.entity_norm > 0:
            raise ValueError(f"entity_norm must be above 0, got {self.entity_norm}")
