# Keys and limits on a hot standby: it gives verdicts of its own by what the
# primary has committed, writes nothing, and goes on when it is promoted.
use MusicVerse::Test;

my $primary = new_cluster('primary', wal_level => 'replica', max_wal_senders => 4, -init => [ allows_streaming => 1 ]);
my $user = user(1);

sql($primary, "create table keys as select * from musicverse.create_api_key('$user', 'main')");
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
my $verify = 'select v.status, v.reason, v.tier from keys k, musicverse.verify_api_key(k.key, cost => 0) v';

sub caught_up { $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')); return; }

caught_up();
is(sql($standby, 'select pg_is_in_recovery()'), 't', 'the standby is one');
my $reader = session($standby);
is($reader->query_safe($verify), '200||free', 'it knows the key');
is(sql($standby, 'select v.remaining from keys k, musicverse.verify_api_key(k.key, cost => 3) v'), '17', 'it takes tokens of its own');
is(sql($primary, 'select v.remaining from keys k, musicverse.verify_api_key(k.key, cost => 0) v'), '20', 'not the primary\'s');
is(sql($standby, "select remaining from musicverse.take_tokens('here', 2, 5, 0.001)"), '3', 'the general limiter works');
is(sql($standby, "begin isolation level repeatable read read only; $verify; commit"), '200||free', 'in any transaction');
my $asked = "begin read only; select count(set_config('request.headers', json_build_object('x-api-key', key)::text, true)) from keys where key like 'mvai%'; select musicverse.pre_request()";
like(sql($standby, "$asked; select musicverse.current_user_id(), current_setting('response.headers'); commit"), qr/^$user\|.*RateLimit/m, 'and so does PostgREST\'s pre-request');

sql($primary, "select musicverse.set_tier('$user', 'pro')");
caught_up();
is($reader->query_safe($verify), '200||pro', 'a change of the tier is seen when it is replayed');
sql($primary, 'select musicverse.revoke_api_key(id) from keys');
caught_up();
is($reader->query_safe($verify), '401|revoked|pro', 'a revocation too');
is(sql_error($standby, $asked)->{detail} =~ /"status":401/, 1, 'which the pre-request heeds');
sql($primary, "insert into keys select * from musicverse.create_api_key('$user', 'second')");
sql($primary, 'delete from keys where id in (select id from musicverse.api_keys where revoked_at is not null)');
caught_up();
is($reader->query_safe($verify), '200||pro', 'and a new key');

# What a request costs is kept by each session until a change of it is replayed
sql($primary, q{create function try() returns text language plpgsql as $$
	begin
		perform set_config('request.headers', json_build_object('x-api-key', key)::text, true), set_config('request.path', '/rpc/x', true) from keys;
		perform musicverse.pre_request();
		return 'let through';
	exception when others then
		return sqlerrm::json ->> 'code';
	end $$});
caught_up();
is($reader->query_safe('select try()'), 'let through', 'a session has read what requests may ask');
sql($primary, "insert into musicverse.request_scopes (path, cost) values ('/rpc/x', 1000)");
caught_up();
is($reader->query_safe('select try()'), 'rate_limited', 'and reads it anew when it has changed');

# Promoted, it fills its cache, and every change is its own
$primary->stop('fast');
$standby->promote;
wait_for_sql($standby, 'select pg_is_in_recovery()', 'f', 60);
is($reader->query_safe($verify), '200||pro', 'after the promotion the key works on');
is($reader->query_safe($verify), '200||pro', 'also from the cache');
sql($standby, 'select musicverse.revoke_api_key(id) from keys');
is($reader->query_safe($verify), '401|revoked|pro', 'and is revoked at once');
$reader->quit;

done_testing();
