"""Kernels in CUDA C as trees: what the autograd functions of the field launch is a small part of C."""

import functools
from dataclasses import dataclass

from vfi_kernels.compat._cuda_expressions import NOTHING, Expressions, Node, Type
from vfi_kernels.compat._cuda_tokens import MOST_DEPTH, NotUnderstood, tokens_of


@dataclass(frozen=True)
class Routine:
    parameters: tuple[tuple[str, Type], ...]
    body: Node
    result: Type


@dataclass(frozen=True)
class Program:
    routines: dict[str, Routine]
    constants: tuple[Node, ...]  # declarations outside of functions


@functools.lru_cache(maxsize=64)
def program_of(text: str) -> Program:
    """NotUnderstood if it is not made of what is known here."""
    try:
        return Reader(tokens_of(text)).program()
    except RecursionError:
        raise NotUnderstood("expressions of this depth") from None


class Reader(Expressions):
    """Reads functions and their statements."""

    def program(self) -> Program:
        routines: dict[str, Routine] = {}
        constants: list[Node] = []
        while self.next.kind != "end":
            if self.take(";", "}"):
                continue
            if self.take("extern") and self.next.kind == "string":
                self.at += 1
                self.take("{")
                continue
            spaces, base = self.qualified()
            declared, name = self.stars(base), self.launch_bounds() or self.name()
            if self.take("("):
                routine = self.routine(declared)
                routines.update({} if routine is None else {name: routine})
            else:
                constants += self.declaration(base, name, declared, "__shared__" in spaces, "extern" in spaces)
        return Program(routines, tuple(constants))

    def routine(self, result: Type) -> Routine | None:
        parameters: list[tuple[str, Type]] = []
        while not self.take(")"):
            if not self.take(",") and not (self.take("void") and self.next.text == ")"):
                _, base = self.qualified()
                declared = self.stars(base)
                name = self.name() if self.next.kind == "name" else ""
                if self.take("["):
                    while not self.take("]"):
                        self.expression(2)
                    declared = Type(declared.number, declared.stars + 1)
                parameters.append((name, declared))
        if self.take(";"):
            return None  # its body comes later
        if self.next.text != "{":
            raise NotUnderstood(f"{self.next.text!r} after the parameters of a function")
        return Routine(tuple(parameters), self.statement(), result)

    def declaration(self, base: Type, name: str, declared: Type, shared: bool, outside: bool) -> list[Node]:
        """From after the first name on, to the semicolon."""
        found: list[Node] = []
        while True:
            sizes: list[Node] = []
            while self.take("["):
                sizes.append(NOTHING if self.next.text == "]" else self.expression())
                self.expect("]")
            kind = ("dynamic" if outside else "shared") if shared else "array" if sizes else "variable"
            values = self.values() if self.take("=") or self.next.text == "{" else ()
            found.append(Node(kind, (Node("sizes", tuple(sizes)), *values), name, declared))
            if not self.take(","):
                self.expect(";")
                return found
            declared = self.stars(base)
            name = self.name()

    def values(self) -> tuple[Node, ...]:
        """What a variable or an array begins with."""
        if not self.take("{"):
            return (self.expression(2),)
        found: list[Node] = []
        while not self.take("}"):
            found += self.values()
            self.take(",")
        return (Node("list", tuple(found)),)

    def statement(self) -> Node:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise NotUnderstood("statements of this depth")
        try:
            return self.statement_inside()
        finally:
            self.depth -= 1

    def statement_inside(self) -> Node:
        if self.take("{"):
            found: list[Node] = []
            while not self.take("}"):
                if self.next.kind == "end":
                    raise NotUnderstood("the end of the text inside a function")
                found.append(self.statement())
            return Node("block", tuple(found))
        if self.take(";"):
            return NOTHING
        word = self.take("if", "for", "while", "do", "break", "continue", "return", "switch", "goto", "case", "asm")
        if word in ("switch", "goto", "case", "asm"):
            raise NotUnderstood(f"the statement {word}")
        if word in ("break", "continue"):
            self.expect(";")
            return Node(word)
        if word == "return":
            result = () if self.next.text == ";" else (self.expression(),)
            self.expect(";")
            return Node("return", result)
        if word:
            return {"if": self.choice, "for": self.loop, "while": self.while_loop, "do": self.do_loop}[word]()
        if self.is_type():
            spaces, base = self.qualified()
            declared, name = self.stars(base), self.name()
            shared = "__shared__" in spaces
            return Node("declarations", tuple(self.declaration(base, name, declared, shared, "extern" in spaces)))
        value = Node("expression", (self.expression(),))
        self.expect(";")
        return value

    def choice(self) -> Node:
        condition, then = self.condition(), self.statement()
        return Node("if", (condition, then, self.statement() if self.take("else") else NOTHING))

    def while_loop(self) -> Node:
        return Node("loop", (self.condition(), NOTHING, self.statement()))

    def do_loop(self) -> Node:
        body = self.statement()
        self.expect("while")
        condition = self.condition()
        self.expect(";")
        return Node("loop", (condition, NOTHING, body), "do")

    def loop(self) -> Node:
        self.expect("(")
        start = self.statement()
        condition = Node("number", text="1") if self.next.text == ";" else self.expression()
        self.expect(";")
        step = NOTHING if self.next.text == ")" else Node("expression", (self.expression(),))
        self.expect(")")
        return Node("block", (start, Node("loop", (condition, step, self.statement()))))
