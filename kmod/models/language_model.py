"""What masked and causal language models share: any Hugging Face model behind one small interface that scores slots.

A slot is a place of a statement from whose hidden state one word piece of the object is predicted. Only the rows of the
slots pass through the head. Their logits are the same; for a statement of 12 tokens with one slot, the largest matrix
product of a small model shrinks to a twelfth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..facts import Fact, FactBase
from ..files import appearing, user_path
from ..names import unwritable
from . import door, proof
from .fingerprint import SHORT, Digests, Texts, combined, first_format, format_of
from .statements import Batch, Examples, check_subjects, statements_of

HEADS = (  # the modules that lead from the last hidden states to the logits, in order; by family
    ("cls",),  # BERT, DeBERTa, MobileBERT, FNet, ...
    ("lm_head",),  # RoBERTa, XLM-RoBERTa, MPNet, Longformer, ESM, ...; GPT-2, Llama, Qwen, OPT, Gemma, ...
    ("embed_out",),  # GPT-NeoX, Pythia
    ("predictions",),  # ALBERT
    ("generator_predictions", "generator_lm_head"),  # ELECTRA, ConvBERT
    ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),  # DistilBERT
    ("head", "decoder"),  # ModernBERT
)
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
"""The files of a folder that hold a model's weights: one, or several and their index."""


class LanguageModel(nn.Module):
    """A language model with its tokeniser: a `MaskedLM` or a `CausalLM`.

    `net` is the plain Hugging Face model and can be used as such at any time; its parameters are not wrapped.

    Raises ValueError, in one line, for a model that cannot be edited, and for a tokeniser that does not belong to it.
    """

    needs: tuple[str, ...] = ()
    """The tokens that the tokeniser must have."""
    causal = False
    """Whether each token sees only those before it."""
    preset: tuple[str, int] | None = None
    """The preset and the seed that the random weights came from."""
    source: str | None = None
    """The name that `load_model` read it by: a packaged model, a folder or a Hugging Face id."""
    trained_by = "kmod.memorise"
    """The function of `kmod` that trains such a model on facts."""
    by_pieces = True
    """Whether answers are word pieces, one a slot."""

    def __init__(self, net: nn.Module, tokenizer):
        super().__init__()
        door.check_net(net, tokenizer, self.needs)
        self.net, self.tokenizer, self._digests = net, tokenizer, Digests()
        names = next((names for names in HEADS if all(hasattr(net, name) for name in names)), None)
        self.head = names if names and net.base_model is not net else None
        self.apart = False  # whether statements of different lengths are run one length after the other
        self.proven: dict[tuple, bool] = {}  # of `proof.holds`
        self.nameless: list[int] = []  # rows of the vocabulary that have no token
        if type(self).forward is LanguageModel.forward:
            self.nameless = sorted(set(range(door.rows_of(net) or 0)) - set(tokenizer.get_vocab().values()))
            proof.check(self)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def limit(self) -> int:
        """The longest statement, in tokens."""
        positions = getattr(self.net.config.get_text_config(), "max_position_embeddings", None) or 512
        embedding = next((m for n, m in self.net.named_modules() if n.endswith("position_embeddings")), None)
        if getattr(embedding, "padding_idx", None) is not None:  # RoBERTa and its kin number positions from there
            positions -= embedding.padding_idx + 1
        return min(self.tokenizer.model_max_length, positions)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, slots: Tensor | tuple[Tensor, Tensor]
    ) -> Tensor:
        """Logits (K, vocabulary) of the K slots of a (B, T) batch: those that the (B, T) bool `slots` marks, in reading
        order, or those at its (K,) rows and (K,) columns. Without `attention_mask` there is no padding."""
        if self.apart and attention_mask is not None and not attention_mask.all():
            return self._apart(input_ids, attention_mask, slots)
        if self.head is None:
            return self.net(input_ids=input_ids, attention_mask=attention_mask).logits[slots]
        hidden = self.net.base_model(input_ids=input_ids, attention_mask=attention_mask)[0]  # (B, T, H)
        rows = hidden[slots]  # (K, H)
        for name in self.head:
            rows = getattr(self.net, name)(rows)
        if cap := getattr(self.net.config.get_text_config(), "final_logit_softcapping", None):  # Gemma 2 and 3
            rows = torch.tanh(rows / cap) * cap
        return rows

    def _apart(self, input_ids: Tensor, attention_mask: Tensor, slots: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """`forward`, each length of statements by itself, so that there is no padding."""
        rows, columns = slots.nonzero(as_tuple=True) if isinstance(slots, Tensor) else slots
        lengths = attention_mask.sum(1)  # (B,)
        parts, order = [], []
        for length in lengths.unique().tolist():
            chosen = (lengths == length).nonzero()[:, 0]
            asked = (lengths[rows] == length).nonzero()[:, 0]
            place = torch.searchsorted(chosen, rows[asked])
            parts.append(self(input_ids[chosen, :length], attention_mask[chosen, :length], (place, columns[asked])))
            order.append(asked)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def examples(
        self, base: FactBase, kind: str, facts: Iterable[Fact] | None = None, only: Sequence[int] | None = None
    ) -> Examples:
        """The tokenised "evidences" or "tests" of `facts` (of all facts of `base` if None); with `only`, the statements
        at these positions among them. Raises ValueError, by name, for an object or a subject that the vocabulary cannot
        write, and for a statement that is too long."""
        facts = list(base if facts is None else facts)
        parts = statements_of(base, facts, kind, only)
        examples = self.encode(*parts)
        check_subjects(self.tokenizer, examples, parts[0], facts)
        return examples

    def encode(self, statements: Sequence[str], objects: Sequence[str], owner: Sequence[int]) -> Examples:
        """Tokenise statements with a slot for each word piece of their objects. Raises ValueError, naming the object or
        the statement, for what this kind of model cannot be asked."""
        raise NotImplementedError

    def takes(self, statement: str) -> bool:
        """Whether this kind of model can be asked the masked statement."""
        return True

    def texts(self, statements: Sequence[str], objects: Sequence[str]) -> list[str]:
        """Statements as the tokeniser is given them: the tokens of a text are where `examples` has them."""
        raise NotImplementedError

    def probes(self) -> Examples:
        """A few statements of random ordinary tokens, of equal and of different lengths, with one or two slots."""
        raise NotImplementedError

    def ranked(self, examples: Examples, k: int = 5) -> list[list[tuple[list[int], float]]]:
        """The k best answers to each statement, as (word pieces, log-probability), best first."""
        raise NotImplementedError

    @torch.no_grad()
    def logits(self, examples: Examples, batch_size: int = 256, kept=None) -> Iterator[tuple[Tensor, Tensor, Batch]]:
        """Score all statements: yields (positions (B,), logits (K, V), batch) for each batch. With `kept`
        (`Activations` of these examples), the model runs from the block that they enter."""
        weights = dict(self.net.named_parameters())
        with evaluating(self):
            for chosen in examples.by_length(batch_size):
                batch = examples.collate(chosen, self.device)
                if kept:
                    logits = kept.logits(weights, chosen, batch)
                else:
                    logits = self(batch.input_ids, batch.attention_mask, batch.slots)
                yield torch.from_numpy(chosen), logits, batch

    def correct(self, examples: Examples, batch_size: int = 256, kept=None) -> Tensor:
        """For each statement (N,) bool: is the argmax over the whole vocabulary right at every slot (P@1)?"""
        right = torch.zeros(len(examples), dtype=torch.bool)
        for positions, logits, batch in self.logits(examples, batch_size, kept):
            right[positions] = all_slots_right(self.named(logits), batch.targets, batch.rows, len(positions)).cpu()
        return right

    def asked(self, statements: Sequence[str], objects: Sequence[str]) -> Examples:
        """Masked statements of any kind, tokenised with as many slots as their objects have word pieces. Raises
        ValueError as `examples` does."""
        return self.encode(statements, objects, range(len(statements)))

    def answers(self, statements: Sequence[str], objects: Sequence[str], k: int = 5) -> list[list[tuple[str, float]]]:
        """The k best answers to each statement, as (text, probability), best first. The statement is asked with as many
        slots as its entry of `objects` has word pieces."""
        ranked = self.ranked(self.asked(statements, objects), k)
        return [[(self.text_of(pieces), math.exp(score)) for pieces, score in answers] for answers in ranked]

    def text_of(self, pieces: Sequence[int]) -> str:
        """The text of an answer's word pieces."""
        return self.tokenizer.decode(pieces).strip().removeprefix("##")

    def unwritable(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that cannot be answers of this model: its vocabulary cannot write them."""
        return unwritable(self.tokenizer, names)

    def named(self, logits: Tensor) -> Tensor:
        """Logits (K, V) with −∞ in the rows of the vocabulary that have no token, which cannot be an answer."""
        if not self.nameless:
            return logits
        return logits.index_fill(-1, torch.tensor(self.nameless, device=logits.device), -math.inf)

    def retrieved(self, statement: str) -> list[tuple[str, float]]:
        """The facts that the model looks up for `statement`, as (text, weight), the heaviest first. A model without a
        memory of facts looks up none."""
        return []

    def written(self, name: str) -> str:
        """`name` as this model's vocabulary writes it back: "Brasília" is "brasilia" in an uncased one."""
        return self.tokenizer.decode(self.tokenizer(name, add_special_tokens=False)["input_ids"]).strip()

    def tensors(self) -> dict[str, Tensor]:
        """The parameters, and the buffers that are saved with them (a memory of facts, say), by full name; a tied
        tensor once, under its first name."""
        unique: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self.net.state_dict(keep_vars=True).items():
            unique.setdefault(id(tensor), (name, tensor))
        return dict(unique.values())

    def fingerprint(self, *, format: int = 2) -> str:
        """A hash over the names, types, shapes and bytes of all `tensors`, and over the vocabulary.

        Only tensors that may have changed since the last call are hashed. `format` 1 is that of kmod's first files.
        """
        tensors = self.tensors()
        if format == 1:
            return first_format(tensors, self._texts())
        return combined(tensors, self._digests.tensors(tensors), self._digests.texts(self._texts()))

    def fingerprints(self, new: Mapping[str, Tensor]) -> tuple[str, str]:
        """The fingerprint of the model, and that of the model with `new` in place of its `tensors` of those names. For
        the second, `new` alone is hashed."""
        tensors, texts = self.tensors(), self._digests.texts(self._texts())
        before = self._digests.tensors(tensors)
        after = before | self._digests.expected(tensors, new)
        return combined(tensors, before, texts), combined(tensors, after, texts)

    def matches(self, fingerprint: str) -> bool:
        """Whether `fingerprint`, of either format, is that of this model. Its first 16 characters, as records keep
        them, are enough."""
        return len(fingerprint) >= SHORT and self.fingerprint(format=format_of(fingerprint)).startswith(fingerprint)

    def _texts(self) -> Texts:
        """What the fingerprint covers besides the tensors."""
        tokenizer = self.tokenizer
        return {"vocabulary": ((tokenizer, len(tokenizer)), lambda: repr(sorted(tokenizer.get_vocab().items())))}

    def save(self, folder: str | Path) -> None:
        """Write a plain Hugging Face folder (config, safetensors, tokeniser) that transformers loads by itself.

        The model appears whole or not at all: if it cannot be written, an older one in the folder stays as it is. Files
        that are not the model's stay there in any case.

        Raises NotADirectoryError if `folder` is a file, OSError if it cannot be written.
        """
        folder = user_path(folder)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; a model needs a folder")
        with appearing(folder, outdated=WEIGHTS) as draft:
            self._write(draft)

    def _write(self, folder: Path) -> None:
        """Write the files of the model into a folder."""
        self.net.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def all_slots_right(logits: Tensor, targets: Tensor, rows: Tensor, n: int) -> Tensor:
    """(n,) bool: statements whose every slot has its target (K,) as the argmax of logits (K, V)."""
    wrong = (logits.argmax(-1) != targets).to(torch.int32)
    return torch.zeros(n, dtype=torch.int32, device=logits.device).index_add_(0, rows, wrong) == 0


@contextmanager
def evaluating(model: nn.Module):
    """Evaluation mode (no dropout) inside; every module's own mode restored after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
