"""Assemble book/_static/edit/kernel.wat, WebAssembly in text, and write the bytes into kernel.js beside it.

    python book/_ext/assemble.py            # writes; a test compares the two

It knows what the kernel needs and no more: one imported memory, one exported function of i32 without a result, folded
instructions. Any WebAssembly toolkit assembles the same file. Encoding: https://webassembly.github.io/spec/core/binary
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

EDIT = Path(__file__).parents[1] / "_static" / "edit"
SOURCE, TARGET = EDIT / "kernel.wat", EDIT / "kernel.js"
INLINED = re.compile(r'(?<=const CODE =\n)(?: +"[A-Za-z0-9+/=]*"(?: \+\n|;\n))+')
TYPES = {"i32": 0x7F, "v128": 0x7B}
PLAIN = {  # instruction → its code
    "i32.lt_s": [0x48], "i32.add": [0x6A], "i32.sub": [0x6B], "i32.mul": [0x6C], "i32.shl": [0x74],
    "f32x4.add": [0xFD, 0xE4, 0x01], "f32x4.mul": [0xFD, 0xE6, 0x01],
}  # fmt: skip
LOCAL = {"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}
MEMORY = {"v128.load": [0xFD, 0x00], "v128.load32_splat": [0xFD, 0x09], "v128.store": [0xFD, 0x0B]}
EMPTY, LOOP, IF, ELSE, END, BR_IF, CONST = 0x40, 0x03, 0x04, 0x05, 0x0B, 0x0D, 0x41

Expression = list  # of words and expressions


def parse(text: str) -> Expression:
    """The first expression of a text: nested lists of words."""
    stack: list[Expression] = [[]]
    for word in re.findall(r'"[^"]*"|[()]|[^\s()]+', re.sub(r";;.*", "", text)):
        if word == "(":
            stack.append([])
        elif word == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(word)
    (module,) = stack[0]
    return module


def number(n: int) -> list[int]:
    """LEB128 of an unsigned number."""
    low, high = n & 0x7F, n >> 7
    return [low | 0x80, *number(high)] if high else [low]


def vector(items: list) -> list[int]:
    """A length, then the items, which are bytes or lists of bytes."""
    return [*number(len(items)), *(byte for item in items for byte in (item if isinstance(item, list) else [item]))]


def name(quoted: str) -> list[int]:
    return vector(list(quoted.strip('"').encode()))


class Function:
    """The code of a function: its parameters, then its locals, have the numbers from 0."""

    def __init__(self, parts: list[Expression]):
        named = [part for part in parts if part[0] in ("param", "local")]
        self.numbers = {part[1]: i for i, part in enumerate(named)}
        self.params = [TYPES[part[2]] for part in named if part[0] == "param"]
        self.locals = [TYPES[part[2]] for part in named if part[0] == "local"]
        self.labels: list[str | None] = []  # of the blocks around an instruction, the innermost last
        self.code = [byte for part in parts if part not in named for byte in self.instruction(part)]

    def all(self, expressions: list[Expression]) -> list[int]:
        return [byte for expression in expressions for byte in self.instruction(expression)]

    def instruction(self, expression: Expression) -> list[int]:
        """The operands first, then the instruction."""
        kind, *rest = expression
        if kind == "loop":
            self.labels.append(rest[0])
            code = [LOOP, EMPTY, *self.all(rest[1:]), END]
            self.labels.pop()
            return code
        if kind == "if":
            condition, then, otherwise = rest
            test = self.instruction(condition)
            self.labels.append(None)
            code = [*test, IF, EMPTY, *self.all(then[1:]), ELSE, *self.all(otherwise[1:]), END]
            self.labels.pop()
            return code
        if kind == "br_if":
            return [*self.instruction(rest[1]), BR_IF, *number(self.labels[::-1].index(rest[0]))]
        if kind == "i32.const":
            n = int(rest[0])
            if not 0 <= n < 64:
                raise ValueError(f"{n} takes more than a byte of signed LEB128, which is not written here")
            return [CONST, n]
        if kind in LOCAL:
            return [*self.all(rest[1:]), LOCAL[kind], *number(self.numbers[rest[0]])]
        if kind in MEMORY:
            offset = int(rest.pop(0).removeprefix("offset=")) if isinstance(rest[0], str) else 0
            return [*self.all(rest), *MEMORY[kind], 0, *number(offset)]  # aligned to any byte
        return [*self.all(rest), *PLAIN[kind]]


def assemble(text: str) -> bytes:
    """The binary module of a module in text."""
    _, (_, module, memory, (_, pages)), (_, (_, exported), *parts) = parse(text)
    function = Function(parts)
    declared = vector([[1, type] for type in function.locals])
    sections = {
        1: vector([[0x60, *vector(function.params), 0]]),
        2: vector([[*name(module), *name(memory), 2, 0, *number(int(pages))]]),
        3: vector([0]),
        7: vector([[*name(exported), 0, 0]]),
        10: vector([vector([*declared, *function.code, END])]),
    }
    body = [byte for id, section in sections.items() for byte in (id, *vector(section))]
    return b"\0asm\1\0\0\0" + bytes(body)


def inlined(text: str) -> str:
    """The bytes as the lines of JavaScript that kernel.js holds."""
    code = base64.b64encode(assemble(text)).decode()
    lines = [code[i : i + 112] for i in range(0, len(code), 112)]
    return "".join(f'    "{line}" +\n' for line in lines)[:-3] + ";\n"


def write() -> bool:
    """Write the bytes into kernel.js; whether anything changed."""
    before = TARGET.read_text("utf-8")
    if not INLINED.search(before):
        raise ValueError(f"{TARGET.name} has no place for the bytes: lines of text after `const CODE =`")
    after = INLINED.sub(lambda _: inlined(SOURCE.read_text("utf-8")), before)
    TARGET.write_text(after, "utf-8")
    return after != before


if __name__ == "__main__":
    print(f"{TARGET.name}: {'written' if write() else 'up to date'}, {len(assemble(SOURCE.read_text('utf-8')))} bytes")
