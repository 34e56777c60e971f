"""Documentation pages: size of README.md and CHANGELOG.md, width of prose, links that lead somewhere, words."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROSE_WIDTH = 100  # characters of a line of prose; a line may be longer where it is one sentence
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
SENTENCE_END = re.compile(r"(?<!\bal)(?<!\bno)(?<!Sci)(?<!Transl)(?<!Med)[.!?][)*\"]*\s+[A-Z\[`]")


def lines_of(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()


def prose(lines: list[str]) -> list[tuple[int, str]]:
    """The numbered lines outside of code blocks, tables and comments."""
    found, code = [], False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith(("|", "<!--", "#")):
            found.append((number, line))
    return found


def is_wide(line: str) -> bool:
    """Whether a line of prose is longer than it may be: links count by their text, and one sentence is one line."""
    shown = re.sub(r"^\s*([-*] |\d+\. )?(\*\*[^*]*\*\*)?", "", line)  # mark of a list, words in bold before a text
    shown = re.sub(r"!?\[([^\]]*)\]\([^()\s]+\)", r"\1", shown)
    return len(shown) > PROSE_WIDTH and SENTENCE_END.search(shown) is not None


def anchors(page: Path) -> set[str]:
    """The fragments of a page: its ids, and those that GitHub makes of its headings."""
    titles, code = [], False
    for line in lines_of(page):
        if line.startswith("```"):
            code = not code
        elif not code and (found := re.match(r"#+ (.*)", line)):
            titles.append(found.group(1))
    words = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {word.replace(" ", "-") for word in words} | set(re.findall(r'<a id="([^"]+)">', page.read_text("utf-8")))


def test_readme_is_short_and_narrow():
    lines = lines_of(ROOT / "README.md")
    assert len(lines) <= 100
    assert [line for line in lines if len(line) > 120] == []
    (picture,) = re.findall(r"^!\[[^\]]+\]\((\S+)\)$", "\n".join(lines), re.MULTILINE)
    assert (ROOT / picture).stat().st_size <= 200_000


def test_the_changelog_before_the_first_release_is_short():
    assert len(lines_of(ROOT / "CHANGELOG.md")) <= 30


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "README.md" or page.parent != ROOT],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_prose_is_narrow_or_one_sentence_a_line(page):
    assert [f"{page.name}:{number}: {line}" for number, line in prose(lines_of(page)) if is_wide(line)] == []


def test_a_wide_line_is_found():
    sentence = "A sentence that is long enough to pass the width " * 3
    assert not is_wide(f"{sentence}.")
    assert is_wide(f"{sentence}. And another one.")
    assert not is_wide("Short. And [a link](https://example.org/" + "x" * 120 + ").")
    assert prose(["text", "```", "code", "```", "| cell |", "more"]) == [(1, "text"), (6, "more")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, fragment = unquote(target).partition("#")
        file = page if not name else page.parent / name
        assert file.exists(), f"{page.name} links to {target}"
        assert not fragment or fragment in anchors(file), f"{page.name} links to {target}"


def test_pages_that_the_code_names_are_there():
    named = re.compile(r"\bdocs/[\w/]+\.md(?:#[\w-]+)?")
    sources = [*ROOT.glob("mammorisk/**/*.py"), *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("tools/*.py")]
    found = {(source, target) for source in sources for target in named.findall(source.read_text(encoding="utf-8"))}
    assert found
    for source, target in found:
        name, _, fragment = target.partition("#")
        assert (ROOT / name).is_file(), f"{source.relative_to(ROOT)} names {target}"
        assert not fragment or fragment in anchors(ROOT / name), f"{source.relative_to(ROOT)} names {target}"


def test_readme_names_every_page():
    linked = {(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    pages = {page for page in PAGES if page.parent != ROOT / "docs/models"} - {ROOT / "README.md"}
    assert sorted(str(page.relative_to(ROOT)) for page in pages - linked) == []


def test_every_pitfall_has_its_tests():
    rows = re.findall(
        r"^\| <a id=\"p(\d+)\"></a>.*\| `(\S+)` \|$", (ROOT / "docs/pitfalls.md").read_text(encoding="utf-8"), re.M
    )
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    for number, file in rows:
        assert f"def test_pitfall_{int(number):02}_" in (ROOT / file).read_text(encoding="utf-8"), file
    tested = {
        int(n) for f in ROOT.glob("tests/**/test_*.py") for n in re.findall(r"def test_pitfall_(\d+)", f.read_text())
    }
    assert tested == {int(number) for number, _ in rows}
