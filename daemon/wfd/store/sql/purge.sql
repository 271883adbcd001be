-- Which trees may go, and how they go. A tree may when each of its runs is closed, and closed at or before the moment given for
-- its status (-1: none of that status may). Read by `purge.py`; the last part is for the writer.

-- name: last_before
-- The newest of the runs that were started by :at, by halves: as many look-ups as the number of runs has bits.
with recursive search (low, high) as (
    select 0, coalesce((select max(key) from runs), 0)
    union all
    select
        iif(f.started_at <= :at, f.key, s.low), iif(f.started_at <= :at, s.high, (s.low + s.high + 1) / 2 - 1)
    from search as s
    left join runs as f on f.key = (
        select n.key from runs as n where n.key >= (s.low + s.high + 1) / 2 and n.key <= s.high order by n.key limit 1)
    where s.low < s.high
)
select low from search where low >= high;

-- name: roots_of
-- Of the next runs of a type in a status: how many they are, the newest, and [key, whether all below it match] of those that are at
-- the top of a tree and match.
select count(*), max(r.key), json_group_array(json_array(r.key, not exists (
    select 1 from runs as m
    where m.root = r.key and m.parent is not null and not coalesce(m.closed_at <= case m.status
        when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
        when 'terminated' then :terminated when 'timed_out' then :timed_out end, false))))
    filter (where r.parent is null and r.closed_at <= case r.status
        when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
        when 'terminated' then :terminated when 'timed_out' then :timed_out end)
from (
    select key from runs where type = :type and status = :status and key > :after and key <= :last order by key limit :limit
) as k
cross join runs as r on r.key = k.key;

-- name: roots_among
-- [key, whether all below it match] of these runs, a row for each that is at the top of a tree of the types and matches.
select r.key, not exists (
    select 1 from runs as m
    where m.root = r.key and m.parent is not null and not coalesce(m.closed_at <= case m.status
        when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
        when 'terminated' then :terminated when 'timed_out' then :timed_out end, false))
from json_each(:keys) as k
cross join runs as r on r.key = k.value
where r.parent is null and (:types is null or r.type in (select value from json_each(:types)))
    and r.closed_at <= case r.status
        when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
        when 'terminated' then :terminated when 'timed_out' then :timed_out end
order by r.key;

-- name: trees
-- The trees of these roots as people are told of them.
select
    r.key, r.run_id, r.workflow_id, r.type, r.status, r.started_at, r.closed_at,
    1 + (select count(*) from runs as m where m.root = r.key and m.parent is not null)
from json_each(:keys) as k
cross join runs as r on r.key = k.value
order by r.key;

-- name: weights
-- [root, run, how many rows it is, whether it matches] of every run of those trees of which the root matches. Of a tree with more
-- than :most runs below its root only that, without its rows.
with matching as materialized (
    select
        r.key, r.seq,
        (select 1 from runs as o where o.root = r.key and o.parent is not null limit 1 offset :most) is not null as big
    from json_each(:keys) as k
    cross join runs as r on r.key = k.value
    where r.parent is null and (:types is null or r.type in (select value from json_each(:types)))
        and r.closed_at <= case r.status
            when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
            when 'terminated' then :terminated when 'timed_out' then :timed_out end
)
select json_group_array(json(one)) from (
    select json_array(t.key, m.key, 1 + m.seq + (select count(*) from logs as l where l.run = m.key), coalesce(
        m.closed_at <= case m.status
            when 'completed' then :completed when 'failed' then :failed when 'cancelled' then :cancelled
            when 'terminated' then :terminated when 'timed_out' then :timed_out end, false)) as one
    from matching as t
    cross join runs as m indexed by runs_by_root on m.root = t.key and m.parent is not null
    where not t.big
    union all
    select json_array(
        t.key, t.key, iif(t.big, null, 1 + t.seq + (select count(*) from logs as l where l.run = t.key)), true)
    from matching as t
);

-- name: weights_below
-- The rows of the runs below one root, some at a time, the newest first: no run goes before those it has started.
select m.key, 1 + m.seq + (select count(*) from logs as l where l.run = m.key)
from runs as m
where m.root = :root and m.parent is not null and m.key < :before
order by m.key desc
limit :limit;

-- name: weight
-- The same of one run.
select r.key, 1 + r.seq + (select count(*) from logs as l where l.run = r.key) from runs as r where r.key = ?;

-- name: part
-- Where the first :rows records and log lines of a run end; null where there are no more than that.
select
    (select h.seq from history as h where h.run = :run order by h.seq limit 1 offset :rows),
    (select l.rev from logs as l where l.run = :run order by l.rev limit 1 offset :rows);

-- name: removal
create temp view removal (keys, part, part_seq, part_rev, mark) as select null, null, null, null, null where false;

-- name: remove
create temp trigger remove_runs instead of insert on removal begin
    -- Keys, revisions and run IDs are never given twice, also when the newest of them are purged.
    insert into meta (key, value)
    select 'max_key', coalesce(max(key), 0) from runs
    where true
    on conflict (key) do update set value = max(cast(value as integer), cast(excluded.value as integer));
    insert into meta (key, value)
    select 'max_rev', max(
        coalesce((select max(rev) from history), 0), coalesce((select max(rev) from logs), 0))
    where true
    on conflict (key) do update set value = max(cast(value as integer), cast(excluded.value as integer));
    insert into meta (key, value)
    select 'max_run_id', coalesce(max(run_id), '') from runs
    where true
    on conflict (key) do update set value = max(value, excluded.value);

    delete from history where run = new.part and seq < new.part_seq;
    delete from logs where run = new.part and rev < new.part_rev;

    delete from history where run in (select value from json_each(new.keys));
    delete from logs where run in (select value from json_each(new.keys));
    delete from store where run in (select value from json_each(new.keys));
    delete from inbox where run in (select value from json_each(new.keys));
    delete from runs where key in (select value from json_each(new.keys)) and closed_at is not null;
    select raise(abort, 'a run that is to be purged is open, or is not there')
    where changes() <> json_array_length(new.keys);

    delete from meta where key = 'purging' and new.mark is null;
    insert into meta (key, value)
    select 'purging', new.mark where new.mark is not null
    on conflict (key) do update set value = excluded.value;
end;

-- name: take_away
insert into removal values (?, ?, ?, ?, ?);

-- name: free
pragma freelist_count;

-- name: page_bytes
pragma page_size;

-- name: room
-- Bytes of a page, pages of the file, those of them that are free, and whether they can be returned one by one.
select page_size, page_count, freelist_count, auto_vacuum = 2
from pragma_page_size, pragma_page_count, pragma_freelist_count, pragma_auto_vacuum;
