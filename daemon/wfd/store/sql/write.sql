-- What the writer runs. Each statement takes all rows of a batch as one JSON array and is one call into SQLite: the
-- writer's thread then lets go of the interpreter once per statement instead of once per row (see batch.py).
-- The numbers are the positions of the fields in rows.py.

-- name: insert_runs
insert into runs (
    key, run_id, workflow_id, type, parent, root, depth, input, started_at, deadline, status, wake_at, closed_at, seq, step,
    attempt, waiting_for, state, result, error, reason, children, open_children, queued)
select
    json_extract(r.value, '$[0]'),
    json_extract(r.value, '$[1]'),
    json_extract(r.value, '$[2]'),
    json_extract(r.value, '$[3]'),
    json_extract(r.value, '$[4]'),
    json_extract(r.value, '$[5]'),
    json_extract(r.value, '$[6]'),
    json_extract(r.value, '$[7]'),
    json_extract(r.value, '$[8]'),
    json_extract(r.value, '$[9]'),
    json_extract(r.value, '$[10]'),
    json_extract(r.value, '$[11]'),
    json_extract(r.value, '$[12]'),
    json_extract(r.value, '$[13]'),
    json_extract(r.value, '$[14]'),
    json_extract(r.value, '$[15]'),
    json_extract(r.value, '$[16]'),
    json_extract(r.value, '$[17]'),
    json_extract(r.value, '$[18]'),
    json_extract(r.value, '$[19]'),
    json_extract(r.value, '$[20]'),
    json_extract(r.value, '$[21]'),
    json_extract(r.value, '$[22]'),
    json_extract(r.value, '$[23]')
from json_each(?) as r;

-- name: update_runs
-- Compare and set: a run that is not at the version its decision was made on is not touched, and is missed in the count.
update runs set
    deadline = json_extract(r.value, '$[0][9]'),
    status = json_extract(r.value, '$[0][10]'),
    wake_at = json_extract(r.value, '$[0][11]'),
    closed_at = json_extract(r.value, '$[0][12]'),
    seq = json_extract(r.value, '$[0][13]'),
    step = json_extract(r.value, '$[0][14]'),
    attempt = json_extract(r.value, '$[0][15]'),
    waiting_for = json_extract(r.value, '$[0][16]'),
    state = json_extract(r.value, '$[0][17]'),
    result = json_extract(r.value, '$[0][18]'),
    error = json_extract(r.value, '$[0][19]'),
    reason = json_extract(r.value, '$[0][20]'),
    children = json_extract(r.value, '$[0][21]'),
    open_children = json_extract(r.value, '$[0][22]'),
    queued = json_extract(r.value, '$[0][23]')
from json_each(?) as r
where runs.key = json_extract(r.value, '$[0][0]') and runs.seq = json_extract(r.value, '$[1]');

-- name: insert_history
insert into history (rev, run, seq, at, kind, data, source)
select
    json_extract(r.value, '$[0]'),
    json_extract(r.value, '$[1]'),
    json_extract(r.value, '$[2]'),
    json_extract(r.value, '$[3]'),
    json_extract(r.value, '$[4]'),
    json_extract(r.value, '$[5]'),
    json_extract(r.value, '$[6]')
from json_each(?) as r;

-- name: insert_logs
insert into logs (rev, run, at, level, message, step)
select
    json_extract(r.value, '$[0]'),
    json_extract(r.value, '$[1]'),
    json_extract(r.value, '$[2]'),
    json_extract(r.value, '$[3]'),
    json_extract(r.value, '$[4]'),
    json_extract(r.value, '$[5]')
from json_each(?) as r;

-- name: put_store
insert into store (run, key, value)
select
    json_extract(r.value, '$[0]'),
    json_extract(r.value, '$[1]'),
    json_extract(r.value, '$[2]')
from json_each(?) as r
where true
on conflict (run, key) do update set value = excluded.value;

-- name: delete_store
-- SQLite walks the keys of the runs that are named; a run has few.
delete from store
where (run, key) in (select json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]') from json_each(?) as r);

-- name: insert_inbox
insert into inbox (run, seq, at, name, payload)
select
    json_extract(r.value, '$[0]'),
    json_extract(r.value, '$[1]'),
    json_extract(r.value, '$[2]'),
    json_extract(r.value, '$[3]'),
    json_extract(r.value, '$[4]')
from json_each(?) as r;

-- name: delete_inbox
delete from inbox
where (run, seq) in (select json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]') from json_each(?) as r);

-- name: last_rev
select max(coalesce((select max(rev) from history), 0), coalesce((select max(rev) from logs), 0));

-- name: touch
-- The proof that writing works again.
insert into meta (key, value) values ('reset', ?1)
on conflict (key) do update set value = excluded.value;
