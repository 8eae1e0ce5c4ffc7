-- api: the dispatcher for those who reach the database by PostgREST's RPC

create function musicverse_v1.handle_request(method text, path text, query jsonb default null, headers jsonb default '{}', body text default null,
                                             client_ip inet default null, out status int, out headers jsonb, out body text) returns record
language sql
begin atomic
    select r.status, r.headers, r.body from musicverse.handle_request($1, $2, $3, $4, $5, $6) r;
end;
comment on function musicverse_v1.handle_request(text, text, jsonb, jsonb, text, inet) is
    'Any request to the REST API by one function of an exposed schema: what the edge function calls by RPC';
