-- api: the role that operations run as
--
-- It is the cluster's, so it may be there already, made by another database at
-- this very moment. Nobody logs in as it and nobody need be its member: the
-- dispatcher becomes it. It has no row in exposed_roles, which is about the
-- host's roles. After all functions are made, as it is granted what is there.

do $$
begin
    if not exists (select from pg_roles where rolname = 'musicverse_api') then
        create role musicverse_api nologin noinherit;
    end if;
exception
    when duplicate_object or unique_violation then null;
end
$$;

select _grant_kind('musicverse_api', 'authenticated');
