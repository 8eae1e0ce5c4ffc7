# Signatures: what arrives is verified by somebody else's library, whatever the
# body is made of, and stays verifiable while secrets change under traffic.
# And what the table of attempts tells of a request, and what it must not tell.
use MusicVerse::Test;
use utf8;
use IPC::Run ();
use List::Util qw(sum0);

my $node     = new_cluster('main', 'musicverse.max_response_body' => '2kB');
my $receiver = start_receiver();
sql($node, "select musicverse.register_event_type('text.sent', 'A text', '{}')");

# ---- tools --------------------------------------------------------------

# A webhook of a user at an endpoint of the receiver: { id, secret }
sub webhook
{
	my ($user, $name, %changes) = @_;
	my $headers = delete $changes{headers} // {};
	my $webhook = sql_row($node, sprintf 'select * from musicverse.create_webhook(%s, %s, %s, headers => %s)',
		lit(user($user)), lit($receiver->url($name)), "'{text.sent}'", lit($headers));
	change($webhook, %changes) if %changes;
	return $webhook;
}

sub change
{
	my ($webhook, %changes) = @_;
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook->{id}), lit(\%changes));
}

sub emit
{
	my ($user, $data) = @_;
	return sql($node, sprintf "select musicverse.emit_event(%s, 'text.sent', %s)", lit(user($user)), lit($data));
}

# The verdicts of the judge on requests, each with the secret; its clock is the
# timestamp that was sent, as the tests move theirs.
sub judge
{
	my (@cases) = @_;
	my $in = join '', map {
		my ($secret, $request, %differs) = @$_;
		json({ secret => $secret, headers => $request->{headers}, body => $request->{body},
			now => 0 + $request->{headers}{'webhook-timestamp'}, %differs }) . "\n"
	} @cases;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'node', "$root/test/judge/verify.mjs" ], \$in, \$out, \$err);
	die "the judge failed: $err" if $err ne '';
	return split /\n/, $out;
}

# Space-separated signatures of a request
sub signatures { return split / /, $_[0]{headers}{'webhook-signature'}; }

sub settled
{
	my ($count) = @_;
	wait_for_sql($node, "select count(*) from musicverse.webhook_deliveries where status = 'pending'", '0', 60, 'all deliveries to be settled');
}

# ---- any body -----------------------------------------------------------

my $a = webhook(1, 'a');
$receiver->control('a', { secrets => [ $a->{secret} ] });

my @texts = (
	[ 'ASCII',                              'plain "quotes" \\ and / slashes' ],
	[ 'emoji',                              "\x{1F3B5}\x{1F468}\x{200D}\x{1F469}\x{200D}\x{1F467} \x{1F1E9}\x{1F1EA}" ],
	[ 'U+2028 and U+2029',                  "line\x{2028}paragraph\x{2029}end" ],
	[ 'combining characters',               "e\x{301} and \x{E9}, a\x{30A}\x{323}, \x{1112}\x{1161}\x{11AB}" ],
	[ 'control characters',                 join '', map { chr } 1 .. 31, 127, 128, 159 ],
	[ 'right-to-left and noncharacters',    "\x{202E}\x{5D0}\x{5D1} \x{FEFF}\x{FFFD}\x{10FFFD}" ],
	[ 'text that looks like JSON',          '{"type":"track.created","data":null}' ],
	[ 'a body just under 16 KiB',           'x' x 16200 ],
	[ 'a body of more than 16 KiB',         "\x{E4}\x{1F3B5}" x 4000 ],
	[ 'a body of 100 kB',                   "0123456789\x{2028}\n\x{1F4A9}\"" x 6000 ],
);
my %name_of = map { emit(1, { name => $_->[0], text => $_->[1] }) => $_->[0] } @texts;
my %text_of = map { $_->[0] => $_->[1] } @texts;
my @requests = $receiver->wait_requests('a', scalar @texts, 60);
my %payload  = map { $_->{id} => $_->{payload} } sql_rows($node, "select id, payload from musicverse.events where type = 'text.sent'");

foreach my $request (sort { length $a->{body} <=> length $b->{body} } @requests)
{
	my $id   = $request->{headers}{'webhook-id'};
	my $name = $name_of{$id} // 'unknown';
	ok($request->{body} eq ($payload{$id} // ''), "$name: the body is events.payload, byte by byte");
	ok(from_json($request->{body})->{data}{text} eq $text_of{$name}, "$name: the text arrives as it was emitted");
}
my @verdicts = judge(map { [ $a->{secret}, $_ ] } @requests);
is_deeply(\@verdicts, [ ('ok') x @texts ], 'the standardwebhooks library verifies every body');
is($receiver->stats('a')->{verified}, scalar @texts, 'the receiver too');
my @sizes = map { length($_->{body}) } @requests;
ok((grep { $_ > 60_000 } @sizes) && (grep { $_ > 4_000 && $_ < 17_000 } @sizes), 'small and large bodies were among them');

my ($one) = @requests;
like($one->{headers}{'webhook-id'}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'webhook-id is a UUID v7');
is($one->{headers}{'content-type'}, 'application/json', 'the body is announced as JSON');
is($one->{method}, 'POST', 'and posted');
is(scalar signatures($one), 1, 'there is one signature');
is(sql($node, sprintf 'select musicverse.sign_webhook(%s, %s, %s, %s)', lit($a->{secret}), lit($one->{headers}{'webhook-id'}),
		$one->{headers}{'webhook-timestamp'}, "(select payload from musicverse.events where id = '$one->{headers}{'webhook-id'}')"),
	$one->{headers}{'webhook-signature'}, 'sign_webhook makes the same');
my $other = webhook(2, 'other');
is_deeply([ map { s/:.*//r } judge([ $a->{secret}, $one, body => "$one->{body} " ], [ $other->{secret}, $one ],
			[ $a->{secret}, $one, now => $one->{headers}{'webhook-timestamp'} + 301 ]) ],
	[ ('bad') x 3 ], 'the judge refuses a changed body, another secret, an old timestamp');

# ---- Ed25519 ------------------------------------------------------------

my $e = webhook(3, 'e', signing => 'ed25519');
my $public = sql($node, "select public_key from musicverse.webhooks where id = '$e->{id}'");
like($public, qr/^whpk_/, 'the public key can be read');
$receiver->control('e', { secrets => [$public] });
emit(3, { text => "\x{1F511}" });
my ($ed) = $receiver->wait_requests('e', 1);
is_deeply([ map { s/,.*//r } signatures($ed) ], [ 'v1a', 'v1' ], 'after the change of signing both kinds of signature are sent');
is_deeply([ judge([ $public, $ed ], [ $e->{secret}, $ed ]) ], [ 'ok', 'ok' ], 'both are right for the judge');
like((judge([ $public, $ed, body => "$ed->{body} " ]))[0], qr/^bad/, 'and Ed25519 does not hold for another body');
ok($ed->{verified}, 'the receiver verifies Ed25519');

my $next = sql($node, "select musicverse.rotate_webhook_secret('$e->{id}', '0')");
like($next, qr/^whpk_/, 'rotation of an Ed25519 key returns the public key');
isnt($next, $public, 'a new one');
emit(3, { text => 'after the rotation' });
(undef, $ed) = $receiver->wait_requests('e', 2);
is_deeply([ judge([ $next, $ed ]) ], ['ok'], 'without an overlap the new key signs');
is(scalar signatures($ed), 1, 'alone');
like((judge([ $public, $ed ]))[0], qr/^bad/, 'and the old one no longer holds');

# ---- rotation under traffic ---------------------------------------------

my $r = webhook(4, 'r');
sql($node, <<'SQL');
create table enough ();
create procedure traffic(of_user uuid) language plpgsql as $$
begin
    for i in 1 .. 8000 loop
        exit when exists (select from enough);
        perform musicverse.emit_event(of_user, 'text.sent', jsonb_build_object('n', i));
        commit;
        perform pg_sleep(0.004);
    end loop;
end $$
SQL
$receiver->control('r', { secrets => [ $r->{secret} ], tolerance => undef });
my ($traffic, $traffic_output) = start_process('traffic', 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', "call traffic('" . user(4) . "')");

$receiver->wait_stats('r', 60, verified => 100);
my $second = sql($node, "select musicverse.rotate_webhook_secret('$r->{id}')");
like($second, qr/^whsec_/, 'rotate_webhook_secret returns a new secret');
# the receiver doesn't know the new one yet, and then no more of the old one
$receiver->wait_stats('r', 60, received => 200);
wait_for(sub { signatures($receiver->stats('r')->{last}) == 2 }, 60, 'two signatures');
$receiver->control('r', { secrets => [$second] });
$receiver->wait_stats('r', 60, received => $receiver->stats('r')->{received} + 50);
sql($node, "select musicverse.advance_clock('24 hours 1 second')");
$receiver->wait_stats('r', 60, received => $receiver->stats('r')->{received} + 50);
sql($node, 'insert into enough default values');
wait_for(sub { eof $traffic_output }, 60, 'the end of the traffic');
stop_process($traffic);
my $events = sql($node, "select count(*) from musicverse.events where user_id = '" . user(4) . "'");
$receiver->wait_stats('r', 60, ids => $events);

my $stats = $receiver->stats('r');
is($stats->{bad_signatures}, 0, 'the receiver never saw a signature that it could not verify');
is($stats->{verified}, $events, 'and verified every event');
my @all  = $receiver->requests('r');
my @time = map { $_->{headers}{'webhook-timestamp'} } @all;
my @n    = map { scalar signatures($_) } @all;
my $from = 0;
$from++ while $from < @n && $n[$from] == 1;
my @late = grep { $time[$_] > $time[0] + 86400 } 0 .. $#all;
cmp_ok($from, '>=', 100, 'before the rotation there was one signature');
cmp_ok(scalar(grep { $_ == 2 } @n), '>=', 50, 'during the overlap there were two');
cmp_ok(scalar @late, '>=', 40, 'there was traffic after the overlap');
is(scalar(grep { $n[$_] != 1 } @late), 0, 'and it had one signature again');
is_deeply([ judge(map { [ $second, $all[$_] ] } @late) ], [ ('ok') x @late ], 'which is the new secret\'s');
like((judge([ $r->{secret}, $all[ $late[-1] ] ]))[0], qr/^bad/, 'the old secret is out');
my @both = grep { $n[$_] == 2 } 0 .. $#n;
is_deeply([ judge(map { ([ $r->{secret}, $all[$_] ], [ $second, $all[$_] ]) } @both[ 0, -1 ]) ], [ ('ok') x 4 ],
	'during the overlap the judge accepts either secret');

# ---- headers ------------------------------------------------------------

my $h = webhook(5, 'h', headers => { 'X-Tenant' => 'musicians', 'Authorization' => 'Bearer s3cr3t-t0ken', 'x-api-key' => 'k3y' });
emit(5, {});
my ($with) = $receiver->wait_requests('h', 1);
is($with->{headers}{'x-tenant'}, 'musicians', 'a custom header is sent');
is($with->{headers}{authorization}, 'Bearer s3cr3t-t0ken', 'an authorization header too');
change($h, headers => { 'X-Other' => 'now' });
emit(5, {});
(undef, my $changed) = $receiver->wait_requests('h', 2);
is_deeply([ @{ $changed->{headers} }{qw(x-other x-tenant)} ], [ 'now', undef ], 'changed headers replace those before');

foreach my $reserved ('webhook-id', 'Webhook-Signature', 'WEBHOOK-TIMESTAMP', 'Host', 'Content-Length', 'content-type', 'Transfer-Encoding', 'Connection', 'Expect')
{
	my $error = sql_error($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($h->{id}), lit({ headers => { $reserved => 'x' } }));
	is($error && $error->{sqlstate}, '22023', "header $reserved is refused");
}
foreach my $value ("a\r\nX-Evil: 1", "a\nb", "\x{E4}", '', ' x')
{
	my $error = sql_error($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($h->{id}), lit({ headers => { 'X-A' => $value } }));
	is($error && $error->{sqlstate}, '22023', 'header value ' . json($value) . ' is refused');
}

# ---- attempts -----------------------------------------------------------

settled();
my ($attempt) = sql_rows($node, "select * from musicverse.webhook_attempts where webhook_id = '$h->{id}' order by started_at limit 1");
my $sent = $attempt->{request_headers};
is($sent->{'webhook-signature'}, '<redacted>', 'the attempt does not tell the signature');
is($sent->{authorization}, '<redacted>', 'nor the authorization header');
is($sent->{'x-api-key'}, '<redacted>', 'nor an API key');
is($sent->{'x-tenant'}, 'musicians', 'other headers are told');
is($sent->{'webhook-id'}, $with->{headers}{'webhook-id'}, 'the id too');
is($sent->{'webhook-timestamp'}, $with->{headers}{'webhook-timestamp'}, 'and the timestamp');
is(sql($node, "select count(*) from musicverse.webhook_attempts a where a::text ~ 's3cr3t|k3y|v1a?,[A-Za-z0-9+/]{40}'"), '0',
	'no attempt shows a signature or a credential');
is(sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$r->{id}' and request_headers ->> 'webhook-signature' = '<redacted, two>'"),
	scalar @both, 'attempts tell how many signatures there were');

$receiver->control('h', { mode => 'fail', status => 418, count => 1, delay_ms => 300, body => 'teapot ' x 1000, headers => { 'X-Kind' => 'pot' } });
change($h, retry_schedule => ['1s']);
my $event = emit(5, {});
wait_for_sql($node, "select count(*) from musicverse.webhook_attempts a join musicverse.webhook_deliveries d on d.id = a.delivery_id where d.event_id = '$event'", '1', 30);
$attempt = sql_row($node, "select a.* from musicverse.webhook_attempts a join musicverse.webhook_deliveries d on d.id = a.delivery_id where d.event_id = '$event' and attempt = 1");
is($attempt->{response_status}, 418, 'the attempt has the status of the response');
is($attempt->{response_headers}{'x-kind'}, 'pot', 'its headers');
is($attempt->{response_body}, substr('teapot ' x 1000, 0, 2048), 'and its body, up to max_response_body');
ok($attempt->{truncated}, 'which is told');
is($attempt->{error}, 'HTTP 418', 'the error is short');
is($attempt->{remote_addr} =~ s/^\[?(.*?)\]?(:\d+)?$/$1/r, '127.0.0.1', 'the address that was dialled is told');
cmp_ok($attempt->{first_byte_us}, '>=', 250_000, 'the time to the first byte has the delay of the answer');
cmp_ok($attempt->{total_us}, '>=', $attempt->{first_byte_us}, 'the total is not below it');
my $fresh = sql_row($node, "select * from musicverse.webhook_attempts where webhook_id = '$a->{id}' order by started_at limit 1");
cmp_ok($fresh->{connect_us} // 0, '>', 0, 'the first attempt of all has a time for its connection');
is($fresh->{tls_us}, undef, 'without TLS there is no time of a handshake');
cmp_ok(sum0(map { $fresh->{$_} // 0 } qw(dns_us connect_us tls_us)), '<=', $fresh->{total_us}, 'the parts are not more than the whole');
is(sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$a->{id}' and (truncated or response_body <> 'ok' or response_status <> 200)"),
	'0', 'a short answer is kept whole');

done_testing();
