"""Commands to be copied into a shell, with names in them that others have chosen."""

from __future__ import annotations


def quoted(word: str) -> str:
    """`word` as it has to be typed in a shell."""
    import shlex  # few commands tell of another

    return shlex.quote(word)


def command(verb: str, *names: str, options: str = "") -> str:
    """`wfctl VERB NAMES OPTIONS`. The names are quoted; where one begins like an option, none is read as one."""
    words = ["wfctl", verb]
    typed = [quoted(name) for name in names]
    if any(name.startswith("-") and name != "-" for name in names):
        words += [options, "--", *typed]
    else:
        words += [*typed, options]
    return " ".join(word for word in words if word)
