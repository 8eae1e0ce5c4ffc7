-- accounts: who the users are, what their tier allows, what they paid
--
-- An account's row appears by itself when something of a user is first
-- written. The host's billing reports payments and subscriptions by
-- record_payment() and record_subscription(), as often and in whatever order
-- it hears of them; what is already known changes nothing. Their events and
-- row-level security are declared in access.sql.
--
-- Locks: the record functions and set_tier lock one row of accounts, then one
-- of payments or subscriptions.

-- A restore writes rows that were judged before they were dumped: triggers
-- that act on what rows mean must let them pass. pg_dump's scripts set these
-- two, which nobody else sets together.
create function _is_restore() returns boolean
language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return current_setting('row_security') = 'off' and current_setting('check_function_bodies') = 'off';
end
$$;
comment on function _is_restore() is 'Is this session restoring a dump?';

create table tiers (
    name                text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    burst               int not null check (burst > 0),
    refill_per_second   numeric not null check (refill_per_second > 0),
    monthly_quota       bigint check (monthly_quota >= 0),
    max_api_keys        int not null check (max_api_keys >= 0),
    max_webhooks        int not null check (max_webhooks >= 0),
    max_concurrent_jobs int not null check (max_concurrent_jobs >= 0),
    is_shipped          boolean not null default false,
    daily_quota         bigint check (daily_quota >= 0),
    limit_by            text not null default 'key' check (limit_by in ('key', 'user'))
);
comment on table tiers is 'What an account may do; free, pro and enterprise are shipped and may be changed';
comment on column tiers.burst is 'Requests that may come at once';
comment on column tiers.refill_per_second is 'Requests a second in the long run';
comment on column tiers.monthly_quota is 'Requests a calendar month, NULL for any number';
comment on column tiers.daily_quota is 'Requests a day of UTC, NULL for any number';
comment on column tiers.limit_by is 'Whether each key has a burst of its own, or all keys of a user share one';
comment on column tiers.is_shipped is 'Still as the extension ships it; false after any change, and then part of a dump';

insert into tiers values
    ('free',       20,   1,  10000,   2,   3,   1, true),
    ('pro',        100,  10, 1000000, 20,  25,  5, true),
    ('enterprise', 1000, 100, null,   200, 250, 50, true);

-- A dump holds the tiers that are not as shipped, and CREATE EXTENSION has
-- made the shipped ones before they are restored: such a row takes the place
-- of the untouched shipped one.
create function _tier_changed() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' then
        new.is_shipped := false;
        return new;
    end if;
    update tiers
       set burst = new.burst, refill_per_second = new.refill_per_second, monthly_quota = new.monthly_quota,
           max_api_keys = new.max_api_keys, max_webhooks = new.max_webhooks,
           max_concurrent_jobs = new.max_concurrent_jobs, daily_quota = new.daily_quota, limit_by = new.limit_by
     where name = new.name and is_shipped;
    if found then
        return null;
    end if;
    new.is_shipped := false;
    return new;
end
$$;
comment on function _tier_changed() is 'Keeps tiers.is_shipped; an inserted tier replaces the shipped one of its name';

create trigger tier_changed before insert or update on tiers
    for each row execute function _tier_changed();

create table accounts (
    user_id    uuid primary key,
    tier       text not null default 'free' references tiers,
    created_at timestamptz not null default now()
);
create index accounts_tier_idx on accounts (tier);
comment on table accounts is 'One row a user; appears by itself on first use';

-- Roles that expose_to() was told of; caller_is_service() reads it.
create table exposed_roles (
    role_name name primary key,
    kind      text not null check (kind in ('service', 'authenticated', 'anon'))
);
comment on table exposed_roles is 'The host''s roles and what expose_to() made of them';
create trigger invalidate after insert or update or delete or truncate on exposed_roles
    for each statement execute function _invalidate_relation();
alter table exposed_roles enable always trigger invalidate;

create function _known_tier(tier text) returns void
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tier is null then
        raise exception 'tier must not be null' using errcode = '22023';
    elsif not exists (select from tiers t where t.name = _known_tier.tier) then
        raise exception 'unknown tier "%"', tier
            using errcode = '22023',
                  hint = format('Known tiers: %s. Insert into musicverse.tiers to add one.',
                                (select string_agg(t.name, ', ' order by t.name) from tiers t));
    end if;
end
$$;
comment on function _known_tier(text) is 'Refuses a tier that does not exist';

create function set_tier(user_id uuid, tier text) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if user_id is null then
        raise exception 'user_id must not be null' using errcode = '22023';
    end if;
    perform _known_tier(tier);
    insert into accounts as a (user_id, tier) values (set_tier.user_id, set_tier.tier)
        on conflict on constraint accounts_pkey do update set tier = excluded.tier
        where a.tier <> excluded.tier;
end
$$;
comment on function set_tier(uuid, text) is 'Moves an account to a tier; takes effect on the next request';

create function attach_users(users regclass default to_regclass('auth.users')) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    key name;
    bound regclass;
    orphan uuid;
begin
    if users is null then
        raise exception 'there is no table auth.users'
            using errcode = '42P01', hint = 'Name the host''s table of users: select musicverse.attach_users(''app.users'').';
    end if;
    select a.attname into key
      from pg_constraint c
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
     where c.conrelid = users and c.contype in ('p', 'u') and cardinality(c.conkey) = 1
       and a.atttypid = 'uuid'::regtype
     order by c.contype, a.attnum
     limit 1;
    if key is null then
        raise exception 'table % has no primary key of type uuid', users
            using errcode = '22023', hint = 'accounts.user_id can be tied only to a single primary or unique column of type uuid.';
    end if;
    select c.confrelid into bound from pg_constraint c
     where c.conrelid = 'accounts'::regclass and c.conname = 'accounts_user_id_fkey';
    if bound = users then
        return;
    elsif bound is not null then
        alter table accounts drop constraint accounts_user_id_fkey;
    end if;
    execute format('select a.user_id from accounts a where not exists (select from %s u where u.%I = a.user_id) limit 1',
                   users, key) into orphan;
    if orphan is not null then
        raise exception 'account % has no row in %', orphan, users
            using errcode = '23503', hint = 'Delete such rows from musicverse.accounts, or add the users, then call attach_users() again.';
    end if;
    execute format('alter table accounts add constraint accounts_user_id_fkey foreign key (user_id) references %s (%I) on delete cascade',
                   users, key);
end
$$;
comment on function attach_users(regclass) is
    'Ties accounts to the host''s table of users: a deleted user takes everything along. To be called again after a restore into another database';

do $$
begin
    if to_regclass('auth.users') is not null then
        perform musicverse.attach_users();
    end if;
exception when others then
    raise warning 'accounts are not tied to auth.users: %', sqlerrm
        using hint = 'Call musicverse.attach_users() when that is put right.';
end
$$;

create table payments (
    id          uuid primary key default gen_random_uuid(),
    user_id     uuid not null references accounts on delete cascade,
    external_id text not null unique check (length(external_id) between 1 and 255),
    amount      numeric not null check (amount >= 0 and amount < 'Infinity'),
    currency    text not null check (currency ~ '^[A-Z]{3}$'),
    status      text not null check (status in ('pending', 'failed', 'succeeded', 'refunded')),
    description text,
    metadata    jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    occurred_at timestamptz not null default now(),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
create index payments_user_id_occurred_at_idx on payments (user_id, occurred_at desc);
comment on table payments is 'Payments as the host''s billing reported them by record_payment()';
comment on column payments.external_id is 'The biller''s id of the payment';

create table subscriptions (
    id                 uuid primary key default gen_random_uuid(),
    user_id            uuid not null references accounts on delete cascade,
    external_id        text not null unique check (length(external_id) between 1 and 255),
    tier               text not null references tiers,
    status             text not null check (status in ('trialing', 'active', 'past_due', 'cancelled', 'expired')),
    current_period_end timestamptz,
    metadata           jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);
create index subscriptions_user_id_created_at_idx on subscriptions (user_id, created_at desc);
create index subscriptions_tier_idx on subscriptions (tier);
comment on table subscriptions is 'Subscriptions as the host''s billing reported them by record_subscription(); they set the account''s tier';
comment on column subscriptions.external_id is 'The biller''s id of the subscription';

-- The newest subscription that still runs decides; without one the tier goes
-- back to free. An account that never had a subscription keeps what set_tier()
-- gave it.
create function _apply_subscription() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if _is_restore() then
        return null;
    end if;
    update accounts a
       set tier = coalesce((select s.tier from subscriptions s
                             where s.user_id = new.user_id and s.status in ('trialing', 'active', 'past_due')
                             order by s.created_at desc, s.id limit 1), 'free')
     where a.user_id = new.user_id;
    return null;
end
$$;
comment on function _apply_subscription() is 'Sets an account''s tier from its subscriptions';

create trigger apply_subscription_insert after insert on subscriptions
    for each row execute function _apply_subscription();
create trigger apply_subscription_update after update on subscriptions
    for each row when (old.status is distinct from new.status or old.tier is distinct from new.tier)
    execute function _apply_subscription();

create function record_payment(user_id uuid, external_id text, amount numeric, currency text, status text,
                               description text default null, metadata jsonb default '{}',
                               occurred_at timestamptz default now()) returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    known payments;
    ranks constant text[] := '{pending,failed,succeeded,refunded}';
    result uuid;
begin
    if user_id is null or external_id is null or occurred_at is null then
        raise exception '% must not be null', case when user_id is null then 'user_id'
                when external_id is null then 'external_id' else 'occurred_at' end
            using errcode = '22023';
    elsif status is null or status <> all (ranks) then
        raise exception 'unknown payment status "%"', status
            using errcode = '22023', hint = format('Known: %s.', array_to_string(ranks, ', '));
    elsif amount is null or amount < 0 or amount in ('NaN', 'Infinity') then
        raise exception 'payment amount % is not a number of zero or more', coalesce(amount::text, 'null')
            using errcode = '22023', hint = 'Report a refund by status "refunded".';
    elsif upper(currency) !~ '^[A-Z]{3}$' is not false then
        raise exception 'currency "%" is not a code of three letters', currency
            using errcode = '22023', hint = 'Use ISO 4217 codes, such as EUR.';
    elsif jsonb_typeof(coalesce(metadata, '{}')) <> 'object' then
        raise exception 'metadata must be a JSON object, not %', jsonb_typeof(metadata) using errcode = '22023';
    end if;

    insert into accounts (user_id) values (record_payment.user_id) on conflict do nothing;
    insert into payments (user_id, external_id, amount, currency, status, description, metadata, occurred_at)
    values (record_payment.user_id, record_payment.external_id, record_payment.amount, upper(record_payment.currency),
            record_payment.status, record_payment.description, coalesce(record_payment.metadata, '{}'), record_payment.occurred_at)
    on conflict on constraint payments_external_id_key do nothing
    returning id into result;
    if found then
        return result;
    end if;

    select p.* into known from payments p where p.external_id = record_payment.external_id for update;
    if known.user_id <> record_payment.user_id then
        raise exception 'payment "%" belongs to another user', external_id
            using errcode = '23505', hint = 'The biller''s ids must be unique: prefix them when there is more than one biller.';
    end if;
    -- Late repetitions of an earlier state stand back; at one and the same moment the further state wins.
    if record_payment.occurred_at < known.occurred_at
        or record_payment.status = 'pending' and known.status <> 'pending'
        or record_payment.occurred_at = known.occurred_at
           and array_position(ranks, record_payment.status) < array_position(ranks, known.status) then
        return known.id;
    end if;
    update payments p
       set amount = record_payment.amount, currency = upper(record_payment.currency), status = record_payment.status,
           description = coalesce(record_payment.description, p.description),
           metadata = p.metadata || coalesce(record_payment.metadata, '{}'), occurred_at = record_payment.occurred_at
     where p.id = known.id
       and (p.amount, p.currency, p.status) is distinct from
           (record_payment.amount, upper(record_payment.currency), record_payment.status);
    return known.id;
end
$$;
comment on function record_payment(uuid, text, numeric, text, text, text, jsonb, timestamptz) is
    'Records a payment''s state under the biller''s id; the same or an older state again changes nothing';

create function record_subscription(user_id uuid, external_id text, tier text, status text,
                                    current_period_end timestamptz default null,
                                    metadata jsonb default '{}') returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    known subscriptions;
    statuses constant text[] := '{trialing,active,past_due,cancelled,expired}';
    state text := case status when 'canceled' then 'cancelled' else status end;
    renewed boolean;
    result uuid;
begin
    if user_id is null or external_id is null then
        raise exception '% must not be null', case when user_id is null then 'user_id' else 'external_id' end
            using errcode = '22023';
    elsif state is null or state <> all (statuses) then
        raise exception 'unknown subscription status "%"', status
            using errcode = '22023', hint = format('Known: %s.', array_to_string(statuses, ', '));
    elsif jsonb_typeof(coalesce(metadata, '{}')) <> 'object' then
        raise exception 'metadata must be a JSON object, not %', jsonb_typeof(metadata) using errcode = '22023';
    end if;
    perform _known_tier(tier);

    insert into accounts (user_id) values (record_subscription.user_id) on conflict do nothing;
    insert into subscriptions (user_id, external_id, tier, status, current_period_end, metadata)
    values (record_subscription.user_id, record_subscription.external_id, record_subscription.tier, state,
            record_subscription.current_period_end, coalesce(record_subscription.metadata, '{}'))
    on conflict on constraint subscriptions_external_id_key do nothing
    returning id into result;
    if found then
        return result;
    end if;

    select s.* into known from subscriptions s where s.external_id = record_subscription.external_id for update;
    if known.user_id <> record_subscription.user_id then
        raise exception 'subscription "%" belongs to another user', external_id
            using errcode = '23505', hint = 'The biller''s ids must be unique: prefix them when there is more than one biller.';
    end if;
    -- An earlier period end is an old report; within one period a subscription
    -- doesn't come back from its end, nor from the paid time to its trial.
    renewed := coalesce(record_subscription.current_period_end > known.current_period_end,
                        known.current_period_end is null);
    if record_subscription.current_period_end < known.current_period_end and state not in ('cancelled', 'expired')
        or not renewed and known.status in ('cancelled', 'expired') and state not in ('cancelled', 'expired')
        or not renewed and known.status in ('active', 'past_due') and state = 'trialing' then
        return known.id;
    end if;
    update subscriptions s
       set tier = record_subscription.tier, status = state,
           current_period_end = coalesce(record_subscription.current_period_end, s.current_period_end),
           metadata = s.metadata || coalesce(record_subscription.metadata, '{}')
     where s.id = known.id
       and (s.tier, s.status, s.current_period_end) is distinct from
           (record_subscription.tier, state, coalesce(record_subscription.current_period_end, s.current_period_end));
    return known.id;
end
$$;
comment on function record_subscription(uuid, text, text, text, timestamptz, jsonb) is
    'Records a subscription''s state under the biller''s id, and so the account''s tier; the same or an older state again changes nothing';
