"""What mkdocs.yml needs beyond its plugins: pages made of files outside docs/, and formulas without a network."""

import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "python/README.md": "models.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_config(config: Any) -> Any:
    config.markdown_extensions.append(Formulas())
    return config


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=with_site_links((ROOT / source).read_text(), source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return markdown if page.file.generated_by else with_site_links(markdown, f"docs/{page.file.src_uri}")


def with_site_links(text: str, source: str) -> str:
    """`text` of the file `source` with links to pages of the site; what is not one of them is named, not linked."""
    folder = os.path.dirname(source)
    inside = os.path.relpath(folder, "docs") if source.startswith("docs/") else "."  # of its page in the site

    def link(match: re.Match) -> str:
        label, target, anchor = match[1], os.path.normpath(os.path.join(folder, match[2])), match[3] or ""
        page = target.removeprefix("docs/") if target.startswith("docs/") else PAGES.get(target)
        if page is None:
            return f"`{target}`" if label == target else f"{label} (`{target}`)"
        return f"[{label}]({os.path.relpath(page, inside)}{anchor})"

    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)", link, text)


class Formulas(Extension):
    """`.. math::` blocks and :math:`...` of the docstrings as MathML, which browsers draw by themselves."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Formulas(md), "formulas", 25)  # after line ends, before blocks of HTML


class _Formulas(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        text = re.sub(r"^\.\. math::\n((?: +.+\n?)+)", self._block, "\n".join(lines), flags=re.MULTILINE)
        return re.sub(r":math:`([^`]+)`", self._inline, text).split("\n")

    def _block(self, match: re.Match) -> str:
        return f"\n{self.md.htmlStash.store('<div>' + mathml(match[1], 'block') + '</div>')}\n"

    def _inline(self, match: re.Match) -> str:
        return self.md.htmlStash.store(mathml(match[1], "inline"))


def mathml(latex: str, display: str) -> str:
    """Names of several letters stay words: they are arguments, not products."""
    tokens = r"\\text\{[^}]*\}|\\[A-Za-z]+|[A-Za-z](?:[A-Za-z0-9]|\\_)+"

    def word(match: re.Match) -> str:
        return match[0] if match[0].startswith("\\") else rf"\text{{{match[0].replace(chr(92) + '_', '_')}}}"

    return convert(re.sub(tokens, word, " ".join(latex.split())), display=display)
