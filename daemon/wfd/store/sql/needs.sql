-- What open runs need of the code. Which handlers that are is asked of the totals, and of the runs that are under way; who exactly
-- needs one, only of one that is missing, and of open runs alone.

-- name: kept
select type, status, needs, sum(runs) from totals where needs <> '' group by type, status, needs having sum(runs) > 0;

-- name: under_way
-- What the totals do not tell, as it changes with every step.
select r.type, json_extract(r.state, '$.phase.kind'), json_extract(r.state, '$.phase.handler'), count(*)
from (select distinct type from totals where status in ('running', 'cancelling') and runs > 0) as t
cross join runs as r indexed by runs_by_type on r.type = t.type and r.status in ('running', 'cancelling')
where json_valid(r.state) and case when json_valid(r.state) then json_extract(r.state, '$.phase.handler') end is not null
group by 1, 2, 3;

-- name: queued
-- What handles the events that runs of one type and status have not been handed over.
select distinct case when i.step is null then 'event' else 'step' end, coalesce(i.step, i.name)
from runs as r indexed by runs_by_type cross join inbox as i on i.run = r.key
where r.type = :type and r.status = :status and r.queued > 0;

-- name: view
-- What open runs run, sleep for, wait for or have events for, and what their open children will call in them: a row each, so a run
-- that needs a handler for several reasons is there several times. A run whose state is no JSON has been set aside, and needs nothing.
create temp view if not exists needs (type, kind, name, key, status) as
select type, json_extract(state, '$.phase.kind'), json_extract(state, '$.phase.handler'), key, status
from runs where status in ('running', 'cancelling') and json_valid(state)
union all
select type, json_extract(state, '$.phase.resume.kind'), json_extract(state, '$.phase.resume.handler'), key, status
from runs where status = 'stuck' and json_valid(state)
union all
select type, coalesce(json_extract(state, '$.phase.kind'), 'step'), json_extract(state, '$.phase.handler'), key, status
from runs where status = 'sleeping' and json_valid(state)
union all
select r.type, 'event', w.value, r.key, r.status
from runs as r cross join json_each(r.waiting_for) as w
where r.status = 'waiting' and r.waiting_for is not null
union all
select type, 'step', json_extract(state, '$.phase.on_timeout'), key, status
from runs where status = 'waiting' and case when json_valid(state) then json_extract(state, '$.phase.on_timeout') end is not null
union all
select r.type, case when i.step is null then 'event' else 'step' end, coalesce(i.step, i.name), r.key, r.status
from runs as r cross join inbox as i on i.run = r.key
where r.status in ('running', 'waiting', 'sleeping', 'cancelling', 'stuck') and r.queued > 0
union all
-- What an open child is to call in its parent when it closes.
select p.type, 'step', json_extract(c.state, '$.on_completed_step'), p.key, p.status
from runs as c indexed by open_workflow_ids cross join runs as p on p.key = c.parent
where c.closed_at is null and p.closed_at is null
    and case when json_valid(c.state) then json_extract(c.state, '$.on_completed_step') end is not null;

-- name: need
select count(distinct key), count(distinct case status when 'stuck' then key end) from needs
where type = :type and kind = :kind and name = :name;

-- name: who_needs
-- The first of the runs that need one handler.
select run_id, workflow_id from runs
where key in (select distinct key from needs where type = :type and kind = :kind and name = :name order by key limit :ids)
order by key;

-- name: first_of_type
-- The first open runs of one type.
select run_id, workflow_id from runs indexed by runs_by_type
where type = :type and status in ('running', 'waiting', 'sleeping', 'cancelling', 'stuck')
order by key
limit :ids;

-- name: stuck_of_type
select count(*) from runs where type = ? and status = 'stuck';

-- name: steps_after
-- Runs whose handler runs, or is to run again, a page at a time.
select key from runs where type = :type and status = :status and key > :after order by key limit :limit;

-- name: events_after
-- Events that are not handed over yet, a page at a time, with the run that has them.
select r.key, i.seq, r.run_id, r.workflow_id, i.name, i.step, i.payload
from runs as r indexed by runs_by_type cross join inbox as i on i.run = r.key
where r.type = :type and r.status = :status and r.queued > 0 and r.key >= :run and (r.key > :run or i.seq > :seq)
order by r.key, i.seq
limit :limit;
