-- api: the gateway, as far as SQL sees it

create function _gateway_status(
    out worker int, out pid int, out database oid, out state text, out listen text, out port int, out started_at timestamptz,
    out connections int, out connections_total bigint, out connections_refused bigint,
    out requests bigint, out errors bigint, out bytes_received bigint, out bytes_sent bigint)
returns setof record language c strict volatile as 'MODULE_PATHNAME', 'musicverse_gateway_status';
comment on function _gateway_status() is 'What the workers of the gateway tell in shared memory';

create view gateway_status with (security_invoker = true) as
    select s.worker, s.pid, d.datname as database, s.state, s.listen, s.port, s.started_at, s.connections,
           s.connections_total, s.connections_refused, s.requests, s.errors, s.bytes_received, s.bytes_sent
      from _gateway_status() s left join pg_database d on d.oid = s.database;
comment on view gateway_status is 'The workers of the gateway: where they listen, what they have served';
comment on column gateway_status.worker is 'Its number';
comment on column gateway_status.state is 'listening, not listening (no address could be had), stopping, not running';
comment on column gateway_status.listen is 'The addresses and ports it listens on';
comment on column gateway_status.port is 'The port of the first of them, also where it was chosen for port 0';
comment on column gateway_status.connections_refused is 'Connections for which there was no room';
comment on column gateway_status.errors is 'Answers with a status of 500 and above';

create function metrics() returns text
language c strict volatile as 'MODULE_PATHNAME', 'musicverse_metrics';
comment on function metrics() is 'Counters of the whole server in the text format of Prometheus, as the gateway''s /metrics';

create function health() returns jsonb
language c strict volatile as 'MODULE_PATHNAME', 'musicverse_health';
comment on function health() is 'Whether this database is ready to serve the API, as the gateway''s /readyz';
