-- access: who sees and may do what, and what a dump holds
--
-- The last part before the grants are cleared, as it names objects of all
-- rooms. Row-level security lets a user see its own rows and a service role
-- all of them; nobody but service roles writes to a table, users call the
-- functions. The leaves of the partitioned tables have row-level security and
-- no policy: they are reached through their roots only.
--
-- _viewer() and caller_is_service() stand in a subquery, so that they run once a
-- query and not once a row.

create trigger a_ensure_account before insert on payments
    for each row execute function ensure_account('user_id');
create trigger touch_updated_at before update on payments
    for each row execute function touch_updated_at();
create trigger emit_event after insert or update of status on payments
    for each row execute function emit_state_event('payment', 'user_id', 'status', 'succeeded', 'failed');

create trigger a_ensure_account before insert on subscriptions
    for each row execute function ensure_account('user_id');
create trigger touch_updated_at before update on subscriptions
    for each row execute function touch_updated_at();
-- Its beginning is told once, also when it is resumed later; so is its end,
-- and a subscription that is cancelled first runs out silently.
create trigger emit_created after insert on subscriptions
    for each row when (new.status in ('trialing', 'active', 'past_due'))
    execute function emit_state_event('subscription', 'user_id', 'status', 'insert:created');
create trigger emit_cancelled_insert after insert on subscriptions
    for each row when (new.status in ('cancelled', 'expired'))
    execute function emit_state_event('subscription', 'user_id', 'status', 'insert:cancelled');
create trigger emit_cancelled_update after update of status on subscriptions
    for each row when (old.status not in ('cancelled', 'expired'))
    execute function emit_state_event('subscription', 'user_id', 'status', 'cancelled', 'expired=cancelled');

do $$
declare
    name text;
begin
    for name in
        select c.relname from pg_class c
         where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p')
    loop
        execute format('alter table %I enable row level security', name);
    end loop;

    foreach name in array '{accounts,api_keys,api_usage,api_usage_hours,api_usage_days,quota_usage,idempotency_keys,payments,subscriptions,tracks,generation_jobs,generation_work,media_requests,webhook_endpoints,events,event_log,event_keys,deliveries,webhook_attempts,
        distributions,distribution_facts,counter_snapshots,partner_syncs,dsr_products,distribution_targets,distribution_work,distribution_history,notifications,partner_accounts,partner_authorizations,partner_sign_outs}'::text[] loop
        execute format('create policy own_rows on %I for select
            using (_may_see((select _viewer()), user_id))', name);
    end loop;
    foreach name in array '{tiers,event_types,scopes,routes,api_versions,api_schemas,platforms}'::text[] loop
        execute format('create policy all_rows on %I for select using (true)', name);
    end loop;
    foreach name in array '{exposed_roles,installation,worker_marks,request_scopes,providers,partners,partner_callbacks,partner_listings,partner_acknowledgements,partner_statuses,partner_tokens,report_folders,report_files,dsr_reports,dsr_lines,dsr_rejects,release_recordings,isrc_prefixes,gtin_prefixes,media,media_work,media_use}'::text[] loop
        execute format('create policy service_reads on %I for select using ((select caller_is_service()))', name);
    end loop;

    foreach name in array '{tiers,scopes,routes,api_versions,api_schemas,request_scopes,accounts,payments,subscriptions,tracks,generation_jobs,platforms}'::text[] loop
        execute format('create policy service_inserts on %I for insert with check ((select caller_is_service()))', name);
        execute format('create policy service_updates on %I for update using ((select caller_is_service()))', name);
        execute format('create policy service_deletes on %I for delete using ((select caller_is_service()))', name);
    end loop;
end
$$;

create policy own_rows on webhook_state for select
    using ((select caller_is_service()) or exists (select from webhook_endpoints w where w.id = webhook_id));

-- What the kinds of roles get: a service role gets all three lists, the others
-- the lower two. A function stands for all that bear its name, or begin with what
-- is before an asterisk.
--
-- An anonymous role gets what an authenticated one has, as that is whom
-- PostgREST lets in for a caller by API key, which is no token. Without a
-- caller row-level security shows it nothing of any user, and the functions
-- refuse to act for one.
create function _exposed(kind text, out readable text[], out writable text[], out callable text[]) returns record
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case kind
        when 'service' then '{exposed_roles,installation,event_keys,worker_status,usage_status,gateway_status,generation_work,generation_status,provider_status,request_scopes,isrc_prefixes,gtin_prefixes,
            partner_callbacks,partner_listings,partner_acknowledgements,partner_statuses,distribution_work,distribution_status,distribution_lookups,media,media_work,media_requests,media_use,media_queue,media_status,partner_status,report_folders,report_files,dsr_reports,dsr_lines,dsr_products,dsr_rejects,release_recordings,success_metrics,distribution_success_rate,webhook_success_rate,adoption}'::text[]
        when 'authenticated' then '{accounts,api_usage,api_usage_hours,api_usage_days,quota_usage,payments,subscriptions,tracks,generation_jobs,webhooks,webhook_deliveries,webhook_state,webhook_attempts,events,event_log,deliveries,_readable_api_keys,_readable_partner_accounts,
            partner_syncs,counter_snapshots,distribution_facts,counted_facts,distribution_stats,release_stats,track_stats,platform_stats,
            distributions,distribution_targets,distribution_history,notifications}'
        when 'anon' then '{tiers,event_types,scopes,routes,api_versions,api_schemas,platforms}' end,
    case kind
        when 'service' then '{tiers,scopes,routes,api_versions,api_schemas,request_scopes,accounts,payments,subscriptions,tracks,generation_jobs,platforms}'::text[]
        else '{}' end,
    case kind
        when 'service' then
            '{set_tier,record_payment,record_subscription,register_event_type,row_schema,emit_event,emit_row_event,emit_state_event,
              ensure_account,touch_updated_at,sign_webhook,verify_webhook,sending_status,address_refusal,_worker_status,
              verify_api_key,report_leaked_key,take_tokens,take_tokens_all,rate_limit_status,record_usage,flush_usage,_usage_status,
              verify_request_signature,verify_signed_request,
              _gateway_status,metrics,health,
              configure_provider,set_provider_active,remove_provider,_generation_worker,_provider_config,_provider_defaults,
              import_dsr,import_dsr_file,rematch_dsr,fetch_reports,configure_partner,set_partner_active,resume_partner,_distribution_worker,_media_worker,_fading,inspect_audio,request_cover,cover_image,
              configure_isrc_prefix,configure_gtin_prefix,next_isrc,next_upc,_gtin_check_digit,
              ern_message,ern_problems,acknowledgement,batch_complete,ern_folder,ern_batch_id,ern_path,ern_batch_complete_path,
              ern_resource_name,_check_release_id}'::text[]
        when 'authenticated' then
            '{create_webhook,update_webhook,delete_webhook,enable_webhook,disable_webhook,rotate_webhook_secret,test_webhook,
              replay_delivery,replay_webhook,replay_since_event,explain_event,webhook_stats,poll_events,cancel_job,_sending_as,
              create_api_key,rotate_api_key,revoke_api_key,quota_status,usage_summary,usage_top,generate,update_track,delete_track,cover_art,distribution_cover,
              create_distribution,check_release,update_release,submit_distribution,cancel_distribution,takedown_distribution,confirm_distribution,
              distribution_package,distribution_package_read,_package_url,_cover_state,mark_notifications_read,
              partner_authorize_url,partner_authorized,partner_disconnect,_account_partners,_begin_authorization,
              _money,sum_money,_caller_key_id,_check_delegation,_absent,_present}'
        when 'anon' then '{current_user_id,caller_is_service,_viewer,_may_see,_now,usage_percentile,request_signature,pre_request,handle_request,
              openapi,_openapi_*,_api_*,_cursor,_open_cursor,provider_callback,partner_callback,
              isrc_is_valid,normalize_isrc,gtin_is_valid,normalize_gtin,iswc_is_valid,normalize_iswc,isni_is_valid,normalize_isni,grid_is_valid,normalize_grid,dpid_is_valid,normalize_dpid,
              _require_isrc,_require_gtin,_require_iswc,_require_isni,_require_dpid}' end
$$;
comment on function _exposed(text) is 'What expose_to() grants to a kind of role beyond what the lesser kinds get';

create function _grant_kind(role regrole, kind text) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    kinds constant text[] := case kind
        when 'service' then '{service,authenticated,anon}'::text[]
        when 'authenticated' then '{authenticated,anon}'
        when 'anon' then '{authenticated,anon}' end;
    relation name;
    routine regprocedure;
    hidden constant name[] := '{secret,previous_secret,client_key,key_hash,credentials,tokens,code}';
begin
    execute format('grant usage on schema musicverse, musicverse_v1, musicverse_v2 to %s', role);
    execute format('grant execute on all functions in schema musicverse_v1, musicverse_v2 to %s', role);
    for relation in
        select c.relname from pg_class c
         where c.relnamespace = 'musicverse'::regnamespace
           and c.relname = any (select unnest((_exposed(k)).readable) from unnest(kinds) k)
    loop
        execute format('grant select on %I to %s', relation, role);
    end loop;
    for relation in
        select c.relname from pg_class c
         where c.relnamespace = 'musicverse'::regnamespace
           and c.relname = any (select unnest((_exposed(k)).writable) from unnest(kinds) k)
    loop
        execute format('grant insert, update, delete on %I to %s', relation, role);
    end loop;
    for routine in
        select p.oid from pg_proc p
         where p.pronamespace = 'musicverse'::regnamespace
           and exists (select from unnest(kinds) k, unnest((_exposed(k)).callable) c where p.proname like replace(replace(c, '_', '\_'), '*', '%'))
    loop
        execute format('grant execute on function %s to %s', routine, role);
    end loop;
    if 'authenticated' = any (kinds) then
        foreach relation in array case kind when 'service' then '{webhook_endpoints,api_keys,providers,partners,partner_accounts}'
                else '{webhook_endpoints,api_keys,partner_accounts}' end::name[] loop
            execute format('grant select (%s) on %I to %s',
                (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                  where a.attrelid = relation::regclass and a.attnum > 0 and not a.attisdropped
                    and a.attname <> all (hidden)), relation, role);
        end loop;
    end if;
end
$$;
comment on function _grant_kind(regrole, text) is 'Grants a role what its kind gets';

create function expose_to(service regrole, authenticated regrole default null, anon regrole default null) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    granted record;
begin
    if service = authenticated or service = anon or authenticated = anon then
        raise exception 'a role can be exposed to as one kind only' using errcode = '22023';
    end if;
    for granted in
        select r.rolname, v.role::text as role, v.kind
          from (values (service, 'service'), (authenticated, 'authenticated'), (anon, 'anon')) v (role, kind)
          join pg_roles r on r.oid = v.role
    loop
        -- A role that changes its kind loses what it had.
        if exists (select from exposed_roles e where e.role_name = granted.rolname and e.kind <> granted.kind) then
            execute format('revoke all on all tables in schema musicverse from %s', granted.role);
            execute format('revoke all on all functions in schema musicverse, musicverse_v1, musicverse_v2 from %s', granted.role);
        end if;
        insert into exposed_roles as e (role_name, kind) values (granted.rolname, granted.kind)
            on conflict (role_name) do update set kind = excluded.kind where e.kind <> excluded.kind;
        perform _grant_kind(granted.role::regrole, granted.kind);
    end loop;
end
$$;
comment on function expose_to(regrole, regrole, regrole) is
    'Grants what the host''s roles need, such as service_role, authenticated and anon; NULL leaves a kind out. To be called again after an update of the extension';

-- A dump holds the users' data. Not what tells this database from others
-- (installation), nor where its workers were (worker_marks).
do $$
declare
    relation record;
begin
    for relation in
        select c.oid, a.attrelid is not null as has_shipped
          from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attname = 'is_shipped'
         where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'S')
           and c.relname not in ('installation', 'worker_marks')
    loop
        perform pg_extension_config_dump(relation.oid, case when relation.has_shipped then 'where not is_shipped' else '' end);
    end loop;
end
$$;
