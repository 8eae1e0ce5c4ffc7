# What happens to a delivery that fails: the schedule, Retry-After, giving up,
# disabling, holding, replaying. Days pass by moving the clock.
use MusicVerse::Test;
use List::Util qw(uniq);
use POSIX qw(strftime setlocale LC_TIME);

setlocale(LC_TIME, 'C');
my $node     = new_cluster('main', 'musicverse.disable_after' => 3);
my $receiver = start_receiver();
sql($node, "select musicverse.register_event_type('thing.happened', 'Something', '{}')");

# ---- tools --------------------------------------------------------------

# A webhook of a user at an endpoint of the receiver
sub webhook
{
	my ($user, $name, %changes) = @_;
	my $events = delete $changes{events} // '{thing.happened}';
	my $id = sql($node, sprintf 'select id from musicverse.create_webhook(%s, %s, %s)',
		lit(user($user)), lit($receiver->url($name)), lit($events));
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($id), lit(\%changes)) if %changes;
	return $id;
}

my $counter = 0;

# The ids of so many new events of a user, in the order of the events
sub emit
{
	my ($user, $count) = @_;
	my ($from, $to) = ($counter + 1, $counter += $count // 1);
	my @ids = split /\n/, sql($node, sprintf
		"select musicverse.emit_event(%s, 'thing.happened', jsonb_build_object('n', n)) from generate_series(%d, %d) n",
		lit(user($user)), $from, $to);
	return wantarray ? @ids : $ids[0];
}

sub advance { sql($node, "select musicverse.advance_clock('$_[0]')"); }

# Waits for the status of deliveries of a webhook, as "delivered 2, pending 1"
sub wait_status
{
	my ($webhook, $expected) = @_;
	wait_for_sql($node, "select string_agg(s, ', ' order by s) from (select status || ' ' || count(*) as s
		from musicverse.webhook_deliveries where webhook_id = '$webhook' group by status) q", $expected, 60);
}

sub delivery
{
	my ($webhook, $event) = @_;
	return sql_row($node, "select * from musicverse.webhook_deliveries where webhook_id = '$webhook'"
		  . (defined $event ? " and event_id = '$event'" : '') . ' order by seq desc limit 1');
}

# The attempts of a webhook, with the seconds to the next one planned after it
sub wait_attempts
{
	my ($webhook, $count) = @_;
	wait_for_sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$webhook'", $count, 60);
	return sql_rows($node, "select * from musicverse.webhook_attempts where webhook_id = '$webhook' order by started_at");
}

sub seconds_to_next
{
	my ($webhook) = @_;
	return sql($node, "select extract(epoch from d.next_attempt_at - a.started_at) from musicverse.webhook_deliveries d
		join musicverse.webhook_attempts a on a.delivery_id = d.id and a.attempt = d.attempt_count where d.webhook_id = '$webhook'");
}

# Returns once the worker has dealt with all that was due before
my $barrier_webhook = webhook(99, 'barrier');
sub barrier
{
	my $event = emit(99);
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where webhook_id = '$barrier_webhook' and event_id = '$event'", 'delivered', 60);
}

sub received { return $receiver->stats($_[0])->{received}; }

sub state_of
{
	my ($webhook) = @_;
	return sql_row($node, "select is_active, disabled_reason, failure_count from musicverse.webhooks where id = '$webhook'");
}

# ---- Retry-After --------------------------------------------------------

{
	my @cases = (
		# status, Retry-After, seconds to the next attempt at least, at most, what it proves
		[ 429, '1200',    1200, 1260,  'Retry-After of 429 is honoured' ],
		[ 503, '1500',    1500, 1560,  'Retry-After of 503 is honoured' ],
		[ 429, '9999999', 3600, 3660, 'Retry-After is bounded by the longest delay of the schedule' ],
		[ 503, 'date',    1700, 1860, 'Retry-After can be a date' ],
		[ 503, 'Thu, 01 Jan 1970 00:00:01 GMT', 0, 600, 'a date in the past is as none' ],
		[ 500, '1200',    0,    600,  'Retry-After of 500 is not honoured' ],
		[ 429, 'soon',    0,    600,  'a Retry-After that is neither is ignored' ],
		[ 429, '-1200',   0,    600,  'a negative one too' ],
		[ 503, '99999999999999999999999', 3600, 3660, 'a number beyond all bounds is bounded as well' ]);
	foreach my $case (@cases)
	{
		my ($status, $after, $least, $most, $what) = @$case;
		$after = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + 1800)) if $after eq 'date';
		my $name = 'after' . $case;
		$name =~ s/\W//g;
		my $w = webhook(1, $name, retry_schedule => [ '10min', '1h' ]);
		$receiver->control($name, { mode => 'fail', status => $status, retry_after => $after });
		emit(1);
		wait_attempts($w, 1);
		my $seconds = seconds_to_next($w);
		ok($seconds >= $least && $seconds <= $most, $what) or diag("$seconds s, not $least to $most");
		sql($node, "select musicverse.delete_webhook('$w')");
	}

	my $w = webhook(2, 'busy', retry_schedule => [ '10min', '1h' ]);
	$receiver->control('busy', { mode => 'busy', retry_after => 1200, count => 1 });
	my $first = emit(2);
	wait_attempts($w, 1);
	my $second = emit(2);
	advance('15 minutes');
	barrier();
	is(received('busy'), 1, 'Retry-After holds the other deliveries of the webhook too');
	advance('6 minutes');
	wait_status($w, 'delivered 2');
	is_deeply([ sort $receiver->ids('busy') ], [ sort $first, $second ], 'and all go when it has passed');
}

# ---- the schedule -------------------------------------------------------

{
	my $w = webhook(3, 'dead');
	$receiver->control('dead', { mode => 'fail' });
	my $event = emit(3);
	my @schedule = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400);
	my @next;
	foreach my $n (1 .. @schedule)
	{
		# the first retry may come by itself before we look
		wait_for_sql($node, "select attempt_count >= $n from musicverse.webhook_deliveries where webhook_id = '$w'", 't', 60);
		push @next, $n == 1 ? 1 : seconds_to_next($w);
		advance("$schedule[$n - 1] seconds");
	}
	wait_status($w, 'failed 1');
	my @requests = $receiver->requests('dead');
	my @attempts = wait_attempts($w, 10);
	is(scalar @requests, 10, 'the default schedule makes nine retries');
	is_deeply([ uniq map { $_->{headers}{'webhook-id'} } @requests ], [$event], 'every attempt has the same webhook-id');
	is_deeply([ uniq map { $_->{body} } @requests ], [ sql($node, "select payload from musicverse.events where id = '$event'") ],
		'and the same body, byte by byte');
	is(scalar(uniq map { $_->{headers}{'webhook-timestamp'} } @requests), 10, 'but a timestamp of its own');
	is_deeply([ map { $_->{attempt} } @attempts ], [ 1 .. 10 ], 'every attempt is recorded');
	my @bad = grep { $next[$_] <= 0 || $next[$_] > $schedule[$_] + 1 } 0 .. $#schedule;
	is_deeply(\@bad, [], 'each delay is within its step of the schedule') or diag("@next");
	my $d = delivery($w);
	is($d->{attempt_count}, 10, 'the delivery was given up after the last one');
	is_deeply([ @$d{qw(next_attempt_at last_error response_status)} ], [ undef, 'HTTP 500', 500 ], 'and says why');
	is(state_of($w)->{failure_count}, 1, 'one delivery given up is counted');
	advance('2 days');
	barrier();
	is(received('dead'), 10, 'what was given up is not tried again');
	ok(state_of($w)->{is_active}, 'the webhook goes on');

	my $explained = sql_row($node, "select * from musicverse.explain_event('$event')");
	is($explained->{reason}, 'given up after 10 attempts: HTTP 500', 'explain_event tells it');

	$receiver->control('dead', { mode => 'ok' });
	my $again = sql($node, "select musicverse.replay_delivery('$d->{id}')");
	isnt($again, $d->{id}, 'replay_delivery makes a new delivery');
	wait_status($w, 'delivered 1, failed 1');
	my $last = $receiver->stats('dead')->{last};
	is($last->{headers}{'webhook-id'}, $event, 'with the same webhook-id');
	is($last->{body}, $requests[0]{body}, 'and the same body');
	is(state_of($w)->{failure_count}, 0, 'success clears the count');

	my $short = webhook(4, 'short', retry_schedule => [ '1s', '10min' ]);
	$receiver->control('short', { mode => 'fail' });
	emit(4);
	wait_attempts($short, 1);
	advance('1 second');
	wait_attempts($short, 2);
	my $error = sql_error($node, sprintf "select musicverse.replay_delivery('%s')", delivery($short)->{id});
	is($error->{sqlstate}, '55000', 'what is still pending cannot be replayed');
	advance('10 minutes');
	wait_status($short, 'failed 1');
	is(scalar wait_attempts($short, 3), 3, 'a webhook can have a schedule of its own');

	$error = sql_error($node, "select musicverse.replay_delivery('" . user(1) . "')");
	is($error->{sqlstate}, 'P0002', 'an unknown delivery cannot be replayed');
}

# ---- redirects ----------------------------------------------------------

{
	my $w = webhook(5, 'moved', retry_schedule => ['1s']);
	foreach my $status (301, 302, 303, 307, 308)
	{
		$receiver->control('moved', { mode => 'redirect', status => $status, location => $receiver->url('target'), count => 1 });
		my $event = emit(5);
		wait_for_sql($node, "select attempt_count >= 1 from musicverse.webhook_deliveries where event_id = '$event'", 't', 60);
		my $attempt = sql_row($node, "select a.* from musicverse.webhook_attempts a join musicverse.webhook_deliveries d on d.id = a.delivery_id
			where d.event_id = '$event' and a.attempt = 1");
		is_deeply([ @$attempt{qw(response_status error)} ], [ $status, "redirect (HTTP $status) is not followed" ], "$status fails");
		advance('2 seconds');
		wait_for_sql($node, "select status from musicverse.webhook_deliveries where event_id = '$event'", 'delivered', 60);
	}
	is(received('target'), 0, 'no redirect was followed');
}

# ---- 410 ----------------------------------------------------------------

{
	my $gone  = webhook(6, 'gone',  max_concurrency => 1, retry_schedule => ['1s']);
	my $watch = webhook(6, 'watch', events => '{webhook.disabled}');
	$receiver->control('gone', { mode => 'gone' });
	my @events = emit(6, 20);
	$receiver->wait_stats('watch', 60, received => 1);
	is_deeply(state_of($gone), { is_active => JSON::PP::false, disabled_reason => 'the endpoint answered 410 Gone', failure_count => 1 },
		'410 disables the webhook at its first answer');
	is(received('gone'), 1, 'nothing is sent to it after that');
	my $told = from_json($receiver->stats('watch')->{last}{body});
	is($told->{type}, 'webhook.disabled', 'another webhook of the user is told');
	is_deeply([ @{ $told->{data} }{qw(webhook_id url reason failure_count last_error)} ],
		[ $gone, $receiver->url('gone'), 'the endpoint answered 410 Gone', 1, 'HTTP 410' ], 'which one it was, and why');
	like($told->{data}{disabled_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/, 'and when');

	wait_status($gone, 'failed 1, held 19');
	push @events, emit(6, 5);
	barrier();
	wait_status($gone, 'failed 1, held 24');
	is(received('gone'), 1, 'events of a disabled webhook are held');
	my $explained = sql_row($node, "select * from musicverse.explain_event('$events[-1]') where webhook_id = '$gone'");
	is($explained->{reason}, 'held until the webhook is enabled: the endpoint answered 410 Gone', 'explain_event tells it');
	my $error = sql_error($node, "select musicverse.test_webhook('$gone')");
	is($error->{sqlstate}, '55000', 'a disabled webhook cannot be tested');

	$receiver->control('gone', undef);
	sql($node, "select musicverse.enable_webhook('$gone')");
	wait_status($gone, 'delivered 24, failed 1');
	is_deeply([ $receiver->ids('gone') ], [ @events[ 1 .. 24 ] ], 'enable_webhook sends what was held, in order');
	is(state_of($gone)->{disabled_reason}, undef, 'and forgets why it was disabled');
	is(received('watch'), 1, 'webhook.disabled was sent once');
}

# ---- disabled by hand ---------------------------------------------------

{
	my $w = webhook(7, 'hand', max_concurrency => 1);
	emit(7);
	wait_status($w, 'delivered 1');
	sql($node, "select musicverse.disable_webhook('$w', 'holidays')");
	my @held = emit(7, 3);
	barrier();
	wait_status($w, 'delivered 1, held 3');
	is(received('hand'), 1, 'disable_webhook holds what comes');
	is(state_of($w)->{disabled_reason}, 'holidays', 'with the reason given');
	sql($node, "select musicverse.enable_webhook('$w')");
	wait_status($w, 'delivered 4');
	is_deeply([ ($receiver->ids('hand'))[ 1 .. 3 ] ], \@held, 'enable_webhook sends it, in order');
}

# ---- too many given up --------------------------------------------------

{
	my $w = webhook(8, 'flaky', retry_schedule => ['1s']);
	my $fail = sub {
		my ($status) = @_;
		emit(8);
		# a probe may have to wait for the breaker
		wait_for(sub {
			advance('10 minutes');
			sql($node, "select not exists (select from musicverse.webhook_deliveries where webhook_id = '$w' and status = 'pending')") eq 't';
		}, 60, 'the delivery to be given up');
	};
	$receiver->control('flaky', { mode => 'fail' });
	$fail->() for 1 .. 2;
	is(state_of($w)->{failure_count}, 2, 'deliveries given up are counted');
	$receiver->control('flaky', { mode => 'ok' });
	$fail->();
	wait_for_sql($node, "select failure_count from musicverse.webhooks where id = '$w'", '0', 30);
	$receiver->control('flaky', { mode => 'fail' });
	$fail->() for 1 .. 2;
	ok(state_of($w)->{is_active}, 'disable_after counts deliveries given up in a row: a success between them starts it anew');
	$fail->();
	is_deeply(state_of($w), { is_active => JSON::PP::false, disabled_reason => 'too many deliveries given up in a row', failure_count => 3 },
		'disable_after in a row disable it');

	sql($node, "select musicverse.enable_webhook('$w')");
	is(state_of($w)->{failure_count}, 0, 'enable_webhook clears the count');
	$fail->();
	ok(state_of($w)->{is_active}, 'so the next one given up does not disable it again');
	is(state_of($w)->{failure_count}, 1, 'but is counted from one');

	# the same while it is active, or disabled and enabled with nothing pending
	$fail->();
	sql($node, "select musicverse.disable_webhook('$w')");
	sql($node, "select musicverse.enable_webhook('$w')");
	$fail->();
	is_deeply([ @{ state_of($w) }{qw(is_active failure_count)} ], [ JSON::PP::true, 1 ], 'so it is after disabling and enabling at rest');
}

# ---- failing for too long -----------------------------------------------

{
	my $w = webhook(9, 'long', retry_schedule => [ ('1h') x 5 ]);
	$receiver->control('long', { mode => 'fail' });
	my $event = emit(9);
	wait_attempts($w, 1);
	advance('4 days 23 hours');
	wait_attempts($w, 2);
	ok(state_of($w)->{is_active}, 'a webhook may fail for less than disable_after_interval');
	advance('2 hours');
	wait_attempts($w, 3);
	wait_for_sql($node, "select is_active from musicverse.webhooks where id = '$w'", 'f', 30);
	is(state_of($w)->{disabled_reason}, 'failing for too long without a success', 'longer than that disables it');
	wait_status($w, 'held 1');
	advance('2 hours');
	barrier();
	is(received('long'), 3, 'its retries are held as well');
	sql($node, "select musicverse.enable_webhook('$w')");
	wait_attempts($w, 4);
	barrier();
	ok(state_of($w)->{is_active}, 'enable_webhook starts the interval anew');
	$receiver->control('long', { mode => 'ok' });
	advance('1 hour');
	wait_status($w, 'delivered 1');
	is_deeply([ $receiver->ids('long') ], [$event], 'and the retry goes on where it was');
}

# ---- replaying many -----------------------------------------------------

{
	my $w = webhook(10, 'many', max_concurrency => 1, retry_schedule => ['1s']);
	my $since = sql($node, 'select musicverse._now()');
	my @good = emit(10, 2);
	wait_status($w, 'delivered 2');
	$receiver->control('many', { mode => 'fail' });
	my @bad = emit(10, 2);
	wait_for(sub {
		advance('10 minutes');
		sql($node, "select count(*) from musicverse.webhook_deliveries where webhook_id = '$w' and status = 'failed'") eq '2';
	}, 60, 'two deliveries given up');
	my $middle = sql($node, 'select musicverse._now()');
	$receiver->control('many', undef);
	advance('10 minutes');
	push @good, emit(10);
	wait_status($w, 'delivered 3, failed 2');
	$receiver->control('many', undef);

	my $replay = sub {
		my ($arguments) = @_;
		return sql($node, "select musicverse.replay_webhook('$w', $arguments)");
	};
	is($replay->("'$since', dry_run => true"), '2', 'a dry run counts what would be replayed: what failed');
	is($replay->("'$since', only_failed => false, dry_run => true"), '5', 'or all');
	is($replay->("'$middle', only_failed => false, dry_run => true"), '1', 'of the time since');
	is($replay->("'$since', '$middle', only_failed => false, dry_run => true"), '4', 'and until');
	is($replay->("'$middle', dry_run => true"), '0', 'nothing failed in the end');
	barrier();
	is(received('many'), 0, 'a dry run sends nothing');
	is($replay->("'$since'"), '2', 'replay_webhook replays them');
	wait_status($w, 'delivered 5, failed 2');
	is_deeply([ $receiver->ids('many') ], \@bad, 'with the same webhook-ids, in their order');
	is($replay->("'$since'"), '0', 'what has been delivered meanwhile does not count as failed');

	$receiver->control('many', undef);
	is($replay->("'$since', only_failed => false, per_second => 0.001"), '5', 'a replay can be spread over time');
	wait_status($w, 'delivered 6, failed 2, pending 4');
	is($replay->("'$since', only_failed => false, dry_run => true"), '1', 'what is pending is not queued twice');
	barrier();
	is(received('many'), 1, 'the first goes at once, and only that');
	foreach my $n (2 .. 5)
	{
		advance('1000 seconds');
		$receiver->wait_stats('many', 30, received => $n);
		barrier();
		is(received('many'), $n, "delivery $n a thousand seconds later");
	}
	wait_status($w, 'delivered 10, failed 2');
	is_deeply([ $receiver->ids('many') ], [ @good[ 0, 1 ], @bad, $good[2] ], 'in the order of the events');
	my $error = sql_error($node, "select musicverse.replay_webhook('$w', '$since', per_second => 0)");
	is($error->{sqlstate}, '22023', 'per_second must be above zero');
}

{
	my @events = emit(11, 5);
	my $late   = webhook(11, 'late', max_concurrency => 1);
	is(sql($node, "select musicverse.replay_since_event('$late', '$events[1]', dry_run => true)"), '3', 'a dry run of replay_since_event counts');
	is(sql($node, "select musicverse.replay_since_event('$late', '$events[1]')"), '3', 'replay_since_event queues what came after an event');
	wait_status($late, 'delivered 3');
	is_deeply([ $receiver->ids('late') ], [ @events[ 2 .. 4 ] ], 'although the webhook was not there then');
	is(sql($node, "select musicverse.replay_since_event('$late', '$events[2]', per_second => 0.001)"), '2', 'again, spread over time');
	$receiver->wait_stats('late', 30, received => 4);
	barrier();
	is(received('late'), 4, 'the first at once');
	advance('1000 seconds');
	$receiver->wait_stats('late', 30, received => 5);
	is($receiver->stats('late')->{duplicates}, 2, 'the receiver sees the ids it knows');
	my $error = sql_error($node, "select musicverse.replay_since_event('$late', '" . user(1) . "')");
	is($error->{sqlstate}, 'P0002', 'an unknown event is refused');
}

# ---- trying it, deleting it ---------------------------------------------

{
	my $w       = webhook(12, 'tried', events => '{track.created}');
	my $sibling = webhook(12, 'sibling', events => '{*}');
	my $id      = sql($node, "select musicverse.test_webhook('$w')");
	my ($test) = map { from_json($_->{body}) } $receiver->wait_requests('tried', 1);
	is_deeply([ $test->{type}, $test->{data}{webhook_id} ], [ 'webhook.test', $w ], 'test_webhook sends webhook.test');
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where id = '$id'", 'delivered', 30, 'the delivery it returned');
	sql($node, "select musicverse.test_webhook('$w', 'payment.succeeded')");
	(undef, $test) = map { from_json($_->{body}) } $receiver->wait_requests('tried', 2);
	is($test->{type}, 'payment.succeeded', 'or the example of another type');
	is_deeply($test->{data}, sql_json($node, "select example from musicverse.event_types where name = 'payment.succeeded'"), 'as in the catalogue');
	barrier();
	is(received('sibling'), 0, 'other webhooks are not told');
	is(sql_error($node, "select musicverse.test_webhook('$w', 'no.such')")->{sqlstate}, '22023', 'an unknown type is refused');

	my $doomed = webhook(13, 'doomed', retry_schedule => ['1h']);
	$receiver->control('doomed', { mode => 'fail' });
	emit(13, 3);
	wait_attempts($doomed, 3);
	is(sql($node, "select musicverse.delete_webhook('$doomed')"), 't', 'delete_webhook deletes');
	is(sql($node, "select musicverse.delete_webhook('$doomed')"), 'f', 'once');
	wait_status($doomed, 'cancelled 3');
	wait_for_sql($node, "select string_agg(distinct status::text, ',') from musicverse.deliveries where webhook_id = '$doomed'", 'c', 60,
		'the rows to be settled as cancelled');
	advance('2 hours');
	barrier();
	is(received('doomed'), 3, 'what was pending is no longer sent');
	wait_for_sql($node, 'select sum(backlog) from musicverse.worker_status', '0', 60, 'an empty backlog');
	pass('and nothing is left in the backlog');
}

done_testing();
