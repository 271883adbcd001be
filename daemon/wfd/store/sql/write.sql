-- What a commit is made of. Each runs once for each of its rows, which are bound in the order that rows.py gives them; most of those
-- that add a row also for eight at once (`MANY` in batch.py).

-- name: run_new
insert into runs (
    key, run_id, workflow_id, type, parent, root, depth, input, started_at, on_parent_close, status, seq, step, attempt, state,
    children, open_children, queued, deadline, wake_at, closed_at, waiting_for, result, error, reason
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: run_begun
-- The same of one that has nothing from the deadline on: what is not bound costs nothing.
insert into runs (
    key, run_id, workflow_id, type, parent, root, depth, input, started_at, on_parent_close, status, seq, step, attempt, state,
    children, open_children, queued
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: run_changed
-- Compare and set: a run that is not at the version its decision was made on is not touched, and missed in the count.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = ?10,
    status = ?11, closed_at = ?12, result = ?13, error = ?14, reason = ?15, deadline = ?16, wake_at = ?17
where key = ?1 and seq = ?2;

-- name: run_closed
-- As `run_changed` where the times of the run stand, of one that has an error or a reason: to name a column is to write the indexes it
-- is in or that ask for it, even with the value it has.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = ?10,
    status = ?11, closed_at = ?12, result = ?13, error = ?14, reason = ?15
where key = ?1 and seq = ?2;

-- name: run_completed
-- The same of one that closes and has neither.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = ?10,
    status = ?11, closed_at = ?12, result = ?13, error = null, reason = null
where key = ?1 and seq = ?2;

-- name: run_turned
-- The same of one that stays open; a result or an error no open run has.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = ?10,
    status = ?11, reason = null
where key = ?1 and seq = ?2;

-- name: run_waits_on
-- The same where the status stands as well: it names no column that is indexed.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = ?10,
    reason = null
where key = ?1 and seq = ?2;

-- name: run_runs_on
-- The same of one that waits for nothing that has a name.
update runs set
    seq = ?3, step = ?4, attempt = ?5, state = ?6, children = ?7, open_children = ?8, queued = ?9, waiting_for = null,
    reason = null
where key = ?1 and seq = ?2;

-- name: run_passed
update runs set seq = ?2 where key = ?1 and seq = ?3;

-- name: history_new
insert into history (rev, run, seq, at, kind, data, source) values (?, ?, ?, ?, ?, ?, ?);

-- name: log_new
insert into logs (rev, run, at, level, message, step) values (?, ?, ?, ?, ?, ?);

-- name: value_put
insert into store (run, key, value) values (?, ?, ?)
on conflict (run, key) do update set value = excluded.value;

-- name: value_deleted
delete from store where run = ? and key = ?;

-- name: event_new
insert into inbox (run, seq, at, name, payload, step) values (?, ?, ?, ?, ?, ?);

-- name: event_gone
delete from inbox where run = ? and seq = ?;

-- name: total_changed
insert into totals (type, status, top, needs, runs) values (?, ?, ?, ?, ?)
on conflict (type, status, top, needs) do update set runs = runs + excluded.runs;

-- name: last_rev
select max(coalesce((select max(rev) from history), 0), coalesce((select max(rev) from logs), 0));

-- name: touch
-- A commit of nothing, but written all the same: SQLite may spare itself to overwrite a value by itself.
insert into meta (key, value) values ('reset', '1')
on conflict (key) do update set value = cast(value as integer) + 1;

-- name: note
insert into meta (key, value) values (?, ?)
on conflict (key) do update set value = excluded.value;

-- name: schedule_new
insert into schedules (id, version, type, paused, next_at, state) values (?, ?, ?, ?, ?, ?);

-- name: schedule_changed
-- Compare and set, as with runs.
update schedules set version = ?, type = ?, paused = ?, next_at = ?, state = ? where id = ? and version = ?;

-- name: schedule_gone
delete from schedules where id = ? and version = ?;
