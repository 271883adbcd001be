"""Content keys of recorded operations: `kind:name:hash:number`, with marks. Made in `wfctl.sdk.replay`, read here."""

from __future__ import annotations

# Operations asked for after the handler got its cancellation carry this mark. It tells the records of the way to the
# cancellation from those of the clean-up after it, so that a re-execution is cancelled at the same place.
CLEANUP_MARK = "~"
# What comes after it in a key is the branch.
BRANCH_MARK = "@"
# Python's own, in the name of a function within a function.
LOCAL = "<locals>"


def call_of(key: str) -> str:
    """A key without its branch: it says which of the step's operations this is, whoever asked for it."""
    head, mark, branch = key.rpartition(BRANCH_MARK)
    return head if mark and branch.isalnum() and head.rpartition(":")[2].isdigit() else key


def branch_of(key: str) -> str:
    """The branch of the handler that asked; empty for its main line, and for operations whose keys do not say."""
    return key[len(call_of(key)) + 1 :]


_WORDS = {
    "child": "start of child workflow {}",
    "child_result": "handle.result() of {}",
    "child_cancel": "handle.cancel() of {}",
    "child_terminate": "handle.terminate() of {}",
    "parent_event": "event {} to the parent",
    "event": "event {}",
    "now": "ctx.now()",
    "random": "ctx.random()",
    "uuid": "ctx.uuid4()",
    "sleep": "ctx.sleep()",
}


def in_words(key: str) -> str:
    """A content key for people: `start of child workflow 'Payment' [3f9c04aa12cd90ef]`, `[..., occurrence 2]`..."""
    words, hashed, again = _parts(key)
    return f"{words} [{hashed}{again}]"


def in_few_words(key: str) -> str:
    """The same without what tells it from others of its name."""
    return _parts(key)[0]


def _parts(key: str) -> tuple[str, str, str]:
    head, _, count = call_of(key).removeprefix(CLEANUP_MARK).rpartition(":")
    head, _, hashed = head.rpartition(":")
    kind, _, name = head.partition(":")
    words = _WORDS.get(kind, f"{kind} {{}}").format(repr(name))
    return words, hashed, f", occurrence {int(count) + 1}" if count.isdigit() and count != "0" else ""
