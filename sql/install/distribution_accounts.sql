-- distribution: what users allow us at partners, by OAuth 2.1 with PKCE
--
-- A user is sent to the partner with a state that works once, for ten minutes
-- and for nobody else; comes back with a code; and the worker exchanges that
-- for tokens. All that is asked of partners for an account, which is the
-- exchange, the refresh and who it is, is one request at a time: its row says
-- what is wanted, and that a request is under way. So a refresh token, which
-- works once, is never used by two.
--
-- Who needs an access token asks _use_account(). Work that has to wait for one
-- is marked, and due again when there is one, or when somebody logged in.
--
-- Locks: an account, then the work that awaits it. The worker waits for neither.

create function _connector_has_accounts(connector text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_connector_has_accounts';
comment on function _connector_has_accounts(text) is 'Do users log in themselves at partners of the connector?';

create function _partner_title(name text) returns text
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce((select f.title from partners p join platforms f on f.name = p.platforms[1] where p.name = _partner_title.name), name)
$$;
comment on function _partner_title(text) is 'What users know a partner as: the title of its platform';

create function _account_context(partner text, user_id uuid) returns text
language sql immutable parallel safe return 'partner:' || partner || ':' || user_id || ':tokens';
comment on function _account_context(text, uuid) is 'What the secrets of an account are sealed for';

create function _random_text() returns text
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select rtrim(translate(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), '+/', '-_'), '=')
$$;
comment on function _random_text() is '43 characters of base64url made of 244 random bits';

create function _account_partner(name text) returns partners
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    p partners;
begin
    select q.* into p from partners q where q.name = _account_partner.name;
    if not found then
        raise exception 'partner "%" does not exist', coalesce(name, 'null') using errcode = 'P0002';
    elsif not _connector_has_accounts(p.connector) then
        raise exception 'users have no accounts at partner "%"', name
            using errcode = '22023', hint = 'Nobody has to log in there: releases are carried under an agreement of this platform.';
    elsif not p.is_active then
        raise exception 'partner "%" is not active', name using errcode = '55000', hint = 'It has to be configured by configure_partner(), or made active by set_partner_active().';
    end if;
    return p;
end
$$;
comment on function _account_partner(text) is 'An active partner at which users have accounts; raises when it is none';

-- OAuth 2.1 lets a browser be sent back by https, or to a program on its own machine.
create function _check_redirect_uri(uri text) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if uri is null or length(uri) > 2000
        or uri !~ '^(https://[A-Za-z0-9.-]+|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\]))(:[0-9]{1,5})?([/?][!-~]*)?$' or uri ~ '#' then
        raise exception 'redirect_uri "%" is not valid', coalesce(left(uri, 200), 'null')
            using errcode = '22023', detail = '{"field": "/redirect_uri"}',
                hint = 'It is the https URL to which the partner sends the browser back, without credentials and fragment; http is for localhost only.';
    end if;
end
$$;
comment on function _check_redirect_uri(text) is 'Refuses an address that no browser may be sent back to';

create function _begin_authorization(partner text, user_id uuid, redirect_uri text, out url text, out expires_at timestamptz) returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p partners;
    config jsonb;
    client text;
    state text := _random_text();
    verifier text := _random_text();
begin
    perform _require_user(user_id);
    p := _account_partner(partner);
    perform _check_redirect_uri(redirect_uri);
    config := _partner_config(p.connector, p.config);
    client := _unseal(p.credentials, 'partner:' || p.name || ':credentials')::jsonb ->> 'client_id';
    expires_at := _now() + interval '10 minutes';

    -- what ran out goes; of one user's the newest ten stay
    delete from partner_authorizations o where o.state_hash = any (array(
        select x.state_hash from partner_authorizations x where x.expires_at < _now() limit 100));
    delete from partner_authorizations o where o.state_hash = any (array(
        select x.state_hash from partner_authorizations x where x.user_id = user_id and x.partner = partner order by x.expires_at desc offset 9));
    insert into partner_authorizations (state_hash, partner, user_id, redirect_uri, verifier, expires_at)
    values (sha256(convert_to(state, 'UTF8')), partner, user_id, redirect_uri,
            _seal(verifier, 'partner:' || partner || ':' || user_id || ':verifier'), expires_at);
    url := (config ->> 'authorize_url') || case when config ->> 'authorize_url' ~ '\?' then '&' else '?' end
        || 'client_id=' || _url_encode(client) || '&redirect_uri=' || _url_encode(redirect_uri) || '&response_type=code&code_challenge='
        || rtrim(translate(encode(sha256(convert_to(verifier, 'UTF8')), 'base64'), '+/', '-_'), '=')
        || '&code_challenge_method=S256&state=' || state;
end
$$;
comment on function _begin_authorization(text, uuid, text) is 'Where a user is to be sent to log in at a partner, and until when that works';

create function partner_authorize_url(partner text, user_id uuid, redirect_uri text) returns text
language sql volatile security definer set search_path = musicverse, pg_catalog, pg_temp as $$
    select b.url from _begin_authorization(partner, user_id, redirect_uri) b
$$;
comment on function partner_authorize_url(text, uuid, text) is
    'Where to send a user who is to allow us to act for him at a partner; the browser comes back to redirect_uri with state and code, for partner_authorized()';

create function partner_authorized(partner text, state text, code text) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p partners := _account_partner(partner);
    begun partner_authorizations;
    secret text;
begin
    if code is null or length(code) > 4096 or code !~ '^[\x20-\x7e]+$' then
        raise exception 'code is not what a partner gives' using errcode = '22023', detail = '{"field": "/code"}',
            hint = 'Pass the code with which the browser came back; when it came back with an error instead, the user has not agreed.';
    end if;
    delete from partner_authorizations b
     where b.state_hash = sha256(convert_to(state, 'UTF8')) and b.partner = partner and (caller_is_service() or b.user_id = current_user_id())
    returning b.* into begun;
    if begun.expires_at > _now() is not true then
        raise exception 'state "%" is unknown, was used, or has expired', coalesce(left(state, 100), 'null')
            using errcode = '22023', detail = '{"field": "/state"}', hint = 'Begin again with partner_authorize_url(): a state works once, for ten minutes, for the user that it was made for.';
    end if;
    secret := jsonb_build_object('code', code, 'redirect_uri', begun.redirect_uri,
                                 'code_verifier', _unseal(begun.verifier, 'partner:' || partner || ':' || begun.user_id || ':verifier'))::text;
    insert into partner_accounts as a (partner, user_id, code, next_attempt_at)
    values (partner, begun.user_id, _seal(secret, _account_context(partner, begun.user_id)), _now())
        on conflict on constraint partner_accounts_pkey do update
       set code = excluded.code, failures = 0, last_error = null,
           status = case a.status when 'connected' then 'connected' else 'pending' end,
           -- the answer to a refresh is taken first; any other is of no use any more
           begun_at = case a.step when 'refresh' then a.begun_at end,
           next_attempt_at = case when a.step = 'refresh' and a.begun_at is not null then a.next_attempt_at else excluded.next_attempt_at end;
    perform _wake_distribution();
end
$$;
comment on function partner_authorized(text, text, text) is
    'Takes state and code with which a user came back from a partner; the worker exchanges the code for tokens, and tells the user by a notification';

create function partner_disconnect(partner text, user_id uuid) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    gone partner_accounts;
    known boolean;
begin
    perform _require_user(user_id);
    delete from partner_authorizations b where b.partner = partner and b.user_id = user_id;
    delete from partner_accounts a where a.partner = partner and a.user_id = user_id returning a.* into gone;
    known := found;
    perform _begin_sign_out(gone) where known;
    perform _wake_distribution();
    return known;
end
$$;
comment on function partner_disconnect(text, uuid) is
    'Forgets what a user allowed us at a partner; false when that was nothing. Releases there stay, and what is under way waits for another login';

-- ---- for whoever needs a token

create function _wake_awaiting(partner text, user_id uuid) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update distribution_work k set next_attempt_at = _now()
     where k.id in (select w.id from distribution_work w
                     where w.partner = _wake_awaiting.partner and w.user_id = _wake_awaiting.user_id and w.awaits_account and w.next_attempt_at is not null
                       for no key update skip locked)
$$;
comment on function _wake_awaiting(text, uuid) is 'Makes the work due that awaits an account; what somebody holds looks again by itself';

create function _account_needs_login(partner text, user_id uuid, reason text) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
    update partner_accounts a
       set status = 'needs_login', tokens = null, code = null, expires_at = null, wants_refresh = false, was_refused = false, wants_look = false,
           begun_at = null, next_attempt_at = null, failures = 0, last_error = _clean_message(reason)
     where a.partner = partner and a.user_id = user_id and a.status <> 'needs_login';
    if found then
        insert into notifications (user_id, kind, title, body)
        values (user_id, 'partner.needs_login', format('Log in at %s again', _partner_title(partner)),
                jsonb_build_object('partner', partner, 'reason', _clean_message(reason)));
        perform _wake_awaiting(partner, user_id);
    end if;
end
$$;
comment on function _account_needs_login(text, uuid, text) is 'The user has to log in again: he is told, and what is under way waits';

-- An access token that holds for another minute at least: state ready. Else
-- later, when it is being got, or login, when only the user can help.
create function _use_account(partner text, user_id uuid, out state text, out generation bigint, out tokens jsonb) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    a partner_accounts;
    secrets jsonb;
begin
    select x.* into a from partner_accounts x where x.partner = partner and x.user_id = user_id for no key update skip locked;
    if not found then
        state := case when exists (select from partner_accounts x where x.partner = partner and x.user_id = user_id) then 'later' else 'login' end;
        return;
    end if;
    generation := a.generation;
    if a.status <> 'connected' or a.wants_look then
        state := case a.status when 'needs_login' then 'login' else 'later' end;
        return;
    end if;
    secrets := _unseal(a.tokens, _account_context(partner, user_id))::jsonb;
    if not a.wants_refresh and coalesce(a.expires_at, 'infinity') > _now() + interval '1 minute' then
        state := 'ready';
        tokens := jsonb_build_object('access_token', secrets -> 'access_token');
    elsif secrets ->> 'refresh_token' is not null then
        state := 'later';
        update partner_accounts x
           set wants_refresh = true,
               next_attempt_at = case when x.begun_at is null and not x.wants_refresh then least(x.next_attempt_at, _now()) else x.next_attempt_at end
         where x.partner = partner and x.user_id = user_id and not x.wants_refresh;
        perform _wake_distribution();
    elsif not a.wants_refresh and a.expires_at > _now() then
        state := 'ready';
        tokens := jsonb_build_object('access_token', secrets -> 'access_token');
    else
        state := 'login';
        perform _account_needs_login(partner, user_id, 'the access has run out');
    end if;
end
$$;
comment on function _use_account(text, uuid) is 'What a request for a user at a partner may use: ready with the tokens; later, or login, without';

create function _tokens_refused(partner text, user_id uuid, generation bigint) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    a partner_accounts;
begin
    select x.* into a from partner_accounts x where x.partner = partner and x.user_id = user_id for no key update skip locked;
    if not found or a.generation <> generation or a.wants_refresh or a.status = 'needs_login' then
        return;
    elsif a.was_refused then
        perform _account_needs_login(partner, user_id, 'the access was refused');
        return;
    end if;
    update partner_accounts x
       set wants_refresh = true, was_refused = true, next_attempt_at = case when x.begun_at is null then _now() else x.next_attempt_at end
     where x.partner = partner and x.user_id = user_id;
    perform _wake_distribution();
end
$$;
comment on function _tokens_refused(text, uuid, bigint) is 'The partner refused the access token of a generation: it is refreshed once, then the user has to log in again';

create function _tokens_worked(partner text, user_id uuid, generation bigint) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update partner_accounts a set was_refused = false
     where (a.partner, a.user_id) in (select x.partner, x.user_id from partner_accounts x
                                       where x.partner = _tokens_worked.partner and x.user_id = _tokens_worked.user_id and x.was_refused
                                         and x.generation = _tokens_worked.generation for no key update skip locked)
$$;
comment on function _tokens_worked(text, uuid, bigint) is 'The partner took the access token of a generation';

create function _await_account(id uuid, state text) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w distribution_work;
    message text;
begin
    select k.* into w from distribution_work k where k.id = id;
    message := case state when 'login' then format('waits until the user has logged in at %s', _partner_title(w.partner)) end;
    update distribution_work k
       set awaits_account = true, begun_at = null, last_error = coalesce(message, k.last_error),
           -- they are woken; this is for what was locked just then
           next_attempt_at = _now() + case state when 'login' then interval '1 hour' else interval '30 seconds' end
     where k.id = id;
    update distribution_targets t set last_error = message
     where t.work_id = id and t.status in ('scheduled', 'delivering', 'processing') and message is distinct from t.last_error and message is not null;
    if state = 'login' and not w.awaits_account
        and not exists (select from partner_accounts a where a.partner = w.partner and a.user_id = w.user_id)
        -- once is enough, however many releases wait
        and not exists (select from notifications n where n.user_id = w.user_id and n.read_at is null
                         and n.kind = 'partner.needs_login' and n.body ->> 'partner' = w.partner) then
        insert into notifications (user_id, kind, title, body)
        values (w.user_id, 'partner.needs_login', format('Log in at %s', _partner_title(w.partner)),
                jsonb_build_object('partner', w.partner, 'distribution_id', w.distribution_id, 'reason', 'a release waits for it'));
    end if;
end
$$;
comment on function _await_account(uuid, text) is 'Lets work wait for tokens: later, or until a login';

-- ---- what the worker asks for accounts

create function _claim_accounts(partner text, slots int) returns table (user_id uuid, step text, generation bigint)
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    select a.user_id,
           case when a.code is not null then 'exchange' when a.wants_refresh and a.tokens is not null then 'refresh'
                when a.wants_look and a.tokens is not null then 'look' end,
           a.generation
      from partner_accounts a
     where a.partner = _claim_accounts.partner and a.next_attempt_at <= (select _now())
     order by a.next_attempt_at
     limit slots for no key update skip locked
$$;
comment on function _claim_accounts(text, int) is 'Up to so many accounts at a partner for which something is to be asked, locked; step is NULL when there is nothing after all';

create function _begin_account(partner text, user_id uuid, step text, timeout_ms int) returns jsonb
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    secrets jsonb;
begin
    update partner_accounts a
       set step = step, begun_at = _now(), next_attempt_at = _now() + timeout_ms * interval '1 millisecond' + interval '5 minutes'
     where a.partner = partner and a.user_id = user_id
    returning _unseal(case step when 'exchange' then a.code else a.tokens end, _account_context(partner, user_id))::jsonb into secrets;
    return secrets;
end
$$;
comment on function _begin_account(text, uuid, text, int) is 'Records what is asked for an account before the request is sent; returns the secrets for it, opened';

create function _put_off_account(partner text, user_id uuid, problem text) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update partner_accounts a
       set begun_at = null, failures = a.failures + (problem is not null)::int, last_error = coalesce(problem, a.last_error),
           next_attempt_at = case when problem is not null then _now() + _distribution_delay(a.failures + 1) end
     where a.partner = _put_off_account.partner and a.user_id = _put_off_account.user_id
$$;
comment on function _put_off_account(text, uuid, text) is 'Puts off what is asked for an account after a fault of ours, or for good when there is nothing to ask';

-- New tokens; a partner that gives no new refresh token lets the old one work on
create function _store_tokens(a partner_accounts, answer jsonb) returns partner_accounts
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    kept jsonb := case when a.step = 'refresh' then _unseal(a.tokens, _account_context(a.partner, a.user_id))::jsonb else '{}' end;
begin
    a.tokens := _seal((kept || jsonb_strip_nulls(jsonb_build_object('access_token', answer -> 'access_token', 'refresh_token', answer -> 'refresh_token')))::text,
                      _account_context(a.partner, a.user_id));
    a.expires_at := a.begun_at + (answer ->> 'expires_in')::int * interval '1 second';
    a.generation := a.generation + 1;
    a.wants_refresh := false;
    if a.step = 'exchange' then
        a.code := null;
        a.wants_look := true;
        a.was_refused := false;
    end if;
    return a;
end
$$;
comment on function _store_tokens(partner_accounts, jsonb) is 'An account with the tokens that a partner gave';

-- Who it is. Releases that are under way in one account can't go on in another.
create function _store_identity(a partner_accounts, answer jsonb) returns partner_accounts
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    remote text := answer ->> 'external_id';
begin
    a.wants_look := false;
    a.was_refused := false;
    if a.external_id <> remote
        and exists (select from distribution_work k where k.partner = a.partner and k.user_id = a.user_id and k.state <> '{}'
                     and exists (select from distribution_targets t where t.work_id = k.id and t.status not in ('taken_down', 'cancelled', 'failed'))) then
        a.status := 'needs_login';
        a.last_error := format('that was the account of %s, and there are releases in the one of %s', answer ->> 'username', a.username);
        return a;
    end if;
    a.external_id := remote;
    a.username := left(_clean_message(answer ->> 'username'), 255);
    a.external_url := case when answer ->> 'external_url' ~* '^https?://[!-~]+$' and length(answer ->> 'external_url') <= 2048 then answer ->> 'external_url' end;
    if a.status <> 'connected' then
        a.status := 'connected';
        a.connected_at := _now();
        insert into notifications (user_id, kind, title, body)
        values (a.user_id, 'partner.connected', format('%s is connected', _partner_title(a.partner)),
                jsonb_build_object('partner', a.partner, 'external_id', a.external_id, 'username', a.username));
    end if;
    return a;
end
$$;
comment on function _store_identity(partner_accounts, jsonb) is 'An account of which the partner has told whose it is';

-- What became of it: next with the answer; account, when the partner takes no
-- more of what we have; again; ours, when it refuses us. busy when somebody
-- holds the row, and it is to be settled later; else ok.
create function _settle_account(partner text, user_id uuid, step text, generation bigint, verdict text, answer jsonb, message text, retry_after int) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    a partner_accounts;
    was text;
begin
    select x.* into a from partner_accounts x where x.partner = partner and x.user_id = user_id for no key update skip locked;
    if not found then
        return case when exists (select from partner_accounts x where x.partner = partner and x.user_id = user_id) then 'busy' else 'ok' end;
    elsif a.step is distinct from step or a.begun_at is null or a.generation <> generation then
        return 'ok';
    end if;
    message := _clean_message(message);
    was := a.status;
    a.last_error := message;
    a.next_attempt_at := _now();
    if verdict = 'next' then
        a.failures := 0;
        a := case step when 'look' then _store_identity(a, answer) else _store_tokens(a, answer) end;
        if a.status = 'needs_login' then
            update partner_accounts x set begun_at = null where x.partner = partner and x.user_id = user_id;
            perform _account_needs_login(partner, user_id, a.last_error);
            return 'ok';
        end if;
    elsif verdict = 'account' and step = 'exchange' and a.status = 'connected' then
        -- the code was of no use, and what there was before still is
        a.code := null;
    elsif verdict = 'account' and step = 'refresh' and a.code is not null then
        -- he has logged in again meanwhile
        a.status := 'pending';
        a.tokens := null;
        a.wants_refresh := false;
    elsif verdict = 'account' and step = 'look' and not a.was_refused then
        a.wants_refresh := true;
        a.was_refused := true;
    elsif verdict = 'account' then
        perform _account_needs_login(partner, user_id, message);
        return 'ok';
    else
        a.failures := a.failures + 1;
        a.next_attempt_at := _now() + greatest(_distribution_delay(a.failures), least(coalesce(retry_after, 0), 86400) * interval '1 second');
        if verdict = 'ours' then
            perform _pause_partner(partner, message);
        end if;
    end if;
    if a.code is null and not a.wants_refresh and not a.wants_look then
        a.next_attempt_at := null;
    end if;
    update partner_accounts x
       set status = a.status, code = a.code, tokens = a.tokens, expires_at = a.expires_at, generation = a.generation, wants_refresh = a.wants_refresh,
           was_refused = a.was_refused, wants_look = a.wants_look, external_id = a.external_id, username = a.username, external_url = a.external_url,
           begun_at = null, failures = a.failures, next_attempt_at = a.next_attempt_at, last_error = a.last_error, connected_at = a.connected_at
     where x.partner = partner and x.user_id = user_id;
    if a.status = 'connected' and not a.wants_refresh and (verdict = 'next' or was <> 'connected') then
        perform _wake_awaiting(partner, user_id);
    end if;
    return 'ok';
end
$$;
comment on function _settle_account(text, uuid, text, bigint, text, jsonb, text, int) is 'Writes down what a partner answered for an account';
