-- Version 6. The numbers of runs also tell what waiting, sleeping and stuck runs need of the code, and how many open runs are at the
-- top of a tree: going through a hundred thousand open runs to find one handler that is missing took longer than all else together.
-- And as they tell which types have runs in a status, the index by type serves for the status alone as well.

drop index runs_by_status;

create temp table counted_before as select type, status, runs from totals;
drop trigger count_gone_run;
drop table totals;

create table totals (
    type    text     not null,
    status  text     not null,
    top     integer  not null check (top = 0 or top = 1),
    needs   text     not null,
    runs    integer  not null,
    primary key (type, status, top, needs)
) strict, without rowid;

-- Closed runs need nothing. Of the open ones this is what `counted` in wfd.store.needs says.
insert into totals
select type, status, 0, '', runs from counted_before
where runs > 0 and status in ('completed', 'failed', 'cancelled', 'terminated', 'timed_out');

insert into totals
select
    r.type, r.status, r.parent is null,
    case when not json_valid(r.state) then '' else
        case r.status
            when 'waiting' then
                coalesce('events ' || r.waiting_for || char(10), '')
                || coalesce('step ' || json_extract(r.state, '$.phase.on_timeout') || char(10), '')
            when 'sleeping' then
                coalesce(coalesce(json_extract(r.state, '$.phase.kind'), 'step') || ' '
                    || json_extract(r.state, '$.phase.handler') || char(10), '')
            when 'stuck' then
                coalesce(json_extract(r.state, '$.phase.resume.kind') || ' '
                    || json_extract(r.state, '$.phase.resume.handler') || char(10), '')
            else ''
        end
        || coalesce('parent ' || json_extract(r.state, '$.on_completed_step') || ' ' || p.type || char(10), '')
    end
    || case when r.queued > 0 then 'queued' || char(10) else '' end,
    count(*)
from runs as r
left join runs as p on p.key = r.parent
where r.status in ('running', 'waiting', 'sleeping', 'cancelling', 'stuck')
group by 1, 2, 3, 4;

drop table counted_before;

create trigger count_gone_run after delete on runs begin
    update totals set runs = runs - 1 where type = old.type and status = old.status and top = 0 and needs = '';
end;
