-- api: the routes that are shipped
--
-- Version 2 takes the routes of version 1 but for what is different. Arguments
-- that come by path or query are parameters; those of the body are the
-- properties of its schema. What needs no key has the scope "nobody" here.

insert into routes (version, method, path, operation, scope, needs_key, cost, status, tag, summary, description, parameters, request_schema,
                    request_example, response_schema, is_list, has_etag, is_shipped)
with parameter (name, definition) as (values
    ('limit', '{"name": "limit", "in": "query", "description": "How many at most", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "example": 20}'),
    ('cursor', '{"name": "cursor", "in": "query", "description": "next_cursor of the page before, with the same filters", "schema": {"type": "string"}}'),
    ('offset', '{"name": "offset", "in": "query", "description": "How many to skip; without cursor. A cursor is faster and sees nothing twice", "schema": {"type": "integer", "minimum": 0, "maximum": 10000, "default": 0}, "example": 0}'),
    ('job_id', '{"name": "job_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "3f2a9d34-11b8-4a53-8c1f-2f2b9f7b1c90"}'),
    ('track_id', '{"name": "track_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11"}'),
    ('webhook_id', '{"name": "webhook_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33"}'),
    ('delivery_id', '{"name": "delivery_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "019cd1f0-7b1a-7c3e-8a44-9b1f5e6d7c80"}'),
    ('key_id', '{"name": "key_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "7d1c2b3a-4e5f-4a6b-8c7d-9e0f1a2b3c4d"}'),
    ('distribution_id', '{"name": "distribution_id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}, "example": "f3b0a5c2-9d0a-4a1c-b8a7-3d0c9e8f1a77"}'),
    ('job_status', '{"name": "status", "in": "query", "description": "Only jobs in this state", "schema": {"type": "string", "enum": ["queued", "started", "completed", "failed", "cancelled"]}, "example": "completed"}'),
    ('style', '{"name": "style", "in": "query", "description": "Only tracks of exactly this style", "schema": {"type": "string"}, "example": "Orchestral"}'),
    ('created_after', '{"name": "created_after", "in": "query", "description": "Only what was made then or later", "schema": {"type": "string", "format": "date-time"}, "example": "2026-03-01T00:00:00Z"}'),
    ('created_before', '{"name": "created_before", "in": "query", "description": "Only what was made earlier", "schema": {"type": "string", "format": "date-time"}, "example": "2026-04-01T00:00:00Z"}'),
    ('sort', '{"name": "sort", "in": "query", "description": "-created_at: newest first", "schema": {"type": "string", "enum": ["-created_at", "created_at"], "default": "-created_at"}, "example": "-created_at"}'),
    ('of_webhook', '{"name": "webhook_id", "in": "query", "description": "Only those to this webhook", "schema": {"type": "string", "format": "uuid"}, "example": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33"}'),
    ('delivery_status', '{"name": "status", "in": "query", "description": "Only deliveries in this state", "schema": {"type": "string", "enum": ["pending", "held", "delivered", "failed", "cancelled"]}, "example": "failed"}'),
    ('event_type', '{"name": "event_type", "in": "query", "description": "Only events of this type", "schema": {"type": "string"}, "example": "track.created"}'),
    ('after', '{"name": "after", "in": "query", "description": "next_after of the page before; 0 is the beginning of what is kept", "schema": {"type": "integer", "format": "int64", "minimum": 0, "default": 0}, "example": 0}'),
    ('period_seconds', '{"name": "period_seconds", "in": "query", "description": "Up to now", "schema": {"type": "integer", "minimum": 1, "maximum": 2592000, "default": 86400}, "example": 86400}'),
    ('from', '{"name": "from", "in": "query", "description": "30 days before to, unless given", "schema": {"type": "string", "format": "date-time"}, "example": "2026-03-01T00:00:00Z"}'),
    ('to', '{"name": "to", "in": "query", "description": "Now, unless given", "schema": {"type": "string", "format": "date-time"}, "example": "2026-03-09T00:00:00Z"}'),
    ('bucket', '{"name": "bucket", "in": "query", "description": "Of UTC; at most 10000 of them", "schema": {"type": "string", "enum": ["minute", "hour", "day", "month"], "default": "day"}, "example": "day"}'),
    ('by', '{"name": "by", "in": "query", "description": "What is ranked", "schema": {"type": "string", "enum": ["operation", "key", "status"], "default": "operation"}, "example": "operation"}'),
    ('top_limit', '{"name": "limit", "in": "query", "description": "How many at most", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}, "example": 10}'),
    ('distribution_status', '{"name": "status", "in": "query", "description": "Only distributions in this state", "schema": {"type": "string", "enum": ["pending", "scheduled", "processing", "live", "failed", "taken_down", "cancelled"]}, "example": "live"}')
)
select 'v1', r.method, '/api/v1' || r.path, r.operation, nullif(r.scope, 'nobody'), r.scope is distinct from 'nobody', r.cost, r.status, r.tag, r.summary, r.description,
       coalesce((select jsonb_agg(p.definition::jsonb order by n.n)
                   from unnest(string_to_array(r.parameters, ' ')) with ordinality n (name, n) join parameter p using (name)), '[]'),
       r.request::jsonb, r.example::jsonb, case when r.operation = 'get_openapi' then '{"type": "object"}' when r.response is not null then
           jsonb_build_object('$ref', '#/components/schemas/' || r.response) end,
       'cursor' = any (string_to_array(r.parameters, ' ')), r.method = 'GET' and r.tag <> 'Usage', true
  from (values
    ('POST', '/generate', 'generate', 'generate', 5, 202, 'Generation', 'Make a track',
     'Queues a job and answers at once. Ask for the job until it is completed, or have the webhook event generation.completed tell. How many jobs may wait and run at once depends on the tier.',
     '', '{"type": "object", "required": ["prompt"], "additionalProperties": false, "properties": {
        "prompt": {"type": "string", "minLength": 1, "description": "What to make"},
        "style": {"type": ["string", "null"]},
        "duration": {"type": ["integer", "null"], "minimum": 1, "description": "Seconds"},
        "params": {"type": ["object", "null"], "description": "For the provider"}}}',
     '{"prompt": "Epic orchestral battle music", "style": "Orchestral", "duration": 180, "params": {"seed": 42}}', 'Job'),
    ('GET', '/jobs', 'list_jobs', 'jobs:read', 1, 200, 'Generation', 'List jobs', 'Newest first.', 'limit cursor job_status offset', null, null, 'JobPage'),
    ('GET', '/jobs/{job_id}', 'get_job', 'jobs:read', 1, 200, 'Generation', 'Show a job',
     'With its track, once there is one. Send If-None-Match to be told cheaply that nothing has changed.', 'job_id', null, null, 'Job'),
    ('POST', '/jobs/{job_id}/cancel', 'cancel_job', 'generate', 1, 200, 'Generation', 'Cancel a job',
     'One that is cancelled already stays so; 409 when it has completed or failed.', 'job_id', null, null, 'Job'),

    ('GET', '/tracks', 'list_tracks', 'tracks:read', 1, 200, 'Tracks', 'List tracks', null, 'limit cursor style created_after created_before sort offset', null, null, 'TrackPage'),
    ('GET', '/tracks/{track_id}', 'get_track', 'tracks:read', 1, 200, 'Tracks', 'Show a track', null, 'track_id', null, null, 'Track'),
    ('PATCH', '/tracks/{track_id}', 'update_track', 'tracks:write', 1, 200, 'Tracks', 'Change a track',
     'What is left out stays as it is, null empties. metadata is replaced as a whole.',
     'track_id', '{"type": "object", "additionalProperties": false, "properties": {
        "title": {"type": ["string", "null"], "maxLength": 500},
        "style": {"type": ["string", "null"], "maxLength": 200},
        "cover_url": {"type": ["string", "null"], "maxLength": 2048},
        "metadata": {"type": "object"}}}', '{"title": "Battle at Dawn (Remastered)"}', 'Track'),
    ('DELETE', '/tracks/{track_id}', 'delete_track', 'tracks:write', 1, 204, 'Tracks', 'Delete a track', null, 'track_id', null, null, null),

    ('POST', '/webhooks', 'create_webhook', 'webhooks:write', 1, 201, 'Webhooks', 'Make a webhook',
     'The answer has the secret, which is seen this once: deliveries are signed with it, see Standard Webhooks.',
     '', '{"type": "object", "required": ["url", "events"], "additionalProperties": false, "properties": {
        "url": {"type": "string", "description": "https, to a public address"},
        "events": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100, "description": "Names, prefixes such as track.*, or * for everything"},
        "description": {"type": ["string", "null"]},
        "headers": {"type": ["object", "null"], "additionalProperties": {"type": "string"}, "description": "To be sent along"}}}',
     '{"url": "https://hooks.example.com/musicverse", "events": ["track.*", "generation.completed"], "description": "Our catalogue"}', 'NewWebhook'),
    ('GET', '/webhooks', 'list_webhooks', 'webhooks:read', 1, 200, 'Webhooks', 'List webhooks', 'Newest first.', 'limit cursor offset', null, null, 'WebhookPage'),
    ('GET', '/webhooks/{webhook_id}', 'get_webhook', 'webhooks:read', 1, 200, 'Webhooks', 'Show a webhook', 'With its health, without its secret.', 'webhook_id', null, null, 'Webhook'),
    ('PATCH', '/webhooks/{webhook_id}', 'update_webhook', 'webhooks:write', 1, 200, 'Webhooks', 'Change a webhook',
     'What is left out stays as it is, null takes the default again. After a change of signing, rotate the secret to see the new one.',
     'webhook_id', '{"type": "object", "additionalProperties": false, "properties": {
        "url": {"type": "string"},
        "events": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
        "description": {"type": ["string", "null"]},
        "headers": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "filter": {"type": ["string", "null"], "description": "SQL/JSON path that must hold of the body"},
        "ordering_key": {"type": ["string", "null"], "description": "SQL/JSON path; events with equal values go strictly in order"},
        "signing": {"type": ["string", "null"], "enum": ["hmac", "ed25519", null]},
        "client_cert": {"type": ["string", "null"], "description": "PEM, together with client_key"},
        "client_key": {"type": ["string", "null"], "description": "PEM, never shown again"},
        "ca_cert": {"type": ["string", "null"], "description": "PEM"},
        "timeout": {"type": ["number", "string", "null"], "description": "Seconds, or such as 30s"},
        "retry_schedule": {"type": ["array", "string", "null"], "items": {"type": ["number", "string"]}, "description": "Time before each retry: seconds, or such as 5min"},
        "rate_limit": {"type": ["number", "null"], "description": "Deliveries a second"},
        "max_concurrency": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000}}}', '{"events": ["*"], "timeout": 10}', 'Webhook'),
    ('DELETE', '/webhooks/{webhook_id}', 'delete_webhook', 'webhooks:write', 1, 204, 'Webhooks', 'Delete a webhook', 'What was pending is no longer sent.', 'webhook_id', null, null, null),
    ('POST', '/webhooks/{webhook_id}/rotate-secret', 'rotate_webhook_secret', 'webhooks:write', 1, 200, 'Webhooks', 'Give a webhook a new secret',
     'For the overlap, deliveries carry both signatures.', 'webhook_id', '{"type": "object", "additionalProperties": false, "properties": {
        "overlap_seconds": {"type": "integer", "minimum": 0, "maximum": 2592000, "default": 86400, "description": "0 ends the old secret at once"}}}',
     '{"overlap_seconds": 3600}', 'WebhookSecret'),
    ('POST', '/webhooks/{webhook_id}/test', 'test_webhook', 'webhooks:write', 1, 202, 'Webhooks', 'Send an example to a webhook', '409 when it is disabled.',
     'webhook_id', '{"type": "object", "additionalProperties": false, "properties": {
        "event_type": {"type": "string", "default": "webhook.test", "description": "Whose example"}}}', '{"event_type": "track.created"}', 'QueuedDelivery'),
    ('POST', '/webhooks/{webhook_id}/enable', 'enable_webhook', 'webhooks:write', 1, 200, 'Webhooks', 'Start a webhook',
     'Clears its failure count and sends what was held meanwhile.', 'webhook_id', null, null, 'Webhook'),
    ('POST', '/webhooks/{webhook_id}/disable', 'disable_webhook', 'webhooks:write', 1, 200, 'Webhooks', 'Stop a webhook', 'Its events are held until it is started.',
     'webhook_id', '{"type": "object", "additionalProperties": false, "properties": {"reason": {"type": ["string", "null"]}}}', '{"reason": "Maintenance"}', 'Webhook'),
    ('POST', '/webhooks/{webhook_id}/replay', 'replay_webhook', 'webhooks:write', 5, 202, 'Webhooks', 'Send again what a webhook was sent within a time',
     'Under the same webhook-id, so that receivers can tell. What is pending is not queued a second time.',
     'webhook_id', '{"type": "object", "required": ["since"], "additionalProperties": false, "properties": {
        "since": {"type": "string", "format": "date-time"},
        "until": {"type": ["string", "null"], "format": "date-time", "description": "Now, unless given"},
        "only_failed": {"type": "boolean", "default": true, "description": "Only what was given up"},
        "dry_run": {"type": "boolean", "default": false, "description": "Only tell how many it would be"},
        "per_second": {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "Spreads them out"}}}',
     '{"since": "2026-03-09T00:00:00Z", "dry_run": true}', 'Replay'),
    ('GET', '/webhooks/{webhook_id}/stats', 'get_webhook_stats', 'webhooks:read', 2, 200, 'Webhooks', 'Show how deliveries to a webhook went', null,
     'webhook_id period_seconds', null, null, 'WebhookStats'),

    ('GET', '/deliveries', 'list_deliveries', 'webhooks:read', 2, 200, 'Deliveries', 'List deliveries',
     'Newest first. With filters a page may be shorter than asked for, even empty, and still have a next_cursor: go on until it is null.',
     'limit cursor of_webhook delivery_status event_type', null, null, 'DeliveryPage'),
    ('GET', '/deliveries/{delivery_id}', 'get_delivery', 'webhooks:read', 1, 200, 'Deliveries', 'Show a delivery', 'With its body and every attempt.', 'delivery_id', null, null, 'DeliveryDetail'),
    ('POST', '/deliveries/{delivery_id}/replay', 'replay_delivery', 'webhooks:write', 1, 202, 'Deliveries', 'Send a delivery again',
     'Under the same webhook-id. 409 while it is pending.', 'delivery_id', null, null, 'QueuedDelivery'),

    ('GET', '/events', 'poll_events', 'webhooks:read', 1, 200, 'Events', 'List events', 'In the order of their commits and without gaps: go on with next_after, now or later.', 'after limit', null, null, 'EventPage'),
    ('GET', '/event-types', 'list_event_types', 'nobody', 1, 200, 'Events', 'List event types', 'By name. Needs no key.', 'limit cursor offset', null, null, 'EventTypePage'),

    ('POST', '/api-keys', 'create_api_key', 'keys:write', 1, 201, 'API keys', 'Make an API key',
     'The answer has its text, which is seen this once. A key hands out no more than it may do itself: no further scopes, networks or time, and nothing unsigned if it must sign itself (403).',
     '', '{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255, "description": "What it is for"},
        "scopes": {"type": "array", "items": {"type": "string"}, "default": [], "description": "What it may do; none is everything"},
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "allowed_cidrs": {"type": ["array", "null"], "items": {"type": "string"}, "minItems": 1, "maxItems": 16, "description": "Networks that it may be used from"},
        "require_signature": {"type": "boolean", "default": false, "description": "Whether its requests must be signed"}}}',
     '{"name": "production", "scopes": ["generate", "tracks:read"]}', 'NewApiKey'),
    ('GET', '/api-keys', 'list_api_keys', 'keys:write', 1, 200, 'API keys', 'List API keys', 'Newest first, also those that no longer work.', 'limit cursor offset', null, null, 'ApiKeyPage'),
    ('GET', '/api-keys/{key_id}', 'get_api_key', 'keys:write', 1, 200, 'API keys', 'Show an API key', null, 'key_id', null, null, 'ApiKey'),
    ('POST', '/api-keys/{key_id}/rotate', 'rotate_api_key', 'keys:write', 1, 201, 'API keys', 'Replace an API key',
     'Makes a key with the same properties; its text is seen this once. The old one works for the overlap yet. 403 for a key that may do more than the one that asks.',
     'key_id', '{"type": "object", "additionalProperties": false, "properties": {
        "overlap_seconds": {"type": "integer", "minimum": 0, "maximum": 31536000, "default": 0}}}', '{"overlap_seconds": 86400}', 'NewApiKey'),
    ('DELETE', '/api-keys/{key_id}', 'revoke_api_key', 'keys:write', 1, 204, 'API keys', 'Revoke an API key', 'At once, everywhere, also the one that asks.', 'key_id', null, null, null),
    ('GET', '/scopes', 'list_scopes', 'nobody', 1, 200, 'API keys', 'List scopes', 'All in one page. Needs no key.', '', null, null, 'ScopePage'),

    ('GET', '/me', 'get_me', null, 1, 200, 'Usage', 'Show the account', 'Its tier and limits, what is left of its quotas, and the key that was sent.', '', null, null, 'Me'),
    ('GET', '/usage', 'get_usage', 'usage:read', 2, 200, 'Usage', 'Show usage by time', 'Calls are counted within seconds.', 'from to bucket', null, null, 'Usage'),
    ('GET', '/usage/top', 'get_usage_top', 'usage:read', 2, 200, 'Usage', 'Show what was called most', null, 'from to by top_limit', null, null, 'UsageTop'),

    ('POST', '/distributions', 'create_distribution', 'distributions:write', 5, 201, 'Distribution', 'Distribute tracks (not yet available)', 'Answers 501 as yet.',
     '', '{"type": "object", "required": ["track_ids", "platforms"], "additionalProperties": false, "properties": {
        "track_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1},
        "platforms": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "release_date": {"type": ["string", "null"], "format": "date"},
        "metadata": {"type": "object"}}}',
     '{"track_ids": ["0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11"], "platforms": ["spotify"], "release_date": "2026-03-27", "metadata": {"artist": "Example"}}', 'Distribution'),
    ('GET', '/distributions', 'list_distributions', 'distributions:read', 1, 200, 'Distribution', 'List distributions (not yet available)', 'Answers 501 as yet.',
     'limit cursor distribution_status', null, null, 'DistributionPage'),
    ('GET', '/distributions/{distribution_id}', 'get_distribution', 'distributions:read', 1, 200, 'Distribution', 'Show a distribution (not yet available)', 'Answers 501 as yet.',
     'distribution_id', null, null, 'Distribution'),
    ('GET', '/distributions/{distribution_id}/timeline', 'get_distribution_timeline', 'distributions:read', 1, 200, 'Distribution',
     'List what happened to a distribution (not yet available)', 'Answers 501 as yet.', 'distribution_id limit cursor', null, null, 'DistributionStepPage'),
    ('POST', '/distributions/{distribution_id}/cancel', 'cancel_distribution', 'distributions:write', 1, 200, 'Distribution', 'Cancel a distribution (not yet available)', 'Answers 501 as yet.',
     'distribution_id', null, null, 'Distribution'),
    ('POST', '/distributions/{distribution_id}/takedown', 'takedown_distribution', 'distributions:write', 1, 200, 'Distribution', 'Take a distribution down (not yet available)', 'Answers 501 as yet.',
     'distribution_id', '{"type": "object", "additionalProperties": false, "properties": {
        "platforms": {"type": ["array", "null"], "items": {"type": "string"}, "description": "All of them, unless given"}}}', '{"platforms": ["spotify"]}', 'Distribution'),

    ('GET', '/openapi.json', 'get_openapi', 'nobody', 1, 200, 'About', 'Show this description', 'OpenAPI 3.1. Needs no key.', '', null, null, null)
  ) r (method, path, operation, scope, cost, status, tag, summary, description, parameters, request, example, response);

insert into routes (version, method, path, operation, scope, needs_key, cost, status, tag, summary, description, parameters, request_schema,
                    request_example, response_schema, is_list, has_etag, is_shipped)
select 'v2', r.method, case r.operation when 'generate' then '/api/v2/jobs' else replace(r.path, '/api/v1/', '/api/v2/') end,
       case r.operation when 'generate' then 'create_job' when 'poll_events' then 'list_events' else r.operation end,
       r.scope, r.needs_key, r.cost, r.status, r.tag, r.summary,
       case r.operation when 'poll_events' then 'In the order of their commits and without gaps: go on with next_cursor, now or later; it is always there.'
                        else r.description end,
       case r.operation when 'poll_events' then (select jsonb_agg(p order by n) from routes t, jsonb_array_elements(t.parameters) with ordinality p (p, n)
                     where t.version = 'v1' and t.operation = 'list_tracks' and p ->> 'name' in ('limit', 'cursor'))
            else coalesce((select jsonb_agg(p order by n) from jsonb_array_elements(r.parameters) with ordinality p (p, n) where p ->> 'name' <> 'offset'), '[]') end,
       r.request_schema, r.request_example, r.response_schema, r.is_list or r.operation = 'poll_events', r.has_etag, true
  from routes r where r.version = 'v1' and r.is_shipped;
