-- keys: the general limiter

create function take_tokens(bucket text, cost int, capacity int, refill_per_second numeric,
                            out allowed boolean, out remaining int, out retry_after numeric) returns record
language c volatile parallel safe as 'MODULE_PATHNAME', 'musicverse_take_tokens';
comment on function take_tokens(text, int, int, numeric) is
    'Takes cost tokens of a named bucket that holds capacity and is refilled at a rate; retry_after in seconds, NULL = never. In shared memory only: no rollback gives them back';

create function take_tokens_all(buckets text[], cost int, capacities int[], refills_per_second numeric[],
                                out allowed boolean, out bucket text, out remaining int, out retry_after numeric) returns record
language c volatile parallel safe as 'MODULE_PATHNAME', 'musicverse_take_tokens_all';
comment on function take_tokens_all(text[], int, int[], numeric[]) is
    'Takes cost tokens of each of several buckets, or of none; tells the bucket that refused, or has the fewest left';

create function rate_limit_status(out room bigint, out active bigint, out no_room bigint, out shadowed bigint) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_rate_limit_status';
comment on function rate_limit_status() is
    'How many buckets can be in use at once and how many are, how many calls found no room since the start, how many passed by the shadow mode';
