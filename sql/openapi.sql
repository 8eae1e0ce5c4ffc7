-- The API's description is kept in memory, and is always that of the tables.
set client_min_messages = warning;
create extension if not exists musicverse;
create function pg_temp.is_right(version text) returns boolean language sql as $$
    select musicverse._openapi_json(version)::jsonb = musicverse.openapi(version)
$$;
select pg_temp.is_right('v1') as made, pg_temp.is_right('v1') as kept, pg_temp.is_right('v2') as other;
select musicverse.register_event_type('regress.described', 'Described', '{"a": 1}');
select pg_temp.is_right('v1') as after_an_event_type, musicverse._openapi_json('v1')::jsonb -> 'webhooks' ? 'regress.described' as has_it;
begin;
update musicverse.event_types set description = 'Never' where name = 'regress.described';
select pg_temp.is_right('v1') as within, musicverse._openapi_json('v1')::text ~ '"Never"' as has_it;
savepoint s;
insert into musicverse.routes (version, method, path, operation, summary) values ('v1', 'GET', '/api/v1/regress', 'regress', 'Regress');
select pg_temp.is_right('v1') as within, musicverse._openapi_json('v1')::jsonb -> 'paths' ? '/api/v1/regress' as has_it;
rollback to s;
select pg_temp.is_right('v1') as after_the_savepoint, musicverse._openapi_json('v1')::jsonb -> 'paths' ? '/api/v1/regress' as has_it;
rollback;
select pg_temp.is_right('v1') as after_the_rollback, musicverse._openapi_json('v1')::text ~ '"Never"' as has_it;
-- a snapshot of before keeps its own, and leaves nothing behind
begin isolation level repeatable read;
select 1 as snapshot;
delete from musicverse.event_types where name = 'regress.described';
select pg_temp.is_right('v1') as within;
commit;
select pg_temp.is_right('v1') as afterwards, musicverse._openapi_json('v1')::jsonb -> 'webhooks' ? 'regress.described' as has_it;
-- what is none
\set SHOW_CONTEXT never
select musicverse._openapi_json('x');
select musicverse._openapi_json(repeat('v', 1000)) is null;
select musicverse._openapi_json(null) is null as nothing;
