-- Version 3. What went wrong, by the tree it is in: trees with failures are found whatever their age, and the failures of a tree
-- without those of the others.

create index runs_gone_wrong on runs (root, status) where status in ('failed', 'timed_out', 'stuck');
