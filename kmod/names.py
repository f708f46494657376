"""When two names are one, for people and for a tokeniser, and what to say of a name that cannot be used.

`normal` compares names as people do; `accentless` also takes "Sao Paulo" for "São Paulo"; `alike` takes for one what
some tokeniser may take for one, and so decides which new objects are never drawn for an old one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence


class UnknownNameError(KeyError):
    """A name that is not known; the message lists those that are. Unlike other KeyErrors it prints without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


def composed(name: str) -> str:
    """A name in one Unicode form (NFKC: composed accents, no full-width letters or ligatures), without invisible
    characters, and with one space wherever there is white space, none at the ends."""
    if not name.isascii():
        name = _without(unicodedata.normalize("NFKC", name), lambda c: unicodedata.category(c) == "Cf")
    return " ".join(name.split())


def normal(name: str) -> str:
    """A name as it is compared: `composed`, and without case."""
    text = composed(name).casefold()
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def accentless(name: str) -> str:
    """The same without the accents of Latin, Greek and Cyrillic letters: those who type a name often leave them out.
    The marks of other scripts (が, ไม้) stay, as they make other letters or sounds."""
    return _decomposed(name, lambda c: unicodedata.combining(c) >= 200)


def alike(name: str) -> str:
    """The same without any marks, and as if every punctuation mark stood apart: uncased models read "U.S." and "U. S.",
    or "São" and "Sao", as the same word pieces. Names that differ here are told apart by the usual tokenisers."""
    return " ".join(re.findall(r"\w+|[^\w\s]", _decomposed(name, lambda c: unicodedata.category(c) == "Mn")))


def _decomposed(name: str, mark: Callable[[str], bool]) -> str:
    text = normal(name)
    if text.isascii():
        return text
    return composed(_without(unicodedata.normalize("NFKD", text), mark))


def _without(text: str, unwanted: Callable[[str], bool]) -> str:
    return "".join(c for c in text if not unwanted(c))


def shown(name: str, most: int = 60) -> str:
    """A name in quotes for a message, cut if it is long."""
    name = name.strip()
    return repr(name if len(name) <= most else name[: most - 1] + "…")


def listed(names: Iterable[str], most: int = 120) -> str:
    """Names for a message, with commas between them; the first ones, and how many there are, if they are many."""
    names = list(names)
    text = ", ".join(names)
    if len(text) <= most:
        return text or "none"
    return f"{text[:most].rpartition(', ')[0] or text[:most]}, … ({len(names):,} in all)"


def is_wordpiece(tokenizer) -> bool:
    """Whether it is BERT's kind of tokeniser, for which it matters little where in a text a name stands."""
    return tokenizer.is_fast and type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"


def pieces_of(tokenizer, names: Sequence[str], before: str = " ") -> list[list[int]]:
    """The word pieces of each name as it stands in a text after `before`: a space, "" (at the start of the text), or
    "(" for right after any other character ("是巴黎"). Many vocabularies have other pieces for each."""
    if not names:
        return []
    plain = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    ids = tokenizer([f"{before.strip('(')}{name}" for name in names], **plain)["input_ids"]
    if before != "(" or not tokenizer.is_fast or is_wordpiece(tokenizer):
        return ids
    # A bracket is a piece by itself in nearly every vocabulary; where it is not, the name alone is what there is.
    texts = [f"({name}" for name in names]
    glued = tokenizer(texts, **plain, return_offsets_mapping=True)
    at = [inner(text, offsets, 1, len(text)) for text, offsets in zip(texts, glued["offset_mapping"], strict=True)]
    return [a if part is None else b[part] for a, b, part in zip(ids, glued["input_ids"], at, strict=True)]


def inner(text: str, offsets: Sequence[tuple[int, int]], start: int, stop: int) -> slice | None:
    """Which of the tokens with these `offsets` are text[start:stop]; the first may hold the space before it. None if
    there are none, or one that holds other characters as well."""
    at = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start and a < b]
    if not at or text[offsets[at[0]][0] : start].strip() or offsets[at[-1]][1] > stop:
        return None
    return slice(at[0], at[-1] + 1)


def unwritable(tokenizer, names: Iterable[str]) -> set[str]:
    """Those of `names` that cannot be written in the tokeniser's vocabulary: an unknown piece stands for a part of
    them (a character that it lacks, or in WordPiece a word of more than 100 characters), or a piece that is a mark of
    its own ("[SEP]"), or nothing at all. Names with unknown pieces cannot be told apart."""
    names = list(dict.fromkeys(names))
    written = pieces_of(tokenizer, names)
    not_names = marks(tokenizer)
    return {name for name, ids in zip(names, written, strict=True) if not ids or not not_names.isdisjoint(ids)}


def marks(tokenizer) -> frozenset[int]:
    """The pieces that are no part of a name: the unknown one, and marks of the tokeniser's own such as "[SEP]"."""
    return frozenset(i for i in (tokenizer.unk_token_id, *tokenizer.all_special_ids) if i is not None)


def cannot_be_written(tokenizer, role: str, name: str) -> ValueError:
    """The error for the subject or object (`role`) `name`, which is `unwritable`."""
    return ValueError(
        f"the {role} {shown(name)} cannot be written in this model's vocabulary ({len(tokenizer):,} word pieces): "
        f"choose another {role}, leave such facts out with kmod.writable(facts, model.tokenizer), or use a tokeniser "
        "built from facts that hold it"
    )
