"""What the daemon shows, from all the rooms that declare it. Times are UTC epoch milliseconds, durations `*_ms`."""

from __future__ import annotations

from wfctl.protocol.code import (
    FindingView as FindingView,
    MissingView as MissingView,
    UnloadedView as UnloadedView,
    WorkflowView as WorkflowView,
)
from wfctl.protocol.daemon import (
    CodeView as CodeView,
    ProblemView as ProblemView,
    SchedulesView as SchedulesView,
    StatusView as StatusView,
    WorkerView as WorkerView,
)
from wfctl.protocol.runs import (
    HistoryEntry as HistoryEntry,
    InboxView as InboxView,
    Outcome as Outcome,
    ProgressView as ProgressView,
    RetryView as RetryView,
    RunDetail as RunDetail,
    RunView as RunView,
    TriesView as TriesView,
)
from wfctl.protocol.streams import RunChange as RunChange, WatchItem as WatchItem
from wfctl.protocol.trees import Tree as Tree, TreeGroup as TreeGroup, TreeNode as TreeNode, TreeStep as TreeStep
