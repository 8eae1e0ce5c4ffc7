-- distribution: look-ups, by which it is found out what can be heard where
--
-- A verifier is a partner that carries nothing: it is asked whether a platform
-- has a release, by its UPC and its ISRCs. That makes targets live which their
-- carriers have delivered, and after a takedown it makes them taken down. The
-- steps are src/distribution/verifier.c.
--
-- For a release and a verifier there is one row of distribution_work, whose
-- verifies names the platform. What it reports goes to the target there, which
-- stays its carrier's. Nothing that happens to a look-up fails a release.
--
-- Where the config of a carrier says live_by of "verifier", what it says itself
-- of live and taken down doesn't count, while there is a verifier that is
-- active. For others a look-up is a second witness.
--
-- What is kept in the state, flat:
--   since                       when it began; epochs, as those that follow
--   looks, next, candidates     how often it was looked, what a look still has to do
--   found, found_at             what it is called there, and when it was seen last
--   absent_since, missing_since since when it isn't there after a takedown, or though it should
--   gave_up                     it was looked for long enough
--
-- Locks: as everywhere the release first; what arms and ends look-ups runs
-- under the lock of who changes a target or its work.

create table partner_tokens (
    partner     text primary key references partners on delete cascade,
    tokens      bytea,
    obtained_at timestamptz,
    expires_at  timestamptz,
    was_refused boolean not null default false
);
comment on table partner_tokens is 'Tokens that partners gave this platform for its credentials, sealed under partner:<name>:token, while they hold';
comment on column partner_tokens.tokens is 'The token; NULL after it was refused';
comment on column partner_tokens.was_refused is 'The one before it was refused, and it has not worked yet';

-- ---- what a verifier is

create function _lookup_base_url(dialect text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case dialect when 'spotify' then 'https://api.spotify.com' when 'apple' then 'https://api.music.apple.com' when 'deezer' then 'https://api.deezer.com' end
$$;
comment on function _lookup_base_url(text) is 'Where the catalogue of a dialect is';

create function _check_verifier(name text, platforms text[], config jsonb, credentials jsonb) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
    needed text;
begin
    if cardinality(platforms) <> 1 then
        raise exception 'partner "%" looks releases up and has % platforms, not one', name, cardinality(platforms) using errcode = '22023';
    elsif coalesce(config ->> 'dialect', '') <> all ('{spotify,apple,deezer}'::text[]) then
        raise exception 'dialect of partner "%" cannot be %', name, coalesce(config -> 'dialect', 'null')
            using errcode = '22023', hint = 'It is "spotify", "apple" or "deezer".';
    elsif config ->> 'storefront' !~ '^[a-z]{2}$' is not false then
        raise exception 'storefront of partner "%" cannot be %', name, coalesce(config -> 'storefront', 'null')
            using errcode = '22023', hint = 'It is the code of a country, such as "us".';
    elsif jsonb_typeof(config -> 'second_witness') <> 'boolean' then
        raise exception 'second_witness of partner "%" must be true or false, not %', name, config -> 'second_witness' using errcode = '22023';
    end if;
    for item in select v.name, v.low, v.high, config -> v.name as value
                  from (values ('poll_interval_max', 1, 2592000), ('verify_for', 60, 31536000), ('absent_twice', 0, 2592000), ('recheck', 60, 31536000)) v (name, low, high) loop
        if item.value <> 'null' and (jsonb_typeof(item.value) <> 'number' or item.value::numeric not between item.low and item.high)
            or item.value = 'null' and item.name <> 'recheck' then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value
                using errcode = '22023', hint = format('It is a number of seconds from %s to %s.', item.low, item.high);
        end if;
    end loop;
    foreach needed in array case config ->> 'dialect' when 'spotify' then '{client_id,client_secret}'::text[] when 'apple' then '{token}' else '{}' end loop
        if coalesce(credentials ->> needed, '') = '' then
            raise exception 'the credentials of partner "%" lack %', name, needed
                using errcode = '22023', hint = case config ->> 'dialect' when 'spotify' then 'Register an application there, and write {"client_id": "...", "client_secret": "..."}.'
                                                else 'Make a developer token there, and write {"token": "..."}.' end;
        end if;
    end loop;
end
$$;
comment on function _check_verifier(text, text[], jsonb, jsonb) is 'Refuses a verifier that could not look anything up, naming what is wrong; config is complete';

-- ---- when something is looked up

create function _is_witnessed(connector text, config jsonb) returns boolean
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select _partner_config(connector, config) ->> 'live_by' is not distinct from 'verifier'
$$;
comment on function _is_witnessed(text, jsonb) is 'Does a carrier''s own word of live and taken down not count?';

-- told: the work of a carrier that says it has been taken down. Without that it
-- counts that nothing is left to be done.
create function _lookups_to_begin(distribution_id uuid, verifier text, told uuid)
returns table (distribution_id uuid, user_id uuid, partner text, platform text, goal text, revision int, publish_at timestamptz, at timestamptz)
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select t.distribution_id, t.user_id, v.name, t.platform, k.goal, d.revision, k.publish_at,
           greatest(_now(), case k.goal when 'deliver' then k.publish_at end)
      from partners v join distribution_targets t on t.platform = any (v.platforms)
      join distributions d on d.id = t.distribution_id join distribution_work k on k.id = t.work_id join partners c on c.name = k.partner
     where v.connector = 'verifier' and v.is_active and (v.name = verifier or verifier is null)
       and (t.distribution_id = _lookups_to_begin.distribution_id or _lookups_to_begin.distribution_id is null)
       and case k.goal
           when 'deliver' then t.status = 'processing'
                and (_is_witnessed(c.connector, c.config) or (_partner_config(v.connector, v.config) ->> 'second_witness')::boolean)
           else t.status in ('live', 'processing') and _is_witnessed(c.connector, c.config)
                and (k.id = told or k.next_attempt_at is null and k.begun_at is null) end
$$;
comment on function _lookups_to_begin(uuid, text, uuid) is 'What is to be looked up for a release, or all of them, by a verifier, or all of them';

create function _begin_lookups(distribution_id uuid default null, verifier text default null, told uuid default null) returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    n bigint;
begin
    insert into distribution_work as k (distribution_id, user_id, partner, verifies, goal, revision, publish_at, next_attempt_at, state)
    select b.distribution_id, b.user_id, b.partner, b.platform, b.goal, b.revision, b.publish_at, b.at, jsonb_build_object('since', floor(extract(epoch from b.at)))
      from _lookups_to_begin(_begin_lookups.distribution_id, verifier, told) b
        on conflict on constraint distribution_work_distribution_id_partner_key do update
       set verifies = excluded.verifies, goal = excluded.goal, revision = excluded.revision, publish_at = excluded.publish_at, failures = 0, last_error = null,
           state = excluded.state || case when k.state ? 'found' then jsonb_build_object('found', k.state -> 'found', 'found_at', k.state -> 'found_at') else '{}' end,
           -- an answer that is awaited is settled first
           next_attempt_at = case when k.begun_at is null then excluded.next_attempt_at else k.next_attempt_at end
     where k.verifies is not null and (k.goal <> excluded.goal or k.verifies <> excluded.verifies or k.next_attempt_at is null);
    get diagnostics n = row_count;
    if n > 0 then
        perform _wake_distribution();
    end if;
    return n;
end
$$;
comment on function _begin_lookups(uuid, text, uuid) is 'Has looked up what is to be, unless it is being looked up; returns how many look-ups begin';

create function _renew_lookups(d distributions) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update distribution_work k
       set revision = d.revision, publish_at = n.publish_at, state = k.state - '{next,candidates}'::text[] || jsonb_build_object('since', floor(extract(epoch from n.at))),
           next_attempt_at = case when k.begun_at is null then n.at else k.next_attempt_at end
      from (select r.moment as publish_at, greatest(_now(), r.moment) as at from _release_moment(d.release_date, d.time_zone) r (moment)) n
     where k.distribution_id = d.id and k.verifies is not null and k.goal = 'deliver' and k.next_attempt_at is not null;
    -- what was given up may have what it is found by now
    select _begin_lookups(d.id)
$$;
comment on function _renew_lookups(distributions) is 'Has a release that was changed looked up as what it is now, from when it is to be heard';

create function _target_to_verify() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if new.status = 'processing' then
        if exists (select from partners p where p.connector = 'verifier' and p.is_active and p.platforms @> array[new.platform]) then
            perform _begin_lookups(new.distribution_id);
        end if;
    else
        -- Where it goes on after all, it ends when it is due next. The index of what is due must not be
        -- read for one release: to a planner that was told little, it looks as good as any.
        update distribution_work k set next_attempt_at = _now()
         where k.distribution_id = new.distribution_id and k.verifies = new.platform and k.begun_at is null
           and coalesce(k.next_attempt_at > _now(), false);
    end if;
    return null;
end
$$;
comment on function _target_to_verify() is 'Begins look-ups of what was delivered, and has others see whether they are still of use';

create trigger target_to_verify after update of status on distribution_targets
    for each row when (old.status <> new.status and new.status in ('processing', 'live', 'failed', 'taken_down', 'cancelled'))
    execute function _target_to_verify();

create function _takedown_to_verify() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _begin_lookups(new.distribution_id);
    return null;
end
$$;
comment on function _takedown_to_verify() is 'Begins look-ups of what carriers have nothing left to do for';

create trigger takedown_to_verify after update of next_attempt_at on distribution_work
    for each row when (new.verifies is null and new.goal = 'takedown' and new.next_attempt_at is null and new.begun_at is null and old.next_attempt_at is not null)
    execute function _takedown_to_verify();

create function _verifier_changed() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if not _is_restore() then
        delete from partner_tokens t where t.partner = new.name;
        perform _begin_lookups(null, new.name);
    end if;
    return null;
end
$$;
comment on function _verifier_changed() is 'Begins look-ups of what is under way when a verifier is configured, those that were given up too';

create trigger verifier_changed after insert or update of is_active on partners
    for each row when (new.connector = 'verifier' and new.is_active)
    execute function _verifier_changed();

create function _awaits_witness(work_id uuid, platform text, status text) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    id uuid;
begin
    if status not in ('live', 'taken_down') then
        return false;
    end if;
    select k.distribution_id into id from distribution_work k join partners p on p.name = k.partner
     where k.id = work_id and _is_witnessed(p.connector, p.config)
       and exists (select from partners v where v.connector = 'verifier' and v.is_active and v.platforms @> array[platform]);
    if found and status = 'taken_down' then
        perform _begin_lookups(id, null, work_id);
    end if;
    return id is not null;
end
$$;
comment on function _awaits_witness(uuid, text, text) is 'Does what a carrier says of a platform count only when a look-up says so too? Of a takedown that is begun';

-- ---- what a look asks

create function _bare_isrc(isrc text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select nullif(upper(regexp_replace(isrc, '[^A-Za-z0-9]', '', 'g')), '')
$$;
comment on function _bare_isrc(text) is 'An ISRC without what only divides it; NULL for nothing';

create function _bare_upc(upc text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select nullif(ltrim(regexp_replace(upc, '[^0-9]', '', 'g'), '0'), '')
$$;
comment on function _bare_upc(text) is 'A UPC as what it is compared by, without zeros ahead; NULL for nothing';

create function _lookup_isrc(release jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select _bare_isrc(t ->> 'isrc') from jsonb_array_elements(case jsonb_typeof(release -> 'tracks') when 'array' then release -> 'tracks' else '[]' end) with ordinality e (t, n)
     where _bare_isrc(t ->> 'isrc') is not null order by n limit 1
$$;
comment on function _lookup_isrc(jsonb) is 'The ISRC by which a release is looked up: its first';

create function _lookup_path(config jsonb, release jsonb, step text, candidate text) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case config ->> 'dialect' || ' ' || step
           when 'spotify upc' then '/v1/search?type=album&limit=10&q=upc%3A' || upc
           when 'spotify album' then '/v1/albums/' || _url_encode(candidate)
           when 'spotify isrc' then '/v1/search?type=track&limit=10&q=isrc%3A' || isrc
           when 'apple upc' then '/v1/catalog/' || _url_encode(config ->> 'storefront') || '/albums?filter%5Bupc%5D=' || upc
           when 'apple isrc' then '/v1/catalog/' || _url_encode(config ->> 'storefront') || '/songs?filter%5Bisrc%5D=' || isrc
           when 'deezer upc' then '/album/upc:' || upc
           when 'deezer isrc' then '/track/isrc:' || isrc end
      from (select _url_encode(release ->> 'upc') as upc, _url_encode(_lookup_isrc(release)) as isrc) x
$$;
comment on function _lookup_path(jsonb, jsonb, text, text) is 'What a step of a look asks for, behind the partner''s base_url';

-- Is it of use any more? A release that is live is only looked up where that is wished.
create function _lookup_is_wanted(w distribution_work, config jsonb) returns boolean
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select exists (select from distribution_targets t join distribution_work k on k.id = t.work_id
                    where t.distribution_id = w.distribution_id and t.platform = w.verifies and k.goal = w.goal
                      and (t.status = 'processing' or t.status = 'live' and (w.goal = 'takedown' or config ->> 'recheck' is not null)))
$$;
comment on function _lookup_is_wanted(distribution_work, jsonb) is 'Is a look-up still of use?';

-- {"step": ...}, or {"wait": seconds}, or {} when it has ended, and why is written down
create function _next_lookup(work_id uuid, config jsonb) returns jsonb
language plpgsql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w distribution_work;
    release jsonb;
    since timestamptz;
    problem text;
begin
    select k.* into w from distribution_work k where k.id = work_id;
    if not _lookup_is_wanted(w, config) then
        return '{}';
    elsif w.goal = 'deliver' and w.publish_at > _now() then
        return jsonb_build_object('wait', ceil(extract(epoch from w.publish_at - _now())));
    end if;
    select _with_identifiers(d.metadata, t.identifiers) into release
      from distributions d left join distribution_targets t on t.distribution_id = d.id and t.platform = w.verifies where d.id = w.distribution_id;
    since := to_timestamp((w.state ->> 'since')::float8);
    if coalesce(release ->> 'upc', '') = '' and _lookup_isrc(release) is null then
        problem := 'the release has neither a UPC nor an ISRC to look for';
    elsif since + (config ->> 'verify_for')::float8 * interval '1 second' <= _now() and not exists (
            select from distribution_targets t where t.distribution_id = w.distribution_id and t.platform = w.verifies and t.status = 'live' and w.goal = 'deliver') then
        problem := format('%s on %s for %s', case w.goal when 'takedown' then 'still found' else 'not found' end, w.verifies,
                          justify_hours((config ->> 'verify_for')::float8 * interval '1 second'));
    end if;
    if problem is not null then
        update distribution_work k set last_error = problem, state = k.state || '{"gave_up": true}' where k.id = work_id;
        update distribution_targets t set reason = problem
         where t.distribution_id = w.distribution_id and t.platform = w.verifies and t.status in ('processing', 'live')
           and exists (select from distribution_work k join partners c on c.name = k.partner where k.id = t.work_id and _is_witnessed(c.connector, c.config));
        return '{}';
    end if;
    if config ->> 'dialect' = 'spotify'
        and not exists (select from partner_tokens t where t.partner = w.partner and t.tokens is not null and t.expires_at > _now()) then
        -- one asks for all
        if exists (select from distribution_work k where k.partner = w.partner and k.begun_at is not null and k.step = 'token' and k.id <> work_id) then
            return jsonb_build_object('wait', 2);
        end if;
        return '{"step": "token"}';
    end if;
    return jsonb_build_object('step', coalesce(w.state ->> 'next', case when coalesce(release ->> 'upc', '') = '' then 'isrc' else 'upc' end));
end
$$;
comment on function _next_lookup(uuid, jsonb) is 'What is next to be asked for a look-up: a step, how long to wait, or nothing any more';

-- ---- tokens

create function _lookup_token(partner text) returns text
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select _unseal(t.tokens, 'partner:' || t.partner || ':token') from partner_tokens t where t.partner = _lookup_token.partner
$$;
comment on function _lookup_token(text) is 'The token for a partner, opened';

create function _basic_credentials(name text, secret text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select 'Basic ' || translate(encode(convert_to(name || ':' || secret, 'UTF8'), 'base64'), E'\n', '')
$$;
comment on function _basic_credentials(text, text) is 'What says by Authorization who one is';

-- begun: when it was asked for; a tenth of its time is kept in hand
create function _store_lookup_token(partner text, answer jsonb, begun timestamptz) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    token text := answer ->> 'access_token';
    seconds float8 := case jsonb_typeof(answer -> 'expires_in') when 'number' then least(greatest((answer ->> 'expires_in')::numeric, 10), 86400) else 3600 end;
begin
    if jsonb_typeof(answer -> 'access_token') <> 'string' is not false or token ~ '^[\x21-\x7e]+$' is not true or length(token) > 8192 then
        return false;
    end if;
    insert into partner_tokens as t (partner, tokens, obtained_at, expires_at)
    values (partner, _seal(token, 'partner:' || partner || ':token'), _now(), begun + seconds * 0.9 * interval '1 second')
        on conflict on constraint partner_tokens_pkey do update set tokens = excluded.tokens, obtained_at = excluded.obtained_at, expires_at = excluded.expires_at;
    return true;
end
$$;
comment on function _store_lookup_token(text, jsonb, timestamptz) is 'Keeps the token that a partner gave; false when there is none in its answer';

-- A token may end before its time, so another one is got; a second refusal is of us.
create function _lookup_token_refused(partner text, begun timestamptz) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    t partner_tokens;
begin
    select x.* into t from partner_tokens x where x.partner = partner for no key update;
    if not found or t.tokens is null or t.obtained_at > begun then
        return false;
    end if;
    update partner_tokens x set tokens = null, was_refused = not t.was_refused where x.partner = partner;
    return t.was_refused;
end
$$;
comment on function _lookup_token_refused(text, timestamptz) is 'A token was refused of a request begun then: is it we who are?';

create function _lookup_token_worked(partner text) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update partner_tokens t set was_refused = false where t.partner = _lookup_token_worked.partner and t.was_refused and t.tokens is not null;
    return found;
end
$$;
comment on function _lookup_token_worked(text) is 'The partner took the token; true when that was in doubt';

-- ---- what an answer means

-- Catalogues write titles as they like: letters and figures alone count
create function _plain_title(title text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    plain text := title;
    bare text;
begin
    if getdatabaseencoding() = 'UTF8' then
        plain := normalize(plain, nfkc);
    end if;
    plain := lower(plain);
    plain := regexp_replace(plain, '\s[-\u2013]\s(single|ep)\s*$', '');
    plain := regexp_replace(plain, '[(\[](feat|ft|featuring|with)\.?\s[^)\]]*[)\]]', '', 'g');
    bare := regexp_replace(plain, '[[:space:][:punct:]\u2010-\u201f\u2026\u00ab\u00bb\u00b4\u3000-\u303f]', '', 'g');
    return case when bare = '' then btrim(plain) else bare end;
end
$$;
comment on function _plain_title(text) is 'A title as what it is compared by';

create function _title_agrees(release jsonb, title text) returns boolean
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(_plain_title(title) in (_plain_title(release ->> 'title'),
                                            _plain_title(concat_ws(' ', release ->> 'title', nullif(release ->> 'version_title', '')))), false)
$$;
comment on function _title_agrees(jsonb, text) is 'Is it the title of the release, with its version or without?';

-- What a catalogue answered, one row a release or track; title is that of the release
create function _lookup_entries(dialect text, step text, answer jsonb) returns table (id text, url text, upc text, isrc text, title text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case jsonb_typeof(e #> p.id) when 'string' then e #>> p.id when 'number' then e #>> p.id end,
           case jsonb_typeof(e #> p.url) when 'string' then e #>> p.url end, case jsonb_typeof(e #> p.upc) when 'string' then e #>> p.upc end,
           case jsonb_typeof(e #> p.isrc) when 'string' then e #>> p.isrc end, case jsonb_typeof(e #> p.title) when 'string' then e #>> p.title end
      from (values
            ('spotify', 'upc', '{albums,items}'::text[], '{id}'::text[], '{external_urls,spotify}'::text[], '{external_ids,upc}'::text[], '{}'::text[], '{name}'::text[]),
            ('spotify', 'album', '{}', '{id}', '{external_urls,spotify}', '{external_ids,upc}', '{}', '{name}'),
            ('spotify', 'isrc', '{tracks,items}', '{album,id}', '{album,external_urls,spotify}', '{}', '{external_ids,isrc}', '{album,name}'),
            ('apple', 'upc', '{data}', '{id}', '{attributes,url}', '{attributes,upc}', '{}', '{attributes,name}'),
            ('apple', 'isrc', '{data}', '{id}', '{attributes,url}', '{}', '{attributes,isrc}', '{attributes,albumName}'),
            ('deezer', 'upc', '{}', '{id}', '{link}', '{upc}', '{}', '{title}'),
            ('deezer', 'isrc', '{}', '{album,id}', '{album,link}', '{}', '{isrc}', '{album,title}')) p (dialect, step, list, id, url, upc, isrc, title),
           jsonb_array_elements(case jsonb_typeof(answer #> p.list) when 'array' then answer #> p.list when 'object' then jsonb_build_array(answer #> p.list) else '[]' end) e
     where p.dialect = _lookup_entries.dialect and p.step = _lookup_entries.step and jsonb_typeof(e) = 'object'
       -- Deezer keeps what it doesn't play
       and e -> 'available' is distinct from 'false'
$$;
comment on function _lookup_entries(text, text, jsonb) is 'The entries of an answer of a catalogue';

-- NULL when it makes no sense; {"problem": ...} when it is an error; {"found": {"id", "url"}};
-- {"candidates": "id id"}, which have to be looked at; {} when it isn't there.
-- known: what the release is called there, when it was found before.
create function _judge_lookup(dialect text, step text, answer jsonb, release jsonb, known text) returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    hit jsonb;
begin
    if jsonb_typeof(answer) <> 'object' is not false then
        return null;
    elsif dialect = 'deezer' and answer ? 'error' then
        return case when answer #>> '{error,code}' = '800' then '{}'::jsonb
                    else jsonb_build_object('problem', coalesce(answer #>> '{error,message}', answer ->> 'error', 'an error without a name'), 'limited', answer #>> '{error,code}' = '4') end;
    elsif (case dialect || ' ' || step when 'spotify upc' then jsonb_typeof(answer #> '{albums,items}') <> 'array'
                                      when 'spotify isrc' then jsonb_typeof(answer #> '{tracks,items}') <> 'array'
                                      when 'spotify album' then jsonb_typeof(answer -> 'id') <> 'string'
                                      when 'apple upc' then jsonb_typeof(answer -> 'data') <> 'array'
                                      when 'apple isrc' then jsonb_typeof(answer -> 'data') <> 'array'
                                      else jsonb_typeof(answer -> 'id') <> 'number' end) is not false then
        return null;
    end if;
    -- of several the first that agrees
    select jsonb_strip_nulls(jsonb_build_object('id', e.id, 'url', e.url)) into hit
      from _lookup_entries(dialect, step, answer) with ordinality e (id, url, upc, isrc, title, n)
     where e.id is not null
       and case step when 'isrc' then _bare_isrc(e.isrc) = _lookup_isrc(release) and _title_agrees(release, e.title) and (known is null or known = e.id)
                else _bare_upc(e.upc) = _bare_upc(release ->> 'upc') end
     order by e.n limit 1;
    if hit is not null then
        return jsonb_build_object('found', hit);
    elsif dialect = 'spotify' and step = 'upc' then
        -- a search doesn't tell the UPC
        return jsonb_strip_nulls(jsonb_build_object('candidates', (
            select string_agg(x.id, ' ' order by x.n)
              from (select e.id, min(e.n) as n from _lookup_entries(dialect, step, answer) with ordinality e (id, url, upc, isrc, title, n)
                     where e.id ~ '^[A-Za-z0-9]{1,64}$' group by e.id order by 2 limit 5) x)));
    end if;
    return '{}';
end
$$;
comment on function _judge_lookup(text, text, jsonb, jsonb, text) is 'What an answer of a catalogue says of a release';

-- ---- settling

-- What became of a step of a look-up, for _settle_step(); w has its row, with what was learned.
create function _settle_lookup(w distribution_work, goal text, revision int, verdict text, until timestamptz, message text, reports jsonb,
                               retry_after int) returns distribution_work
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    p partners;
begin
    -- what has changed meanwhile is looked at once more
    if w.goal <> goal or w.revision <> revision then
        return w;
    end if;
    case verdict
        when 'next' then
            null;
        when 'wait' then
            w.next_attempt_at := coalesce(until, _now() + interval '1 minute');
        when 'done' then
            w.next_attempt_at := null;
        when 'user' then
            w.last_error := message;
            w.next_attempt_at := null;
        else
            select q.* into p from partners q where q.name = w.partner;
            w.failures := w.failures + 1;
            w.last_error := message;
            if verdict = 'ours' then
                perform _pause_partner(w.partner, message);
            elsif w.failures >= (_partner_config(p.connector, p.config) ->> 'attempts')::int then
                w.last_error := format('given up after %s attempts: %s', w.failures, message);
                w.next_attempt_at := null;
            else
                w.next_attempt_at := _now() + greatest(_distribution_delay(w.failures), least(coalesce(retry_after, 0), 86400) * interval '1 second');
            end if;
    end case;
    perform _report_target(t.work_id, t.platform, r ->> 'status', r ->> 'external_id', r ->> 'external_url', r ->> 'reason', null)
       from jsonb_array_elements(coalesce(reports, '[]')) r, distribution_targets t
      where t.distribution_id = w.distribution_id and t.platform = w.verifies;
    return w;
end
$$;
comment on function _settle_lookup(distribution_work, text, int, text, timestamptz, text, jsonb, int) is
    'What becomes of a look-up by a step; nothing of it fails a release';

create view distribution_lookups with (security_invoker = true) as
select k.distribution_id, k.user_id, k.verifies as platform, k.partner, k.goal, t.status,
       case when k.next_attempt_at is null and k.state ? 'gave_up' then 'given up'
            when k.next_attempt_at is null then 'ended'
            when k.state ? 'missing_since' then 'missing'
            else 'looking' end as state,
       coalesce((k.state ->> 'looks')::int, 0) as looks, to_timestamp((k.state ->> 'since')::float8) as since,
       k.state ->> 'found' as external_id, to_timestamp((k.state ->> 'found_at')::float8) as found_at,
       to_timestamp(coalesce(k.state ->> 'missing_since', k.state ->> 'absent_since')::float8) as absent_since,
       k.failures, k.next_attempt_at, k.last_error
  from distribution_work k join distribution_targets t on t.distribution_id = k.distribution_id and t.platform = k.verifies
 where k.verifies is not null;
comment on view distribution_lookups is 'Releases that are or were looked up at platforms: what was found, and since when it isn''t there';
