# A crowd of webhooks that hang holds at most half of a worker's places: one
# that is known to answer is sent to meanwhile.
use MusicVerse::Test;

my $places   = 10;
my $receiver = start_receiver();
my $node     = new_cluster('main',
	'musicverse.delivery_concurrency' => $places,
	'musicverse.request_timeout'      => '120s',
	'musicverse.retry_schedule'       => '1h');

sub webhook
{
	my ($number, $name) = @_;
	my $webhook = sql_row($node, sprintf 'select * from musicverse.create_webhook(%s, %s, %s)',
		lit(user($number)), lit($receiver->url($name)), "array['track.*']");
	return $webhook->{id};
}

sub emit
{
	my ($from, $to) = @_;
	sql($node, join ';', map { sprintf "insert into musicverse.tracks (user_id, title) values (%s, 'a')", lit(user($_)) } $from .. $to);
}

webhook(1, 'healthy');
emit(1, 1);
$receiver->wait_stats('healthy', 30, received => 1);
wait_for_sql($node, 'select attempts from musicverse.worker_status', '1', 30, 'the first answer to be taken in');

my $crowd = 3 * $places;
foreach my $number (2 .. $crowd + 1)
{
	$receiver->control("dead$number", { mode => 'hang' });
	webhook($number, "dead$number");
}
emit(2, $crowd + 1);
wait_for_sql($node, 'select in_flight from musicverse.worker_status', $places / 2, 30, 'the crowd to take its half');

emit(1, 1) foreach 1 .. 20;
$receiver->wait_stats('healthy', 60, received => 21);
is(sql($node, "select count(*) from musicverse.webhook_attempts where error is not null"), '0',
	'the healthy webhook got all of its deliveries before the first of the crowd had even timed out');
wait_for_sql($node, 'select in_flight from musicverse.worker_status', $places / 2, 30, 'the healthy ones to be done');
is(sql($node, 'select backlog from musicverse.worker_status'), $crowd, 'the crowd is still pending, none was lost');

$receiver->stop;
done_testing();
