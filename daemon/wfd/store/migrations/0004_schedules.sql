-- Version 4. Workflows that the clock starts: a schedule and the run that it starts for a time are one commit.

create table schedules (
    id       text     not null primary key,
    version  integer  not null check (version > 0),
    type     text     not null,
    paused   integer  not null check (paused in (0, 1)),
    next_at  integer  check (next_at is null or not paused),
    state    text     not null
) strict, without rowid;
