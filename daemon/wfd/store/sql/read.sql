-- What the engine reads: whole runs, and what is to be done next.

-- name: load_run
-- One statement is one snapshot and one trip to the reader's thread.
select
    r.key, r.run_id, r.workflow_id, r.type, r.parent, r.root, r.depth, r.input, r.started_at, r.on_parent_close,
    r.status, r.seq, r.step, r.attempt, r.state, r.children, r.open_children, r.queued, r.deadline, r.wake_at, r.closed_at,
    r.waiting_for, r.result, r.error, r.reason,
    (select json_group_array(json_array(s.key, s.value)) from store as s where s.run = r.key),
    (select json_group_array(json_array(i.run, i.seq, i.at, i.name, i.payload, i.step)) from inbox as i where i.run = r.key),
    p.run_id, p.workflow_id, p.type,
    o.run_id
from runs as r
join runs as o on o.key = r.root
left join runs as p on p.key = r.parent
where r.key = ?;

-- name: find_child
-- The unary plus keeps SQLite from walking all children of a parent that has thousands.
select
    key, run_id, workflow_id, type, parent, root, depth, input, started_at, on_parent_close, status, seq, step, attempt, state,
    children, open_children, queued, deadline, wake_at, closed_at, waiting_for, result, error, reason
from runs
where workflow_id = ? and +parent = ?
order by key desc
limit 1;

-- name: history_after
select rev, run, seq, at, kind, data, source from history where run = ? and seq > ? order by seq;

-- name: course
-- The records that tell how a run came to where it is, as `wfd.core.course` reads them.
select rev, run, seq, at, kind, data, source from history
where run = ? and kind in (select value from json_each(?))
order by seq;

-- name: open_workflow_ids
select workflow_id, key from runs where closed_at is null and workflow_id > ? order by workflow_id limit ?;

-- name: count_runs
-- Goes through them, where the totals may be missing or wrong: in a file that is looked at from outside.
select count(*) from runs;

-- name: max_key
-- This and the next two count what was purged as well.
select max(
    coalesce((select max(key) from runs), 0),
    coalesce((select cast(value as integer) from meta where key = 'max_key'), 0));

-- name: max_rev
select max(
    coalesce((select max(rev) from history), 0), coalesce((select max(rev) from logs), 0),
    coalesce((select cast(value as integer) from meta where key = 'max_rev'), 0));

-- name: meta
select value from meta where key = ?;

-- name: newest_at
-- When the newest record was written.
select at from history where rev = (select max(rev) from history);

-- name: max_run_id
select nullif(max(
    coalesce((select max(run_id) from runs), ''),
    coalesce((select value from meta where key = 'max_run_id'), '')), '');

-- name: runs_of_status
-- From type to type, as the index by type has them: what is begun again after a crash rests on no number that is kept.
with recursive types (type) as (
    select min(type) from runs
    union all
    select (select min(type) from runs where type > types.type) from types where types.type is not null
)
select r.key, r.type
from types cross join runs as r indexed by runs_by_type on r.type = types.type and r.status = ?1
order by r.key;

-- name: open_states
select run_id, workflow_id, state from runs indexed by open_workflow_ids where closed_at is null;

-- name: due
-- The longest due first, a page at a time.
select wake_at, key from runs
where wake_at <= :now and wake_at >= :at and (wake_at > :at or key > :key)
order by wake_at, key
limit :limit;

-- name: next_wake
select min(wake_at) from runs where wake_at > ?;

-- name: children_ids
select workflow_id, key, run_id from runs where parent = ? order by key;


-- name: by_workflow_id
-- The open run of a workflow ID, else its newest.
select key, run_id, workflow_id, closed_at is not null from runs
where key = coalesce(
    (select key from runs where workflow_id = ?1 and closed_at is null),
    (select max(key) from runs where workflow_id = ?1));

-- name: by_run_id
select key, run_id, workflow_id, closed_at is not null from runs where run_id = ?;

-- name: by_run_id_prefix
select key, run_id, workflow_id, closed_at is not null from runs
where run_id >= ?1 and run_id < ?1 || char(0x10ffff)
order by run_id
limit ?2;

-- name: workflow_ids_by_prefix
-- Jumps from one workflow ID to the next, however many runs each has had.
with recursive found (id) as (
    select min(workflow_id) from runs where workflow_id >= ?1 and workflow_id < ?1 || char(0x10ffff)
    union all
    select (select min(workflow_id) from runs where workflow_id > found.id and workflow_id < ?1 || char(0x10ffff))
    from found where found.id is not null
)
select id from found where id is not null limit ?2;

-- name: keys_beginning
-- The runs of the first workflow IDs that begin so, and of the last: of each its open run, else its newest.
with recursive found (id) as (
    select min(workflow_id) from runs where workflow_id >= :text and workflow_id < :text || char(0x10ffff)
    union all
    select (select min(workflow_id) from runs where workflow_id > found.id and workflow_id < :text || char(0x10ffff))
    from found where found.id is not null
)
select coalesce(
    (select key from runs where workflow_id = told.id and closed_at is null),
    (select max(key) from runs where workflow_id = told.id))
from (
    select id from (select id from found where id is not null limit :limit)
    union
    select max(workflow_id) from runs where workflow_id >= :text and workflow_id < :text || char(0x10ffff)
) as told
where told.id is not null
order by told.id;

-- name: open_keys_beginning
select key from (
    select * from (
        select key, workflow_id from runs
        where workflow_id >= :text and workflow_id < :text || char(0x10ffff) and closed_at is null
        order by workflow_id
        limit :limit)
    union
    select * from (
        select key, workflow_id from runs
        where workflow_id >= :text and workflow_id < :text || char(0x10ffff) and closed_at is null
        order by workflow_id desc
        limit 1)
)
order by workflow_id;

-- name: run_ids_beginning
select key from (
    select * from (
        select key, run_id from runs
        where run_id >= :text and run_id < :text || char(0x10ffff)
        order by run_id
        limit :limit)
    union
    select * from (
        select key, run_id from runs
        where run_id >= :text and run_id < :text || char(0x10ffff)
        order by run_id desc
        limit 1)
)
order by run_id;

-- name: event_of_id
-- Whether the run has accepted an event that its sender gave this ID.
select seq from history indexed by history_by_run
where run = ? and kind = 'event.received' and json_extract(data, '$.id') = ?
    and json_extract(data, '$.refused') is null
limit 1;

-- name: newest_workflow_ids
select workflow_id from runs order by key desc limit ?;

-- name: logged_since
-- The lines the run has logged since record number ?2.
select level, message from logs
where run = ?1 and rev > (select rev from history where run = ?1 and seq = ?2);

-- name: bound_children
-- Open children that are to be cancelled or terminated when their parent closes.
select key, on_parent_close from runs
where parent = ? and closed_at is null and on_parent_close <> 'abandon'
order by key;

-- name: orphans
-- The same of all parents that have closed: what a crash kept from being ended. One that somebody re-opened since is on its own.
select c.key, c.on_parent_close from runs as c indexed by runs_bound
where c.closed_at is null and c.on_parent_close <> 'abandon'
    and exists (
        select 1 from runs as p
        where p.key = c.parent and p.closed_at > coalesce(json_extract(c.state, '$.reopened_at'), -1))
order by c.key;

-- name: schedules
-- All of them, of which there are few.
select id, version, type, paused, next_at, state from schedules order by id;

-- name: statuses_of
-- How these runs stand; one that was purged is missing.
select run_id, status from runs where run_id in (select value from json_each(?));
