# The whole way once: an event committed in SQL arrives signed at its
# subscriber, and both sides agree on what was sent.
use MusicVerse::Test;

my $node     = new_cluster('main');
my $receiver = start_receiver();
my $user     = user(1);

my $webhook = sql_row($node, sprintf 'select * from musicverse.create_webhook(%s, %s, %s)',
	lit($user), lit($receiver->url('smoke')), "array['track.*']");
like($webhook->{secret}, qr/^whsec_/, 'create_webhook returns the secret');
$receiver->control('smoke', { secrets => [ $webhook->{secret} ] });

sql($node, sprintf "begin; insert into musicverse.tracks (user_id, title) values (%s, 'never'); rollback", lit($user));
sql($node, sprintf "insert into musicverse.tracks (user_id, title) values (%s, 'Hello')", lit($user));

my ($request) = $receiver->wait_requests('smoke', 1, 20);
my $body = from_json($request->{body});
is($body->{type},        'track.created', 'the event has its type');
is($body->{data}{title}, 'Hello',         'the event carries the row that was committed');
ok($request->{verified}, 'the signature is right for the receiver');

is( sql($node, sprintf 'select musicverse.verify_webhook(%s, %s, %s)',
		lit($webhook->{secret}), lit($request->{headers}), lit($request->{body})),
	't', 'verify_webhook agrees');

wait_for_sql($node, 'select count(*) from musicverse.webhook_deliveries where status = $$delivered$$', '1', 20,
	'the delivery to be settled');
is($receiver->stats('smoke')->{received}, 1, 'what was rolled back is never sent');

my $error = sql_error($node, sprintf 'select * from musicverse.create_webhook(%s, $$ftp://example.com$$, $${*}$$)', lit($user));
is($error->{sqlstate}, '22023', 'a bad URL is refused');
ok($error->{hint}, 'with a hint');

done_testing();
