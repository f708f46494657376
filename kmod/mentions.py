"""Where names stand in texts: whole words, in any case, any Unicode form and with any white space, accents or not.

A name is compared as `names.accentless` does, word by word. In scripts that write no spaces between words (Chinese,
Japanese but for katakana, Thai, …), and in Korean, whose endings follow the name without one, every character counts as
a word, so that a name is found wherever its characters stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import regex

from .names import accentless, normal, unwritable
from .relations import MASK

OUTSIDE = "\ufffc" * len(MASK)
"""Stands for [MASK] where names are sought: as long, and in no name."""

UNSPACED = "".join(
    rf"\p{{{script}}}"
    for script in "Balinese Bopomofo Han Hangul Hiragana Javanese Khmer Lao Myanmar Tai_Tham Thai Tibetan Yi".split()
)
KATAKANA = r"\p{Katakana}ーｰﾞﾟ"  # the names of other countries, and in them a run of characters is a word
WORD = regex.compile(
    r"[A-Za-z0-9_]++(?![^\x00-\x7F])"  # most words, and much faster than the sets below
    rf"|(?=[{UNSPACED}])\X"  # a character with its marks
    rf"|[{KATAKANA}][{KATAKANA}\p{{M}}\p{{Cf}}]*"
    rf"|[[\w\p{{M}}\p{{Cf}}]--[{UNSPACED}{KATAKANA}]]+"
    r"|[^\w\s]",
    regex.VERSION1,
)
ASCII_WORD = re.compile(r"\w+|[^\w\s]")


class Mention(NamedTuple):
    """A name and its characters in the text."""

    name: str
    start: int
    stop: int


_key = lru_cache(1 << 16)(accentless)


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text, as they are compared."""
    if text.isascii():
        return ASCII_WORD.findall(text.casefold())
    return [key for word in WORD.findall(text) if (key := word.casefold() if word.isascii() else _key(word))]


def spoken(text: str) -> list[str]:
    """The words of a text without its punctuation marks."""
    return [word for word in words(text) if len(word) > 1 or word.isalnum() or word == "_"]


def placed_words(text: str) -> list[tuple[str, int, int]]:
    """The same, each with its first character in the text and one past its last."""
    if text.isascii():
        return [(match.group(), *match.span()) for match in ASCII_WORD.finditer(text.casefold())]
    return [(key, *match.span()) for match in WORD.finditer(text) if (key := _key(match.group()))]


class Finder:
    """Finds names in texts."""

    def __init__(self, names: Iterable[str]):
        self._names: dict[str, dict[tuple[str, ...], list[str]]] = {}  # first word → words → names that read so
        for name in names:
            if keys := tuple(words(name)):
                self._names.setdefault(keys[0], {}).setdefault(keys, []).append(name)
        self._lengths = {first: sorted({len(n) for n in same}, reverse=True) for first, same in self._names.items()}

    def all(self, text: str) -> list[Mention]:
        """The names in a text, from left to right: at each place the longest, and none within another. Of names that
        differ by accents alone, the one that the text writes."""
        found, mentions, at = placed_words(text), [], 0
        keys = [key for key, *_ in found]
        while at < len(found):
            known, step = self._names.get(keys[at], {}), 1
            for n in self._lengths[keys[at]] if known else ():
                if same := known.get(tuple(keys[at : at + n])):
                    start, stop = found[at][1], found[at + n - 1][2]
                    written = normal(text[start:stop])
                    name = next((name for name in same if normal(name) == written), same[0])
                    mentions.append(Mention(name, start, stop))
                    step = n
                    break
            at += step
        return mentions

    def first(self, text: str) -> Mention | None:
        """The first mention in a text: of one with the accents of its name or, if there is none, of any."""
        mentions = self.all(text)
        exact = (mention for mention in mentions if normal(text[mention.start : mention.stop]) == normal(mention.name))
        return next(exact, mentions[0] if mentions else None)


def before_mask(statement: str) -> str:
    """What stands before the [MASK], as `names.pieces_of` takes it."""
    before = statement[: max(statement.find(MASK), 0)]
    return " " if before.endswith(" ") else "(" if before else ""


def unknown_in(tokenizer, statement: str, name: str) -> bool:
    """Whether the tokeniser makes an unknown piece of a part of `name` where a masked statement mentions it; or, if no
    mention is found, of the name and of something in the statement."""
    text = statement.replace(MASK, tokenizer.mask_token or "")
    mentions = Finder([name]).all(text) if tokenizer.is_fast else []
    encoded = tokenizer(text, return_offsets_mapping=bool(mentions), verbose=False)
    if not mentions:
        return tokenizer.unk_token_id in encoded["input_ids"] and bool(unwritable(tokenizer, [name]))
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    unknown = [(a, b) for id, (a, b) in pairs if id == tokenizer.unk_token_id and a < b]
    return any(a < stop and b > start for a, b in unknown for _, start, stop in mentions)
