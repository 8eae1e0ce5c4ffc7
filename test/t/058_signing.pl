# Signed requests: the samples of the documentation sign what the server
# verifies; used signatures stay used over restarts, crashes, a clock that is
# set back and a memory that is full. And every example of the room's pages runs.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.signature_memory' => 128);
my $receiver = start_receiver();
my $user = user(1);
my $page = slurp_file("$root/docs/signed_requests.md");

# The blocks of a page in a language, in their order
sub blocks { my ($language, $text) = @_; return $text =~ /^```$language\n(.*?)^```$/msg; }

# What was signed before the start is refused: the second after it has to begin
wait_for_sql($node, "select clock_timestamp() > pg_postmaster_start_time() + interval '2 s'", 't', 30);

sub verify
{
	my ($key, $signature, $method, $path, $ts, $body, $tolerance) = @_;
	return sql($node, sprintf 'select musicverse.verify_request_signature(%s, %s, %s, %s, %s, %s%s)', map({ lit($_) } $key, $signature, $method, $path), $ts, lit($body),
		$tolerance ? ', ' . lit($tolerance) : '');
}

sub signed
{
	my ($ts, $body) = @_;
	return sql($node, "select musicverse.request_signature('secret', 'POST', '/a', $ts, " . lit($body) . ')');
}
sub good { my ($ts, $body, $tolerance) = @_; return verify('secret', signed($ts, $body), 'POST', '/a', $ts, $body, $tolerance); }
sub seconds { return sql($node, 'select floor(extract(epoch from musicverse._now()))::bigint'); }

# ---- the samples

my ($lines, $expected) = $page =~ /^((?:    .*\n)+).*?^    X-Signature: (v1=\w+)$/ms;
my (undef, $method, $path, $ts, $hash) = $lines =~ /^    (.*)$/mg;
my ($secret, $body) = $page =~ /^`(\S+)` and the body `(.*?)`/m;
is(sql($node, sprintf 'select musicverse.request_signature(%s, %s, %s, %s, %s)', map({ lit($_) } $secret, $method, $path), $ts, lit($body)), $expected,
	'the page shows the signature of its example');
is(sql($node, 'select encode(sha256(convert_to(' . lit($body) . q{, 'UTF8')), 'hex')}), $hash, 'and the hash of its body');

my $key = sql_row($node, "select * from musicverse.create_api_key('$user', 'signing', require_signature => true)")->{key};
my %run = (sh => [ 'sh', 'sh' ], js => [ 'node', 'mjs' ], python => [ 'python3', 'py' ]);
my $dir = PostgreSQL::Test::Utils::tempdir();
foreach my $language (sort keys %run)
{
	my ($program, $suffix) = @{ $run{$language} };
	my @samples = blocks($language, $page);
	is(scalar @samples, 1, "there is a sample for $language");

	# The very sample, to where the receiver listens
	(my $sample = $samples[0]) =~ s{/api/v1/generate\?}{/hook/$language?};
	append_to_file("$dir/sample.$suffix", $sample);
	{
		local @ENV{qw(MUSICVERSE_URL MUSICVERSE_KEY PYTHONIOENCODING)} = ($receiver->base, $key, 'utf-8');
		system_log($program, "$dir/sample.$suffix");
	}
	my ($request) = $receiver->wait_requests($language, 1, 30);
	my $headers = $request->{headers};
	utf8::encode($request->{body});
	is("$request->{method} $request->{path} $headers->{authorization}", "POST /hook/$language?draft=true Bearer $key", "$language: it calls");
	my @arguments = ($key, $headers->{'x-signature'}, $request->{method}, $request->{path}, $headers->{'x-timestamp'});
	is(verify(@arguments, $request->{body} . ' '), 'f', "$language: another body is not what it signed");
	is(verify(@arguments, $request->{body}), 't', "$language: what it signs is good");
	is(verify(@arguments, $request->{body}), 'f', "$language: once");
}

# ---- restarts and crashes

my $now = seconds();
is(good($now, 'before the restart'), 't', 'a signature is good');
my $unused = signed($now, 'not used before the restart');
$node->restart;
is(good($now, 'before the restart'), 'f', 'and used after a clean restart');
is(verify('secret', $unused, 'POST', '/a', $now, 'not used before the restart'), 't', 'one that was made before it is good yet');
$node->stop('immediate');
$node->start;
is(good($now, 'before the restart'), 'f', 'a used one is not good after a crash');
is(good($now, 'made before the crash'), 'f', 'and neither is another of that time, as nobody knows');
wait_for_sql($node, "select clock_timestamp() > pg_postmaster_start_time() + interval '2 s'", 't', 30);
is(good(seconds(), 'after the crash'), 't', 'a new one is');

# ---- no room

$now = seconds();
my $many = sub {
	my ($what, $ts, $tolerance) = @_;
	return sql($node, "select count(*) filter (where musicverse.verify_request_signature('secret', s, 'POST', '/a', $ts, b, '$tolerance'))
		from generate_series(1, 2000) i, lateral (select '$what ' || i) x (b), musicverse.request_signature('secret', 'POST', '/a', $ts, b) s");
};
my $admitted = $many->('crowd', $now, '5 minutes');
cmp_ok($admitted, '>=', 128, 'there is room for as many as the setting says');
cmp_ok($admitted, '<=', 220, 'and not for all');
is($many->('crowd', $now, '5 minutes'), 0, 'none of them passes again, neither those remembered nor those for which there was no room');
like(slurp_file($node->logfile), qr/signed requests are refused as there is no room.*\n.*HINT:.*signature_memory/, 'the log says so');
is(good($now, 'one more, while it is full'), 'f', 'a full memory refuses') for 1 .. 3;

# ---- places that are taken by others: what stood there is refused by its moment

sql($node, "select musicverse.advance_clock('10 minutes')");
my $later = seconds();
is(sql($node, "select count(*) filter (where musicverse.verify_request_signature('secret', s, 'POST', '/b', $later, null))
	from generate_series($later - 29, $later) i, musicverse.request_signature('secret', 'POST', '/b', $later, null) s") . ' '
	. sql($node, "select count(*) filter (where musicverse.verify_request_signature('secret', s, 'POST', '/b', i, null))
	from generate_series($later - 29, $later - 1) i, musicverse.request_signature('secret', 'POST', '/b', i, null) s"), '1 29',
	'when their time is over there is room again');
is($many->('crowd', $now, '1 hour'), 0, 'a larger tolerance makes none of those good whose place was taken');
cmp_ok($many->('later', $later, '5 minutes'), '>=', 64, 'others go on');
sql($node, "select musicverse.advance_clock('-10 minutes')");
is($many->('crowd', $now, '5 minutes'), 0, 'the clock set back, nothing of that time is good again');
is($many->('crowd', $now, '1 hour'), 0, 'by no tolerance');

$node->stop;
$node->start;
is($many->('crowd', $now, '1 hour'), 0, 'nor after a restart');

# ---- the examples of the pages

foreach my $name (qw(keys usage signed_requests))
{
	my $text = join "\n", blocks('sql', slurp_file("$root/docs/$name.md"));
	cmp_ok(length $text, '>', 300, "$name.md has examples");
	sql($node, "create database $name");
	set_conf($node, 'musicverse.databases' => "postgres, $name");
	$node->reload;
	sql([ $node, $name ], 'create extension musicverse');
	wait_for_sql([ $node, $name ], "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = current_database()", '1', 60);
	my ($status, $stdout, $stderr) = $node->psql($name, $text);
	is("$status $stderr", '0 ', "those of $name.md run from top to bottom");
	note($stdout);
}

done_testing();
