-- Version 7. One check says which statuses there are and what a run has in each, instead of eight that compared the status to the
-- same words again and again: an alternative that holds ends it. That there are no fewer than no children follows from the check of
-- `open_children`, which is from none to all of them. Of every row they say the same as before, so none is checked again (see
-- version 5).

pragma writable_schema = on;

update sqlite_schema set sql = replace(replace(replace(sql,
    'status         text    not null check (
        status = ''running'' or status = ''waiting'' or status = ''sleeping'' or status = ''cancelling'' or status = ''stuck''
        or status = ''completed'' or status = ''failed'' or status = ''cancelled'' or status = ''terminated''
        or status = ''timed_out'')',
    'status         text    not null'),
    'children       integer not null check (children >= 0)',
    'children       integer not null'),
    'check ((closed_at is not null) = (
        status = ''completed'' or status = ''failed'' or status = ''cancelled'' or status = ''terminated''
        or status = ''timed_out'')),
    check (wake_at is null or closed_at is null),
    check (status <> ''sleeping'' or wake_at is not null),
    check (status <> ''stuck'' or reason is not null),
    check (status = ''waiting'' or waiting_for is null),
    check (status = ''completed'' or result is null),
    check (error is null or closed_at is not null)',
    '-- Which statuses there are, open and closed, and what a run has in each.
    check (
        closed_at is null and result is null and error is null and (
            status = ''running'' and waiting_for is null
            or status = ''waiting''
            or status = ''sleeping'' and waiting_for is null and wake_at is not null
            or status = ''cancelling'' and waiting_for is null
            or status = ''stuck'' and waiting_for is null and reason is not null)
        or closed_at is not null and wake_at is null and waiting_for is null and (
            status = ''completed''
            or result is null and (
                status = ''failed'' or status = ''cancelled'' or status = ''terminated'' or status = ''timed_out'')))')
where type = 'table' and name = 'runs';

-- This connection reads the schema again.
pragma writable_schema = reset;
