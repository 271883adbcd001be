-- The whole schema as it is now: what the migrations add up to. Times are UTC epoch milliseconds; JSON is text, so
-- that the sqlite3 tool shows it.
-- The checks repeat what the core promises: a bug there is a refused commit, never a wrong row. They have no lists: for one of
-- more than two SQLite makes a table of its own for every row that is written. And they are alternatives rather than equations,
-- which SQLite evaluates to their end.

pragma application_id = 0x77666374;  -- "wfct"

create table runs (
    key            integer primary key check (key > 0),
    run_id         text    not null unique,
    workflow_id    text    not null,
    type           text    not null,
    parent         integer references runs (key) check (parent < key),
    root           integer not null references runs (key),
    depth          integer not null,
    started_at     integer not null,
    deadline       integer,
    status         text    not null,
    wake_at        integer,
    closed_at      integer,
    seq            integer not null check (seq >= 0),
    step           text,
    attempt        integer not null check (attempt >= 1),
    waiting_for    text,
    reason         text,
    children       integer not null,
    open_children  integer not null check (open_children between 0 and children),
    queued         integer not null check (queued >= 0),
    on_parent_close text   not null check (
        on_parent_close = 'abandon' or on_parent_close = 'cancel' or on_parent_close = 'terminate'),
    -- What can be long comes last: reading a column does not walk through those after it.
    error          text,
    state          text    not null,
    result         text,
    input          text    not null,
    check ((parent is null) = (root = key) and (parent is null) = (depth = 0) and root <= key),
    -- Which statuses there are, open and closed, and what a run has in each.
    check (
        closed_at is null and result is null and error is null and (
            status = 'running' and waiting_for is null
            or status = 'waiting'
            or status = 'sleeping' and waiting_for is null and wake_at is not null
            or status = 'cancelling' and waiting_for is null
            or status = 'stuck' and waiting_for is null and reason is not null)
        or closed_at is not null and wake_at is null and waiting_for is null and (
            status = 'completed'
            or result is null and (
                status = 'failed' or status = 'cancelled' or status = 'terminated' or status = 'timed_out')))
) strict;

-- A workflow ID has one open run at a time.
create unique index open_workflow_ids on runs (workflow_id) where closed_at is null;
-- Every index ends with the key, so within equal columns each of these is in the order the runs were started.
create index runs_by_workflow_id on runs (workflow_id);
create index runs_by_type on runs (type, status);
create index runs_by_parent on runs (parent, type, status) where parent is not null;
create index runs_by_root on runs (root) where parent is not null;
create index open_roots on runs (root) where parent is null and closed_at is null;
-- Children that do not simply go on when their parent closes.
create index runs_bound on runs (parent) where closed_at is null and on_parent_close <> 'abandon';
-- What went wrong, by the tree it is in.
create index runs_gone_wrong on runs (root, status)
    where (status = 'failed' or status = 'timed_out' or status = 'stuck');
create index runs_due on runs (wake_at) where wake_at is not null;

-- Append-only. `rev` numbers the records and log lines of the whole database, `seq` the records of one run.
create table history (
    rev     integer primary key check (rev > 0),
    run     integer not null references runs (key),
    seq     integer not null check (seq > 0),
    at      integer not null,
    kind    text    not null,
    data    text    not null,
    source  text
) strict;

create unique index history_by_run on history (run, seq);

-- What handlers logged; shares `rev` with history.
create table logs (
    rev      integer primary key check (rev > 0),
    run      integer not null references runs (key),
    at       integer not null,
    level    text    not null,
    message  text    not null,
    step     text
) strict;

create index logs_by_run on logs (run);

-- The state handlers keep with ctx.store.
create table store (
    run    integer not null references runs (key),
    key    text    not null,
    value  text    not null,
    primary key (run, key)
) strict, without rowid;

-- Events not yet handed over; `seq` is that of the event.received record.
create table inbox (
    run      integer not null references runs (key),
    seq      integer not null check (seq > 0),
    at       integer not null,
    name     text    not null,
    payload  text    not null,
    step     text,
    primary key (run, seq)
) strict, without rowid;

create table meta (
    key    text not null primary key,
    value  text not null
) strict, without rowid;

-- How many runs there are of each type in each status: counting a million takes longer than all else a person looks at. Of open
-- ones also how many are at the top of a tree, and what they need of the code (`counted` in wfd.store.needs says it); closed ones
-- have neither. A commit says what it adds (see `Unit.totals`); only what is deleted counts itself.
create table totals (
    type    text     not null,
    status  text     not null,
    top     integer  not null check (top = 0 or top = 1),
    needs   text     not null,
    runs    integer  not null,
    primary key (type, status, top, needs)
) strict, without rowid;

create trigger count_gone_run after delete on runs begin
    update totals set runs = runs - 1 where type = old.type and status = old.status and top = 0 and needs = '';
end;

-- Workflows that the clock starts. `version` counts the changes of one, for compare-and-set; `next_at` is when the clock has to look at
-- it again. The engine holds them all in memory, so they have no index.
create table schedules (
    id       text     not null primary key,
    version  integer  not null check (version > 0),
    type     text     not null,
    paused   integer  not null check (paused in (0, 1)),
    next_at  integer  check (next_at is null or not paused),
    state    text     not null
) strict, without rowid;
