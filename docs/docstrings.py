"""From docstrings, which are plain text, to reStructuredText.

A paragraph is text; "name : what it is" begins an entry of a list, in a line of its own or after a full stop or
semicolon. What is indented and no entry's text, what stands in columns, and examples are kept as they are. `Names` in
backquotes become code.
"""

import re

_NAMES = r"[A-Za-z_*][\w*\[\]]*(?:(?:, | and | or )[\w*\[\]]+)*"
_ENTRY = re.compile(rf"(?P<names>{_NAMES}) :(?: (?P<text>.*))?")
_BETWEEN_ENTRIES = re.compile(rf"(?<=[.;]) (?={_NAMES} :(?: |$))")
_HEADING = re.compile(r"-{4,}")
_COLUMNS = re.compile(r"\S {2,}\S")


def to_rst(app, what, name, obj, options, lines):
    """The lines of a docstring, in place; a handler of Sphinx's event autodoc-process-docstring."""
    lines[:] = list(_converted(lines))


def _converted(lines):
    """Lines of reStructuredText."""
    kind = margin = ""  # of what the line before belongs to: "text", "entry", "literal" or "example"
    for number, line in enumerate(lines):
        text, is_indented = line.strip(), line.startswith(" ")
        if not text:
            kind, margin = (kind, margin) if kind == "literal" else ("", "")
            yield ""
        elif _is_heading(lines, number):
            kind = ""
        elif text.startswith(">>>") or kind == "example":
            kind = "example"
            yield line
        elif is_indented and (kind in ("", "text", "literal") or _COLUMNS.search(text)):
            if kind != "literal":
                margin = "    " if kind == "entry" else ""
                yield from ["", f"{margin}.. code-block:: text", ""]
            kind = "literal"
            yield f"{margin}    {line}"
        else:
            for part in _BETWEEN_ENTRIES.split(text) if kind != "text" else [text]:
                entry = _ENTRY.fullmatch(part)
                if entry:
                    kind = "entry"
                    yield from ["", f"``{entry['names']}``"]
                elif kind != "entry":
                    kind = "text"
                what = (entry["text"] or "") if entry else part
                if what:
                    yield ("    " if kind == "entry" else "") + _inline(what.removesuffix(";"))
    yield ""


def _is_heading(lines, number):
    """Whether a line is "Parameters" or the dashes below it; that they are parameters is seen."""
    return any(_HEADING.fullmatch(line.strip()) for line in lines[number : number + 2])


def _inline(text):
    """Code in backquotes, and nothing else that reStructuredText takes for markup."""
    parts = text.split("`")
    plain = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(part for pair in zip(plain, [*code, ""], strict=False) for part in pair)
