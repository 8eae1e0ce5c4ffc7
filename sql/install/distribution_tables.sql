-- distribution: what is to be released, where, by whom, and what became of it
--
-- A release is a row of distributions; each platform it is to be heard on is a
-- row of distribution_targets. Partners carry releases to platforms, and an
-- aggregator carries one release to several at once: what is to be done for a
-- release at one partner is a row of distribution_work, which only the worker
-- and the functions of this room write.
--
--   target   pending -> scheduled -> delivering -> processing -> live -> taken_down
--            with failed and cancelled as other ends; the trigger keeps the order
--   release  its status derives from its targets, by the same trigger
--
-- Every change of a target is a row of the history, an event and a notification.
--
-- Locks: the release, then its work, then its targets.

create table platforms (
    name               text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    title              text not null check (title ~ '\S'),
    lead_time          interval check (lead_time >= '0'),
    rules              jsonb not null default '{}' check (jsonb_typeof(rules) = 'object'),
    is_shipped         boolean not null default false
);
comment on table platforms is 'Where releases can be heard, and what each platform wants of them; may be changed and added to';
comment on column platforms.lead_time is
    'How long before its release date a release has to be there; NULL takes musicverse.release_lead_time';
comment on column platforms.rules is 'What differs from _release_rules(), which check_release() goes by';
comment on column platforms.is_shipped is 'Still as the extension ships it; false after any change, and then part of a dump';

insert into platforms (name, title, lead_time, rules, is_shipped) values
    ('spotify',       'Spotify',       '5 days', '{"audio": {"formats": ["flac", "wav"], "extensible": false}}', true),
    ('apple_music',   'Apple Music',   null,     '{"audio": {"formats": ["flac", "wav"], "max_sample_rate": 192000}}', true),
    ('youtube_music', 'YouTube Music', null,     '{}', true),
    ('amazon_music',  'Amazon Music',  null,     '{}', true),
    ('deezer',        'Deezer',        null,     '{}', true),
    ('tidal',         'TIDAL',         null,     '{}', true),
    ('soundcloud',    'SoundCloud',    '0',      '{"required": ["title"], "track_required": ["title", "audio_url"], "title_rules": false, "min_cover": 800, "audio": {"formats": ["flac", "wav", "aiff", "mp3", "m4a", "ogg"]}}', true),
    ('distrokid',     'DistroKid',     null,     '{}', true),
    ('tunecore',      'TuneCore',      null,     '{}', true);

create function _platform_changed() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        update platforms set title = new.title, lead_time = new.lead_time, rules = new.rules where name = new.name and is_shipped;
        if found then
            return null;
        end if;
    end if;
    new.is_shipped := false;
    return new;
end
$$;
comment on function _platform_changed() is 'Keeps platforms.is_shipped; an inserted platform replaces the shipped one of its name';

create trigger platform_changed before insert or update on platforms
    for each row execute function _platform_changed();

create table partners (
    name            text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    connector       text not null check (connector ~ '^[a-z][a-z0-9_]{0,62}$'),
    platforms       text[] not null check (cardinality(platforms) > 0),
    base_url        text,
    config          jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    credentials     bytea,
    is_active       boolean not null default false check (not is_active or credentials is not null),
    paused_at       timestamptz,
    paused_reason   text,
    installation_id uuid,
    is_shipped      boolean not null default false,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);
comment on table partners is 'Who carries releases to platforms, or looks them up there; credentials are sealed. Change by configure_partner()';
comment on column partners.connector is 'The protocol: ddex_sftp, itmsp, soundcloud, labelgrid, bundle or verifier';
comment on column partners.platforms is 'The platforms it carries releases to; of a verifier the one on which it looks them up';
comment on column partners.config is 'What differs from the defaults of its connector';
comment on column partners.paused_at is 'Since when nothing is asked of it, as it refuses us; configure_partner() and resume_partner() end that';
comment on column partners.installation_id is
    'The installation that may send to it: a restored copy has another one, see enable_sending()';
comment on column partners.is_shipped is 'Still as the extension ships it; false after any change, and then part of a dump';

insert into partners (name, connector, platforms, config, is_shipped) values
    ('labelgrid',      'labelgrid',  '{spotify,apple_music,youtube_music,amazon_music,deezer,tidal}', '{}', true),
    ('distrokid',      'bundle',     '{distrokid}', '{}', true),
    ('tunecore',       'bundle',     '{tunecore}', '{}', true),
    ('soundcloud',     'soundcloud', '{soundcloud}', '{}', true),
    ('spotify_direct', 'ddex_sftp',  '{spotify}', '{"preset": "spotify"}', true),
    ('youtube_direct', 'ddex_sftp',  '{youtube_music}', '{"preset": "youtube"}', true),
    ('apple_direct',   'itmsp',      '{apple_music}', '{}', true),
    ('spotify_lookup', 'verifier',   '{spotify}', '{"dialect": "spotify"}', true),
    ('apple_lookup',   'verifier',   '{apple_music}', '{"dialect": "apple"}', true),
    ('deezer_lookup',  'verifier',   '{deezer}', '{"dialect": "deezer"}', true);

create function _wake_distribution() returns void
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_wake_distribution';
comment on function _wake_distribution() is 'At the commit of this transaction, wakes the distribution worker of this database';

create function _partner_changed() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        -- a dump holds those that are not as shipped, which are there when it is restored
        update partners
           set connector = new.connector, platforms = new.platforms, base_url = new.base_url, config = new.config,
               credentials = new.credentials, is_active = new.is_active, paused_at = new.paused_at,
               paused_reason = new.paused_reason, installation_id = new.installation_id, created_at = new.created_at
         where name = new.name and is_shipped;
        if found then
            return null;
        end if;
    else
        new.updated_at := now();
    end if;
    new.is_shipped := false;
    return new;
end
$$;
comment on function _partner_changed() is 'Keeps partners.is_shipped; an inserted partner replaces the shipped one of its name';

create function _partners_changed() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _wake_distribution();
    return null;
end
$$;
comment on function _partners_changed() is 'Statement trigger: makes the distribution worker look again at the commit';

create trigger partner_changed before insert or update on partners
    for each row execute function _partner_changed();
create trigger partners_changed after insert or update or delete or truncate on partners
    for each statement execute function _partners_changed();

create table partner_accounts (
    partner         text not null references partners on delete cascade,
    user_id         uuid not null references accounts on delete cascade,
    status          text not null default 'pending' check (status in ('pending', 'connected', 'needs_login')),
    code            bytea,
    tokens          bytea,
    expires_at      timestamptz,
    generation      bigint not null default 0,
    wants_refresh   boolean not null default false,
    was_refused     boolean not null default false,
    wants_look      boolean not null default false,
    external_id     text,
    username        text,
    external_url    text,
    step            text check (step in ('exchange', 'refresh', 'look')),
    begun_at        timestamptz,
    failures        int not null default 0,
    next_attempt_at timestamptz,
    last_error      text,
    connected_at    timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    primary key (partner, user_id)
);
create index partner_accounts_user_id_idx on partner_accounts (user_id);
create index partner_accounts_due_idx on partner_accounts (partner, next_attempt_at) where next_attempt_at is not null;
comment on table partner_accounts is
    'What users allowed us at partners: OAuth tokens, sealed under partner:<name>:<user id>:tokens. A refresh token works once, so the worker alone uses it, one request at a time';
comment on column partner_accounts.status is 'pending: a code is being exchanged; needs_login: the partner refused what we had, the user has to log in there again';
comment on column partner_accounts.code is 'What an authorization gave and is to become tokens, sealed as the tokens are';
comment on column partner_accounts.expires_at is 'When the access token expires';
comment on column partner_accounts.generation is 'Grows with each pair of tokens, so that a refusal that comes late is told from one of the newest';
comment on column partner_accounts.wants_refresh is 'Somebody needs an access token that holds longer, or is taken';
comment on column partner_accounts.was_refused is 'The tokens were refreshed as the partner refused the last ones, and have not worked yet';
comment on column partner_accounts.wants_look is 'Who it is at the partner is to be asked';
comment on column partner_accounts.external_id is 'What the partner calls the account';
comment on column partner_accounts.step is 'What the worker asks the partner, or asked last';
comment on column partner_accounts.begun_at is 'A request was recorded then, and its answer not yet';
comment on column partner_accounts.next_attempt_at is 'When the worker is to ask; NULL when nothing is to be asked';

create table partner_authorizations (
    state_hash   bytea primary key,
    partner      text not null references partners on delete cascade,
    user_id      uuid not null references accounts on delete cascade,
    redirect_uri text not null,
    verifier     bytea not null,
    expires_at   timestamptz not null
);
create index partner_authorizations_user_id_idx on partner_authorizations (user_id, partner, expires_at);
create index partner_authorizations_partner_idx on partner_authorizations (partner);
create index partner_authorizations_expires_at_idx on partner_authorizations (expires_at);
comment on table partner_authorizations is 'Authorizations that were begun: their state is kept as a hash, and used up by partner_authorized()';
comment on column partner_authorizations.verifier is 'The code_verifier of PKCE, sealed under partner:<name>:<user id>:verifier';

create table distributions (
    id           uuid primary key default gen_random_uuid(),
    user_id      uuid not null references accounts on delete cascade,
    track_id     uuid references tracks on delete set null,
    platforms    text[] not null,
    release_date date,
    status       text not null default 'pending'
                 check (status in ('pending', 'scheduled', 'processing', 'live', 'failed', 'taken_down', 'cancelled')),
    metadata     jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    external_ids jsonb not null default '{}' check (jsonb_typeof(external_ids) = 'object'),
    created_at   timestamptz not null default now(),
    track_ids    uuid[] not null,
    time_zone    text not null default 'UTC',
    revision     int not null default 1 check (revision > 0),
    submitted_at timestamptz
);
create index distributions_user_id_created_at_idx on distributions (user_id, created_at desc, id desc);
create index distributions_user_id_status_created_at_idx on distributions (user_id, status, created_at desc, id desc);
create index distributions_track_id_idx on distributions (track_id) where track_id is not null;
comment on table distributions is 'Releases of the users; made by create_distribution(), sent off by submit_distribution()';
comment on column distributions.track_id is 'The first of the tracks';
comment on column distributions.release_date is 'When it is to be heard, at the beginning of the day in time_zone; NULL for as soon as possible';
comment on column distributions.status is 'Derived from the targets';
comment on column distributions.metadata is 'The release as partners get it; replaced by update_release(), which makes a new revision';
comment on column distributions.external_ids is 'What platforms call it: {"spotify": "4uLU6hMCjMI75M1A2tKUQC"}';

create table distribution_work (
    id                 uuid primary key default gen_random_uuid(),
    distribution_id    uuid not null references distributions on delete cascade,
    user_id            uuid not null,
    partner            text not null references partners,
    verifies           text,
    goal               text not null default 'deliver' check (goal in ('deliver', 'takedown')),
    revision           int not null default 1,
    delivered_revision int,
    state              jsonb not null default '{}' check (jsonb_typeof(state) = 'object'),
    step               text,
    begun_at           timestamptz,
    is_unsure          boolean not null default false,
    awaits_account     boolean not null default false,
    attempts           int not null default 0,
    failures           int not null default 0,
    deliver_at         timestamptz,
    publish_at         timestamptz,
    next_attempt_at    timestamptz,
    last_error         text,
    created_at         timestamptz not null default now(),
    files              jsonb check (jsonb_typeof(files) = 'object'),
    waits_for          uuid[],
    unique (distribution_id, partner)
);
create index distribution_work_due_idx on distribution_work (partner, next_attempt_at) where next_attempt_at is not null;
create index distribution_work_waits_for_idx on distribution_work using gin (waits_for) where waits_for is not null;
create index distribution_work_verifies_idx on distribution_work (distribution_id, verifies) where verifies is not null;
create index distribution_work_begun_idx on distribution_work (partner) where begun_at is not null;
create index distribution_work_awaits_idx on distribution_work (partner, user_id) where awaits_account;
comment on table distribution_work is 'What is to be done for a release at one partner, which carries it or looks it up; written by the worker';
comment on column distribution_work.verifies is 'The platform on which the partner looks the release up; NULL for one that carries it';
comment on column distribution_work.goal is 'deliver: the partner is to have the revision; takedown: it is to have nothing any more';
comment on column distribution_work.delivered_revision is 'The revision that it has been handed';
comment on column distribution_work.state is 'What the connector learned: ids of the partner, what was uploaded';
comment on column distribution_work.files is 'What is known of the files of a revision, as connectors get it: see _prepare_files()';
comment on column distribution_work.waits_for is 'The media that have to be there first; NULL when it waits for none';
comment on column distribution_work.step is 'The step of the connector that is under way, or was last';
comment on column distribution_work.begun_at is 'A request was recorded then, and its answer not yet';
comment on column distribution_work.is_unsure is 'An answer of this step, or of one that it looks into, was never seen: the partner may have carried it out';
comment on column distribution_work.awaits_account is 'It waits for tokens of the user''s account at the partner';
comment on column distribution_work.failures is 'Failures in a row';
comment on column distribution_work.deliver_at is 'When delivery begins';
comment on column distribution_work.publish_at is 'When it is to be heard; NULL for as soon as possible';
comment on column distribution_work.next_attempt_at is 'When the next step is due; NULL when nothing is to be done';

create table distribution_targets (
    id              uuid primary key default gen_random_uuid(),
    distribution_id uuid not null references distributions on delete cascade,
    user_id         uuid not null,
    work_id         uuid not null references distribution_work on delete cascade,
    platform        text not null,
    partner         text not null,
    status          text not null default 'pending'
                    check (status in ('pending', 'scheduled', 'delivering', 'processing', 'live', 'failed', 'taken_down', 'cancelled')),
    reason          text,
    external_id     text,
    external_url    text,
    attempts        int not null default 0,
    next_attempt_at timestamptz,
    last_error      text,
    reported_at     timestamptz,
    submitted_at    timestamptz,
    live_at         timestamptz,
    created_at      timestamptz not null default now(),
    identifiers     jsonb not null default '{}' check (jsonb_typeof(identifiers) = 'object'),
    unique (distribution_id, platform)
);
create index distribution_targets_work_id_idx on distribution_targets (work_id);
create index distribution_targets_user_id_idx on distribution_targets (user_id);
create index distribution_targets_external_id_idx on distribution_targets (platform, external_id) where external_id is not null;
comment on table distribution_targets is 'A release on one platform';
comment on column distribution_targets.partner is 'Who carries it there';
comment on column distribution_targets.reason is 'Why the status is what it is';
comment on column distribution_targets.identifiers is
    'The codes that its partner gave it, as it has none of its own: {"upc": "614141123452", "isrcs": {"<track id>": "QZABC2600001"}}';
comment on column distribution_targets.reported_at is 'When the partner made the last report that counted; older ones don''t';

create table distribution_history (
    id              bigint generated by default as identity primary key,
    distribution_id uuid not null references distributions on delete cascade,
    user_id         uuid not null,
    platform        text,
    old_status      text,
    status          text not null,
    reason          text,
    detail          jsonb,
    created_at      timestamptz not null default clock_timestamp()
);
create index distribution_history_distribution_id_idx on distribution_history (distribution_id, id);
create index distribution_history_created_at_idx on distribution_history using brin (created_at);
comment on table distribution_history is 'What happened to a release, in order; only added to';
comment on column distribution_history.platform is 'NULL for what concerns the release as a whole';
comment on column distribution_history.status is 'The new status, or updated';
comment on column distribution_history.detail is 'For updated: the revision, and the metadata before it; for update_refused: the revision, and the one that stays';

create function _history_is_final() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    raise exception 'the history of distributions is only added to' using errcode = '55000';
end
$$;
comment on function _history_is_final() is 'Refuses changes of the history';

create trigger is_final before update on distribution_history
    for each row execute function _history_is_final();

create table notifications (
    id         uuid primary key default _uuid7(),
    user_id    uuid not null references accounts on delete cascade,
    kind       text not null check (kind ~ '^[a-z][a-z0-9_.]{0,62}$'),
    title      text not null,
    body       jsonb not null default '{}',
    created_at timestamptz not null default now(),
    read_at    timestamptz
);
create index notifications_user_id_id_idx on notifications (user_id, id desc);
create index notifications_unread_idx on notifications (user_id) where read_at is null;
comment on table notifications is 'What users are to be told; a new one is also a NOTIFY musicverse_notifications with the user''s id';

create function _notify_user() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if not _is_restore() then
        perform pg_notify('musicverse_notifications', new.user_id::text);
    end if;
    return null;
end
$$;
comment on function _notify_user() is 'Tells listeners whom a notification is for';

create trigger notify_user after insert on notifications
    for each row execute function _notify_user();

create table partner_callbacks (
    partner     text not null references partners on delete cascade,
    message_id  text not null,
    received_at timestamptz not null default now(),
    primary key (partner, message_id)
);
create index partner_callbacks_received_at_idx on partner_callbacks using brin (received_at);
comment on table partner_callbacks is 'Callbacks of partners that were taken, so that a repeated one changes nothing';

create trigger a_ensure_account before insert on distributions
    for each row execute function ensure_account('user_id');
create trigger a_ensure_account before insert on notifications
    for each row execute function ensure_account('user_id');
create trigger a_ensure_account before insert on partner_accounts
    for each row execute function ensure_account('user_id');
create trigger a_ensure_account before insert on partner_authorizations
    for each row execute function ensure_account('user_id');
-- of what the user sees: requests to the partner come and go
create trigger touch_updated_at before update on partner_accounts
    for each row when ((old.status, old.external_id, old.username, old.external_url, old.last_error, old.connected_at)
        is distinct from (new.status, new.external_id, new.username, new.external_url, new.last_error, new.connected_at))
    execute function touch_updated_at();

-- ---- the states of a target

create function _target_steps() returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select '{
        "pending":    ["scheduled", "delivering", "failed", "cancelled"],
        "scheduled":  ["pending", "delivering", "failed", "cancelled"],
        "delivering": ["scheduled", "processing", "live", "failed", "cancelled"],
        "processing": ["delivering", "live", "failed", "taken_down", "cancelled"],
        "live":       ["taken_down"],
        "failed":     ["scheduled", "delivering", "processing", "live", "taken_down", "cancelled"],
        "taken_down": [], "cancelled": []}'::jsonb
$$;
comment on function _target_steps() is 'Where a target may go from each of its states';

create function _target_step() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' and new.status = old.status then
        return new;
    end if;
    if tg_op = 'UPDATE' and not _target_steps() -> old.status ? new.status then
        raise exception 'distribution % on % cannot go from "%" to "%"', new.distribution_id, new.platform, old.status, new.status
            using errcode = '55000',
                hint = 'A target goes pending, scheduled, delivering, processing, live, taken_down; what is not live may fail or be cancelled.';
    end if;
    if new.status in ('scheduled', 'delivering') then
        new.submitted_at := coalesce(new.submitted_at, _now());
    elsif new.status = 'live' then
        new.live_at := coalesce(new.live_at, _now());
    end if;
    if new.status in ('live', 'taken_down', 'cancelled', 'failed') then
        new.next_attempt_at := null;
    end if;
    return new;
end
$$;
comment on function _target_step() is 'Keeps the order of a target''s states and their times';

create trigger target_step before insert or update of status on distribution_targets
    for each row execute function _target_step();

create function _derived_status(distribution_id uuid) returns text
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return (select case when count(*) filter (where t.status <> 'cancelled') = 0 then case count(*) when 0 then 'pending' else 'cancelled' end
                        when bool_or(t.status in ('delivering', 'processing')) then 'processing'
                        when bool_or(t.status = 'scheduled') then 'scheduled'
                        when bool_or(t.status = 'pending') then 'pending'
                        when bool_or(t.status = 'live') then 'live'
                        when bool_or(t.status = 'failed') then 'failed'
                        else 'taken_down' end
              from distribution_targets t where t.distribution_id = _derived_status.distribution_id);
end
$$;
comment on function _derived_status(uuid) is 'The status of a release: what is furthest from its end counts, and cancelled targets don''t';

create function _target_changed() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d distributions;
    told constant jsonb := '{"scheduled": "submitted", "processing": "processing", "live": "live", "failed": "failed", "taken_down": "taken_down"}';
    event text := told ->> new.status;
    derived text;
    known jsonb;
    place text;
begin
    if _is_restore() then
        return null;
    end if;
    select x.* into d from distributions x where x.id = new.distribution_id for no key update;
    derived := _derived_status(d.id);
    known := d.external_ids || case when new.external_id is not null then jsonb_build_object(new.platform, new.external_id) else '{}' end;
    if d.status <> derived or d.external_ids <> known then
        update distributions x set status = derived, external_ids = known where x.id = d.id;
    end if;
    if tg_op = 'UPDATE' and new.status = old.status then
        return null;
    end if;
    insert into distribution_history (distribution_id, user_id, platform, old_status, status, reason)
    values (new.distribution_id, new.user_id, new.platform, case tg_op when 'UPDATE' then old.status end, new.status, new.reason);
    if event is null or event = 'submitted' and tg_op = 'UPDATE' and old.status not in ('pending', 'failed') then
        return null;
    end if;
    perform emit_event(new.user_id, 'distribution.' || event, jsonb_build_object(
        'distribution_id', new.distribution_id, 'user_id', new.user_id, 'track_ids', to_jsonb(d.track_ids), 'platform', new.platform,
        'status', event, 'external_id', new.external_id, 'external_url', new.external_url, 'release_date', d.release_date,
        'reason', new.reason));
    select coalesce(p.title, new.platform) into place from (select) one left join platforms p on p.name = new.platform;
    insert into notifications (user_id, kind, title, body)
    values (new.user_id, 'distribution.' || event,
            format(case event when 'submitted' then '"%s" was submitted to %s' when 'processing' then '%2$s works on "%1$s"'
                              when 'live' then '"%s" can be heard on %s' when 'failed' then '"%s" was not released on %s'
                              else '"%s" was taken down from %s' end, coalesce(d.metadata ->> 'title', 'The release'), place),
            jsonb_build_object('distribution_id', new.distribution_id, 'platform', new.platform, 'status', new.status,
                               'reason', new.reason, 'external_url', new.external_url));
    return null;
end
$$;
comment on function _target_changed() is 'Derives the status of the release, and tells of the change: history, event, notification';

create trigger target_changed after insert or update of status, external_id on distribution_targets
    for each row execute function _target_changed();

create function mark_notifications_read(user_id uuid, ids uuid[] default null) returns bigint
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    n bigint;
begin
    perform _require_user(user_id);
    update notifications x set read_at = _now()
     where x.user_id = user_id and x.read_at is null and (ids is null or x.id = any (ids));
    get diagnostics n = row_count;
    return n;
end
$$;
comment on function mark_notifications_read(uuid, uuid[]) is 'Marks notifications of a user as read, all of them unless ids are given; returns how many';
