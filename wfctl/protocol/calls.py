"""The verbs of the socket: for each, the struct of its parameters and the type of its answer.

A verb is declared once, in the room of its kind, which this collects: the server's router, the clients and the docs are derived
from `CALLS`. A verb with `item` set answers with any number of `stream` notifications before its result. A command imports
from the rooms what it needs, as each message costs it a moment.
"""

from __future__ import annotations

from wfctl.protocol import schedules as schedules
from wfctl.protocol.backup import BackedUp as BackedUp, Backup as Backup, Copied as Copied
from wfctl.protocol.call import CALLS as CALLS, Call as Call, RunCall as RunCall
from wfctl.protocol.changes import (
    Cancel as Cancel,
    Changed as Changed,
    Retried as Retried,
    Retry as Retry,
    Terminate as Terminate,
)
from wfctl.protocol.code import (
    CheckCode as CheckCode,
    CheckedCounts as CheckedCounts,
    CodeCheck as CodeCheck,
    Reload as Reload,
    Reloaded as Reloaded,
    ReloadedType as ReloadedType,
    WorkflowList as WorkflowList,
    Workflows as Workflows,
)
from wfctl.protocol.daemon import Down as Down, GetStatus as GetStatus, Ok as Ok
from wfctl.protocol.hello import (
    PROTOCOL_MAX as PROTOCOL_MAX,
    PROTOCOL_MIN as PROTOCOL_MIN,
    Hello as Hello,
    Welcome as Welcome,
)
from wfctl.protocol.lists import (
    Count as Count,
    Counted as Counted,
    Ids as Ids,
    IdsFound as IdsFound,
    IdView as IdView,
    List as List,
    RunPage as RunPage,
)
from wfctl.protocol.purge import Purge as Purge, Purged as Purged, PurgedSoFar as PurgedSoFar, PurgedTree as PurgedTree
from wfctl.protocol.runs import (
    Get as Get,
    History as History,
    HistoryPage as HistoryPage,
    Query as Query,
    QueryAnswer as QueryAnswer,
    Result as Result,
)
from wfctl.protocol.starts import (
    Send as Send,
    Sent as Sent,
    Start as Start,
    Started as Started,
    StartFirst as StartFirst,
)
from wfctl.protocol.streams import Tail as Tail, TailEnd as TailEnd, Watch as Watch, WatchItem as WatchItem
from wfctl.protocol.trees import GetTree as GetTree
