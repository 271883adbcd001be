"""One file a verb, named like it: `handle` is its route."""
