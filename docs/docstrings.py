"""From docstrings, which are plain text, to reStructuredText.

A paragraph is text, a line "name : what it is" begins an entry of a list, what is indented below neither is kept as it
stands, and so are examples. `Names` in backquotes become code.
"""

import re

_ENTRY = re.compile(r"(?P<names>[A-Za-z_*][\w*.\[\]]*(?:,? (?:and |or )?[\w*.\[\]]+)*) : (?P<text>.*)")
_HEADING = re.compile(r"-{4,}$")


def to_rst(app, what, name, obj, options, lines):
    """The lines of a docstring, in place; a handler of Sphinx's event autodoc-process-docstring."""
    lines[:] = list(_converted(lines))


def _converted(lines):
    """Lines of reStructuredText."""
    kind = ""  # of what the line before belongs to: "text", "entry", "literal" or "example"
    for number, line in enumerate(lines):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        entry = _ENTRY.fullmatch(text) if not indent else None
        if not text:
            kind = kind if kind == "literal" else ""
            yield ""
        elif _HEADING.match(text) or (number + 1 < len(lines) and _HEADING.match(lines[number + 1].strip())):
            kind = ""  # "Parameters": that they are is seen
        elif text.startswith(">>>") or kind == "example":
            kind = "example"
            yield line
        elif entry:
            yield from ["", f"``{entry['names']}``", f"    {_inline(entry['text'])}"]
            kind = "entry"
        elif kind == "entry":
            yield f"    {_inline(text)}"
        elif indent:
            if kind != "literal":
                yield from ["", ".. code-block:: text", ""]
            kind = "literal"
            yield f"    {line}"
        else:
            if kind == "literal":
                yield ""
            kind = "text"
            yield _inline(text)
    yield ""


def _inline(text):
    """Code in backquotes, and nothing else that reStructuredText takes for markup."""
    parts = text.split("`")
    plain = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    return "".join(part for pair in zip(plain, [*code, ""], strict=False) for part in pair)
