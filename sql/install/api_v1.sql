-- api: version 1
--
-- What /api/v1 calls, and what PostgREST exposes as /rpc/<name>. The same
-- operations of both versions stand in api_operations.sql; what is written out
-- here is what is different: a job shows the address of its track, lists take
-- an offset besides the cursor.

create function musicverse_v1.generate(prompt text, style text default null, duration int default null, params jsonb default '{}') returns json
language sql
return musicverse._api_generate(1, prompt, style, duration, params);
comment on function musicverse_v1.generate(text, text, int, jsonb) is 'Queues a job that makes a track';

create function musicverse_v1.list_jobs("limit" int default 20, cursor text default null, status text default null,
                                        "offset" int default 0) returns json
language sql stable
return musicverse._api_list_jobs(1, "limit", cursor, "offset", status);
comment on function musicverse_v1.list_jobs(int, text, text, int) is 'Lists jobs, newest first';

create function musicverse_v1.get_job(job_id uuid) returns json
language sql stable
return musicverse._api_get_job(1, job_id);
comment on function musicverse_v1.get_job(uuid) is 'Shows a job';

create function musicverse_v1.cancel_job(job_id uuid) returns json
language sql
return musicverse._api_cancel_job(1, job_id);
comment on function musicverse_v1.cancel_job(uuid) is 'Cancels a job that has not ended';

create function musicverse_v1.list_tracks("limit" int default 20, cursor text default null, style text default null,
                                          created_after timestamptz default null, created_before timestamptz default null,
                                          sort text default '-created_at', "offset" int default 0) returns json
language sql stable
return musicverse._api_list_tracks('list_tracks', "limit", cursor, "offset", style, created_after, created_before, sort);
comment on function musicverse_v1.list_tracks(int, text, text, timestamptz, timestamptz, text, int) is 'Lists tracks';

create function musicverse_v1.get_track(track_id uuid) returns json
language sql stable
return musicverse._api_get_track(track_id);
comment on function musicverse_v1.get_track(uuid) is 'Shows a track';

create function musicverse_v1.update_track(track_id uuid, title jsonb default musicverse._absent(),
                                           style jsonb default musicverse._absent(), cover_url jsonb default musicverse._absent(),
                                           metadata jsonb default musicverse._absent()) returns json
language sql
return musicverse._api_update_track(track_id, jsonb_build_object('title', title, 'style', style, 'cover_url', cover_url, 'metadata',
    metadata));
comment on function musicverse_v1.update_track(uuid, jsonb, jsonb, jsonb, jsonb) is 'Changes what is given of a track; null empties';

create function musicverse_v1.delete_track(track_id uuid) returns void
language sql
return musicverse._api_delete_track(track_id);
comment on function musicverse_v1.delete_track(uuid) is 'Deletes a track';

create function musicverse_v1.create_webhook(url text, events text[], description text default null, headers jsonb default '{}') returns json
language sql
return musicverse._api_create_webhook(url, events, description, headers);
comment on function musicverse_v1.create_webhook(text, text[], text, jsonb) is 'Makes a webhook; its secret is seen this once';

create function musicverse_v1.list_webhooks("limit" int default 20, cursor text default null, "offset" int default 0) returns json
language sql stable
return musicverse._api_list_webhooks('list_webhooks', "limit", cursor, "offset");
comment on function musicverse_v1.list_webhooks(int, text, int) is 'Lists webhooks, newest first';

create function musicverse_v1.get_webhook(webhook_id uuid) returns json
language sql stable
return musicverse._api_get_webhook(webhook_id);
comment on function musicverse_v1.get_webhook(uuid) is 'Shows a webhook and its health';

create function musicverse_v1.update_webhook(webhook_id uuid, url jsonb default musicverse._absent(),
                                             events jsonb default musicverse._absent(),
                                             description jsonb default musicverse._absent(),
                                             headers jsonb default musicverse._absent(), filter jsonb default musicverse._absent(),
                                             ordering_key jsonb default musicverse._absent(),
                                             signing jsonb default musicverse._absent(),
                                             client_cert jsonb default musicverse._absent(),
                                             client_key jsonb default musicverse._absent(),
                                             ca_cert jsonb default musicverse._absent(), timeout jsonb default musicverse._absent(),
                                             retry_schedule jsonb default musicverse._absent(),
                                             rate_limit jsonb default musicverse._absent(),
                                             max_concurrency jsonb default musicverse._absent()) returns json
language sql
return musicverse._api_update_webhook(webhook_id, jsonb_build_object('url', url, 'events', events, 'description', description,
    'headers', headers, 'filter', filter, 'ordering_key', ordering_key, 'signing', signing, 'client_cert', client_cert, 'client_key',
    client_key, 'ca_cert', ca_cert, 'timeout', timeout, 'retry_schedule', retry_schedule, 'rate_limit', rate_limit, 'max_concurrency',
    max_concurrency));
comment on function musicverse_v1.update_webhook(uuid, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb, jsonb) is
    'Changes what is given of a webhook; null takes the default again';

create function musicverse_v1.delete_webhook(webhook_id uuid) returns void
language sql
return musicverse._api_delete_webhook(webhook_id);
comment on function musicverse_v1.delete_webhook(uuid) is 'Deletes a webhook';

create function musicverse_v1.rotate_webhook_secret(webhook_id uuid, overlap_seconds int default 86400) returns json
language sql
return musicverse._api_rotate_webhook_secret(webhook_id, overlap_seconds);
comment on function musicverse_v1.rotate_webhook_secret(uuid, int) is 'Gives a webhook a new secret, which is seen this once';

create function musicverse_v1.test_webhook(webhook_id uuid, event_type text default 'webhook.test') returns json
language sql
return musicverse._api_test_webhook(webhook_id, event_type);
comment on function musicverse_v1.test_webhook(uuid, text) is 'Sends an example to a webhook';

create function musicverse_v1.enable_webhook(webhook_id uuid) returns json
language sql
return musicverse._api_switch_webhook(webhook_id, true, null);
comment on function musicverse_v1.enable_webhook(uuid) is 'Starts a webhook, with what was held';

create function musicverse_v1.disable_webhook(webhook_id uuid, reason text default null) returns json
language sql
return musicverse._api_switch_webhook(webhook_id, false, reason);
comment on function musicverse_v1.disable_webhook(uuid, text) is 'Stops a webhook; its events are held';

create function musicverse_v1.replay_webhook(webhook_id uuid, since timestamptz, until timestamptz default null,
                                             only_failed boolean default true, dry_run boolean default false,
                                             per_second numeric default null) returns json
language sql
return musicverse._api_replay_webhook(webhook_id, since, until, only_failed, dry_run, per_second);
comment on function musicverse_v1.replay_webhook(uuid, timestamptz, timestamptz, boolean, boolean, numeric) is
    'Sends again what a webhook was sent within a time';

create function musicverse_v1.get_webhook_stats(webhook_id uuid, period_seconds int default 86400) returns json
language sql stable
return musicverse._api_webhook_stats(webhook_id, period_seconds);
comment on function musicverse_v1.get_webhook_stats(uuid, int) is 'Shows how deliveries to a webhook went';

create function musicverse_v1.list_deliveries("limit" int default 20, cursor text default null, webhook_id uuid default null,
                                              status text default null, event_type text default null) returns json
language sql stable
return musicverse._api_list_deliveries('list_deliveries', "limit", cursor, webhook_id, status, event_type);
comment on function musicverse_v1.list_deliveries(int, text, uuid, text, text) is 'Lists deliveries, newest first';

create function musicverse_v1.get_delivery(delivery_id uuid) returns json
language sql stable
return musicverse._api_get_delivery(delivery_id);
comment on function musicverse_v1.get_delivery(uuid) is 'Shows a delivery with its body and every attempt';

create function musicverse_v1.replay_delivery(delivery_id uuid) returns json
language sql
return musicverse._api_replay_delivery(delivery_id);
comment on function musicverse_v1.replay_delivery(uuid) is 'Sends a delivery again under the same webhook-id';

create function musicverse_v1.list_event_types("limit" int default 20, cursor text default null, "offset" int default 0) returns json
language sql stable
return musicverse._api_list_event_types('list_event_types', "limit", cursor, "offset");
comment on function musicverse_v1.list_event_types(int, text, int) is 'Lists the event types that webhooks can subscribe to';

create function musicverse_v1.poll_events(after bigint default 0, "limit" int default 20) returns json
language sql stable
return musicverse._api_poll_events(after, "limit");
comment on function musicverse_v1.poll_events(bigint, int) is 'Lists events behind a position, in the order of their commits';

create function musicverse_v1.list_scopes() returns json
language sql stable
return musicverse._api_list_scopes();
comment on function musicverse_v1.list_scopes() is 'Lists what a key may be allowed to do';

create function musicverse_v1.create_api_key(name text, scopes text[] default '{}', expires_at timestamptz default null,
                                             allowed_cidrs cidr[] default null, require_signature boolean default false) returns json
language sql
return musicverse._api_create_api_key(name, scopes, expires_at, allowed_cidrs, require_signature);
comment on function musicverse_v1.create_api_key(text, text[], timestamptz, cidr[], boolean) is
    'Makes an API key; its text is seen this once';

create function musicverse_v1.list_api_keys("limit" int default 20, cursor text default null, "offset" int default 0) returns json
language sql stable
return musicverse._api_list_api_keys('list_api_keys', "limit", cursor, "offset");
comment on function musicverse_v1.list_api_keys(int, text, int) is 'Lists API keys, newest first';

create function musicverse_v1.get_api_key(key_id uuid) returns json
language sql stable
return musicverse._api_get_api_key(key_id);
comment on function musicverse_v1.get_api_key(uuid) is 'Shows an API key';

create function musicverse_v1.rotate_api_key(key_id uuid, overlap_seconds int default 0) returns json
language sql
return musicverse._api_rotate_api_key(key_id, overlap_seconds);
comment on function musicverse_v1.rotate_api_key(uuid, int) is
    'Makes the key that takes the place of another; its text is seen this once';

create function musicverse_v1.revoke_api_key(key_id uuid) returns void
language sql
return musicverse._api_revoke_api_key(key_id);
comment on function musicverse_v1.revoke_api_key(uuid) is 'Revokes an API key';

create function musicverse_v1.get_me() returns json
language sql stable
return musicverse._api_get_me();
comment on function musicverse_v1.get_me() is 'Shows the account, its limits, what is left of its quotas, and the key';

create function musicverse_v1.get_usage("from" timestamptz default null, "to" timestamptz default null, bucket text default 'day') returns json
language sql stable
return musicverse._api_get_usage("from", "to", bucket);
comment on function musicverse_v1.get_usage(timestamptz, timestamptz, text) is 'Shows usage by time';

create function musicverse_v1.get_usage_top("from" timestamptz default null, "to" timestamptz default null,
                                            "by" text default 'operation', "limit" int default 10) returns json
language sql stable
return musicverse._api_get_usage_top("from", "to", "by", "limit");
comment on function musicverse_v1.get_usage_top(timestamptz, timestamptz, text, int) is 'Shows what was called most';

create function musicverse_v1.create_distribution(track_ids uuid[], platforms text[], release_date date default null,
                                                  metadata jsonb default '{}', submit boolean default true) returns json
language sql
return musicverse._api_create_distribution(track_ids, platforms, release_date, metadata, submit);
comment on function musicverse_v1.create_distribution(uuid[], text[], date, jsonb, boolean) is 'Distributes tracks to platforms';

create function musicverse_v1.check_distribution(track_ids uuid[], platforms text[], release_date date default null,
                                                 metadata jsonb default '{}') returns json
language sql
return musicverse._api_check_distribution(track_ids, platforms, release_date, metadata);
comment on function musicverse_v1.check_distribution(uuid[], text[], date, jsonb) is 'Checks a release without making it';

create function musicverse_v1.list_distributions("limit" int default 20, cursor text default null, status text default null) returns json
language sql stable
return musicverse._api_list_distributions("limit", cursor, status);
comment on function musicverse_v1.list_distributions(int, text, text) is 'Lists distributions, newest first';

create function musicverse_v1.get_distribution(distribution_id uuid) returns json
language sql stable
return musicverse._api_get_distribution(distribution_id);
comment on function musicverse_v1.get_distribution(uuid) is 'Shows a distribution';

create function musicverse_v1.update_distribution(distribution_id uuid, metadata jsonb) returns json
language sql
return musicverse._api_change_distribution(distribution_id, 'update', null, metadata);
comment on function musicverse_v1.update_distribution(uuid, jsonb) is 'Changes a distribution';

create function musicverse_v1.get_distribution_timeline(distribution_id uuid, "limit" int default 20, cursor text default null) returns json
language sql stable
return musicverse._api_get_timeline(distribution_id, "limit", cursor);
comment on function musicverse_v1.get_distribution_timeline(uuid, int, text) is 'Lists what happened to a distribution, oldest first';

create function musicverse_v1.get_distribution_stats(distribution_id uuid, "from" date default null, "to" date default null,
                                                    platform text default null, "by" text default 'day') returns json
language sql stable
return musicverse._api_get_distribution_stats(distribution_id, "from", "to", platform, "by");
comment on function musicverse_v1.get_distribution_stats(uuid, date, date, text, text) is 'Shows how a distribution was heard and what it earned';

create function musicverse_v1.get_stats("from" date default null, "to" date default null, platform text default null, "by" text default 'day') returns json
language sql stable
return musicverse._api_get_stats("from", "to", platform, "by");
comment on function musicverse_v1.get_stats(date, date, text, text) is 'Shows how all distributions were heard and what they earned';

create function musicverse_v1.submit_distribution(distribution_id uuid) returns json
language sql
return musicverse._api_change_distribution(distribution_id, 'submit', null, null);
comment on function musicverse_v1.submit_distribution(uuid) is 'Submits a distribution, or again where it failed';

create function musicverse_v1.cancel_distribution(distribution_id uuid) returns json
language sql
return musicverse._api_change_distribution(distribution_id, 'cancel', null, null);
comment on function musicverse_v1.cancel_distribution(uuid) is 'Cancels a distribution that is not live yet';

create function musicverse_v1.takedown_distribution(distribution_id uuid, platforms text[] default null) returns json
language sql
return musicverse._api_change_distribution(distribution_id, 'takedown', platforms, null);
comment on function musicverse_v1.takedown_distribution(uuid, text[]) is 'Takes a distribution down';

create function musicverse_v1.confirm_distribution(distribution_id uuid, platform text, external_url text default null,
                                                    external_id text default null) returns json
language sql
return musicverse._api_confirm_distribution(distribution_id, platform, external_url, external_id);
comment on function musicverse_v1.confirm_distribution(uuid, text, text, text) is 'Confirms what was delivered by hand';

-- stable, though it has a package that was forgotten packed again: not in a read-only transaction
create function musicverse_v1.get_package(distribution_id uuid, platform text) returns json
language sql stable
return musicverse._api_get_package(distribution_id, platform);
comment on function musicverse_v1.get_package(uuid, text) is 'Shows a package';

-- stable, though it has a cover drawn: not in a read-only transaction
create function musicverse_v1.get_cover(distribution_id uuid) returns json
language sql stable
return musicverse._api_get_cover(distribution_id);
comment on function musicverse_v1.get_cover(uuid) is 'Shows a cover';

-- Not for PostgREST's /rpc, which hands no headers on: whoever calls it there gives its own
create function musicverse_v1.provider_callback(name text, headers jsonb, body text) returns int
language sql
return musicverse.provider_callback(name, headers, body);
comment on function musicverse_v1.provider_callback(text, jsonb, text) is 'Takes a provider''s signed callback';

create function musicverse_v1.partner_callback(name text, headers jsonb, body text) returns int
language sql
return musicverse.partner_callback(name, headers, body);
comment on function musicverse_v1.partner_callback(text, jsonb, text) is 'Takes a partner''s signed callback';

create function musicverse_v1.list_partners() returns json
language sql stable
return musicverse._api_list_partners();
comment on function musicverse_v1.list_partners() is 'Lists the partners at which users log in themselves, and the caller''s accounts there';

create function musicverse_v1.authorize_partner(name text, redirect_uri text) returns json
language sql
return musicverse._api_authorize_partner(name, redirect_uri);
comment on function musicverse_v1.authorize_partner(text, text) is 'Tells where to log in at a partner';

create function musicverse_v1.partner_authorized(name text, state text, code text) returns json
language sql
return musicverse._api_partner_authorized(name, state, code);
comment on function musicverse_v1.partner_authorized(text, text, text) is 'Takes what the browser came back with from a partner';

create function musicverse_v1.get_partner_account(name text) returns json
language sql stable
return musicverse._api_get_partner_account(name);
comment on function musicverse_v1.get_partner_account(text) is 'Shows the account at a partner';

create function musicverse_v1.disconnect_partner(name text) returns void
language sql
return musicverse._api_disconnect_partner(name);
comment on function musicverse_v1.disconnect_partner(text) is 'Forgets the account at a partner';

create function musicverse_v1.get_openapi() returns json
language sql stable
return musicverse._openapi_json('v1');
comment on function musicverse_v1.get_openapi() is 'The description of this version as OpenAPI 3.1';
