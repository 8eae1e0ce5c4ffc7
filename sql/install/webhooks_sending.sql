-- webhooks: whether this database sends, and under which master key
--
-- A copy of a database must not send what the original sends. Each webhook
-- names the installation that may send to it: a restored dump has another
-- one, and a physical copy has another identity than the one stored.

create function sending_status(out enabled boolean, out reason text, out remedy text) returns record
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    databases text := coalesce(current_setting('musicverse.databases', true), 'postgres');
    strangers bigint := (select count(*) from webhook_endpoints w where w.installation_id <> (select i.id from installation i));
    providers bigint := (select count(*) from providers p where p.installation_id <> (select i.id from installation i));
    partners bigint := (select count(*) from partners p where p.installation_id <> (select i.id from installation i));
begin
    enabled := false;
    if not exists (select from regexp_split_to_table(current_setting('shared_preload_libraries'), '\s*,\s*') l
                    where trim(both '"' from l) ~ '(^|/)musicverse(\.so)?$') then
        reason := 'the server did not load musicverse at its start, so there are no workers';
        remedy := 'Set shared_preload_libraries = ''musicverse'' and restart the server.';
    elsif pg_is_in_recovery() then
        reason := 'this server is a standby';
        remedy := 'Nothing is to be done: sending begins when it is promoted.';
    elsif _sending_as() is null then
        reason := 'this is a copy of the database that was allowed to send';
        remedy := 'If the original is gone: select musicverse.enable_sending();';
    elsif not exists (select from regexp_split_to_table(databases, '\s*,\s*') d
                       where d = current_database() or trim(both '"' from d) = current_database()) then
        reason := format('no worker serves database %s', current_database());
        remedy := 'Add it to musicverse.databases and reload the configuration.';
    elsif strangers > 0 then
        reason := format('%s webhooks were restored from another database, and are not sent to', strangers);
        remedy := 'If the original is gone: select musicverse.enable_sending();';
    elsif providers > 0 then
        reason := format('%s providers were restored from another database, and get no jobs', providers);
        remedy := 'If the original is gone: select musicverse.enable_sending();';
    elsif partners > 0 then
        reason := format('%s partners were restored from another database, and get no releases', partners);
        remedy := 'If the original is gone: select musicverse.enable_sending();';
    else
        enabled := true;
        reason := 'deliveries are sent';
    end if;
end
$$;
comment on function sending_status() is 'Does this database send? If not, why, and what to do';

-- No definer's rights: it takes those of the extension's owner.
create function enable_sending() returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update installation set identity = _identity() where identity <> _identity();
    -- what a restore brought is older than the workers' marks: have them look from the beginning
    with brought as (
        update webhook_endpoints w set installation_id = i.id from installation i
         where w.installation_id <> i.id returning w.id)
    insert into webhook_state (webhook_id, low_seq) select b.id, 1 from brought b
        on conflict (webhook_id) do update set low_seq = 1;
    update providers p set installation_id = i.id from installation i where p.installation_id <> i.id;
    update partners p set installation_id = i.id from installation i where p.installation_id <> i.id;
    perform _wake();
end
$$;
comment on function enable_sending() is 'Makes this database the one that sends; to be called on a copy only when the original does not send any more';

create function rekey_secrets() returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    sealed record;
    n bigint;
    resealed bigint := 0;
begin
    perform _add_master_key();
    for sealed in
        select * from (values
            ('webhook_endpoints', 'secret', $c$'webhook:' || id || ':secret'$c$),
            ('webhook_endpoints', 'previous_secret', $c$'webhook:' || id || ':secret'$c$),
            ('webhook_endpoints', 'client_key', $c$'webhook:' || id || ':client_key'$c$),
            ('providers', 'credentials', $c$'provider:' || name || ':credentials'$c$),
            ('partners', 'credentials', $c$'partner:' || name || ':credentials'$c$),
            ('partner_accounts', 'tokens', $c$'partner:' || partner || ':' || user_id || ':tokens'$c$),
            ('partner_accounts', 'code', $c$'partner:' || partner || ':' || user_id || ':tokens'$c$),
            ('partner_sign_outs', 'tokens', $c$'partner:' || partner || ':' || user_id || ':tokens'$c$),
            ('partner_tokens', 'tokens', $c$'partner:' || partner || ':token'$c$),
            ('partner_authorizations', 'verifier', $c$'partner:' || partner || ':' || user_id || ':verifier'$c$)
        ) v (relation, col, context)
    loop
        execute format('update %1$I set %2$I = _reseal(%2$I, %3$s) where %2$I is not null',
                       sealed.relation, sealed.col, sealed.context);
        get diagnostics n = row_count;
        resealed := resealed + n;
    end loop;
    return resealed;
end
$$;
comment on function rekey_secrets() is 'Makes a new master key and seals every secret under it; returns how many. The old key stays in the file for old backups';
