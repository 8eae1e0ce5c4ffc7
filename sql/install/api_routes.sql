-- api: the catalogue of routes, which the dispatcher, PostgREST's pre-request,
-- OpenAPI and the documentation page all read
--
-- An operation is a function of schema musicverse_<version>, called by names of
-- its arguments: path parameters, query parameters and members of the JSON body
-- are the arguments of the same names. It returns json. PostgREST exposes the
-- very same functions.

create schema musicverse_v1;
comment on schema musicverse_v1 is 'Version 1 of the API as functions: operations of routes, to be exposed by PostgREST';
create schema musicverse_v2;
comment on schema musicverse_v2 is 'Version 2 of the API as functions: operations of routes, to be exposed by PostgREST';

create table routes (
    version         text not null check (version ~ '^v[1-9][0-9]*$'),
    method          text not null check (method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
    path            text not null check (path ~ '^/[!-z{}]*$'),
    operation       name not null check (operation ~ '^[a-z][a-z0-9_]*$'),
    scope           text references scopes on update cascade,
    needs_key       boolean not null default true check (needs_key or scope is null),
    cost            int not null default 1 check (cost between 0 and 1000),
    status          int not null default 200 check (status between 200 and 299),
    response_type   text not null default 'application/json',
    tag             text not null default 'Other',
    summary         text not null,
    description     text,
    parameters      jsonb not null default '[]' check (jsonb_typeof(parameters) = 'array'),
    request_schema  jsonb check (jsonb_typeof(request_schema) = 'object'),
    response_schema jsonb check (jsonb_typeof(response_schema) = 'object'),
    request_example jsonb,
    is_list         boolean not null default false,
    has_etag        boolean not null default false,
    is_raw          boolean not null default false check (not is_raw or not needs_key and not is_list and not has_etag),
    is_shipped      boolean not null default false,
    primary key (version, method, path),
    unique (version, operation)
);
create index routes_scope_idx on routes (scope);
comment on table routes is 'The routes of the REST API; a host may add its own';
comment on column routes.path is 'Template, such as /api/v1/jobs/{job_id}';
comment on column routes.operation is 'The function of schema musicverse_<version> that is called; with PostgREST /rpc/<operation>';
comment on column routes.scope is 'What a key must be allowed to do; NULL for any key';
comment on column routes.needs_key is 'False for what anybody may ask';
comment on column routes.cost is 'Tokens that a call takes; of a raw route only one that is answered with 401';
comment on column routes.status is 'Of an answer that succeeds';
comment on column routes.parameters is 'Path and query parameters as OpenAPI has them; their names are those of the function''s arguments';
comment on column routes.request_schema is 'JSON Schema of the body; NULL where none is taken';
comment on column routes.response_schema is 'JSON Schema of the answer that succeeds; NULL where it has no body';
comment on column routes.is_list is 'Takes limit and cursor, returns data and next_cursor';
comment on column routes.has_etag is 'Is answered with an ETag and heeds If-None-Match';
comment on column routes.is_raw is 'The operation gets headers and body as they were sent, proves them itself, and returns the status to answer';
comment on column routes.is_shipped is 'Comes with the extension, so is not part of a dump';

-- ALWAYS, as a subscriber of a replication changes them as well
create trigger invalidate after insert or update or delete or truncate on routes
    for each statement execute function _invalidate_relation();
alter table routes enable always trigger invalidate;
