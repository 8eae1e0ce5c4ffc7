-- keys: signed requests

create function request_signature(secret text, method text, path text, ts bigint, body text) returns text
language c immutable parallel safe as 'MODULE_PATHNAME', 'musicverse_request_signature';
comment on function request_signature(text, text, text, bigint, text) is
    'The signature of a request: v1= and the HMAC-SHA256, in hex, of its method, path with query string, moment in seconds and body';

create function verify_request_signature(secret text, signature text, method text, path text, ts bigint, body text,
                                         tolerance interval default '5 minutes') returns boolean
language c volatile as 'MODULE_PATHNAME', 'musicverse_verify_request_signature';
comment on function verify_request_signature(text, text, text, text, bigint, text, interval) is
    'Is the signature the request''s, made within the tolerance, and seen for the first time? A good one is used up, whatever becomes of the transaction';
