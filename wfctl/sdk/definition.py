"""What `@task` knows about a function: its name, arguments, result and limits, checked when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Never, NoReturn

import msgspec

from wfctl.errors import RegistrationError
from wfctl.sdk.annotations import resolve, unsupported
from wfctl.sdk.handler import refuse
from wfctl.sdk.retry import RetryPolicy
from wfctl.values.codec import MAX_PAYLOAD_BYTES, canonical, convert, decode, encode, too_large, unchanged


class Call(msgspec.Struct, frozen=True):
    """One call of a task: its arguments as JSON, and as canonical JSON that identifies it."""

    arguments: bytes
    content: bytes


class Definition:
    """A function that is a task. `name` is for people, `key` (with its module) tells it from others in the records."""

    __slots__ = (
        "_names", "_result", "_signature", "file", "function", "is_async", "key", "line", "name", "policy", "timeout_ms",
    )  # fmt: skip

    def __init__(self, function: Callable[..., Any], policy: RetryPolicy, timeout_ms: int | None) -> None:
        """RegistrationError says where and what to write."""
        inner = inspect.unwrap(function)
        code = inner.__code__
        self.function = function
        self.file: str = code.co_filename
        self.line: int = code.co_firstlineno
        self.name: str = function.__name__
        self.key = f"{function.__module__}.{function.__qualname__}"
        self.policy = policy
        self.timeout_ms = timeout_ms
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner)
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        # Where all of them may be given by position and by name, a call that gives each needs no binding.
        usual = all(one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters)
        self._names = tuple(self._signature.parameters) if usual else None
        self._result: tuple[Any] | None = None
        if self.name == "<lambda>":
            self._refuse("a lambda has no name to be recorded under", "write it as a def")
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            self._refuse("a task cannot be a generator: its result is recorded as a whole", "return a list")

    def _refuse(self, message: str, hint: str) -> NoReturn:
        refuse(self.file, self.line, f"task {self.name!r}: {message}", hint)

    # -- the result -----------------------------------------------------------------------------

    def resolve_early(self, local_names: dict[str, Any]) -> None:
        """Resolve the return annotation while names local to the declaration are there; others wait for `result_type`."""
        try:
            self._result = (self._resolved(local_names),)
        except RegistrationError:
            pass

    @property
    def result_type(self) -> Any:
        """What results are converted to. RegistrationError where the annotation cannot be resolved or converted to."""
        if self._result is None:
            self._result = (self._resolved(None),)
        return self._result[0]

    def _resolved(self, local_names: dict[str, Any] | None) -> Any:
        annotation = self._signature.return_annotation
        if annotation in (inspect.Signature.empty, NoReturn, Never, "NoReturn", "Never"):
            return Any
        try:
            annotation = resolve(annotation, inspect.unwrap(self.function).__globals__, local_names)
        except Exception as error:  # evaluating text can raise anything
            self._refuse(
                f"the return annotation {annotation!r} cannot be resolved: {error}",
                "import or define that name at module level (not only under TYPE_CHECKING)",
            )
        reason = unsupported(annotation)
        if reason is not None:
            self._refuse(
                f"no value can be converted to the return type: {reason}",
                "annotate it with one type, or with Any and convert it yourself",
            )
        return annotation

    def result(self, data: bytes) -> Any:
        """A recorded result as the annotated type, a fresh object each time; InvalidPayloadError where it does not convert."""
        value = decode(data)
        wanted = self.result_type
        return value if wanted is Any else convert(value, wanted, f"result of task {self.name!r}")

    # -- a call ---------------------------------------------------------------------------------

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The call's arguments, defaults applied. TypeError as Python's own, InvalidPayloadError names what JSON cannot hold."""
        if self._result is None:
            _ = self.result_type  # found out before anything happens
        names = self._names
        if names is not None and not kwargs and len(args) == len(names):
            given = dict(zip(names, args, strict=True))
        else:
            given = self._given(args, kwargs)
        if all(map(unchanged, given.values())):
            try:
                arguments = msgspec.json.encode(given)
                if len(arguments) <= MAX_PAYLOAD_BYTES:
                    return Call(arguments, arguments if len(given) == 1 else canonical(given))
            except (ValueError, OverflowError):  # text that is no Unicode
                pass
        encoded = {
            name: msgspec.Raw(encode(value, f"argument {name!r} of task {self.name!r}"))
            for name, value in given.items()
        }
        arguments = msgspec.json.encode(encoded)
        if len(arguments) > MAX_PAYLOAD_BYTES:
            raise too_large(f"the arguments of task {self.name!r}", len(arguments), MAX_PAYLOAD_BYTES)
        return Call(arguments, canonical(given))

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """By name, in the order of the signature, with defaults."""
        names = self._names
        if names is not None and len(args) + len(kwargs) == len(names):
            named = names[len(args) :]
            if all(name in kwargs for name in named):
                return dict(zip(names, args + tuple(kwargs[name] for name in named), strict=True))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)
