-- What a commit is made of. Each runs once for each of its rows, which are bound in the order that rows.py gives them.

-- name: run_new
insert into runs (
    key, run_id, workflow_id, type, parent, root, depth, input, started_at, deadline, status, wake_at, closed_at, seq, step,
    attempt, waiting_for, state, result, error, reason, children, open_children, queued, on_parent_close
)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: run_changed
-- Compare and set: a run that is not at the version its decision was made on is not touched, and missed in the count.
update runs set
    seq = ?, step = ?, attempt = ?, waiting_for = ?, state = ?, result = ?, error = ?, reason = ?, children = ?,
    open_children = ?, queued = ?, status = ?, deadline = ?, wake_at = ?, closed_at = ?
where key = ? and seq = ?;

-- name: run_turned
-- As `run_changed` where the run stays open and its times stand: to name a column is to write the indexes it is in or that ask
-- for it, even with the value it has.
update runs set
    seq = ?, step = ?, attempt = ?, waiting_for = ?, state = ?, result = ?, error = ?, reason = ?, children = ?,
    open_children = ?, queued = ?, status = ?
where key = ? and seq = ?;

-- name: run_runs_on
-- The same where its status stands as well: it names no column that is indexed.
update runs set
    seq = ?, step = ?, attempt = ?, waiting_for = ?, state = ?, result = ?, error = ?, reason = ?, children = ?,
    open_children = ?, queued = ?
where key = ? and seq = ?;

-- name: run_passed
update runs set seq = ? where key = ? and seq = ?;

-- name: history_new
insert into history (rev, run, seq, at, kind, data, source) values (?, ?, ?, ?, ?, ?, ?);

-- name: history_eight
-- Eight at once. A row that must not be ends the whole commit, or SQLite would copy each page it touches to take these eight back.
insert or rollback into history (rev, run, seq, at, kind, data, source)
values
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?, ?);

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
