"""Fingerprints: which model this is, to the bit, in 66 characters.

    "2:" + SHA-256 over the name, type, shape and SHA-256 of every parameter and buffer, and over the vocabulary

The digests of the tensors are kept, and a tensor is hashed again only if it is another one, if its version has moved,
or if a checksum of its contents differs, as writing through `.data` moves no version. Older files have fingerprints of
format 1 (`first_format`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

PREFIX = "2:"
SHORT = 16  # characters of a fingerprint that records keep
COLUMNS = 16_381  # int64 in a row; a prime, so that no row of a matrix falls on another; few enough for the cache
KEPT = 3  # states of a tensor whose digests are kept: without an edit, with it, with the one before

Texts = Mapping[str, tuple[tuple, Callable[[], str]]]
"""What a model is besides its tensors: name → (what tells whether it may have changed, function that gives it)."""


def format_of(fingerprint: str) -> int:
    """The format, 1 or 2, of a fingerprint or its beginning."""
    return 2 if fingerprint.startswith(PREFIX) else 1


class Digests:
    """The digests of a model's tensors and texts, made anew only for what may have changed."""

    def __init__(self):
        self._tensors: dict[str, dict[tuple, bytes]] = {}  # name → state → digest
        self._texts: dict[str, tuple[tuple, bytes]] = {}

    def tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
        """SHA-256 of the bytes of each tensor."""
        sums = zip(tensors.items(), _checksums(list(tensors.values())), strict=True)
        states = {name: (*_identity(tensor), content) for (name, tensor), content in sums}
        known = {name: self._tensors.get(name, {}).get(state) for name, state in states.items()}
        stale = [name for name, digest in known.items() if digest is None]
        known |= zip(stale, digests([tensors[name] for name in stale]), strict=True)
        for name, digest in known.items():
            self._keep(name, states[name], digest)
        return known

    def expected(self, tensors: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, bytes]:
        """SHA-256 of the bytes of each tensor of `new`; kept, for an edit will write `new` into the `tensors`."""
        values = list(new.values())
        made = dict(zip(new, digests(values), strict=True))
        for name, content in zip(new, _checksums(values), strict=True):
            self._keep(name, (*_identity(tensors[name]), content), made[name])
        return made

    def _keep(self, name: str, state: tuple, digest: bytes) -> None:
        """Keep the states that were used last. A dictionary is replaced whole, as other threads may read it."""
        others = [item for item in self._tensors.get(name, {}).items() if item[0] != state]
        self._tensors[name] = dict([*others, (state, digest)][-KEPT:])

    def texts(self, texts: Texts) -> list[bytes]:
        """SHA-256 of each text."""
        for name, (state, make) in texts.items():
            if name not in self._texts or self._texts[name][0] != state:
                self._texts[name] = state, hashlib.sha256(make().encode()).digest()
        return [self._texts[name][1] for name in texts]


def digests(tensors: Sequence[Tensor]) -> list[bytes]:
    """SHA-256 of the bytes of each tensor."""
    return _side_by_side(lambda tensor: hashlib.sha256(_bytes(tensor).cpu().numpy()).digest(), tensors)


def combined(tensors: Mapping[str, Tensor], digests: Mapping[str, bytes], texts: Iterable[bytes]) -> str:
    """The fingerprint of the model that has these tensors, with these digests, and texts with those."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {digests[name].hex()}\n".encode())
    total.update(b"".join(texts))
    return PREFIX + total.hexdigest()


def first_format(tensors: Mapping[str, Tensor], texts: Texts) -> str:
    """The fingerprint of format 1: SHA-256 over tensors and vocabulary, then over that and each further text."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(_bytes(tensor).cpu().numpy())
    vocabulary, *others = (make() for _, make in texts.values())
    total.update(vocabulary.encode())
    for text in others:
        total = hashlib.sha256((total.hexdigest() + text).encode())
    return total.hexdigest()


def checksum(tensor: Tensor) -> Tensor:
    """An int64 (), on the tensor's device, that another content gives with a chance of 2⁻⁶⁴. Content that moves changes
    it; only elements that stand a multiple of 8·COLUMNS bytes apart can make up for each other's change."""
    data = _bytes(tensor)
    odd = -len(data) % 8
    if odd or data.storage_offset() % 8:  # no view as int64
        data = pad(data, (0, odd))
    words = data.view(torch.int64)
    rest = len(words) % COLUMNS
    if rest < len(words):
        table = words[: len(words) - rest].view(-1, COLUMNS)
        folded = torch.from_numpy(np.bitwise_xor.reduce(table.numpy())) if words.is_cpu else table.sum(0)
        folded[:rest].bitwise_xor_(words[len(words) - rest :])
    else:
        folded = words.clone()
    shifted = (folded >> 29).bitwise_and_(2**35 - 1)  # without the sign's copies, or -1 would become 0
    return folded.bitwise_xor_(shifted).mul_(_weights(words.device)[: len(folded)]).sum()


@lru_cache
def _weights(device: torch.device) -> Tensor:
    """(COLUMNS,) random odd numbers."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-(2**63), 2**63 - 1, (COLUMNS,), generator=generator).bitwise_or(1).to(device)


def _identity(tensor: Tensor) -> tuple:
    """What tells, with the checksum, whether a tensor may have changed."""
    version = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), version, tensor.dtype, tuple(tensor.shape)


def _checksums(tensors: Sequence[Tensor]) -> list[int]:
    """The checksum of each tensor; all are under way on their device before the first is read."""
    return [value.item() for value in _side_by_side(checksum, tensors)]


def _side_by_side(function: Callable, tensors: Sequence[Tensor]) -> list:
    """`function` of each tensor, in as many threads as torch uses: hashing and torch's operations release the lock."""
    if torch.get_num_threads() == 1 or sum(t.numel() for t in tensors) < 2**20:
        return [function(tensor) for tensor in tensors]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, tensors))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
