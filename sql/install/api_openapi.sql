create function openapi(version text default 'v1') returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return '{}';
end
$$;
comment on function openapi(text) is 'OpenAPI';
