-- keys: PostgREST's pre-request, and what a key needs for paths that are not
-- in the catalogue of routes
--
-- Comes after the catalogue, as both tables tell of their changes here.

create table request_scopes (
    method text not null default '*' check (method in ('*', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE')),
    path   text not null check (path ~ '^/[^*]*[*]?$' and octet_length(path) <= 500),
    scope  text references scopes on update cascade,
    cost   int not null default 1 check (cost between 0 and 1000),
    primary key (method, path)
);
create index request_scopes_scope_idx on request_scopes (scope);
comment on table request_scopes is
    'What a key with scopes needs for the host''s own functions and tables, when it comes by PostgREST; what stands nowhere is refused to it';
comment on column request_scopes.method is '* for any; GET is HEAD as well';
comment on column request_scopes.path is 'As PostgREST has it, such as /rpc/charts or /albums; * at the end stands for whatever follows';
comment on column request_scopes.scope is 'NULL: any key may';
comment on column request_scopes.cost is 'Tokens that a call takes';

create trigger invalidate after insert or update or delete or truncate on request_scopes
    for each statement execute function _invalidate_relation();
alter table request_scopes enable always trigger invalidate;

create function pre_request() returns void
language c volatile as 'MODULE_PATHNAME', 'musicverse_pre_request';
comment on function pre_request() is
    'PostgREST''s db-pre-request: verifies the key of request.headers, takes its tokens, makes its user the caller, writes RateLimit fields to response.headers; refuses by SQLSTATE PGRST';
