-- webhooks: the catalogue of event types
--
-- The schema of a type whose data is a row is read off the table, so the two
-- can't disagree. Types of the host stand beside the shipped ones.

create function row_schema(relation regclass) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'type', 'object',
        'properties', jsonb_object_agg(a.attname, case
            when a.atttypid in ('bool'::regtype) then '{"type": ["boolean", "null"]}'
            when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then '{"type": ["integer", "null"]}'
            when a.atttypid in ('numeric'::regtype, 'float4'::regtype, 'float8'::regtype) then '{"type": ["number", "null"]}'
            when a.atttypid = 'uuid'::regtype then '{"type": ["string", "null"], "format": "uuid"}'
            when a.atttypid in ('timestamptz'::regtype) then '{"type": ["string", "null"], "format": "date-time"}'
            when a.atttypid in ('date'::regtype) then '{"type": ["string", "null"], "format": "date"}'
            when a.atttypid in ('json'::regtype, 'jsonb'::regtype) then '{}'
            when t.typelem <> 0 and t.typlen = -1 then '{"type": ["array", "null"]}'
            when t.typtype = 'c' then '{"type": ["object", "null"]}'
            else '{"type": ["string", "null"]}' end::jsonb
            || case when a.attnotnull and a.atttypid not in ('json'::regtype, 'jsonb'::regtype)
                    then jsonb_build_object('type', case
                        when a.atttypid = 'bool'::regtype then 'boolean'
                        when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'integer'
                        when a.atttypid in ('numeric'::regtype, 'float4'::regtype, 'float8'::regtype) then 'number'
                        when t.typelem <> 0 and t.typlen = -1 then 'array'
                        when t.typtype = 'c' then 'object'
                        else 'string' end)
                    else '{}' end),
        'required', jsonb_agg(a.attname order by a.attnum))
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
$$;
comment on function row_schema(regclass) is 'JSON Schema of the data that emit_row_event() sends for a table';

insert into event_types (name, description, example, schema, is_shipped)
select e.name, e.description,
       '{"id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "title": "Battle at Dawn",
         "style": "Orchestral", "prompt": "Epic orchestral battle music", "duration": 180,
         "audio_url": "https://cdn.example.com/tracks/0b8f4c52.flac", "cover_url": "https://cdn.example.com/covers/0b8f4c52.png",
         "metadata": {"bpm": 140, "key": "D minor"}, "isrc": null, "created_at": "2026-03-09T10:15:00.123456Z",
         "updated_at": "2026-03-09T10:15:00.123456Z", "deleted_at": null}'::jsonb || e.differs,
       row_schema('tracks'), true
  from (values
    ('track.created', 'A track was added', '{}'::jsonb),
    ('track.updated', 'A track changed', '{"title": "Battle at Dawn (Remastered)", "updated_at": "2026-03-10T08:00:00.5Z"}'),
    ('track.deleted', 'A track was deleted; the data are its last state',
     '{"updated_at": "2026-03-12T09:30:00.25Z", "deleted_at": "2026-03-12T09:30:00.25Z"}')
  ) e (name, description, differs)
union all
select e.name, e.description,
       '{"id": "3f2a9d34-11b8-4a53-8c1f-2f2b9f7b1c90", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
         "prompt": "Epic orchestral battle music", "style": "Orchestral", "duration": 180, "params": {"seed": 42},
         "status": "started", "progress": 0, "track_id": null, "error": null, "created_at": "2026-03-09T10:14:00Z",
         "started_at": "2026-03-09T10:14:01.5Z", "finished_at": null, "idempotency_key": null}'::jsonb || e.differs,
       row_schema('generation_jobs'), true
  from (values
    ('generation.started', 'A generation job was taken up', '{}'::jsonb),
    ('generation.completed', 'A generation job has made its track',
     '{"status": "completed", "progress": 100, "track_id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11", "finished_at": "2026-03-09T10:15:00Z"}'),
    ('generation.failed', 'A generation job failed; error says why',
     '{"status": "failed", "progress": 35, "error": "the provider refused the prompt", "finished_at": "2026-03-09T10:14:40Z"}')
  ) e (name, description, differs)
union all
select e.name, e.description,
       '{"id": "a6c1f8de-2d4a-4cf5-8a39-0c4f6d0e5b21", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "external_id": "pi_3Nk2x9",
         "amount": 9.99, "currency": "EUR", "status": "succeeded", "description": "Pro, March 2026", "metadata": {},
         "occurred_at": "2026-03-09T10:00:00Z", "created_at": "2026-03-09T10:00:01Z",
         "updated_at": "2026-03-09T10:00:01Z"}'::jsonb || e.differs,
       row_schema('payments'), true
  from (values
    ('payment.succeeded', 'A payment went through', '{}'::jsonb),
    ('payment.failed', 'A payment was refused', '{"status": "failed"}')
  ) e (name, description, differs)
union all
select e.name, e.description,
       '{"id": "5d7e9b10-7b1f-4a64-9a8e-1b9f7f1e6c42", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "external_id": "sub_1Nk2x9",
         "tier": "pro", "status": "active", "current_period_end": "2026-04-09T10:00:00Z", "metadata": {},
         "created_at": "2026-03-09T10:00:01Z", "updated_at": "2026-03-09T10:00:01Z"}'::jsonb || e.differs,
       row_schema('subscriptions'), true
  from (values
    ('subscription.created', 'A subscription began', '{}'::jsonb),
    ('subscription.cancelled', 'A subscription was cancelled, or ran out',
     '{"status": "cancelled", "updated_at": "2026-03-20T12:00:00Z"}')
  ) e (name, description, differs)
union all
select e.name, e.description,
       '{"distribution_id": "f3b0a5c2-9d0a-4a1c-b8a7-3d0c9e8f1a77", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
         "track_ids": ["0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11"], "platform": "spotify", "status": "processing",
         "external_id": null, "external_url": null, "release_date": "2026-03-27", "reason": null}'::jsonb || e.differs,
       '{"type": "object", "required": ["distribution_id", "user_id", "track_ids", "platform", "status"], "properties": {
         "distribution_id": {"type": "string", "format": "uuid"}, "user_id": {"type": "string", "format": "uuid"},
         "track_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}}, "platform": {"type": ["string", "null"]},
         "status": {"type": "string"}, "external_id": {"type": ["string", "null"]}, "external_url": {"type": ["string", "null"]},
         "release_date": {"type": ["string", "null"], "format": "date"}, "reason": {"type": ["string", "null"]}}}', true
  from (values
    ('distribution.submitted', 'A release was submitted for a platform', '{"status": "submitted"}'::jsonb),
    ('distribution.processing', 'A platform works on a release', '{}'),
    ('distribution.live', 'A release can be heard on a platform',
     '{"status": "live", "external_id": "4uLU6hMCjMI75M1A2tKUQC", "external_url": "https://open.spotify.com/album/4uLU6hMCjMI75M1A2tKUQC"}'),
    ('distribution.failed', 'A platform refused a release; reason says why',
     '{"status": "failed", "reason": "the cover is smaller than 3000 pixels"}'),
    ('distribution.taken_down', 'A release was taken down from a platform', '{"status": "taken_down", "reason": "by the owner''s wish"}')
  ) e (name, description, differs)
union all
values
    ('webhook.disabled', 'A webhook was disabled after too many failures; its events are held until it is enabled again',
     '{"webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "url": "https://example.com/hook",
       "reason": "too many deliveries given up in a row", "failure_count": 10, "last_error": "connection refused",
       "disabled_at": "2026-03-14T10:00:00Z"}'::jsonb,
     '{"type": "object", "required": ["webhook_id", "url", "reason", "disabled_at"], "properties": {
       "webhook_id": {"type": "string", "format": "uuid"}, "url": {"type": "string"}, "reason": {"type": "string"},
       "failure_count": {"type": "integer"}, "last_error": {"type": "string"},
       "disabled_at": {"type": "string", "format": "date-time"}}}'::jsonb, true),
    ('webhook.test', 'What test_webhook() sends',
     '{"webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "message": "It works"}',
     '{"type": "object", "required": ["webhook_id", "message"], "properties": {"webhook_id": {"type": "string", "format": "uuid"},
       "message": {"type": "string"}}}', true);

create function register_event_type(name text, description text, example jsonb, schema jsonb default null) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if name is null or name !~ '^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$' or length(name) > 100 then
        raise exception 'event type "%" is not a dotted name', coalesce(name, 'null')
            using errcode = '22023', hint = 'Use lower-case words with dots between, such as playlist.shared.';
    elsif description is null or example is null then
        raise exception 'event type "%" needs a description and an example', name using errcode = '22023';
    elsif jsonb_typeof(schema) not in ('object', 'boolean') then
        raise exception 'the schema of event type "%" must be a JSON Schema, not %', name, jsonb_typeof(schema) using errcode = '22023';
    end if;
    insert into event_types as t (name, description, example, schema)
    values (register_event_type.name, register_event_type.description, register_event_type.example, register_event_type.schema)
    on conflict on constraint event_types_pkey do update
       set description = excluded.description, example = excluded.example, schema = excluded.schema
     where not t.is_shipped;
    if not found then
        raise exception 'event type "%" belongs to musicverse', name
            using errcode = '23505', hint = 'Register your own under another name.';
    end if;
end
$$;
comment on function register_event_type(text, text, jsonb, jsonb) is 'Adds an event type of the host, or describes it anew';
