"""Text from outside as what can be shown anywhere: one line of bounded length, without control characters.

Brokers, consumers and callers name things and word errors. What they say ends in logs, terminals, answers and pages, where an
escape sequence, a line break or a change of the writing direction could pretend to be something else.
"""

# No sentence of the engine is as long; a broker's may be.
LONGEST = 1000


def printable(text: str, longest: int = LONGEST) -> str:
    """Answers the text with everything escaped that is not printable, as Python writes it, and cut to a length.

    Args:
        text: Of whatever origin.
        longest: Characters that are kept, at least 1; a text that was cut ends in an ellipsis.
    """
    kept = text[: longest + 1]
    if not kept.isprintable():
        kept = "".join(char if char.isprintable() else _escaped(char) for char in kept)
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
