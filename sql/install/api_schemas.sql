create table api_schemas (
    version    text not null check (version ~ '^v[1-9][0-9]*$'),
    name       text not null check (name ~ '^[A-Za-z][A-Za-z0-9_]*$'),
    schema     jsonb not null check (jsonb_typeof(schema) = 'object'),
    is_shipped boolean not null default false,
    primary key (version, name)
);
comment on table api_schemas is 'x';
