-- webhooks: signatures after Standard Webhooks 1.0

create function sign_webhook(secret text, msg_id text, ts bigint, body text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_sign_webhook';
comment on function sign_webhook(text, text, bigint, text) is
    'The webhook-signature of a message: v1 (HMAC-SHA256) with a secret whsec_, v1a (Ed25519) with a private key whsk_';

-- Volatile: it compares with a clock that goes on within a statement.
create function verify_webhook(secret text, headers jsonb, body text, tolerance interval default '5 minutes')
returns boolean
language c volatile strict parallel safe as 'MODULE_PATHNAME', 'musicverse_verify_webhook';
comment on function verify_webhook(text, jsonb, text, interval) is
    'Whether a received message carries a valid signature and a timestamp no further off than the tolerance; the secret is whsec_, whsk_ or whpk_';

create function _new_webhook_secret() returns text
language c volatile strict parallel safe as 'MODULE_PATHNAME', 'musicverse_new_webhook_secret';
comment on function _new_webhook_secret() is 'A new secret for HMAC: whsec_ and 32 random bytes in base64';

create function _new_webhook_keypair(out private_key text, out public_key text) returns record
language c volatile strict parallel safe as 'MODULE_PATHNAME', 'musicverse_new_webhook_keypair';
comment on function _new_webhook_keypair() is 'A new Ed25519 key pair: whsk_ (seed and public key) and whpk_ (public key) in base64';
