-- Signatures after Standard Webhooks: the published vector, what must be
-- refused, and that the two directions agree.
set search_path = musicverse, public;
\set VERBOSITY terse

-- The specification's vector
select sign_webhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}')
    = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=' as same;

-- RFC 8032, test 2: the key of the vector gives its public key and verifies
-- what it signs; the signature of "m.1.x" was made by another implementation
select sign_webhook('whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=', 'm', 1, 'x')
    = 'v1a,q4rzv9vOXvX0xzPX79IjhoNn/MdvLXk9Npbc6pr7ZFItR4UZ9T+1n4bxFdPwxQW39qP+BNJKiQlz160/7YaqCQ==' as same_from_seed,
    sign_webhook('whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRmDA==', 'm', 1, 'x')
    = 'v1a,q4rzv9vOXvX0xzPX79IjhoNn/MdvLXk9Npbc6pr7ZFItR4UZ9T+1n4bxFdPwxQW39qP+BNJKiQlz160/7YaqCQ==' as same_from_pair;

-- Everything that verifies here was sent with these headers
create temp table message as
    select 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' as secret,
           'whsec_bmV3IHNlY3JldCBvZiAyNCBieXRlcyE=' as other_secret,
           '{"test": 2432232314}' as body,
           '{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
             "webhook-timestamp": "1614265330",
             "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}'::jsonb as headers;

-- What is accepted
select verify_webhook(secret, headers, body, '100 years') as as_sent,
       verify_webhook(secret, '{"Webhook-ID": "msg_p5jXN8AQM9LWM0D4loKWxJek", "WEBHOOK-TIMESTAMP": "1614265330",
                                "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "accept": ["*/*"], "x": {"y": [1]}}',
                      body, '100 years') as names_in_any_case,
       verify_webhook(secret, '{"webhook-id": ["msg_p5jXN8AQM9LWM0D4loKWxJek"], "webhook-timestamp": ["1614265330", "1"],
                                "webhook-signature": ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]}',
                      body, '100 years') as values_in_arrays,
       verify_webhook(rtrim(other_secret, '='),
                      headers || jsonb_build_object('webhook-signature', sign_webhook(other_secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, body)),
                      body, '100 years') as secret_without_padding
from message;

-- While a secret is rotated, two signatures are sent: either secret verifies
select verify_webhook(secret, two, body, '100 years') as old,
       verify_webhook(other_secret, two, body, '100 years') as new,
       verify_webhook('whsec_YSB0aGlyZCBzZWNyZXQsIDI0IGJ5dGVz', two, body, '100 years') as third
from message,
     lateral (select headers || jsonb_build_object('webhook-signature',
         'v2,unknown  v1a,AAAA v1,AAAA v1 , ' ||
         sign_webhook(other_secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, body) || ' ' || (headers->>'webhook-signature')) as two) as rotation;

-- Any change of any part is noticed: each character of body, id, timestamp and signature
select part, count(*) as changes, count(*) filter (where verify_webhook(secret, changed, changed_body, '100 years')) as accepted
from message,
     lateral (
         select 'body' as part, headers as changed, overlay(body placing '_' from i) as changed_body
         from generate_series(1, length(body)) as i
         union all
         select name, headers || jsonb_build_object(name, overlay(headers->>name placing case when substr(headers->>name, i, 1) = '7' then '8' else '7' end from i)), body
         from unnest('{webhook-id,webhook-timestamp,webhook-signature}'::text[]) as name,
              generate_series(1, length(rtrim(headers->>name, '='))) as i
         union all
         select name || ' cut', headers || jsonb_build_object(name, left(headers->>name, i)), body
         from unnest('{webhook-id,webhook-timestamp,webhook-signature}'::text[]) as name,
              generate_series(0, length(rtrim(headers->>name, '=')) - 1) as i
         union all
         select 'last bits', headers || jsonb_build_object('webhook-signature', replace(headers->>'webhook-signature', 'OE=', 'OF=')), body
     ) as changes
group by part order by part;

-- The border between id, timestamp and body can't be moved
select verify_webhook(secret, jsonb_build_object('webhook-id', 'a', 'webhook-timestamp', '1614265330',
           'webhook-signature', signature), '1614265331.{}', '100 years') as as_sent,
       verify_webhook(secret, jsonb_build_object('webhook-id', 'a.1614265330', 'webhook-timestamp', '1614265331',
           'webhook-signature', signature), '{}', '100 years') as moved
from message, sign_webhook(secret, 'a', 1614265330, '1614265331.{}') as signature;

-- Missing and garbled headers
select what, verify_webhook(secret, garbled, body, '100 years')
from message,
     lateral (values
         ('no headers', '{}'::jsonb),
         ('null', 'null'),
         ('array', '["webhook-id"]'),
         ('no id', headers - 'webhook-id'),
         ('no timestamp', headers - 'webhook-timestamp'),
         ('no signature', headers - 'webhook-signature'),
         ('id null', headers || '{"webhook-id": null}'),
         ('id empty', headers || '{"webhook-id": ""}'),
         ('id object', headers || '{"webhook-id": {"a": "b"}}'),
         ('id empty array', headers || '{"webhook-id": []}'),
         ('id array of numbers', headers || '{"webhook-id": [1]}'),
         ('timestamp number', headers || '{"webhook-timestamp": 1614265330}'),
         ('timestamp signed', headers || '{"webhook-timestamp": "+1614265330"}'),
         ('timestamp padded', headers || '{"webhook-timestamp": "01614265330"}'),
         ('timestamp with space', headers || '{"webhook-timestamp": " 1614265330"}'),
         ('timestamp in words', headers || '{"webhook-timestamp": "yesterday"}'),
         ('timestamp huge', headers || '{"webhook-timestamp": "99999999999999999999"}'),
         ('signature without version', headers || '{"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}'),
         ('signature of other version', headers || '{"webhook-signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}'),
         ('signature no base64', headers || '{"webhook-signature": "v1,????????????????????????????????????????????"}'),
         ('signature too long', headers || '{"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OEAAAA="}')
     ) as v (what, garbled);

-- The timestamp may be off by the tolerance, in either direction, and no more
select off, tolerance, verify_webhook(secret,
           jsonb_build_object('webhook-id', 'm', 'webhook-timestamp', ts::text, 'webhook-signature', sign_webhook(secret, 'm', ts, body)),
           body, tolerance)
from message,
     (values ('0 s'::interval, '5 minutes'::interval),
             ('-4 minutes', '5 minutes'), ('4 minutes', '5 minutes'),
             ('-6 minutes', '5 minutes'), ('6 minutes', '5 minutes'),
             ('-6 minutes', '1 month'), ('-31 days', '1 month'), ('-29 days', '1 month'),
             ('-40 years', '178000000 years'), ('1 minute', '0')) as v (off, tolerance),
     lateral (select extract(epoch from _now() + off)::bigint as ts) as at;
select verify_webhook(secret, headers, body) as default_tolerance,
       verify_webhook(null, headers, body) is null as null_secret
from message;
select verify_webhook(secret, headers, body, '-1 second') from message;

-- Key pairs: either half verifies, only the private one signs
select verify_webhook(public_key, signed, body) as by_public_key,
       verify_webhook(private_key, signed, body) as by_private_key,
       verify_webhook(public_key, signed, body || ' ') as other_body,
       verify_webhook((_new_webhook_keypair()).public_key, signed, body) as other_key,
       verify_webhook(secret, signed, body) as hmac,
       left(private_key, 5) as private, left(public_key, 5) as public,
       length(decode(substr(private_key, 6), 'base64')) as private_bytes,
       length(decode(substr(public_key, 6), 'base64')) as public_bytes
from message, _new_webhook_keypair(),
     lateral (select extract(epoch from _now())::bigint as ts) as at,
     lateral (select jsonb_build_object('webhook-id', 'm', 'webhook-timestamp', ts::text,
         'webhook-signature', 'v1,AAAA ' || sign_webhook(private_key, 'm', ts, body)) as signed) as s;

-- New secrets differ and have the specification's form
select count(distinct secret) as secrets, bool_and(secret ~ '^whsec_[A-Za-z0-9+/]{43}=$') as well_formed
from (select _new_webhook_secret() as secret from generate_series(1, 1000)) as s;

-- The bytes signed are UTF-8, of any length
select verify_webhook(secret,
           jsonb_build_object('webhook-id', repeat('i', 300), 'webhook-timestamp', '1', 'webhook-signature', sign_webhook(secret, repeat('i', 300), 1, b)),
           b, '100 years')
from message, (values (''), ('{"title": "Füße 🎵"}'), (repeat('x', 3000000))) as v (b);

-- A malformed secret is refused, and never printed
select sign_webhook('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'm', 1, '');
select sign_webhook('', 'm', 1, '');
select sign_webhook('whsec_', 'm', 1, '');
select sign_webhook('whsec_not base64 at all, is it', 'm', 1, '');
select sign_webhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=', 'm', 1, '');
select sign_webhook('whsec_====', 'm', 1, '');
select sign_webhook('whsec_' || encode('fifteen bytes..', 'base64'), 'm', 1, '');
select sign_webhook('whsec_' || repeat('A', 172), 'm', 1, '');
select sign_webhook('whsec_' || repeat('A', 100000), 'm', 1, '');
select length(sign_webhook('whsec_' || repeat('A', 22), 'm', 1, '')) as shortest,
       length(sign_webhook('whsec_' || repeat('A', 171), 'm', 1, '')) as longest;
select sign_webhook('whsk_' || repeat('A', 22), 'm', 1, '');
select sign_webhook('whsk_' || repeat('A', 86), 'm', 1, '');
select sign_webhook('whpk_' || repeat('A', 22), 'm', 1, '');
select sign_webhook('whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=', 'm', 1, '');
select verify_webhook('secret', '{}', '');
select sign_webhook(secret, 'a.b', 1, '') from message;
select sign_webhook(secret, '', 1, '') from message;
select sign_webhook(secret, 'm', -1, '') from message;
do $$
begin
    perform musicverse.sign_webhook('whsec_hunter2', 'm', 1, '');
exception when others then
    raise notice '% %', sqlstate, sqlerrm;
end
$$;
