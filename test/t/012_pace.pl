# How fast, how many at once, in which order, and to whom: the settings of one
# webhook, and the breaker that protects an endpoint and everybody else.
use MusicVerse::Test;
use List::Util qw(max);

my $node     = new_cluster('main');
my $receiver = start_receiver();
sql($node, "select musicverse.register_event_type('$_', 'Something', '{}')") foreach qw(thing.happened thing.ended other.thing);
# users of the tests may have many webhooks
sql($node, "update musicverse.tiers set max_webhooks = 100 where name = 'free'");

# ---- tools --------------------------------------------------------------

sub webhook
{
	my ($user, $name, %changes) = @_;
	my $events = delete $changes{events} // '{thing.happened}';
	my $url    = delete $changes{at} // $receiver->url($name);
	my $id = sql($node, sprintf 'select id from musicverse.create_webhook(%s, %s, %s)', lit(user($user)), lit($url), lit($events));
	change($id, %changes) if %changes;
	return $id;
}

sub change
{
	my ($webhook, %changes) = @_;
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook), lit(\%changes));
}

# The ids of events with these data, emitted in one transaction
sub emit
{
	my ($user, @data) = @_;
	return emit_type($user, 'thing.happened', @data);
}

sub emit_type
{
	my ($user, $type, @data) = @_;
	my @ids = split /\n/, sql($node, sprintf
		'select musicverse.emit_event(%s, %s, d) from jsonb_array_elements(%s) with ordinality e(d, n) order by n',
		lit(user($user)), lit($type), lit(\@data));
	return wantarray ? @ids : $ids[0];
}

sub many { my ($count) = @_; return map { { n => $_ } } 1 .. $count; }

sub advance { sql($node, "select musicverse.advance_clock('$_[0]')"); }

sub wait_status
{
	my ($webhook, $expected) = @_;
	wait_for_sql($node, "select string_agg(s, ', ' order by s) from (select status || ' ' || count(*) as s
		from musicverse.webhook_deliveries where webhook_id = '$webhook' group by status) q", $expected, 60);
}

sub wait_attempts
{
	my ($webhook, $count) = @_;
	wait_for_sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$webhook'", $count, 60);
	return sql_rows($node, "select * from musicverse.webhook_attempts where webhook_id = '$webhook' order by started_at");
}

my $barrier_webhook = webhook(99, 'barrier');
sub barrier
{
	my $event = emit(99, {});
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where webhook_id = '$barrier_webhook' and event_id = '$event'", 'delivered', 60);
}

sub received { return $receiver->stats($_[0])->{received}; }

sub data_of { return map { from_json($_->{body})->{data} } @_; }

# ---- who gets what ------------------------------------------------------

{
	my %webhook = (
		exact    => webhook(9, 'exact',    events => '{thing.happened}'),
		prefix   => webhook(9, 'prefix',   events => '{thing.*}'),
		all      => webhook(9, 'all',      events => '{*}'),
		two      => webhook(9, 'two',      events => '{thing.ended, other.*}'),
		filtered => webhook(9, 'filtered', events => '{thing.*}', filter => '$.data.n > 5'),
		exists   => webhook(9, 'exists',   events => '{thing.happened}', filter => '$.data.tags[*] ? (@ == "loud")'),
		stranger => webhook(10, 'stranger', events => '{*}'));
	my %event = (
		small => scalar emit_type(9, 'thing.happened', { n => 1 }),
		big   => scalar emit_type(9, 'thing.happened', { n => 10 }),
		loud  => scalar emit_type(9, 'thing.happened', { tags => [ 'soft', 'loud' ] }),
		text  => scalar emit_type(9, 'thing.ended', { n => 'ten' }),
		ended => scalar emit_type(9, 'thing.ended', { n => 6 }),
		other => scalar emit_type(9, 'other.thing', { n => 10 }));
	my %name_of = reverse %event;
	my %expected = (
		exact    => [qw(big loud small)],
		prefix   => [qw(big ended loud small text)],
		all      => [qw(big ended loud other small text)],
		two      => [qw(ended other text)],
		filtered => [qw(big ended)],
		exists   => [qw(loud)],
		stranger => []);
	my %what = (
		exact    => 'an exact name matches that type',
		prefix   => 'a prefix matches all types behind it',
		all      => '* matches everything',
		two      => 'several patterns add up',
		filtered => 'a filter that compares',
		exists   => 'a filter that looks for something',
		stranger => 'webhooks of another user get nothing');
	wait_for_sql($node, "select count(*) from musicverse.webhook_deliveries where status = 'pending'", '0', 60);
	foreach my $name (sort keys %expected)
	{
		is_deeply([ sort map { $name_of{$_} } $receiver->ids($name) ], $expected{$name}, $what{$name});
		is(sql($node, "select count(*) from musicverse.deliveries where webhook_id = '$webhook{$name}'"), scalar @{ $expected{$name} },
			"$name: no row was queued for what does not match");
	}

	my $why = sub {
		my ($event, $name) = @_;
		my ($row) = sql_rows($node, "select * from musicverse.explain_event('$event{$event}') where webhook_id = '$webhook{$name}'");
		return $row && [ $row->{matched} ? 'matched' : 'not matched', $row->{status}, $row->{reason} ];
	};
	is_deeply($why->(qw(big exact)), [ 'matched', 'delivered', 'answered 200 at attempt 1' ], 'explain_event: delivered');
	is_deeply($why->(qw(other exact)), [ 'not matched', undef, 'not subscribed to other.thing' ], 'another type');
	is_deeply($why->(qw(small filtered)), [ 'not matched', undef, 'the filter does not hold: ($."data"."n" > 5)' ], 'the filter');
	is_deeply($why->(qw(other filtered)), [ 'not matched', undef, 'not subscribed to other.thing' ], 'the type before the filter');
	is($why->(qw(big stranger)), undef, 'webhooks of others are not mentioned');
	$webhook{late} = webhook(9, 'late', events => '{*}');
	is_deeply($why->(qw(big late)), [ 'matched', undef, 'the webhook was created after the event' ], 'a webhook that came later');
	change($webhook{exists}, filter => undef);
	is_deeply($why->(qw(small exists)), [ 'matched', undef, 'it would match now, but did not when the event was recorded, or its delivery is no longer kept' ],
		'a filter that was taken away');
	$event{after} = emit_type(9, 'thing.happened', { n => 2 });
	wait_for_sql($node, "select count(*) from musicverse.webhook_deliveries where webhook_id = '$webhook{exists}' and status = 'delivered'", '2', 30);
	pass('after a change the next event goes by it');
	sql($node, "select musicverse.delete_webhook('$webhook{two}')");
	is_deeply($why->(qw(other two)), [ 'matched', 'delivered', 'the webhook was deleted since' ], 'a webhook that was deleted');
	is(sql_error($node, "select * from musicverse.explain_event('" . user(1) . "')")->{sqlstate}, 'P0002', 'an unknown event is refused');
	foreach my $filter ('$.data.n >', 'no path', '')
	{
		my $error = sql_error($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook{exact}), lit({ filter => $filter }));
		is($error && $error->{sqlstate}, '22023', "filter \"$filter\" is refused");
	}
}

# ---- time-out -----------------------------------------------------------

{
	my $w       = webhook(1, 'hang', timeout => '0.3s', retry_schedule => ['1h']);
	my $patient = webhook(1, 'slow');
	$receiver->control('hang', { mode => 'hang' });
	$receiver->control('slow', { mode => 'ok', delay_ms => 1000 });
	emit(1, {});
	my ($attempt) = wait_attempts($w, 1);
	is($attempt->{response_status}, undef, 'an endpoint that hangs gives no status');
	like($attempt->{error}, qr/time(d )?.?out/i, 'the error says that the time was over');
	cmp_ok($attempt->{total_us}, '>=', 290_000, 'after the time-out of the webhook');
	cmp_ok($attempt->{total_us}, '<', 14_000_000, 'not the general one');
	wait_status($patient, 'delivered 1');
	pass('another webhook has its own');
	change($w, timeout => undef);
	$receiver->control('hang', { mode => 'ok', delay_ms => 1000 });
	advance('1 hour');
	wait_status($w, 'delivered 1');
	pass('without one of its own the general time-out holds');

	$receiver->control('trickle', { mode => 'trickle', interval_ms => 50 });
	my $t = webhook(2, 'trickle', timeout => '0.3s', retry_schedule => ['1h']);
	emit(2, {});
	($attempt) = wait_attempts($t, 1);
	like($attempt->{error}, qr/time(d )?.?out/i, 'it holds for the whole answer, however slowly that comes');
}

# ---- rate ---------------------------------------------------------------

{
	my $w = webhook(3, 'rate', rate_limit => 20);
	emit(3, many(60));
	wait_status($w, 'delivered 60');
	my @at = map { $_->{at} } sql_rows($node, "select extract(epoch from started_at) as at from musicverse.webhook_attempts
		where webhook_id = '$w' order by started_at");
	my $most = max map { my $from = $_; scalar grep { $_ >= $from && $_ < $from + 1 } @at } @at;
	cmp_ok($most, '<=', 25, 'rate_limit bounds the deliveries of any second');
	cmp_ok($at[-1] - $at[0], '>=', 2.5, '60 deliveries at 20 a second take about three');
	cmp_ok($at[-1] - $at[0], '<=', 30, 'and not much longer');

	my $slow = webhook(4, 'rare', rate_limit => 0.001);
	emit(4, many(3));
	$receiver->wait_stats('rare', 30, received => 1);
	barrier();
	is(received('rare'), 1, 'a rate below one a second lets one go at once');
	advance('1000 seconds');
	$receiver->wait_stats('rare', 30, received => 2);
	barrier();
	is(received('rare'), 2, 'and the next when its time has come');
	change($slow, rate_limit => undef);
	wait_status($slow, 'delivered 3');
	pass('a limit that is taken away holds nobody');
}

# ---- how many at once ---------------------------------------------------

{
	my $w = webhook(5, 'three', max_concurrency => 3);
	my $x = webhook(5, 'free');
	$receiver->control($_, { mode => 'ok', delay_ms => 100 }) foreach qw(three free);
	emit(5, many(40));
	wait_status($w, 'delivered 40');
	wait_status($x, 'delivered 40');
	is($receiver->stats('three')->{concurrent_max}, 3, 'max_concurrency bounds what is under way');
	cmp_ok($receiver->stats('free')->{concurrent_max}, '>', 3, 'of this webhook only');
	change($w, max_concurrency => 1);
	$receiver->control('three', undef);
	$receiver->control('three', { mode => 'ok', delay_ms => 20 });
	my @events = emit(5, many(10));
	wait_status($w, 'delivered 50');
	is($receiver->stats('three')->{concurrent_max}, 1, 'a change takes effect');
	is_deeply([ $receiver->ids('three') ], \@events, 'one at once means in order');
}

# ---- ordering keys ------------------------------------------------------

{
	my $w = webhook(6, 'keys', ordering_key => '$.data.k', retry_schedule => [ '10min', '10min', '10min' ]);
	$receiver->control('keys', { mode => 'fail', count => 1 });
	emit(6, { k => 'a', n => 1 });
	wait_attempts($w, 1);
	emit(6, { k => 'a', n => 2 }, { k => 'b', n => 1 }, { k => 'a', n => 3 }, { k => 'b', n => 2 }, { n => 0 }, { k => undef, n => 0 });
	wait_status($w, 'delivered 4, pending 3');
	barrier();
	my @came = data_of($receiver->requests('keys'));
	is_deeply([ map { $_->{n} } grep { ($_->{k} // '') eq 'a' } @came ], [1], 'while the first of a key fails the others of that key wait');
	is_deeply([ map { $_->{n} } grep { ($_->{k} // '') eq 'b' } @came ], [ 1, 2 ], 'another key flows');
	is(scalar(grep { !defined $_->{k} } @came), 2, 'and what has no key too');
	advance('10 minutes');
	wait_status($w, 'delivered 7');
	@came = data_of($receiver->requests('keys'));
	is_deeply([ map { $_->{n} } grep { ($_->{k} // '') eq 'a' } @came ], [ 1, 1, 2, 3 ], 'then they follow in their order');

	# many keys and many failures: a next one of a key never comes before the one before it was taken
	my $z = webhook(7, 'mixed', ordering_key => '$.data.k', retry_schedule => [ ('1s') x 50 ]);
	$receiver->control('mixed', { mode => 'fail', count => 25 });
	emit(7, map { my $n = $_; map { { k => $_, n => $n } } 1 .. 6 } 1 .. 100);
	wait_for(sub {
		advance('5 minutes');
		sql($node, "select count(*) from musicverse.webhook_deliveries where webhook_id = '$z' and status = 'delivered'") eq '600';
	}, 60, '600 deliveries with keys');
	my (%next, @wrong);
	foreach my $request ($receiver->requests('mixed'))
	{
		my ($data) = data_of($request);
		my $turn = $next{ $data->{k} } // 1;
		push @wrong, "$data->{k}: $data->{n}, not $turn" if $data->{n} != $turn;
		$next{ $data->{k} } = $turn + 1 if $request->{mode} eq 'ok';
	}
	is_deeply(\@wrong, [], '600 deliveries of 6 keys come in order, key by key, through failures');
	is($receiver->stats('mixed')->{received}, 625, 'each once, but for those that failed');

	# behind a key that is blocked stands more than the worker keeps in memory for it
	$receiver->control('keys', undef);
	$receiver->control('keys', { mode => 'fail', count => 1 });
	emit(6, { k => 'c', n => 1 });
	$receiver->wait_stats('keys', 30, received => 1);
	wait_status($w, 'delivered 7, pending 1');
	emit(6, map { { k => 'c', n => $_ } } 2 .. 300);
	emit(6, { k => 'd', n => 1 });
	wait_status($w, 'delivered 8, pending 300');
	pass('another key flows past 300 that wait');
	wait_for(sub {
		advance('10 minutes');
		sql($node, "select count(*) from musicverse.webhook_deliveries where webhook_id = '$w' and status = 'delivered'") eq '308';
	}, 60, '300 deliveries of one key');
	is_deeply([ map { $_->{n} } grep { $_->{k} eq 'c' } data_of($receiver->requests('keys')) ], [ 1, 1 .. 300 ],
		'and these follow one by one');
}

# ---- the breaker --------------------------------------------------------

{
	my $w = webhook(8, 'broken', retry_schedule => [ ('1h') x 20 ]);
	my $delay = 300;
	$receiver->control('broken', { mode => 'fail' });
	emit(8, many(60));
	wait_for_sql($node, 'select open_breakers from musicverse.worker_status', '1', 60);
	barrier();
	my $before = received('broken');
	cmp_ok($before, '>=', 5, 'the breaker opens after breaker_threshold failures');
	cmp_ok($before, '<=', 8, 'and what was not under way stays back') or diag($before);

	foreach my $probe (1 .. 3)
	{
		advance('5 minutes');
		$receiver->wait_stats('broken', 60, received => $before + $probe);
		wait_attempts($w, $before + $probe);
		barrier();
		is(received('broken'), $before + $probe, "probe $probe: one delivery, when the breaker's time has passed");
	}
	advance('1 second');
	barrier();
	is(received('broken'), $before + 3, 'none before');

	$receiver->control('broken', undef);
	$receiver->control('broken', { mode => 'ok', delay_ms => $delay });
	wait_for(sub {
		advance('1 hour');
		sql($node, "select count(*) from musicverse.webhook_deliveries where webhook_id = '$w' and status = 'delivered'") eq '60';
	}, 60, 'everything to be delivered');
	# a request is under way for $delay at least; the receiver's timers may be a little early
	my @at = map { $_->{at} } $receiver->requests('broken');
	cmp_ok($at[1] - $at[0], '>=', $delay * 0.9, 'it recovers by one probe alone');
	cmp_ok($at[3] - $at[1], '>=', $delay * 0.9, 'then there are two at once');
	# the window doubles with each success, here twice
	cmp_ok($at[11] - $at[3], '>=', $delay * 0.9, 'then eight');
	cmp_ok($receiver->stats('broken')->{concurrent_max}, '>=', 8, 'and in the end many');
	wait_for_sql($node, 'select open_breakers from musicverse.worker_status', '0', 60);
	pass('no breaker is open then');
	ok(sql_value($node, "select is_active from musicverse.webhooks where id = '$w'"), 'the webhook was never disabled');
	is(received('broken'), 60, 'and nothing came twice');
}

# ---- figures ------------------------------------------------------------

{
	my $w = webhook(11, 'figures', retry_schedule => ['1h'], max_concurrency => 1);
	emit(11, many(3));
	wait_status($w, 'delivered 3');
	$receiver->control('figures', { mode => 'fail', delay_ms => 200 });
	emit(11, {});
	wait_attempts($w, 4);
	advance('1 hour');
	wait_status($w, 'delivered 3, failed 1');
	emit(11, {});
	wait_attempts($w, 6);
	my $stats = sql_row($node, "select * from musicverse.webhook_stats('$w', '3 hours')");
	is_deeply([ @$stats{qw(deliveries delivered failed pending attempts)} ], [ 5, 3, 1, 1, 6 ], 'webhook_stats counts');
	is(0 + $stats->{success_rate}, 0.75, 'the success rate is that of what is decided');
	cmp_ok($stats->{p50_ms}, '<=', $stats->{p95_ms}, 'the median is not above the 95th percentile');
	cmp_ok($stats->{p95_ms}, '>=', 190, 'which knows the slow answers');
	cmp_ok($stats->{p95_ms}, '<=', $stats->{p99_ms}, 'and is not above the 99th');
	advance('2 days');
	wait_status($w, 'delivered 3, failed 2');
	$stats = sql_row($node, "select * from musicverse.webhook_stats('$w', '1 hour')");
	is_deeply([ @$stats{qw(deliveries attempts)} ], [ 0, 1 ], 'a period counts what is in it');
	is($stats->{success_rate}, undef, 'without a decision there is no rate');
	is(sql_error($node, "select * from musicverse.webhook_stats('" . user(1) . "')")->{sqlstate}, 'P0002', 'an unknown webhook is refused');
}

# ---- moving ------------------------------------------------------------

# Requests under way when a webhook gets another URL don't count against a host for ever
{
	my $elsewhere = start_receiver();
	sql($node, 'alter system set musicverse.delivery_concurrency_per_host = 2');
	sql($node, 'select pg_reload_conf()');
	$elsewhere->control($_, { mode => 'ok', delay_ms => 1500 }) foreach qw(x1 x2);
	my @moving = map { webhook(12, $_, at => $elsewhere->url($_)) } qw(x1 x2);
	emit(12, {});
	wait_for(sub { $elsewhere->stats('x1')->{concurrent} && $elsewhere->stats('x2')->{concurrent} }, 30, 'two requests under way');
	change($_, url => $receiver->url('moved')) foreach @moving;
	# the worker reads the change before the requests end
	emit(12, {});
	$receiver->wait_stats('moved', 60, received => 2);
	wait_status($_, 'delivered 2') foreach @moving;
	my $there = webhook(13, 'there', at => $elsewhere->url('there'));
	emit(13, many(3));
	wait_status($there, 'delivered 3');
	pass('a webhook that moves leaves its places at the old host');
}

done_testing();
