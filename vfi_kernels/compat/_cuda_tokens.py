"""The words of a kernel's text in CUDA C: without comments, and with its macros put in. Text is data: what is not
understood is refused with its place, and nothing of it is ever run as Python."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_TOKENS = 200_000  # of a text after its macros: a few kernels have some thousand
MOST_DEPTH = 50  # of macros in macros, and of parentheses

COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?[fFuUlL]*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<string>"(?:\\.|[^"\\\n])*")
    |(?P<mark><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||::|[-+*/%&|^]=|[-+*/%=<>!~&|^?:;,.(){}\[\]])""",
    re.VERBOSE,
)


class NotUnderstood(Exception):
    """A construct of the text, in words."""


@dataclass(frozen=True)
class Token:
    kind: str  # "number", "name", "string", "mark", or "end"
    text: str


END = Token("end", "the end of the text")
Macros = dict[str, tuple[tuple[str, ...] | None, tuple[Token, ...]]]  # name -> parameters, and what it stands for


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, its macros put in. NotUnderstood if it has what is none of CUDA C here."""
    macros: Macros = {}
    found: list[Token] = []
    plain = COMMENT.sub(" ", text.replace("\\\n", " "))
    for line in pieces(plain):
        if line.lstrip().startswith("#"):
            directive(line.strip(), macros)
        else:
            found += expanded(scanned(line), macros, 0)
        if len(found) > MOST_TOKENS:
            raise NotUnderstood("a text of this length")
    return found


def pieces(text: str) -> list[str]:
    """The lines that begin with #, and what is between them."""
    found: list[str] = []
    between: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            found += ["\n".join(between), line]
            between = []
        else:
            between.append(line)
    return [*found, "\n".join(between)]


def scanned(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise NotUnderstood(f"the character {text[at]!r}")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group()))
        at = match.end()
    return found


def directive(line: str, macros: Macros) -> None:
    word = re.match(r"#\s*(\w*)\s*(.*)", line, re.DOTALL)
    assert word is not None
    kind, rest = word.groups()
    if kind in ("pragma", "include", ""):
        return  # what a header brings is not known either where it is used
    if kind == "undef":
        macros.pop(rest.strip(), None)
        return
    given = re.match(r"(\w+)(\(([\w\s,]*)\))?(.*)", rest, re.DOTALL) if kind == "define" else None
    if given is None:
        raise NotUnderstood(f"#{kind}")
    name, with_parameters, parameters, body = given.groups()
    names = None if with_parameters is None else tuple(p.strip() for p in parameters.split(",") if p.strip())
    if "#" in body:
        raise NotUnderstood("# in a macro")
    macros[name] = names, tuple(scanned(body))


def expanded(tokens: Sequence[Token], macros: Macros, depth: int) -> list[Token]:
    """With what macros stand for in their place."""
    if depth > MOST_DEPTH or len(tokens) > MOST_TOKENS:
        raise NotUnderstood("macros of this depth")
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.kind != "name" or token.text not in macros:
            found.append(token)
            continue
        names, body = macros[token.text]
        if names is not None:
            if at >= len(tokens) or tokens[at].text != "(":
                found.append(token)
                continue
            given, at = arguments(tokens, at + 1)
            given = [] if given == [[]] and not names else given
            if len(given) != len(names):
                raise NotUnderstood(f"the macro {token.text} with {len(given)} arguments")
            values = {n: expanded(g, macros, depth + 1) for n, g in zip(names, given)}
            body = tuple(t for b in body for t in (values.get(b.text, [b]) if b.kind == "name" else [b]))
        # a macro inside itself stays as it is
        found += expanded(body, {n: m for n, m in macros.items() if n != token.text}, depth + 1)
        if len(found) > MOST_TOKENS:
            raise NotUnderstood("macros of this length")
    return found


def arguments(tokens: Sequence[Token], at: int) -> tuple[list[list[Token]], int]:
    """Those of a macro, from after its parenthesis on; and where they end."""
    found: list[list[Token]] = [[]]
    depth = 0
    while at < len(tokens):
        text = tokens[at].text
        at += 1
        if text == ")" and depth == 0:
            return found, at
        depth += (text in "([") - (text in ")]")
        if text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(tokens[at - 1])
    raise NotUnderstood("a macro without its end")
