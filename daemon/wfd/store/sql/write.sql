-- The commit as one statement. `insert into batch` runs this trigger: each table gets its rows out of one JSON array, in a
-- single call into SQLite, so that the writer's thread needs the interpreter once a batch (see batch.py). The numbers are
-- the positions of the fields in rows.py.

-- name: batch
create temp view batch (runs_changed, runs_reopened, runs_new, history, logs, puts, deletes, inbox_new, inbox_gone, totals) as
select null, null, null, null, null, null, null, null, null, null where false;

-- name: changed_runs
create temp view changed_runs (rows) as select null where false;

-- name: change_runs
create temp trigger change_changed_runs instead of insert on changed_runs begin
    -- Compare and set: a run that is not at the version its decision was made on is not touched, and missed in the count.
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
    from json_each(new.rows) as r
    where runs.key = json_extract(r.value, '$[0][0]') and runs.seq = json_extract(r.value, '$[1]');
    select raise(abort, 'a run is not at the version its change was decided on')
    where new.rows is not null and changes() <> json_array_length(new.rows);
end;

-- name: commit
create temp trigger commit_batch instead of insert on batch begin
    -- Runs that are open again come last, new ones included: a workflow ID may have closed and been taken again in this batch.
    insert into changed_runs values (new.runs_changed);
    insert into changed_runs values (new.runs_reopened);

    insert into runs (
        key, run_id, workflow_id, type, parent, root, depth, input, started_at, deadline, status, wake_at, closed_at, seq, step,
        attempt, waiting_for, state, result, error, reason, children, open_children, queued, on_parent_close
    )
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
        json_extract(r.value, '$[23]'),
        json_extract(r.value, '$[24]')
    from json_each(new.runs_new) as r;

    insert into history (rev, run, seq, at, kind, data, source)
    select
        json_extract(r.value, '$[0]'),
        json_extract(r.value, '$[1]'),
        json_extract(r.value, '$[2]'),
        json_extract(r.value, '$[3]'),
        json_extract(r.value, '$[4]'),
        json_extract(r.value, '$[5]'),
        json_extract(r.value, '$[6]')
    from json_each(new.history) as r;

    insert into logs (rev, run, at, level, message, step)
    select
        json_extract(r.value, '$[0]'),
        json_extract(r.value, '$[1]'),
        json_extract(r.value, '$[2]'),
        json_extract(r.value, '$[3]'),
        json_extract(r.value, '$[4]'),
        json_extract(r.value, '$[5]')
    from json_each(new.logs) as r;

    insert into store (run, key, value)
    select
        json_extract(r.value, '$[0]'),
        json_extract(r.value, '$[1]'),
        json_extract(r.value, '$[2]')
    from json_each(new.puts) as r
    where true
    on conflict (run, key) do update set value = excluded.value;

    -- SQLite walks the keys of the runs that are named; a run has few.
    delete from store
    where (run, key) in (select json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]') from json_each(new.deletes) as r);

    insert into inbox (run, seq, at, name, payload, step)
    select
        json_extract(r.value, '$[0]'),
        json_extract(r.value, '$[1]'),
        json_extract(r.value, '$[2]'),
        json_extract(r.value, '$[3]'),
        json_extract(r.value, '$[4]'),
        json_extract(r.value, '$[5]')
    from json_each(new.inbox_new) as r;

    delete from inbox
    where (run, seq) in (select json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]') from json_each(new.inbox_gone) as r);
    select raise(abort, 'an event that is handed over is not in the inbox')
    where new.inbox_gone is not null and changes() <> json_array_length(new.inbox_gone);

    insert into totals (type, status, runs)
    select
        json_extract(r.value, '$[0]'),
        json_extract(r.value, '$[1]'),
        json_extract(r.value, '$[2]')
    from json_each(new.totals) as r
    where true
    on conflict (type, status) do update set runs = runs + excluded.runs;
end;

-- name: insert
insert into batch values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: last_rev
select max(coalesce((select max(rev) from history), 0), coalesce((select max(rev) from logs), 0));

-- name: touch
-- The proof that writing works again.
insert into meta (key, value) values ('reset', ?)
on conflict (key) do update set value = excluded.value;

-- name: note
insert into meta (key, value) values (?, ?)
on conflict (key) do update set value = excluded.value;
