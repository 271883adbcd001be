"""One handler of a workflow: what was checked when it was declared, and what running it needs."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from wfctl.errors import RegistrationError
from wfctl.sdk.annotations import resolve, spell, unfillable, unsupported
from wfctl.values.codec import type_name
from wfctl.values.outcome import ChildOutcome
from wfctl.values.signature import HandlerSpec, ParamSpec

_CONTEXT_NAMES = ("ctx", "context", "_ctx", "_")
_CONTEXT_TYPES = ("Context", "BlockingContext")


def refuse(file: str, line: int, message: str, hint: str) -> NoReturn:
    """Raise the RegistrationError of a declaration at `file`:`line`."""
    here = os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file
    raise RegistrationError(f"{here}:{line}: {message}", hint=hint, file=file, line=line, problem=message)


class Handler:
    """A registered function. `params` are those after `ctx`; `types` their resolved annotations, by name; `context` is what
    `ctx` is called, where a `**` could be given that name too. `home` are the globals of the module whose import registered it.

    Everything a step needs at run time is worked out once, here: running it inspects nothing.
    """

    __slots__ = (
        "_returns",
        "_spec",
        "_types",
        "context",
        "extra",
        "file",
        "function",
        "home",
        "is_async",
        "kind",
        "line",
        "name",
        "outcome",
        "owner",
        "params",
        "required",
        "timeout_ms",
    )

    def __init__(
        self, owner: str, kind: str, name: str | None, function: Callable[..., Any], timeout_ms: int | None
    ) -> None:
        """Check `function` as a `kind` handler of workflow type `owner`; RegistrationError says where and what to write."""
        inner = inspect.unwrap(function)
        code = inner.__code__
        self.owner = owner
        self.kind = kind
        self.function = function
        self.home: dict[str, Any] | None = None
        self.file: str = code.co_filename
        self.line: int = code.co_firstlineno
        self.name: str = name or function.__name__
        self.timeout_ms = timeout_ms
        # A plain decorator around an `async def` still hands out its coroutine.
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inner)
        self._types: dict[str, Any] | None = None
        self._returns: Any = inspect.Signature.empty
        self._spec: HandlerSpec | None = None
        self._check_name()
        signature = inspect.signature(function)
        self._check_parameters(list(signature.parameters.values()))
        if kind == "query":
            self._returns = signature.return_annotation

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name!r} of workflow {self.owner!r}"

    def _refuse(self, message: str, hint: str) -> NoReturn:
        refuse(self.file, self.line, f"{self.label}: {message}", hint)

    def _check_name(self) -> None:
        if self.function.__name__ == "<lambda>":
            self._refuse("a lambda has no name to be found by", "write it as a def")
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            hint = "return the whole answer" if self.kind == "query" else "remove the yield, and return ctx.next..."
            self._refuse("a handler cannot be a generator", hint)

    def _check_parameters(self, parameters: list[inspect.Parameter]) -> None:
        if not parameters or not _takes_context(parameters[0]):
            self._refuse(
                "the first parameter must be the context",
                f"def {self.function.__name__}(ctx: Context{', ...' if parameters else ''}) -> Directive",
            )
        self.extra = False
        self.context: str | None = None
        kept: list[inspect.Parameter] = []
        for parameter in parameters[1:]:
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                self._refuse(
                    f"parameter {parameter.name!r} is positional-only; arguments come by name",
                    "put the / right after ctx, or remove it",
                )
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self._refuse(
                    f"parameter *{parameter.name} cannot be filled; arguments come by name",
                    f"take a list: {parameter.name}: list[...]",
                )
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.extra = True
                if parameters[0].kind is not inspect.Parameter.POSITIONAL_ONLY:
                    self.context = parameters[0].name
            else:
                kept.append(parameter)
        needed = [p.name for p in kept if p.default is inspect.Parameter.empty]
        self.outcome = self.kind == "step" and any(_is_outcome(p.annotation) for p in kept)
        if self.outcome and (len(kept) > 1 or self.extra or not needed):
            self._refuse(
                "a step that takes a ChildOutcome takes nothing else, and it has no default",
                f"def {self.function.__name__}(ctx: Context, outcome: ChildOutcome[...]) -> Directive",
            )
        if self.kind == "step" and needed and not self.outcome:
            self._refuse(
                f"a step takes only ctx, but {', '.join(repr(name) for name in needed)} is required",
                "pass data through ctx.store: put it before ctx.next.step(...), get it in the step; only the outcome of a child "
                "comes as a parameter, annotated ChildOutcome[...]",
            )
        self.params = tuple(kept)
        self.required = frozenset(needed)

    @property
    def types(self) -> dict[str, Any]:
        """Annotations of the parameters after `ctx`. RegistrationError names one that cannot be resolved."""
        if self._types is None:
            self._types = self._resolved(None)
        return self._types

    def resolve_early(self, local_names: dict[str, Any]) -> None:
        """Resolve now, while the names local to the declaration are there; what is not defined yet waits for `types`."""
        try:
            self._types = self._resolved(local_names)
        except RegistrationError:
            pass
        self._resolve_returns(local_names)

    @property
    def returns(self) -> Any:
        """The type of a query's answer; `inspect.Signature.empty` where its author says none, or none that can be resolved."""
        self._resolve_returns(None)
        return inspect.Signature.empty if isinstance(self._returns, str) else self._returns

    def _resolve_returns(self, local_names: dict[str, Any] | None) -> None:
        if isinstance(self._returns, str):
            try:
                self._returns = resolve(self._returns, inspect.unwrap(self.function).__globals__, local_names)
            except Exception:  # text can be anything, and nothing is done with it but to show it
                pass

    def _resolved(self, local_names: dict[str, Any] | None) -> dict[str, Any]:
        global_names = inspect.unwrap(self.function).__globals__
        found: dict[str, Any] = {}
        for parameter in self.params:
            annotation = parameter.annotation
            if annotation is inspect.Parameter.empty:
                annotation = Any
            elif isinstance(annotation, str) or not isinstance(annotation, type):
                annotation = self._real(parameter.name, annotation, global_names, local_names)
            reason = unsupported(annotation)
            if reason is not None:
                self._refuse(
                    f"no value can be converted to the type of parameter {parameter.name!r}: {reason}",
                    "annotate it with one type, or with Any and convert it yourself",
                )
            if parameter.default is inspect.Parameter.empty and unfillable(annotation):
                self._refuse(
                    f"parameter {parameter.name!r} can never be given: JSON holds nothing of type {type_name(annotation)}",
                    "make that a dataclass, or take the data that it is made of; what is no data, make in the handler",
                )
            found[parameter.name] = annotation
        return found

    def _real(
        self, name: str, annotation: Any, global_names: dict[str, Any], local_names: dict[str, Any] | None
    ) -> Any:
        try:
            return resolve(annotation, global_names, local_names)
        except Exception as error:  # evaluating text can raise anything
            self._refuse(
                f"the annotation {annotation!r} of parameter {name!r} cannot be resolved: {error}",
                "import or define that name at module level (not only under TYPE_CHECKING)",
            )

    def takes_as_it_is(self, given: dict[str, Any]) -> bool:
        """Whether `given` (keyword arguments as plain data) is certainly right, each of the very type that is wanted.

        Most are, and need neither the check nor the conversion that tell of all the others what is wrong or different.
        """
        types = self._types
        if types is None:
            types = self.types
        for name, value in given.items():
            wanted = types.get(name)
            if wanted is not type(value) and wanted is not Any:
                return False
        return len(given) == len(types) or self.required <= given.keys()

    def describe(self) -> HandlerSpec:
        """The handler as data. Raises RegistrationError where an annotation cannot be resolved."""
        if self._spec is None:
            doc = inspect.getdoc(self.function) or ""
            self._spec = HandlerSpec(
                kind=self.kind,
                name=self.name,
                function=self.function.__name__,
                params=tuple(_param(parameter, self.types[parameter.name]) for parameter in self.params),
                extra=self.extra,
                context=self.context,
                timeout_ms=self.timeout_ms,
                file=self.file,
                line=self.line,
                # A lone surrogate, which source may write as an escape, cannot be sent.
                doc=doc.partition("\n")[0].encode("utf-8", "backslashreplace").decode(),
                returns=None if self.returns is inspect.Signature.empty else spell(self.returns)[0],
            )
        return self._spec


def _takes_context(parameter: inspect.Parameter) -> bool:
    if parameter.kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        return False
    annotation = parameter.annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name in _CONTEXT_NAMES or name.rpartition(".")[2] in _CONTEXT_TYPES


def _is_outcome(annotation: Any) -> bool:
    """Whether it is ChildOutcome or ChildOutcome[...]; as text, it cannot be resolved yet."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].strip().rpartition(".")[2] == ChildOutcome.__name__
    return (typing.get_origin(annotation) or annotation) is ChildOutcome


def _param(parameter: inspect.Parameter, annotation: Any) -> ParamSpec:
    text, plain = spell(annotation)
    required = parameter.default is inspect.Parameter.empty
    return ParamSpec(parameter.name, text, required, None if required else _short(parameter.default), plain)


def _short(default: Any) -> str:
    try:
        text = repr(default)
    except Exception:
        return "..."
    # An address would make the same code look different in every process.
    return "..." if " at 0x" in text else text if len(text) <= 40 else f"{text[:37]}..."
