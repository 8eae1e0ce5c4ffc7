-- api: the schemas of what operations answer, by name
--
-- JSON Schema 2020-12, as OpenAPI 3.1 has it. Every one has an example of just
-- the members that the operations return, in their order. Version 2 takes those
-- of version 1 but for what is different.

create table api_schemas (
    version    text not null check (version ~ '^v[1-9][0-9]*$'),
    name       text not null check (name ~ '^[A-Za-z][A-Za-z0-9_]*$' and length(name) <= 100),
    schema     json not null check (json_typeof(schema) = 'object'),
    is_shipped boolean not null default false,
    primary key (version, name)
);
create trigger invalidate after insert or update or delete or truncate on api_schemas
    for each statement execute function _invalidate_relation();
alter table api_schemas enable always trigger invalidate;
create trigger invalidate after insert or update or delete or truncate on event_types
    for each statement execute function _invalidate_relation();
alter table event_types enable always trigger invalidate;
comment on table api_schemas is 'Schemas that routes refer to as #/components/schemas/<name>; a host may add its own';
comment on column api_schemas.schema is 'JSON Schema; the first of its examples is shown';
comment on column api_schemas.is_shipped is 'Comes with the extension, so is not part of a dump';

insert into api_schemas (version, name, schema, is_shipped)
select 'v1', s.name, s.schema::json, true from (values
('Problem', '{
    "type": "object", "description": "What went wrong, after RFC 9457", "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "What kind of problem it is"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong with this very request"},
        "instance": {"type": "string", "description": "This very request"},
        "hint": {"type": "string", "description": "What to do about it"},
        "request_id": {"type": "string", "description": "Name it when you ask for help"},
        "errors": {"type": "array", "description": "By member of the body or parameter", "items": {"type": "object", "required": ["message"], "properties": {
            "field": {"type": "string", "description": "JSON Pointer into the body"}, "parameter": {"type": "string"}, "message": {"type": "string"}}}},
        "violated-policies": {"type": "array", "items": {"type": "string"}, "description": "With 429: which limits were reached"}},
    "examples": [{"type": "/problems/not-found", "title": "Not found", "status": 404,
        "detail": "Track 0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11 does not exist.", "instance": "/api/v1/tracks/0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11",
        "request_id": "019cd1f0-7b19-7d21-b2c0-2f6a7c1e9d05"}]}'),
('Track', '{
    "type": "object", "description": "A piece of music",
    "required": ["id", "title", "style", "prompt", "duration", "audio_url", "cover_url", "metadata", "isrc", "created_at", "updated_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "title": {"type": ["string", "null"]},
        "style": {"type": ["string", "null"]},
        "prompt": {"type": ["string", "null"], "description": "What it was made from"},
        "duration": {"type": ["integer", "null"], "minimum": 1, "description": "Seconds"},
        "audio_url": {"type": ["string", "null"]},
        "cover_url": {"type": ["string", "null"]},
        "metadata": {"type": "object", "description": "Whatever its owner wants to keep with it"},
        "isrc": {"type": ["string", "null"], "description": "International Standard Recording Code"},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"}},
    "examples": [{"id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11", "title": "Battle at Dawn", "style": "Orchestral",
        "prompt": "Epic orchestral battle music", "duration": 180, "audio_url": "https://cdn.example.com/tracks/0b8f4c52.flac",
        "cover_url": "https://cdn.example.com/covers/0b8f4c52.png", "metadata": {"bpm": 140}, "isrc": null,
        "created_at": "2026-03-09T10:15:00.123456Z", "updated_at": "2026-03-09T10:15:00.123456Z"}]}'),
('Job', '{
    "type": "object", "description": "A job that makes a track",
    "required": ["job_id", "status", "progress", "prompt", "style", "duration", "params", "track_id", "result_url", "error", "created_at", "started_at", "finished_at"],
    "properties": {
        "job_id": {"type": "string", "format": "uuid"},
        "status": {"type": "string", "enum": ["queued", "started", "completed", "failed", "cancelled"]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "prompt": {"type": "string"},
        "style": {"type": ["string", "null"]},
        "duration": {"type": ["integer", "null"], "minimum": 1, "description": "Seconds"},
        "params": {"type": "object"},
        "track_id": {"type": ["string", "null"], "format": "uuid", "description": "The track, when there is one that is not deleted"},
        "result_url": {"type": ["string", "null"], "description": "Where the track can be heard"},
        "error": {"type": ["string", "null"], "description": "Why it failed"},
        "created_at": {"type": "string", "format": "date-time"},
        "started_at": {"type": ["string", "null"], "format": "date-time"},
        "finished_at": {"type": ["string", "null"], "format": "date-time"}},
    "examples": [{"job_id": "3f2a9d34-11b8-4a53-8c1f-2f2b9f7b1c90", "status": "completed", "progress": 100, "prompt": "Epic orchestral battle music",
        "style": "Orchestral", "duration": 180, "params": {"seed": 42}, "track_id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11",
        "result_url": "https://cdn.example.com/tracks/0b8f4c52.flac", "error": null, "created_at": "2026-03-09T10:14:00.000000Z",
        "started_at": "2026-03-09T10:14:01.500000Z", "finished_at": "2026-03-09T10:15:00.000000Z"}]}'),
('Webhook', '{
    "type": "object", "description": "A subscription to events",
    "required": ["id", "url", "events", "description", "headers", "filter", "ordering_key", "signing", "public_key", "timeout", "retry_schedule",
        "rate_limit", "max_concurrency", "is_active", "disabled_at", "disabled_reason", "failure_count", "failing_since", "last_success_at",
        "last_failure_at", "last_error", "created_at", "updated_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "url": {"type": "string"},
        "events": {"type": "array", "items": {"type": "string"}, "description": "Names, prefixes such as track.*, or * for everything"},
        "description": {"type": ["string", "null"]},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Sent along"},
        "filter": {"type": ["string", "null"], "description": "SQL/JSON path that must hold of the body"},
        "ordering_key": {"type": ["string", "null"], "description": "SQL/JSON path; events with equal values go strictly in order"},
        "signing": {"type": "string", "enum": ["hmac", "ed25519"]},
        "public_key": {"type": ["string", "null"], "description": "With ed25519: what receivers verify by"},
        "timeout": {"type": ["number", "null"], "description": "Seconds; null is the default"},
        "retry_schedule": {"type": ["array", "null"], "items": {"type": "number"}, "description": "Seconds before each retry; null is the default"},
        "rate_limit": {"type": ["number", "null"], "description": "Deliveries a second"},
        "max_concurrency": {"type": ["integer", "null"]},
        "is_active": {"type": "boolean"},
        "disabled_at": {"type": ["string", "null"], "format": "date-time"},
        "disabled_reason": {"type": ["string", "null"]},
        "failure_count": {"type": "integer", "description": "Deliveries given up in a row"},
        "failing_since": {"type": ["string", "null"], "format": "date-time"},
        "last_success_at": {"type": ["string", "null"], "format": "date-time"},
        "last_failure_at": {"type": ["string", "null"], "format": "date-time"},
        "last_error": {"type": ["string", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
        "secret": {"type": "string", "description": "Only when it is made: what receivers verify by"}},
    "examples": [{"id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "url": "https://hooks.example.com/musicverse", "events": ["track.*", "generation.completed"],
        "description": "Our catalogue", "headers": {"X-Token": "t0ps3cret"}, "filter": null, "ordering_key": null, "signing": "hmac", "public_key": null,
        "timeout": null, "retry_schedule": null, "rate_limit": null, "max_concurrency": null, "is_active": true, "disabled_at": null,
        "disabled_reason": null, "failure_count": 0, "failing_since": null, "last_success_at": "2026-03-09T10:15:00.250000Z", "last_failure_at": null,
        "last_error": null, "created_at": "2026-03-01T08:00:00.000000Z", "updated_at": "2026-03-01T08:00:00.000000Z"}]}'),
('WebhookSecret', '{
    "type": "object", "description": "The new secret of a webhook, seen this once",
    "required": ["webhook_id", "signing", "secret", "public_key", "previous_secret_until"],
    "properties": {
        "webhook_id": {"type": "string", "format": "uuid"},
        "signing": {"type": "string", "enum": ["hmac", "ed25519"]},
        "secret": {"type": ["string", "null"], "description": "With hmac"},
        "public_key": {"type": ["string", "null"], "description": "With ed25519"},
        "previous_secret_until": {"type": ["string", "null"], "format": "date-time", "description": "Until then deliveries carry both signatures"}},
    "examples": [{"webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "signing": "hmac", "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "public_key": null, "previous_secret_until": "2026-03-10T10:15:00.000000Z"}]}'),
('WebhookStats', '{
    "type": "object", "description": "How deliveries to a webhook went",
    "required": ["webhook_id", "period_seconds", "deliveries", "delivered", "failed", "pending", "attempts", "success_rate", "p50_ms", "p95_ms", "p99_ms"],
    "properties": {
        "webhook_id": {"type": "string", "format": "uuid"},
        "period_seconds": {"type": "integer"},
        "deliveries": {"type": "integer"},
        "delivered": {"type": "integer"},
        "failed": {"type": "integer", "description": "Given up"},
        "pending": {"type": "integer"},
        "attempts": {"type": "integer"},
        "success_rate": {"type": ["number", "null"], "description": "Of what is decided"},
        "p50_ms": {"type": ["number", "null"]},
        "p95_ms": {"type": ["number", "null"]},
        "p99_ms": {"type": ["number", "null"]}},
    "examples": [{"webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "period_seconds": 86400, "deliveries": 120, "delivered": 118, "failed": 1, "pending": 1,
        "attempts": 131, "success_rate": 0.9916, "p50_ms": 41.2, "p95_ms": 120.5, "p99_ms": 310.75}]}'),
('QueuedDelivery', '{
    "type": "object", "description": "A delivery that was queued", "required": ["delivery_id"],
    "properties": {"delivery_id": {"type": "string", "format": "uuid"}},
    "examples": [{"delivery_id": "019cd1f0-7b1a-7c3e-8a44-9b1f5e6d7c80"}]}'),
('Replay', '{
    "type": "object", "description": "How much is sent again", "required": ["webhook_id", "dry_run", "deliveries"],
    "properties": {
        "webhook_id": {"type": "string", "format": "uuid"},
        "dry_run": {"type": "boolean", "description": "True when nothing was queued"},
        "deliveries": {"type": "integer", "minimum": 0}},
    "examples": [{"webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33", "dry_run": false, "deliveries": 17}]}'),
('Delivery', '{
    "type": "object", "description": "An event on its way to a webhook",
    "required": ["id", "webhook_id", "event_id", "event_type", "status", "attempt_count", "response_status", "duration_ms", "last_error", "created_at",
        "next_attempt_at", "delivered_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "webhook_id": {"type": "string", "format": "uuid"},
        "event_id": {"type": "string", "format": "uuid", "description": "Sent as webhook-id"},
        "event_type": {"type": ["string", "null"], "description": "Null when the event is no longer kept"},
        "status": {"type": "string", "enum": ["pending", "held", "delivered", "failed", "cancelled"], "description": "held: its webhook is disabled; failed: given up"},
        "attempt_count": {"type": "integer"},
        "response_status": {"type": ["integer", "null"]},
        "duration_ms": {"type": ["integer", "null"]},
        "last_error": {"type": ["string", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "next_attempt_at": {"type": ["string", "null"], "format": "date-time"},
        "delivered_at": {"type": ["string", "null"], "format": "date-time"}},
    "examples": [{"id": "019cd1f0-7b1a-7c3e-8a44-9b1f5e6d7c80", "webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33",
        "event_id": "019cd1f0-7b19-7d21-b2c0-2f6a7c1e9d05", "event_type": "track.created", "status": "delivered", "attempt_count": 1, "response_status": 204,
        "duration_ms": 41, "last_error": null, "created_at": "2026-03-09T10:15:00.130000Z", "next_attempt_at": null,
        "delivered_at": "2026-03-09T10:15:00.171000Z"}]}'),
('Attempt', '{
    "type": "object", "description": "One attempt at a delivery",
    "required": ["attempt", "started_at", "response_status", "error", "duration_ms", "remote_address", "request_headers", "response_headers", "response_body", "truncated"],
    "properties": {
        "attempt": {"type": "integer"},
        "started_at": {"type": "string", "format": "date-time"},
        "response_status": {"type": ["integer", "null"]},
        "error": {"type": ["string", "null"]},
        "duration_ms": {"type": "number"},
        "remote_address": {"type": ["string", "null"]},
        "request_headers": {},
        "response_headers": {},
        "response_body": {"type": ["string", "null"]},
        "truncated": {"type": "boolean", "description": "Whether the answer was longer than what is kept of it"}},
    "examples": [{"attempt": 1, "started_at": "2026-03-09T10:15:00.130000Z", "response_status": 204, "error": null, "duration_ms": 41.037,
        "remote_address": "203.0.113.20", "request_headers": {"content-type": "application/json"}, "response_headers": {"server": "example"},
        "response_body": "", "truncated": false}]}'),
('EventType', '{
    "type": "object", "description": "A type of event that webhooks can subscribe to", "required": ["name", "description", "example", "schema"],
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "example": {"description": "Data of such an event"},
        "schema": {"type": ["object", "boolean", "null"], "description": "JSON Schema of the data"}},
    "examples": [{"name": "webhook.test", "description": "What test_webhook() sends",
        "example": {"message": "It works", "webhook_id": "c2d7c1d0-5f57-4c5e-9b57-6a1b0b7c9e33"}, "schema": {"type": "object"}}]}'),
('Event', '{
    "type": "object", "description": "Something that happened", "required": ["position", "event_id", "type", "created_at", "data"],
    "properties": {
        "position": {"type": "integer", "description": "Grows in the order in which transactions committed"},
        "event_id": {"type": "string", "format": "uuid"},
        "type": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "data": {"description": "As webhooks get it; the event type has its schema"}},
    "examples": [{"position": 1773051300130000, "event_id": "019cd1f0-7b19-7d21-b2c0-2f6a7c1e9d05", "type": "track.created",
        "created_at": "2026-03-09T10:15:00.130000Z", "data": {"id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11", "title": "Battle at Dawn"}}]}'),
('Scope', '{
    "type": "object", "description": "What a key may be allowed to do", "required": ["name", "description"],
    "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
    "examples": [{"name": "tracks:read", "description": "Read tracks"}]}'),
('ApiKey', '{
    "type": "object", "description": "An API key",
    "required": ["id", "name", "key_prefix", "scopes", "status", "allowed_cidrs", "require_signature", "last_used_at", "last_used_ip", "expires_at",
        "works_until", "revoked_at", "revoked_reason", "rotated_from", "created_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "name": {"type": "string"},
        "key_prefix": {"type": "string", "description": "How its text begins"},
        "scopes": {"type": "array", "items": {"type": "string"}, "description": "What it may do; none is everything"},
        "status": {"type": "string", "enum": ["active", "rotated", "revoked", "expired"], "description": "rotated: replaced, and works until works_until"},
        "allowed_cidrs": {"type": ["array", "null"], "items": {"type": "string"}, "description": "Networks that it may be used from"},
        "require_signature": {"type": "boolean", "description": "Whether requests must be signed"},
        "last_used_at": {"type": ["string", "null"], "format": "date-time"},
        "last_used_ip": {"type": ["string", "null"]},
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "works_until": {"type": ["string", "null"], "format": "date-time"},
        "revoked_at": {"type": ["string", "null"], "format": "date-time"},
        "revoked_reason": {"type": ["string", "null"]},
        "rotated_from": {"type": ["string", "null"], "format": "uuid"},
        "created_at": {"type": "string", "format": "date-time"},
        "key": {"type": "string", "description": "Only when it is made: the text to send"}},
    "examples": [{"id": "7d1c2b3a-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "name": "production", "key_prefix": "mvai_4Jq", "scopes": ["generate", "tracks:read"],
        "status": "active", "allowed_cidrs": null, "require_signature": false, "last_used_at": "2026-03-09T10:15:00.000000Z",
        "last_used_ip": "203.0.113.7", "expires_at": null, "works_until": null, "revoked_at": null, "revoked_reason": null, "rotated_from": null,
        "created_at": "2026-03-01T08:00:00.000000Z"}]}'),
('Me', '{
    "type": "object", "description": "Who asks, and what it may do", "required": ["user_id", "tier", "created_at", "limits", "quotas", "key"],
    "properties": {
        "user_id": {"type": "string", "format": "uuid"},
        "tier": {"type": "string"},
        "created_at": {"type": ["string", "null"], "format": "date-time", "description": "Null when the account has yet to be used"},
        "limits": {"type": "object", "properties": {
            "burst": {"type": "integer", "description": "Calls that may come at once"},
            "refill_per_second": {"type": "number", "description": "Calls a second in the long run"},
            "limit_by": {"type": "string", "enum": ["key", "user"], "description": "What these count for"},
            "max_api_keys": {"type": "integer"}, "max_webhooks": {"type": "integer"}, "max_concurrent_jobs": {"type": "integer"}}},
        "quotas": {"type": "array", "items": {"type": "object", "properties": {
            "period": {"type": "string", "enum": ["day", "month"]},
            "limit": {"type": ["integer", "null"], "description": "Null is any number"},
            "used": {"type": "integer"}, "remaining": {"type": ["integer", "null"]}, "resets_at": {"type": "string", "format": "date-time"}}}},
        "key": {"oneOf": [{"$ref": "#/components/schemas/ApiKey"}, {"type": "null"}], "description": "The key that was sent"}},
    "examples": [{"user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "tier": "pro", "created_at": "2026-03-01T08:00:00.000000Z",
        "limits": {"burst": 100, "refill_per_second": 10, "limit_by": "key", "max_api_keys": 20, "max_webhooks": 25, "max_concurrent_jobs": 5},
        "quotas": [{"period": "day", "limit": null, "used": 412, "remaining": null, "resets_at": "2026-03-10T00:00:00.000000Z"},
            {"period": "month", "limit": 1000000, "used": 3071, "remaining": 996929, "resets_at": "2026-04-01T00:00:00.000000Z"}], "key": null}]}'),
('Usage', '{
    "type": "object", "description": "Calls by time, also of times without calls", "required": ["from", "to", "bucket", "data"],
    "properties": {
        "from": {"type": "string", "format": "date-time"},
        "to": {"type": "string", "format": "date-time"},
        "bucket": {"type": "string", "enum": ["minute", "hour", "day", "month"]},
        "data": {"type": "array", "items": {"type": "object", "required": ["start", "calls", "errors", "refused", "bytes_in", "bytes_out", "p50_ms", "p95_ms", "p99_ms"],
            "properties": {
                "start": {"type": "string", "format": "date-time"},
                "calls": {"type": "integer"}, "errors": {"type": "integer", "description": "With a status of 400 or more"},
                "refused": {"type": "integer", "description": "Of these, for want of a right or by a limit"},
                "bytes_in": {"type": "integer"}, "bytes_out": {"type": "integer"},
                "p50_ms": {"type": ["number", "null"]}, "p95_ms": {"type": ["number", "null"]}, "p99_ms": {"type": ["number", "null"]}}}}},
    "examples": [{"from": "2026-03-08T00:00:00.000000Z", "to": "2026-03-09T00:00:00.000000Z", "bucket": "day", "data": [{"start": "2026-03-08T00:00:00.000000Z",
        "calls": 412, "errors": 3, "refused": 1, "bytes_in": 20480, "bytes_out": 1048576, "p50_ms": 1.9, "p95_ms": 6.2, "p99_ms": 18.4}]}]}'),
('UsageTop', '{
    "type": "object", "description": "What was called most", "required": ["from", "to", "by", "data"],
    "properties": {
        "from": {"type": "string", "format": "date-time"},
        "to": {"type": "string", "format": "date-time"},
        "by": {"type": "string", "enum": ["operation", "key", "status"]},
        "data": {"type": "array", "items": {"type": "object", "required": ["name", "calls", "errors", "refused", "bytes_in", "bytes_out", "p95_ms"],
            "properties": {
                "name": {"type": ["string", "null"], "description": "Of the operation, the id of the key, or the class of status; null for calls without a key"},
                "calls": {"type": "integer"}, "errors": {"type": "integer"}, "refused": {"type": "integer"},
                "bytes_in": {"type": "integer"}, "bytes_out": {"type": "integer"}, "p95_ms": {"type": ["number", "null"]}}}}},
    "examples": [{"from": "2026-02-07T00:00:00.000000Z", "to": "2026-03-09T00:00:00.000000Z", "by": "operation", "data": [{"name": "list_tracks",
        "calls": 301, "errors": 2, "refused": 0, "bytes_in": 0, "bytes_out": 903000, "p95_ms": 5.1}]}]}'),
('Distribution', '{
    "type": "object", "description": "Tracks on their way to platforms",
    "required": ["id", "status", "track_ids", "platforms", "release_date", "time_zone", "revision", "metadata", "external_ids", "targets", "submitted_at", "created_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {"type": "string", "enum": ["pending", "scheduled", "processing", "live", "failed", "taken_down", "cancelled"]},
        "track_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        "platforms": {"type": "array", "items": {"type": "string"}},
        "release_date": {"type": ["string", "null"], "format": "date"},
        "time_zone": {"type": "string", "description": "In which the release date begins"},
        "revision": {"type": "integer"},
        "metadata": {"type": "object", "description": "The release as platforms get it"},
        "external_ids": {"type": "object", "description": "What platforms call it"},
        "targets": {"type": "array", "items": {"type": "object", "required": ["platform", "status", "reason", "external_id", "external_url", "identifiers", "next_attempt_at", "live_at"],
            "properties": {
                "platform": {"type": "string"},
                "status": {"type": "string", "enum": ["pending", "scheduled", "delivering", "processing", "live", "failed", "taken_down", "cancelled"]},
                "reason": {"type": ["string", "null"]}, "external_id": {"type": ["string", "null"]}, "external_url": {"type": ["string", "null"]},
                "identifiers": {"type": "object", "description": "Codes that the partner gave a release which has none of its own", "properties": {
                    "upc": {"type": "string"}, "isrcs": {"type": "object", "description": "By the track''s id", "additionalProperties": {"type": "string"}}}},
                "next_attempt_at": {"type": ["string", "null"], "format": "date-time"},
                "live_at": {"type": ["string", "null"], "format": "date-time"}}}},
        "submitted_at": {"type": ["string", "null"], "format": "date-time"},
        "created_at": {"type": "string", "format": "date-time"}},
    "examples": [{"id": "f3b0a5c2-9d0a-4a1c-b8a7-3d0c9e8f1a77", "status": "processing", "track_ids": ["0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11"],
        "platforms": ["spotify"], "release_date": "2026-03-27", "time_zone": "UTC", "revision": 1, "metadata": {"title": "Battle at Dawn"}, "external_ids": {},
        "targets": [{"platform": "spotify", "status": "processing", "reason": null, "external_id": null, "external_url": null, "identifiers": {}, "next_attempt_at": null, "live_at": null}],
        "submitted_at": "2026-03-09T10:20:00.100000Z", "created_at": "2026-03-09T10:20:00.000000Z"}]}'),
('PartnerAccount', '{
    "type": "object", "description": "What a user allows us at a partner",
    "required": ["partner", "status", "external_id", "username", "external_url", "last_error", "connected_at", "updated_at"],
    "properties": {
        "partner": {"type": "string"},
        "status": {"type": "string", "enum": ["pending", "connected", "needs_login"], "description": "pending until the partner has told who it is; needs_login when the user has to log in there again"},
        "external_id": {"type": ["string", "null"], "description": "What the partner calls the account"},
        "username": {"type": ["string", "null"]},
        "external_url": {"type": ["string", "null"]},
        "last_error": {"type": ["string", "null"]},
        "connected_at": {"type": ["string", "null"], "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"}},
    "examples": [{"partner": "soundcloud", "status": "connected", "external_id": "soundcloud:users:948745750", "username": "mira",
        "external_url": "https://soundcloud.com/mira", "last_error": null, "connected_at": "2026-03-09T10:20:00.000000Z", "updated_at": "2026-03-09T10:20:00.000000Z"}]}'),
('Partner', '{
    "type": "object", "description": "A partner at which users log in themselves", "required": ["name", "title", "platforms", "account"],
    "properties": {
        "name": {"type": "string"},
        "title": {"type": "string"},
        "platforms": {"type": "array", "items": {"type": "string"}, "description": "Where it brings releases"},
        "account": {"oneOf": [{"$ref": "#/components/schemas/PartnerAccount"}, {"type": "null"}], "description": "null when the user has not logged in there"}},
    "examples": [{"name": "soundcloud", "title": "SoundCloud", "platforms": ["soundcloud"], "account": null}]}'),
('PartnerLogin', '{
    "type": "object", "description": "Where a user logs in at a partner", "required": ["url", "expires_at"],
    "properties": {
        "url": {"type": "string", "format": "uri", "description": "Where to send the browser"},
        "expires_at": {"type": "string", "format": "date-time", "description": "Until when it works"}},
    "examples": [{"url": "https://secure.soundcloud.com/authorize?client_id=app&redirect_uri=https%3A%2F%2Fmusic.example.com%2Fconnected&response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=af0ifjsldkj", "expires_at": "2026-03-09T10:30:00.000000Z"}]}'),
('ReleaseCheck', '{
    "type": "object", "description": "What platforms would refuse in a release", "required": ["is_fit", "problems"],
    "properties": {
        "is_fit": {"type": "boolean", "description": "Nothing stands in the way"},
        "problems": {"type": "array", "items": {"type": "object", "required": ["platform", "field", "severity", "message"], "properties": {
            "platform": {"type": ["string", "null"], "description": "null for what concerns all"},
            "field": {"type": "string", "description": "JSON pointer"},
            "severity": {"type": "string", "enum": ["error", "warning"]},
            "message": {"type": "string"}}}}},
    "examples": [{"is_fit": false, "problems": [{"platform": "spotify", "field": "/metadata/label", "severity": "error", "message": "label is missing"}]}]}'),
('Package', '{
    "type": "object", "description": "What is to be delivered by hand: a ZIP of audio, cover, metadata and a sheet that leads through the form",
    "required": ["distribution_id", "platform", "state", "revision", "scope", "file_name", "media_type", "bytes", "sha256", "reason", "url", "expires_at"],
    "properties": {
        "distribution_id": {"type": "string", "format": "uuid"},
        "platform": {"type": "string"},
        "state": {"type": "string", "enum": ["waiting", "building", "ready", "failed", "expired"],
            "description": "waiting: it was not asked for yet, or the platform is not fed by hand"},
        "revision": {"type": "integer", "description": "Of the release"},
        "scope": {"type": ["string", "null"], "enum": ["full", "metadata", "takedown", null], "description": "metadata: without files, which are there already"},
        "file_name": {"type": ["string", "null"]}, "media_type": {"type": ["string", "null"]}, "bytes": {"type": ["integer", "null"]},
        "sha256": {"type": ["string", "null"], "description": "Hexadecimal"},
        "reason": {"type": ["string", "null"], "description": "What is to be done with it, or why there is none"},
        "url": {"type": ["string", "null"], "format": "uri", "description": "Where it can be fetched, in pieces too; null where the server is not told its own address"},
        "expires_at": {"type": ["string", "null"], "format": "date-time", "description": "Of the url"}},
    "examples": [{"distribution_id": "f3b0a5c2-9d0a-4a1c-b8a7-3d0c9e8f1a77", "platform": "distrokid", "state": "ready", "revision": 1, "scope": "full",
        "file_name": "Mira - Battle at Dawn.zip", "media_type": "application/zip", "bytes": 52428800,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "reason": "the bundle is ready to be fetched: upload it at DistroKid", "url": "https://api.example.com/files/packages/AX9s/Mira%20-%20Battle%20at%20Dawn.zip",
        "expires_at": "2026-03-09T10:36:00.000000Z"}]}'),
('Cover', '{
    "type": "object", "description": "The cover of a distribution", "required": ["distribution_id", "state", "is_drawn", "url"],
    "properties": {
        "distribution_id": {"type": "string", "format": "uuid"},
        "state": {"type": "string", "enum": ["drawing", "ready", "failed"]},
        "is_drawn": {"type": "boolean", "description": "By us, as its metadata says cover: draw; else it is what its cover_url names"},
        "media_type": {"type": ["string", "null"]}, "bytes": {"type": ["integer", "null"]},
        "sha256": {"type": ["string", "null"], "description": "Hexadecimal"},
        "reason": {"type": ["string", "null"], "description": "Why there is none"},
        "url": {"type": ["string", "null"], "format": "uri", "description": "Where it can be fetched; null while it is drawn, and where the server is not told its own address"},
        "expires_at": {"type": ["string", "null"], "format": "date-time", "description": "Of the url of a drawn one"}},
    "examples": [{"distribution_id": "f3b0a5c2-9d0a-4a1c-b8a7-3d0c9e8f1a77", "state": "ready", "is_drawn": true, "media_type": "image/jpeg", "bytes": 1048576,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "reason": null,
        "url": "https://api.example.com/files/covers/AX9s/Mira%20-%20Battle%20at%20Dawn.jpg", "expires_at": "2026-03-09T10:36:00.000000Z"}]}'),
('Stats', '{
    "type": "object", "description": "How releases were heard and what they earned", "required": ["from", "to", "by", "data", "totals"],
    "properties": {
        "from": {"type": "string", "format": "date"}, "to": {"type": "string", "format": "date"},
        "by": {"type": "string", "enum": ["day", "platform", "territory", "distribution", "track"]},
        "data": {"type": "array", "items": {"type": "object", "required": ["name", "streams", "downloads", "likes", "saves", "shares", "revenue"], "properties": {
                "name": {"type": ["string", "null"], "description": "The day, platform, territory, or id of the distribution or track; null where partners don''t tell"},
                "streams": {"type": "integer"}, "downloads": {"type": "integer"}, "likes": {"type": "integer"}, "saves": {"type": "integer"}, "shares": {"type": "integer"},
                "revenue": {"type": "object", "additionalProperties": {"type": "number"}, "description": "By currency; none is converted"}}}},
        "totals": {"type": "object", "required": ["streams", "downloads", "likes", "saves", "shares", "revenue"], "properties": {
            "streams": {"type": "integer"}, "downloads": {"type": "integer"}, "likes": {"type": "integer"}, "saves": {"type": "integer"}, "shares": {"type": "integer"},
            "revenue": {"type": "object", "additionalProperties": {"type": "number"}, "description": "By currency; none is converted"}}}},
    "examples": [{"from": "2026-03-01", "to": "2026-03-31", "by": "platform",
        "data": [{"name": "deezer", "streams": 310, "downloads": 0, "likes": 4, "saves": 12, "shares": 2, "revenue": {"EUR": 1.07}},
                 {"name": "spotify", "streams": 5120, "downloads": 0, "likes": 0, "saves": 201, "shares": 40, "revenue": {"EUR": 15.36}}],
        "totals": {"streams": 5430, "downloads": 0, "likes": 4, "saves": 213, "shares": 42, "revenue": {"EUR": 16.43}}}]}'),
('DistributionStep', '{
    "type": "object", "description": "What happened to a distribution", "required": ["at", "platform", "status", "reason"],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "platform": {"type": ["string", "null"]},
        "status": {"type": "string", "description": "The new state, or updated, update_refused, takedown_requested"},
        "reason": {"type": ["string", "null"]}},
    "examples": [{"at": "2026-03-09T10:21:00.000000Z", "platform": "spotify", "status": "processing", "reason": null}]}')
) s (name, schema);

-- A delivery with all that is known of it
insert into api_schemas (version, name, schema, is_shipped)
select 'v1', 'DeliveryDetail', json_build_object(
    'description', 'A delivery with its body and every attempt',
    'allOf', json_build_array(json_build_object('$ref', '#/components/schemas/Delivery'), json_build_object('type', 'object',
        'required', json_build_array('payload', 'attempts'),
        'properties', json_build_object('payload', json_build_object('description', 'The body; null when the event is no longer kept'),
                                        'attempts', json_build_object('type', 'array', 'items', json_build_object('$ref', '#/components/schemas/Attempt'))))),
    'examples', json_build_array((d.schema #> '{examples,0}')::jsonb
        || jsonb_build_object('payload', '{"type": "track.created", "timestamp": "2026-03-09T10:15:00.130000Z", "data": {"title": "Battle at Dawn"}}'::jsonb,
                              'attempts', jsonb_build_array(a.schema #> '{examples,0}')))), true
  from api_schemas d, api_schemas a where d.name = 'Delivery' and a.name = 'Attempt';

-- What is told once, when something is made
insert into api_schemas (version, name, schema, is_shipped)
select 'v1', n.name, json_build_object(
    'description', n.description,
    'allOf', json_build_array(json_build_object('$ref', '#/components/schemas/' || s.name), json_build_object('type', 'object', 'required', json_build_array(n.member))),
    'examples', json_build_array(_api_with(s.schema #> '{examples,0}', n.member, n.value))), true
  from (values ('NewWebhook', 'Webhook', 'A webhook with its secret, which is seen this once', 'secret', 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='),
               ('NewApiKey', 'ApiKey', 'A key with its text, which is seen this once', 'key', 'mvai_4JqW8xY2bN6kR0tZ5cV9mA3sD7fG1hL0000000'))
       n (name, base, description, member, value)
  join api_schemas s on s.name = n.base;

-- Version 2: a job has its track within
insert into api_schemas (version, name, schema, is_shipped)
select 'v2', s.name, case s.name when 'Job' then '{
    "type": "object", "description": "A job that makes a track",
    "required": ["id", "status", "progress", "prompt", "style", "duration", "params", "track", "error", "created_at", "started_at", "finished_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {"type": "string", "enum": ["queued", "started", "completed", "failed", "cancelled"]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "prompt": {"type": "string"},
        "style": {"type": ["string", "null"]},
        "duration": {"type": ["integer", "null"], "minimum": 1, "description": "Seconds"},
        "params": {"type": "object"},
        "track": {"oneOf": [{"$ref": "#/components/schemas/Track"}, {"type": "null"}], "description": "The track, when there is one that is not deleted"},
        "error": {"type": ["string", "null"], "description": "Why it failed"},
        "created_at": {"type": "string", "format": "date-time"},
        "started_at": {"type": ["string", "null"], "format": "date-time"},
        "finished_at": {"type": ["string", "null"], "format": "date-time"}},
    "examples": [{"id": "3f2a9d34-11b8-4a53-8c1f-2f2b9f7b1c90", "status": "started", "progress": 35, "prompt": "Epic orchestral battle music",
        "style": "Orchestral", "duration": 180, "params": {"seed": 42}, "track": null, "error": null, "created_at": "2026-03-09T10:14:00.000000Z",
        "started_at": "2026-03-09T10:14:01.500000Z", "finished_at": null}]}' else s.schema end, true
  from api_schemas s where s.version = 'v1';

-- Pages
insert into api_schemas (version, name, schema, is_shipped)
select s.version, s.name || 'Page', json_build_object(
    'type', 'object', 'description', 'A page of a list', 'required', json_build_array('data', n.next),
    'properties', json_build_object('data', json_build_object('type', 'array', 'items', json_build_object('$ref', '#/components/schemas/' || s.name)),
                                    n.next, n.schema),
    'examples', json_build_array(json_build_object('data', json_build_array(s.schema #> '{examples,0}'), n.next, n.example))), true
  from api_schemas s,
       lateral (select case when s.version = 'v1' and s.name = 'Event' then 'next_after' else 'next_cursor' end,
                       case when s.name <> 'Event' then '{"type": ["string", "null"], "description": "What to send as cursor for the next page; null on the last"}'
                            when s.version = 'v1' then '{"type": "integer", "description": "What to send as after, now or later"}'
                            else '{"type": "string", "description": "What to send as cursor, now or later"}' end::json,
                       case when s.version = 'v1' and s.name = 'Event' then '1773051300130000' when s.name = 'Event' then '"bmV4dA"' else 'null' end::json)
           n (next, schema, example)
 where s.name in ('Track', 'Job', 'Webhook', 'Delivery', 'EventType', 'Event', 'Scope', 'ApiKey', 'Distribution', 'DistributionStep', 'Partner');
