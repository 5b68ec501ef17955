"""Expressions and types of CUDA C as trees."""

from dataclasses import dataclass

from vfi_kernels.compat._cuda_tokens import END, MOST_DEPTH, NotUnderstood, Token

TYPES = {  # numbers of CUDA C, as numpy calls them
    "void": "", "bool": "bool", "char": "int8", "short": "int16", "int": "int32", "long": "int64", "float": "float32",
    "double": "float64", "size_t": "uint64", "int8_t": "int8", "uint8_t": "uint8", "int16_t": "int16",
    "int32_t": "int32", "uint32_t": "uint32", "int64_t": "int64", "uint64_t": "uint64", "auto": "auto",
    "uint": "uint32", "ptrdiff_t": "int64",
}  # fmt: skip
SIZES = {"8": 1, "16": 2, "32": 4, "64": 8, "b": 1}  # bytes, by the bits in a name; of bool
SIGNS = ("unsigned", "signed")
SILENT = (
    "const", "static", "inline", "volatile", "constexpr", "register", "__inline__", "__forceinline__", "__restrict__",
    "__restrict", "__noinline__", "__device__", "__host__", "__constant__",
)  # fmt: skip
SPACES = ("extern", "__shared__", "__global__")
BINARY = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip
ASSIGNED = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")


@dataclass(frozen=True)
class Type:
    number: str  # of numpy; "" is void, "auto" what it is given
    stars: int = 0


@dataclass(frozen=True, eq=False)
class Node:
    """An expression or a statement; `parts`: what it is made of."""

    kind: str
    parts: tuple["Node", ...] = ()
    text: str = ""
    type: Type | None = None


NOTHING = Node("block")


class Expressions:
    """Reads expressions and types, one token after another."""

    def __init__(self, tokens: list[Token]):
        self.tokens, self.at, self.depth = tokens, 0, 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else END

    def take(self, *texts: str) -> str:
        """The next token if it is one of these, else nothing."""
        if self.next.text not in texts or self.next.kind in ("string", "end"):
            return ""
        self.at += 1
        return self.tokens[self.at - 1].text

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise NotUnderstood(f"{self.next.text!r} where {text!r} was expected")

    def name(self) -> str:
        if self.next.kind != "name":
            raise NotUnderstood(f"{self.next.text!r} where a name was expected")
        self.at += 1
        return self.tokens[self.at - 1].text

    def is_type(self) -> bool:
        words = (*TYPES, *SIGNS, *SILENT, *SPACES)
        return self.next.kind == "name" and self.next.text in words

    def qualified(self) -> tuple[set[str], Type]:
        """Qualifiers and a type, in any order."""
        words: list[str] = []
        while self.is_type() or self.next.text == "__launch_bounds__":
            if self.next.text == "__launch_bounds__":
                self.launch_bounds()
                continue
            words.append(self.name())
        kinds = [word for word in words if word in TYPES]
        signs = [word for word in words if word in SIGNS]
        if not kinds and not signs:
            raise NotUnderstood(f"{self.next.text!r} where a type was expected")
        main = next((kind for kind in kinds if kind not in ("int", "long")), "long" if "long" in kinds else "int")
        if len(set(kinds) - {"int"}) > 1:
            raise NotUnderstood(f"the type {' '.join(kinds)}")
        number = TYPES[main]
        return set(words), Type(f"u{number}" if "unsigned" in signs and number.startswith("int") else number)

    def stars(self, base: Type) -> Type:
        count = 0
        while self.next.text == "*" or self.next.text in SILENT:
            count += bool(self.take("*"))
            self.take(*SILENT)
        if self.next.text == "&":
            raise NotUnderstood("a reference (&)")
        return Type(base.number, base.stars + count)

    def launch_bounds(self) -> str:
        if self.take("__launch_bounds__"):
            self.expect("(")
            while not self.take(")"):
                self.expression(2)
                self.take(",")
        return ""

    def expression(self, level: int = 0) -> Node:
        """`level`: 0 with commas, 2 without."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise NotUnderstood("expressions of this depth")
        try:
            found = self.assignment()
            while level == 0 and self.take(","):
                found = Node("comma", (found, self.assignment()))
            return found
        finally:
            self.depth -= 1

    def condition(self) -> Node:
        self.expect("(")
        found = self.expression()
        self.expect(")")
        return found

    def assignment(self) -> Node:
        target = self.binary(0)
        if self.take("?"):
            then = self.expression()
            self.expect(":")
            return Node("choose", (target, then, self.expression(2)))
        mark = self.take(*ASSIGNED)
        return Node("assign", (target, self.expression(2)), mark[:-1]) if mark else target

    def binary(self, level: int) -> Node:
        if level == len(BINARY):
            return self.unary()
        found = self.binary(level + 1)
        while mark := self.take(*BINARY[level]):
            kind = "logic" if mark in ("&&", "||") else "binary"
            found = Node(kind, (found, self.binary(level + 1)), mark)
        return found

    def unary(self) -> Node:
        mark = self.take("+", "-", "!", "~", "*", "&", "++", "--")
        if mark in ("++", "--"):
            return Node("assign", (self.unary(), Node("number", text="1")), mark[0])
        if mark:
            return Node({"*": "at", "&": "address"}.get(mark, "unary"), (self.unary(),), mark)
        if self.next.text == "(" and self.at + 1 < len(self.tokens):
            self.at += 1
            if self.is_type():
                _, base = self.qualified()
                declared = self.stars(base)
                self.expect(")")
                return Node("cast", (self.unary(),), type=declared)
            self.at -= 1
        return self.after(self.primary())

    def primary(self) -> Node:
        token = self.next
        if self.take("("):
            found = self.expression()
            self.expect(")")
            return found
        if token.text in ("static_cast", "reinterpret_cast"):
            self.at += 1
            self.expect("<")
            _, base = self.qualified()
            declared = self.stars(base)
            self.expect(">")
            return Node("cast", (self.condition(),), type=declared)
        if token.text == "sizeof" and self.take("sizeof") and self.take("("):
            _, base = self.qualified()
            declared = self.stars(base)
            self.expect(")")
            return Node("number", text=f"{SIZES.get(base.number.strip('uintfloa'), 8) if not declared.stars else 8}ul")
        if token.text in TYPES or token.text in SIGNS:
            _, base = self.qualified()
            return Node("cast", (self.condition(),), type=base)
        self.at += 1
        if token.kind in ("number", "name"):
            return Node(token.kind, text=token.text)
        raise NotUnderstood(f"{token.text!r} in an expression")

    def after(self, found: Node) -> Node:
        """Indices, arguments, members, and steps behind an expression."""
        while mark := self.take("[", "(", ".", "->", "++", "--"):
            if mark == "[":
                found = Node("index", (found, self.expression()))
                self.expect("]")
            elif mark == "(":
                found = Node("call", self.arguments(), found.text if found.kind == "name" else "")
            elif mark in ("++", "--"):
                found = Node("after", (found, Node("number", text="1")), mark[0])
            else:
                found = Node("member", (found,), self.name())
        return found

    def arguments(self) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.take(")"):
            found.append(self.expression(2))
            if not self.take(",") and self.next.text != ")":
                raise NotUnderstood(f"{self.next.text!r} between arguments")
        return tuple(found)
