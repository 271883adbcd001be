"""`ctx.logger`: a real `logging.Logger` whose lines go to the run's log."""

from __future__ import annotations

import logging

from wfctl.sdk.port import Ops

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_formatter = logging.Formatter()


class RunLogger(logging.Logger):
    """Takes what every Logger takes (`%` arguments, `exc_info`, `extra`), at every level, from any thread.

    `extra` is appended as `key=value`. Lines are shown as they come, and are not repeated when the step is replayed.
    """

    def __init__(self, ops: Ops) -> None:
        super().__init__(f"wfctl.run.{ops.run.workflow_id}", logging.DEBUG)
        self._ops = ops

    def handle(self, record: logging.LogRecord) -> None:
        if not self.filter(record):
            return
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the format, or cannot be written: a log line never fails a step
            message = _written(record.msg) + (f" {_written(record.args)}" if record.args else "")
        extras = [f"{key}={_written(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        if extras:
            message = f"{message} {' '.join(extras)}"
        if record.exc_info:
            message = f"{message}\n{_formatter.formatException(record.exc_info)}"
        if record.stack_info:
            message = f"{message}\n{record.stack_info}"
        self._ops.log(record.levelname.lower(), message)
        if self.handlers:  # whatever the author added
            self.callHandlers(record)


def _written(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that cannot be written: {type(error).__name__}>"
