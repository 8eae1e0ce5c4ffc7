-- api: the description of a version as OpenAPI 3.1, made of the catalogues of
-- routes, schemas and event types, so that it can't say anything else

-- What is the same in every version
create function _openapi_frame() returns jsonb
language sql immutable parallel safe return '{
  "securitySchemes": {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, mvai_..., as Authorization: Bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key, for transports that keep Authorization to themselves"},
    "signature": {"type": "apiKey", "in": "header", "name": "X-Signature",
      "description": "Besides a key: HMAC-SHA256 over method, target, time and body with the key as secret, and X-Timestamp with the time in seconds since 1970. Verified whenever present; a key may require it."}
  },
  "parameters": {
    "IdempotencyKey": {"name": "Idempotency-Key", "in": "header", "description": "Of your choice. The same key with the same body is answered as the first time, and nothing is done again.",
      "schema": {"type": "string", "minLength": 1, "maxLength": 255}, "example": "order-4711"},
    "IfNoneMatch": {"name": "If-None-Match", "in": "header", "description": "ETag of an earlier answer: 304 when it is still the same", "schema": {"type": "string"}}
  },
  "headers": {
    "RateLimit-Policy": {"description": "The limit that is closest to its end: its name, q calls in w seconds", "schema": {"type": "string"}, "example": "\"burst\";q=100;w=10"},
    "RateLimit": {"description": "What is left of it: r calls, whole again in t seconds", "schema": {"type": "string"}, "example": "\"burst\";r=99;t=1"},
    "X-Request-Id": {"description": "Name it when you ask for help", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}, "example": 2},
    "ETag": {"description": "Of this very answer, for If-None-Match", "schema": {"type": "string"}},
    "Link": {"description": "The next page, as rel=\"next\"", "schema": {"type": "string"}}
  },
  "responses": {
    "NotModified": {"description": "Nothing has changed since the ETag that was sent"},
    "400": {"type": "bad-request", "title": "The request is malformed", "description": "The request can''t be read",
      "detail": "x is unknown; known are: limit, cursor.", "errors": [{"parameter": "x", "message": "is unknown; known are: limit, cursor"}]},
    "401": {"type": "unauthorized", "title": "No valid API key", "description": "The key is missing or wrong",
      "detail": "Send an API key as \"Authorization: Bearer mvai_...\" or in the header X-API-Key."},
    "403": {"type": "insufficient-scope", "title": "The API key lacks a scope", "description": "The key lacks the scope, comes from elsewhere, or the tier allows no more",
      "detail": "The API key lacks the scope \"tracks:read\"."},
    "404": {"type": "not-found", "title": "Not found", "description": "There is no such thing of yours",
      "detail": "Track 0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11 does not exist."},
    "406": {"type": "not-acceptable", "title": "Not acceptable", "description": "Accept excludes what would be answered",
      "detail": "The answer is application/json, which the header Accept excludes."},
    "409": {"type": "conflict", "title": "In conflict with the present state",
      "description": "What it is to be done to is not in a state for it, or another request with this Idempotency-Key is under way",
      "detail": "Job 3f2a9d34-11b8-4a53-8c1f-2f2b9f7b1c90 is completed already.", "hint": "Only a job that is queued or started can be cancelled."},
    "413": {"type": "content-too-large", "title": "The content is too large", "description": "The body is too large"},
    "415": {"type": "unsupported-media-type", "title": "Unsupported type of content", "description": "The body is not JSON in UTF-8, or is compressed",
      "detail": "The body is text/plain; send application/json in UTF-8."},
    "422": {"type": "invalid-request", "title": "The request is not valid", "description": "A value is not valid; errors names it",
      "detail": "/prompt must not be empty.", "errors": [{"field": "/prompt", "message": "must not be empty"}]},
    "429": {"type": "rate-limited", "title": "Too many requests", "description": "A limit is reached; Retry-After tells when to come back",
      "violated-policies": ["burst"]},
    "500": {"type": "internal-error", "title": "Internal error", "description": "Our fault; the request id is in the server''s log"},
    "501": {"type": "not-implemented", "title": "Not implemented", "description": "Not possible", "detail": "A partner takes a release down from all its platforms at once."},
    "503": {"type": "unavailable", "title": "Not available at the moment", "description": "Try again after Retry-After"}
  },
  "tags": [
    {"name": "Generation", "description": "Jobs that make tracks"},
    {"name": "Tracks", "description": "What was made"},
    {"name": "Webhooks", "description": "Have events sent to you, signed after Standard Webhooks 1.0"},
    {"name": "Deliveries", "description": "What was sent to webhooks, and how it went"},
    {"name": "Events", "description": "What happened, to be asked for"},
    {"name": "API keys", "description": "Who may do what"},
    {"name": "Usage", "description": "Who you are, what you may use and have used"},
    {"name": "Callbacks", "description": "For those who make the music; not for clients"},
    {"name": "Distribution", "description": "To streaming platforms"},
    {"name": "About", "description": "The API itself"}
  ],
  "webhookHeaders": [
    {"name": "webhook-id", "in": "header", "required": true, "description": "Of the event; the same at every attempt and replay", "schema": {"type": "string"}, "example": "019cd1f0-7b19-7d21-b2c0-2f6a7c1e9d05"},
    {"name": "webhook-timestamp", "in": "header", "required": true, "description": "Seconds since 1970, of this attempt", "schema": {"type": "string"}, "example": "1773051300"},
    {"name": "webhook-signature", "in": "header", "required": true, "description": "v1, and the base64 of HMAC-SHA256 of id.timestamp.body, or v1a, and that of Ed25519; several separated by spaces while secrets are rotated", "schema": {"type": "string"}, "example": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="}
  ]
}'::jsonb;
comment on function _openapi_frame() is 'What openapi() says whatever the routes are';

create function _openapi_operation(r routes, example json) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'operationId', r.operation, 'tags', jsonb_build_array(r.tag), 'summary', r.summary,
        'description', nullif(concat_ws(e'\n\n', r.description, case when r.cost <> 1 and not r.is_raw then format('Costs %s calls.', r.cost) end), ''),
        'security', case when r.needs_key then jsonb_build_array(jsonb_build_object('bearer', s.scopes), jsonb_build_object('apiKey', s.scopes),
                         jsonb_build_object('bearer', s.scopes, 'signature', '[]'::jsonb)) else '[]' end)
        -- examples hold nulls, which stay
        ) || jsonb_build_object(
        'parameters', r.parameters
            || case when r.method = 'POST' and not r.is_raw then '[{"$ref": "#/components/parameters/IdempotencyKey"}]' else '[]' end::jsonb
            || case when r.has_etag then '[{"$ref": "#/components/parameters/IfNoneMatch"}]' else '[]' end::jsonb,
        'responses', jsonb_build_object(r.status::text, jsonb_build_object(
            'description', case r.status when 201 then 'Made' when 202 then 'Queued' when 204 then 'Done' else 'Success' end,
            'headers', h.of_key || h.of_list || h.of_etag || '{"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}')
            || case when r.response_schema is not null then jsonb_build_object('content', jsonb_build_object(r.response_type,
                jsonb_build_object('schema', r.response_schema) || case when example is not null then jsonb_build_object('example', example::jsonb) else '{}' end))
               else '{}' end)
            || case when r.has_etag then '{"304": {"$ref": "#/components/responses/NotModified"}}' else '{}' end::jsonb
            || (select jsonb_object_agg(e.status, jsonb_build_object('$ref', '#/components/responses/Problem' || e.status))
                  from unnest(array['400', '429', '500', '503'] || case when r.needs_key then '{401,403}'::text[] when r.is_raw then '{401}' end
                              || case when r.path ~ '\{' then '404' end || case when r.method <> 'GET' and not r.is_raw then '409' end
                              || case when r.request_schema is not null then '413' end
                              || case when r.request_schema is not null and not r.is_raw then '415' end
                              || case when r.response_schema is not null then '406' end
                              || case when r.request_schema is not null or r.parameters <> '[]' then '422' end
                              || case when r.operation = 'takedown_distribution' and r.is_shipped then '501' end) e (status)
                 where e.status is not null))
        || case when r.request_schema is not null then jsonb_build_object('requestBody', jsonb_build_object(
            'required', r.request_schema ? 'required',
            'content', jsonb_build_object('application/json', jsonb_build_object('schema', r.request_schema)
                || case when r.request_example is not null then jsonb_build_object('example', r.request_example) else '{}' end))) else '{}' end
      from (select coalesce(jsonb_agg(r.scope) filter (where r.scope is not null), '[]') from (select) one) s (scopes),
           (select case when r.needs_key then '{"RateLimit-Policy": {"$ref": "#/components/headers/RateLimit-Policy"}, "RateLimit": {"$ref": "#/components/headers/RateLimit"}}' else '{}' end::jsonb,
                   case when r.is_list then '{"Link": {"$ref": "#/components/headers/Link"}}' else '{}' end::jsonb,
                   case when r.has_etag then '{"ETag": {"$ref": "#/components/headers/ETag"}}' else '{}' end::jsonb) h (of_key, of_list, of_etag)
$$;
comment on function _openapi_operation(routes, json) is 'A route as an Operation Object';

create function _openapi_responses() returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_object_agg(case when r.key ~ '^\d' then 'Problem' || r.key else r.key end, case when r.key !~ '^\d' then r.value else jsonb_build_object(
        'description', r.value ->> 'description',
        'headers', '{"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}'
            || case when r.key in ('403', '404', '409', '422', '429') then '{"RateLimit-Policy": {"$ref": "#/components/headers/RateLimit-Policy"}, "RateLimit": {"$ref": "#/components/headers/RateLimit"}}' else '{}' end::jsonb
            || case when r.key in ('429', '503') then '{"Retry-After": {"$ref": "#/components/headers/Retry-After"}}' else '{}' end::jsonb,
        'content', jsonb_build_object('application/problem+json', jsonb_build_object(
            'schema', '{"$ref": "#/components/schemas/Problem"}'::jsonb,
            'example', (r.value - 'description') || jsonb_build_object('type', '/problems/' || (r.value ->> 'type'), 'status', r.key::int,
                           'request_id', '019cd1f0-7b19-7d21-b2c0-2f6a7c1e9d05')))) end)
      from jsonb_each(_openapi_frame() -> 'responses') r
$$;
comment on function _openapi_responses() is 'The answers that tell of problems, as Response Objects';

create function openapi(version text default 'v1') returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    frame jsonb := _openapi_frame();
    paths jsonb;
    schemas jsonb;
    hooks jsonb;
begin
    select jsonb_object_agg(p.path, p.methods) into paths
      from (select r.path, jsonb_object_agg(lower(r.method), _openapi_operation(r,
                       (select s.schema #> '{examples,0}' from api_schemas s
                         where s.version = r.version and '#/components/schemas/' || s.name = r.response_schema ->> '$ref'))) as methods
              from routes r where r.version = openapi.version group by r.path) p;
    if paths is null then
        raise exception 'there is no version "%" of the API', coalesce(left(version, 100), 'null')
            using errcode = '22023', hint = format('Known: %s.', (select string_agg(distinct r.version, ', ') from routes r));
    end if;
    select jsonb_object_agg(s.name, s.schema) into schemas from api_schemas s where s.version = openapi.version;
    select jsonb_object_agg(t.name, jsonb_build_object('post', jsonb_build_object(
               'operationId', 'on_' || replace(t.name, '.', '_'), 'tags', '["Webhooks"]'::jsonb, 'summary', t.description, 'security', '[]'::jsonb,
               'parameters', frame -> 'webhookHeaders',
               'requestBody', jsonb_build_object('required', true, 'content', jsonb_build_object('application/json', jsonb_build_object(
                   'schema', jsonb_build_object('type', 'object', 'required', '["type", "timestamp", "data"]'::jsonb, 'properties', jsonb_build_object(
                       'type', jsonb_build_object('type', 'string', 'const', t.name), 'timestamp', '{"type": "string", "format": "date-time"}'::jsonb,
                       'data', coalesce(t.schema, '{}'))),
                   'example', jsonb_build_object('type', t.name, 'timestamp', '2026-03-09T10:15:00.123456Z', 'data', t.example)))),
               'responses', '{"2XX": {"description": "Taken"}, "410": {"description": "Gone: the webhook is disabled"},
                              "4XX": {"description": "Tried again later, after Retry-After with 429"}, "5XX": {"description": "Tried again later"}}'::jsonb)))
      into hooks from event_types t;
    return jsonb_build_object(
        'openapi', '3.1.0',
        'info', jsonb_build_object(
            'title', 'MusicVerse API', 'version', openapi.version,
            'description', e'Make music, and have it listened to.\n\nErrors are problem+json after RFC 9457. Lists take `limit` and `cursor` and have `data` and `next_cursor`. '
                'Every call with a key takes tokens, usually one: `RateLimit` tells what is left.',
            'license', '{"name": "PostgreSQL Licence", "identifier": "PostgreSQL"}'::jsonb),
        'servers', jsonb_build_array(jsonb_build_object('url', coalesce(nullif(current_setting('musicverse.public_url', true), ''), '/'))),
        'tags', (frame -> 'tags') || coalesce((select jsonb_agg(distinct jsonb_build_object('name', r.tag)) from routes r
                                                where r.version = openapi.version and not jsonb_path_exists(frame, '$.tags[*] ? (@.name == $tag)', jsonb_build_object('tag', r.tag))), '[]'),
        'security', '[{"bearer": []}, {"apiKey": []}]'::jsonb,
        'paths', paths,
        'webhooks', coalesce(hooks, '{}'),
        'components', jsonb_build_object('schemas', coalesce(schemas, '{}'), 'securitySchemes', frame -> 'securitySchemes', 'parameters', frame -> 'parameters',
                                         'headers', frame -> 'headers', 'responses', _openapi_responses()));
end
$$;
comment on function openapi(text) is 'The API of a version as OpenAPI 3.1';

create function _openapi_json(version text) returns json
language c stable strict as 'MODULE_PATHNAME', 'musicverse_openapi_json';
comment on function _openapi_json(text) is 'The same as it is sent, kept in the memory of each process until what it is made of changes';
