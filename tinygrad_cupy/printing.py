"""Names that somebody else chose (of files, folders, classes), made fit for a terminal."""


def printable(text: object) -> str:
    """``str(text)`` with every character that does not print as its escape, such as ``\\x1b``.

    These are the characters that `repr` escapes: control characters and line ends, marks that turn
    the direction of writing, spaces other than the plain one, and lone surrogates, which stand for
    bytes of a file name that are no UTF-8. What is left can be encoded, and stays on one line.
    """
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in str(text)
    )


def shortened(text: str, most: int) -> str:
    """``text``, or its beginning and end where it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"
