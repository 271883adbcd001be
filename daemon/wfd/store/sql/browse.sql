-- What people look at: listings, trees, history. Each query goes through an index that bounds what it touches; the few
-- that count everything read one narrow index.

-- name: summaries
select
    r.key, r.run_id, r.workflow_id, r.type, r.status, r.started_at, r.closed_at, r.parent, p.run_id, p.workflow_id, p.type,
    o.run_id, r.depth, r.step, r.attempt, r.waiting_for, r.wake_at, r.deadline, r.reason,
    json_remove(r.error, '$.traceback', '$.detail'), r.children, r.open_children, r.queued, r.seq,
    coalesce((select h.rev from history as h where h.run = r.key and h.seq = r.seq), 0)
from json_each(?) as k
cross join runs as r on r.key = k.value
join runs as o on o.key = r.root
left join runs as p on p.key = r.parent;

-- name: keys_since
-- The first runs with these IDs or later ones, and of the newest run what its ID and its start are. Run IDs are in the order of keys.
select
    (select key from runs where run_id >= :least order by run_id limit 1),
    (select key from runs where run_id >= :surely order by run_id limit 1),
    r.run_id, r.started_at
from runs as r where r.key = (select max(key) from runs);

-- name: list_all
-- In this and those below, what the index has is enough from :sure on; of what is older each run is looked at.
select key from runs
where key >= :low and key < :before and (key >= :sure or started_at >= :since)
order by key desc
limit :limit;

-- name: list_type
-- Of [type, status] pairs: the newest of each, a walk through the index for each, and of these the newest.
select r.key
from json_each(:walks) as w
cross join runs as r on r.key in (
    select x.key from runs as x
    where x.type = json_extract(w.value, '$[0]') and x.status = json_extract(w.value, '$[1]') and x.key >= :low
        and x.key < :before and (x.key >= :sure or x.started_at >= :since)
    order by x.key desc
    limit :limit)
order by r.key desc
limit :limit;

-- name: list_parent
-- The same below a parent.
select r.key
from json_each(:walks) as w
cross join runs as r on r.key in (
    select x.key from runs as x
    where x.parent = :parent and x.type = json_extract(w.value, '$[0]') and x.status = json_extract(w.value, '$[1]')
        and x.key >= :low and x.key < :before and (x.key >= :sure or x.started_at >= :since)
    order by x.key desc
    limit :limit)
order by r.key desc
limit :limit;

-- name: totals
-- Of the types and statuses in the lists; null: of all.
select type, status, sum(runs) from totals
where (:types is null or type in (select value from json_each(:types)))
    and (:statuses is null or status in (select value from json_each(:statuses)))
group by type, status
having sum(runs) > 0;

-- name: count_type
-- How many the pairs have, no further than :limit (-1: all).
select count(*) from (
    select 1 from json_each(:walks) as w
    cross join runs as r on r.type = json_extract(w.value, '$[0]') and r.status = json_extract(w.value, '$[1]')
        and r.key >= :sure
    union all
    select 1 from json_each(:walks) as w
    cross join runs as r on r.type = json_extract(w.value, '$[0]') and r.status = json_extract(w.value, '$[1]')
        and r.key >= :low and r.key < :sure and r.started_at >= :since
    limit :limit);

-- name: count_parent
-- The same below a parent.
select count(*) from (
    select 1 from json_each(:walks) as w
    cross join runs as r on r.parent = :parent and r.type = json_extract(w.value, '$[0]') and r.status = json_extract(w.value, '$[1]')
        and r.key >= :sure
    union all
    select 1 from json_each(:walks) as w
    cross join runs as r on r.parent = :parent and r.type = json_extract(w.value, '$[0]') and r.status = json_extract(w.value, '$[1]')
        and r.key >= :low and r.key < :sure and r.started_at >= :since
    limit :limit);

-- name: retries
-- Of each run's newest records, failed attempts that are followed by another: none of the same task comes after, nor a step.
select h.run, json_extract(h.data, '$.name'), json_extract(h.data, '$.attempt'), json_extract(h.data, '$.retry_at'),
    json_remove(json_extract(h.data, '$.error'), '$.traceback', '$.detail'), json_extract(h.data, '$.max_attempts')
from json_each(:keys) as k
cross join runs as r on r.key = k.value
cross join history as h indexed by history_by_run on h.run = r.key and h.seq > r.seq - 50
where h.kind = 'task.attempt_failed' and json_extract(h.data, '$.retry_at') > :now
    and not exists (
        select 1 from history as l indexed by history_by_run
        where l.run = h.run and l.seq > h.seq
            and (l.kind = 'step.started'
                or (l.kind like 'task.%' and json_extract(l.data, '$.key') = json_extract(h.data, '$.key'))));

-- name: sleeps
-- Of each run's newest records the last sleep of its step that is not over: no other comes after, nor a step, nor has it gone back.
select h.run, json_extract(h.data, '$.wake_at')
from json_each(:keys) as k
cross join runs as r on r.key = k.value
cross join history as h indexed by history_by_run on h.run = r.key and h.seq > r.seq - 50
where h.kind = 'sleep.recorded' and json_extract(h.data, '$.wake_at') > :now
    and not exists (
        select 1 from history as l indexed by history_by_run
        where l.run = h.run and l.seq > h.seq
            and (l.kind in ('step.started', 'sleep.recorded')
                or (l.kind = 'run.resumed' and json_extract(l.data, '$.from_step') is not null)));

-- name: child_types
-- Jumps from type to type, however many children there are of each.
with recursive types (type) as (
    select min(type) from runs where parent = ?1
    union all
    select (select min(type) from runs where parent = ?1 and type > types.type) from types where types.type is not null
)
select type from types where type is not null;

-- name: counts
select status, sum(runs) from totals group by status having sum(runs) > 0;

-- name: open_by_type
select type, sum(runs) from totals
where status in ('running', 'waiting', 'sleeping', 'cancelling', 'stuck')
group by type
having sum(runs) > 0;

-- name: open_roots
select key from runs where parent is null and closed_at is null order by root desc limit ?;

-- name: root_of
select root from runs where key = ?;

-- name: tree_keys
select key from runs where root = ? and parent is not null;

-- name: subtree_keys
with recursive below (key) as (
    select key from runs where parent = ?
    union all
    select r.key from below cross join runs as r on r.parent = below.key
)
select key from below;

-- name: siblings
select r.parent, r.type, r.status, count(*), min(r.key)
from json_each(?) as k
cross join runs as r indexed by runs_by_parent on r.parent = k.value
group by r.parent, r.type, r.status;

-- name: children_of
-- Of (parent, type) pairs.
select r.key, r.parent
from json_each(?) as k
cross join runs as r indexed by runs_by_parent
    on r.parent = json_extract(k.value, '$[0]') and r.type = json_extract(k.value, '$[1]')
order by r.key;

-- name: child_seqs
-- Where in its parent's history a child was started. Both first records are in one unit, so their revisions are close.
select
    r.key,
    (select h.seq from history as h
     where h.rev between f.rev - 16 and f.rev + 16 and +h.run = r.parent and h.kind = 'child.started'
        and json_extract(h.data, '$.run_id') = r.run_id)
from json_each(?) as k
cross join runs as r on r.key = k.value
cross join history as f on f.run = r.key and f.seq = 1;

-- name: troubles
-- Of the oldest so many in each status: with thousands of them the causes repeat.
with bad (key, status, error, reason) as (
    select * from (select key, status, error, null from runs
        where parent = ?1 and type = ?2 and status = 'failed' order by key limit ?3)
    union all
    select * from (select key, status, error, null from runs
        where parent = ?1 and type = ?2 and status = 'timed_out' order by key limit ?3)
    union all
    select * from (select key, status, null, reason from runs
        where parent = ?1 and type = ?2 and status = 'stuck' order by key limit ?3))
select status, json_extract(error, '$.type'), json_extract(error, '$.message'), reason, count(*), min(key)
from bad
group by 1, 2, 3, 4
order by min(key);

-- name: durations
select closed_at - started_at from runs
where parent = ? and type = ? and status = 'completed'
order by key desc
limit ?;

-- name: bad_below
-- As the index says it, or SQLite does not see that the index has what is asked for.
select key, status from runs
where root = :root and (status = 'failed' or status = 'timed_out' or status = 'stuck') and key <> :root
order by key
limit :limit;

-- name: count_bad_below
select status, count(*) from runs
where root = :root and (status = 'failed' or status = 'timed_out' or status = 'stuck') and key <> :root
group by status;

-- name: bad_roots
-- Roots of trees in which something went wrong, or that went wrong themselves, the newest first: a jump from tree to tree.
with recursive found (root) as (
    select max(root) from runs where (status = 'failed' or status = 'timed_out' or status = 'stuck')
    union all
    select (select max(root) from runs where (status = 'failed' or status = 'timed_out' or status = 'stuck') and root < found.root)
    from found where found.root is not null
)
select root from found where root is not null limit ?;

-- name: placed
select r.key, r.parent, r.type
from json_each(?) as k
cross join runs as r on r.run_id = k.value
where r.parent is not null
order by k.key;

-- name: has_type
select 1 from runs where type = ? limit 1;

-- name: types
-- Jumps from type to type, however many runs there are of each.
with recursive types (type) as (
    select min(type) from runs
    union all
    select (select min(type) from runs where type > types.type) from types where types.type is not null
)
select type from types where type is not null;

-- name: count_open_roots
select coalesce(sum(runs), 0) from totals where top = 1;

-- name: oldest_in_status
select key from runs where parent = ? and type = ? and status = ? order by key limit ?;

-- name: oldest_running
select json_group_array(key) from (
    select key from runs where parent = ? and type = ? and status = 'running' order by key limit ?);

-- name: oldest_retried
-- Among the oldest that run: one that was begun again is seldom among those that began last.
select key from (
    select key, attempt from runs where parent = ? and type = ? and status = 'running' order by key limit 1000)
where attempt > 1
limit 1;

-- name: step_records
select
    h.run, h.seq, h.at, h.kind,
    json_remove(h.data, '$.put', '$.deleted', '$.result', '$.error.traceback', '$.error.detail', '$.phase.kwargs',
        '$.requeued', '$.input')
from json_each(?) as k
cross join history as h indexed by history_by_run on h.run = k.value
where (h.kind in (
    'step.started', 'step.completed', 'step.failed', 'step.timed_out', 'step.interrupted', 'wait.started', 'wait.timed_out',
    'run.completed', 'run.failed', 'run.cancel_requested', 'run.cancelled', 'run.terminated', 'run.timed_out', 'run.stuck',
    'run.resumed', 'task.attempt_failed', 'task.failed', 'sleep.recorded')
    -- Most runs begin at once, and what they were given may be long.
    or (h.kind = 'run.started' and instr(h.data, '"begins_at":') > 0))
order by h.run, h.seq;

-- name: tried
-- Of (run, seq) pairs: the records after that one which tell that a task was tried again, or failed; of each run's newest 2,000.
select
    h.run, h.seq, h.at, h.kind,
    json_object('key', json_extract(h.data, '$.key'), 'name', json_extract(h.data, '$.name'),
        'attempt', json_extract(h.data, '$.attempt'), 'max_attempts', json_extract(h.data, '$.max_attempts'),
        'retry_at', json_extract(h.data, '$.retry_at'),
        'error', json_remove(json_extract(h.data, '$.error'), '$.traceback', '$.detail'))
from json_each(?) as k
cross join runs as r on r.key = json_extract(k.value, '$[0]')
cross join history as h indexed by history_by_run
    on h.run = r.key and h.seq >= max(json_extract(k.value, '$[1]'), r.seq - 2000)
where h.kind in ('task.attempt_failed', 'task.failed')
    or (h.kind in ('task.started', 'task.completed') and json_extract(h.data, '$.attempt') > 1)
order by h.run, h.seq;

-- name: newest_step_records
select
    run, seq, at, kind,
    json_remove(data, '$.put', '$.deleted', '$.result', '$.error.traceback', '$.error.detail', '$.phase.kwargs',
        '$.requeued')
from history
where run = ? and kind in (
    'step.started', 'step.completed', 'step.failed', 'step.timed_out', 'step.interrupted', 'wait.started', 'wait.timed_out',
    'run.completed', 'run.failed', 'run.cancel_requested', 'run.cancelled', 'run.terminated', 'run.timed_out', 'run.stuck',
    'run.resumed')
order by seq desc
limit ?;

-- name: count_lines
-- How many lines of a tree the records before number ?2 would make.
select count(*) from history
where run = ?1 and seq < ?2
    and (kind in ('step.started', 'wait.started')
        or (kind = 'run.started' and json_extract(data, '$.begins_at') is not null)
        or (kind = 'step.completed' and json_extract(data, '$.wake_at') is not null)
        or (kind = 'run.resumed' and json_extract(data, '$.from_step') is not null));

-- name: history_page
-- From record to record, and not beyond the first with which there are more than :bytes; with :logs the lines after each count too.
-- The names of a run and all else of an entry take some 200 bytes.
with recursive page (rev, seq, size, number) as (
    select 0, :after, 0, 0
    union all
    select h.rev, h.seq,
        page.size + 200 + length(cast(h.data as blob)) + iif(:logs, coalesce((
            select sum(200 + length(cast(message as blob))) from logs
            where run = :run and rev > h.rev
                and rev < coalesce((select rev from history where run = :run and seq > h.seq order by seq limit 1), :end)),
            0), 0),
        page.number + 1
    from page
    cross join history as h on h.run = :run and h.seq = (select min(seq) from history where run = :run and seq > page.seq and seq < :before)
    where (page.size <= :bytes or page.number = 1) and page.number <= :limit
)
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source, page.size
from page
cross join history as h on h.rev = page.rev
cross join runs as r on r.key = h.run
where page.number > 0
order by page.number;

-- name: history_page_back
-- The same from the newest record back.
with recursive page (rev, seq, size, number) as (
    select 0, :before, 0, 0
    union all
    select h.rev, h.seq,
        page.size + 200 + length(cast(h.data as blob)) + iif(:logs, coalesce((
            select sum(200 + length(cast(message as blob))) from logs
            where run = :run and rev > h.rev
                and rev < coalesce((select rev from history where run = :run and seq > h.seq order by seq limit 1), :end)),
            0), 0),
        page.number + 1
    from page
    cross join history as h on h.run = :run and h.seq = (select max(seq) from history where run = :run and seq < page.seq and seq > :after)
    where (page.size <= :bytes or page.number = 1) and page.number <= :limit
)
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source, page.size
from page
cross join history as h on h.rev = page.rev
cross join runs as r on r.key = h.run
where page.number > 0
order by page.number;

-- name: next_rev
select rev from history where run = ? and seq > ? order by seq limit 1;

-- name: logs_between
select l.rev, r.run_id, r.workflow_id, 0, l.at, 'log', json_object('level', l.level, 'message', l.message, 'step', l.step),
    null
from logs as l
join runs as r on r.key = l.run
where l.run = ? and l.rev > ? and l.rev < ?
order by l.rev;

-- name: history_since
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source
from history as h
cross join runs as r on r.key = h.run
where h.rev > :rev and h.rev <= :until and (:keys is null or h.run in (select value from json_each(:keys)))
    and (:roots is null or r.root in (select value from json_each(:roots)))
    and (:kinds is null or h.kind in (select value from json_each(:kinds)))
order by h.rev
limit :limit;

-- name: logs_since
select l.rev, r.run_id, r.workflow_id, 0, l.at, 'log', json_object('level', l.level, 'message', l.message, 'step', l.step),
    null
from logs as l
cross join runs as r on r.key = l.run
where l.rev > :rev and l.rev <= :until and (:keys is null or l.run in (select value from json_each(:keys)))
    and (:roots is null or r.root in (select value from json_each(:roots)))
order by l.rev
limit :limit;

-- name: history_of_since
-- As history_since, through the records of the runs: where much has happened since, but little of it to these.
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source
from history as h
cross join runs as r on r.key = h.run
where h.rev in (
    select rev from history indexed by history_by_run
    where run in (select value from json_each(:keys)) and rev > :rev
        and (:kinds is null or kind in (select value from json_each(:kinds)))
    order by rev
    limit :limit)
order by h.rev;

-- name: logs_of_since
select l.rev, r.run_id, r.workflow_id, 0, l.at, 'log', json_object('level', l.level, 'message', l.message, 'step', l.step),
    null
from logs as l
cross join runs as r on r.key = l.run
where l.rev in (
    select rev from logs indexed by logs_by_run
    where run in (select value from json_each(:keys)) and rev > :rev
    order by rev
    limit :limit)
order by l.rev;

-- name: newest_history
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source
from history as h
cross join runs as r on r.key = h.run
where h.rev > :rev and (:kinds is null or h.kind in (select value from json_each(:kinds)))
order by h.rev desc
limit :limit;

-- name: newest_logs
select l.rev, r.run_id, r.workflow_id, 0, l.at, 'log', json_object('level', l.level, 'message', l.message, 'step', l.step),
    null
from logs as l
cross join runs as r on r.key = l.run
where l.rev > :rev
order by l.rev desc
limit :limit;

-- name: newest_history_of
select h.rev, r.run_id, r.workflow_id, h.seq, h.at, h.kind, h.data, h.source
from history as h
cross join runs as r on r.key = h.run
where h.rev in (
    select rev from history indexed by history_by_run
    where run in (select value from json_each(:keys)) and rev > :rev
        and (:kinds is null or kind in (select value from json_each(:kinds)))
    order by rev desc
    limit :limit)
order by h.rev desc;

-- name: newest_logs_of
select l.rev, r.run_id, r.workflow_id, 0, l.at, 'log', json_object('level', l.level, 'message', l.message, 'step', l.step),
    null
from logs as l
cross join runs as r on r.key = l.run
where l.rev in (
    select rev from logs indexed by logs_by_run
    where run in (select value from json_each(:keys)) and rev > :rev
    order by rev desc
    limit :limit)
order by l.rev desc;

-- name: record_from
-- Where to begin for what came since some time: revisions and times go up together.
select rev, at from history where rev >= ? order by rev limit 1;

-- name: status_since
select
    h.rev, h.run, h.seq, h.at, h.kind,
    case when h.kind in ('run.completed', 'step.started', 'wait.started') then '{}'
        when h.kind = 'run.started' then json_object('begins_at', json_extract(h.data, '$.begins_at'))
        else json_remove(h.data, '$.put', '$.deleted', '$.error.traceback', '$.error.detail', '$.phase.kwargs', '$.requeued')
    end,
    r.run_id, r.type
from history as h
cross join runs as r on r.key = h.run
where h.rev > :rev and h.rev <= :newest
    and (:root is null or r.root = :root)
    and h.kind in (select value from json_each(:kinds))
order by h.rev
limit :limit;

-- name: status_before
-- Of (run, seq) pairs: the newest record before that one which gave the run its status.
select
    h.run, h.kind,
    case when h.kind in ('step.completed', 'run.resumed') then json_remove(h.data, '$.put', '$.deleted', '$.phase.kwargs',
            '$.requeued')
        when h.kind = 'run.started' then json_object('begins_at', json_extract(h.data, '$.begins_at'))
        else '{}' end
from json_each(:pairs) as k
cross join history as h on h.run = json_extract(k.value, '$[0]') and h.seq = (
    select b.seq from history as b
    where b.run = json_extract(k.value, '$[0]') and b.seq < json_extract(k.value, '$[1]')
        and b.kind in (select value from json_each(:kinds))
        and (b.kind <> 'step.completed' or json_extract(b.data, '$.wake_at') is not null)
    order by b.seq desc
    limit 1);

-- name: lineage
-- The runs and all above them.
with recursive up (key) as (
    select value from json_each(?)
    union
    select r.parent from up cross join runs as r on r.key = up.key where r.parent is not null
)
select r.key, r.parent, r.workflow_id, r.type from up cross join runs as r on r.key = up.key;

-- name: newest_history_rev
select max(rev) from history;

-- name: newest_logs_rev
select max(rev) from logs;

-- name: newest_purged_rev
select cast(value as integer) from meta where key = 'max_rev';
