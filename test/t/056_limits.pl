# Limits under load: what many sessions take of one bucket together, tiers that
# change meanwhile, a table of buckets that is full, and what a shadow records.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.databases' => '', 'musicverse.rate_limit_buckets' => 128,
	wal_level => 'replica', max_wal_senders => 2);

# Each session takes until the time is over and writes down what it got, when
# its first call began and its last one ended, by the clock of the server.
sql($node, q{
	create unlogged table taken (worker int, began timestamptz, ended timestamptz, admitted bigint, refused bigint);
	create procedure hammer(worker int, bucket text, cost int, capacity int, rate numeric, seconds float) language plpgsql as $$
	declare
		t record;
		began timestamptz := clock_timestamp();
		admitted bigint := 0;
		refused bigint := 0;
	begin
		loop
			for i in 1 .. 200 loop
				t := musicverse.take_tokens(bucket, cost, capacity, rate);
				if t.allowed then admitted := admitted + cost; else refused := refused + 1; end if;
			end loop;
			exit when clock_timestamp() > began + seconds * interval '1 s';
		end loop;
		insert into taken values (worker, began, clock_timestamp(), admitted, refused);
	end
	$$;
});

sub together
{
	my ($n, $call) = @_;
	my @sessions = map { session($node) } 1 .. $n;
	$sessions[$_]->query_until(qr/under way/, "\\echo under way\n" . $call->($_) . ";\n") foreach 0 .. $#sessions;
	$_->query_safe('select 1') foreach @sessions;
	$_->quit foreach @sessions;
	return;
}

# The capacity is worth seconds of the rate: no pause of the machine lets it overflow
foreach my $case ([ 'one token', 1, 20000, 5000 ], [ 'seven tokens', 7, 20000, 4000 ], [ 'a slow rate', 1, 300, 40 ])
{
	my ($name, $cost, $capacity, $rate) = @$case;

	sql($node, 'truncate taken');
	together(8, sub { "call hammer($_[0], " . lit($name) . ", $cost, $capacity, $rate, 3)" });
	my $sum = sql_row($node, "select sum(admitted)::bigint as admitted, sum(refused)::bigint as refused,
		extract(epoch from max(ended) - min(began))::float as seconds from taken");
	my $due = $capacity + $rate * $sum->{seconds};
	cmp_ok($sum->{refused}, '>', 0, "$name: there was more asked than given");
	cmp_ok($sum->{admitted}, '<=', $due, "$name: $sum->{admitted} were admitted, not more than $due");
	cmp_ok($sum->{admitted}, '>=', $due * 0.99 - $cost, "$name: and not less, by one in a hundred");
}

# ---- a tier that changes under load

sql($node, q{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs)
	values ('small', 100000000, 1000000, 5, 1, 1), ('big', 200000000, 2000000, 5, 1, 1);
	create unlogged table seen (tier text, "limit" int, at timestamptz, status int);
	create table keys as select u.id as user_id, k.id, k.key from (values ('} . user(1) . q{'::uuid)) u (id), musicverse.create_api_key(u.id, 'loaded') k;
	create procedure look(rounds int) language plpgsql as $$
	declare
		k text := (select key from keys);
		v record;
		began timestamptz;
	begin
		for i in 1 .. rounds loop
			began := clock_timestamp();
			v := musicverse.verify_api_key(k);
			insert into seen values (v.tier, v."limit", began, v.status);
			if i % 100 = 0 then commit; end if;
		end loop;
	end
	$$;
	create table marks (what text, at timestamptz);
});
sql($node, "select musicverse.set_tier('" . user(1) . "', 'small')");
my @lookers = map { session($node) } 1 .. 3;
$_->query_until(qr/under way/, "\\echo under way\ncall look(100000000);\n") foreach @lookers;
foreach my $tier (('big', 'small') x 12)
{
	sql($node, "insert into marks values ('change', clock_timestamp())");
	sql($node, "select musicverse.set_tier('" . user(1) . "', '$tier')");
	my $seen = sql($node, "insert into marks values ('$tier', clock_timestamp()); select count(*) from seen");
	wait_for_sql($node, "select count(*) > $seen + 300 from seen", 't', 60, 'more verdicts');
}
sql($node, "insert into marks values ('change', clock_timestamp())");
sql($node, "select musicverse.revoke_api_key(id) from keys");
sql($node, "insert into marks values ('revoked', clock_timestamp())");
wait_for_sql($node, "select count(*) > 300 from seen where at > (select max(at) from marks)", 't', 60, 'verdicts after the revocation');
sql($node, "select count(pg_cancel_backend(pid)) from pg_stat_activity where query like 'call look%' and pid <> pg_backend_pid()");
eval { $_->quit } foreach @lookers;
is(sql($node, 'select count(*) from seen where (tier, "limit") not in ((\'small\', 100000000), (\'big\', 200000000))'), '0',
	'a verdict has the limits of one tier, never of both');
is(sql($node, "select count(*) from seen where status = 200 and at > (select at from marks where what = 'revoked')"), '0',
	'no call that began after the revocation was committed is let through');
is(sql($node, "select count(*) from seen where status <> 200 and at < (select max(at) from marks where what = 'small')"), '0',
	'and none before it was refused');
is(sql($node, q{
	with spans as (select what, at as since, lead(at) over (order by at) as until from marks)
	select count(*) > 3000, count(*) filter (where s.tier <> p.what) from spans p join seen s on s.at > p.since and s.at < p.until
	 where p.what <> 'change' and p.what <> 'revoked'}), 't|0', 'the change of the tier is seen by all that begin after its commit');

# ---- no room

my $room = sql_row($node, 'select * from musicverse.rate_limit_status()');
is($room->{room}, 128, 'as many buckets as the setting says');
my $crowd = q{select count(*) filter (where t.allowed) from generate_series(1, 5000) i, musicverse.take_tokens('crowd ' || i, 1, 10, 0.001) t};
is(sql($node, $crowd), '5000', 'whom there is no room to count is admitted by default');
$room = sql_row($node, 'select * from musicverse.rate_limit_status()');
cmp_ok($room->{active}, '>=', 128, 'the table holds as many as it should at least');
cmp_ok($room->{no_room}, '>=', 4700, 'and those who found no room are counted');
is(sql($node, "select count(*) from generate_series(1, 20) i, musicverse.take_tokens(left('held', i + 4), 1, 10, 0.001) t where not t.allowed"), '0',
	'a bucket without a place limits nothing then');
set_conf($node, 'musicverse.rate_limit_when_full' => 'refuse');
$node->reload;
wait_for_sql($node, 'show musicverse.rate_limit_when_full', 'refuse', 30);
my $refused = sql_row($node, "select t.* from musicverse.take_tokens('somebody new', 1, 10, 0.001) t");
is($refused->{allowed}, JSON::PP::false(), 'or is refused, when the setting says so');
cmp_ok($refused->{retry_after}, '>', 0, 'and told when to come back');
is(sql($node, "select t.allowed from musicverse.take_tokens('crowd 1', 1, 10, 0.001) t"), 't', 'who has a place goes on');
is(sql($node, "select t.allowed from musicverse.take_tokens('somebody else', 0, 10, 0.001) t"), 't', 'a look needs none');
sql($node, "select musicverse.advance_clock('1001 s')");
is(sql($node, "select active from musicverse.rate_limit_status()"), '1', 'buckets that are full again are not in use');
is(sql($node, "select t.allowed from musicverse.take_tokens('somebody new', 1, 10, 0.001) t"), 't', 'and make room');

# ---- many sessions, each with many buckets, in a small table: nobody gets more than its own

sql($node, "select musicverse.advance_clock('1 hour')");
sql($node, q{
	create unlogged table got (bucket text, admitted int);
	create procedure scatter(worker int) language plpgsql as $$
	begin
		insert into got select 'shared ' || b, count(*) filter (where t.allowed)
		  from generate_series(1, 60) b, generate_series(1, 30) i, musicverse.take_tokens(left('shared ' || b, 99 + i), 1, 10, 0.0001) t group by b;
	end
	$$;
});
together(6, sub { "call scatter($_[0])" });
is(sql($node, 'select count(*) from (select sum(admitted) from got group by bucket having sum(admitted) <> 10) s'), '0',
	'of each of 60 buckets exactly its capacity was given');

# ---- a commit that stands still between its record and its end

set_conf($node, synchronous_standby_names => 'nobody', synchronous_commit => 'local');
$node->reload;
wait_for_sql($node, 'show synchronous_standby_names', 'nobody', 30);
sql($node, "create table slow as select * from musicverse.create_api_key('" . user(2) . "', 'slow')");
my $verdict = 'select v.status from slow s, musicverse.verify_api_key(s.key, cost => 0) v';
my $reader = session($node);
is($reader->query_safe($verdict), '200', 'a key works');
my $slow = session($node);
my $pid = $slow->query_safe('select pg_backend_pid()');
$slow->query_safe('set synchronous_commit = on');
$slow->query_until(qr/under way/, "\\echo under way\nselect musicverse.revoke_api_key(id) from slow;\n");
wait_for_sql($node, "select wait_event from pg_stat_activity where pid = $pid", 'SyncRep', 60, 'the commit to wait for its standby');
is($reader->query_safe($verdict), '200', 'as long as its revocation is not visible');
is($reader->query_safe($verdict), '200', 'however often one looks');
is(sql($node, "select pg_cancel_backend($pid)"), 't', 'the wait is cancelled');
wait_for_sql($node, "select state from pg_stat_activity where pid = $pid", 'idle', 60, 'the commit to end');
is($reader->query_safe($verdict), '401', 'and not from then on');
eval { $_->quit } foreach $slow, $reader;
set_conf($node, synchronous_standby_names => '');
$node->reload;

# ---- changes that come by other ways

sql($node, "create table other as select * from musicverse.create_api_key('" . user(3) . "', 'other')");
my $other = 'select v.status, v.tier from other s, musicverse.verify_api_key(s.key, cost => 0) v';
is(sql($node, $other), '200|free', 'a key of another user');
sql($node, "set session_replication_role = replica; update musicverse.accounts set tier = 'pro' where user_id = '" . user(3) . "'");
is(sql($node, $other), '200|pro', 'a change of the tier is seen that no ordinary trigger would see');
sql($node, "update musicverse.api_keys set last_used_at = now() where id = (select id from other)");
is(sql($node, $other), '200|pro', 'a note of its use changes nothing');
sql($node, "drop extension musicverse; create extension musicverse");
is(sql($node, $other), '401|', 'a key of the extension that was dropped is unknown');
sql($node, "insert into musicverse.accounts values ('" . user(3) . "')");
sql($node, "insert into musicverse.api_keys (id, user_id, key_hash, key_prefix, name) select id, '" . user(3) . "', encode(sha256(key::bytea), 'hex'), key_prefix, 'again' from other");
is(sql($node, $other), '200|free', 'and known as what it is when it comes back');

done_testing();
