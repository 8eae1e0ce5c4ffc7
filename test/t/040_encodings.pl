# Databases that are not in UTF-8: bodies are sent, and signed, in UTF-8 all the
# same, and what is not text in any encoding holds up nobody.
use MusicVerse::Test;

# Text goes to the servers as UTF-8, and bodies come back decoded
$ENV{PGCLIENTENCODING} = 'UTF8';
sub utf8 { my ($text) = @_; utf8::encode($text); return $text; }

my %encodings = (latin1 => 'LATIN1', ascii => 'SQL_ASCII', eucjp => 'EUC_JP');
my $node     = new_cluster('main', 'musicverse.databases' => 'latin1, ascii, eucjp', -extension => 0);
my $receiver = start_receiver();
my $user     = user(1);
my %webhook;

foreach my $database (sort keys %encodings)
{
	sql($node, "create database $database encoding '$encodings{$database}' template template0 lc_collate 'C' lc_ctype 'C'");
	sql([ $node, $database ], 'create extension musicverse');
	$webhook{$database} = sql_row([ $node, $database ], sprintf "select * from musicverse.create_webhook(%s, %s, '{*}')",
		lit($user), lit($receiver->url($database)));
	$receiver->control($database, { secrets => [ $webhook{$database}{secret} ] });
}

# The last request of an endpoint, once there are so many
my %count;
sub next_request
{
	my ($database) = @_;
	my @requests = $receiver->wait_requests($database, ++$count{$database}, 60);
	return $requests[-1];
}
sub insert_title
{
	my ($database, $expression) = @_;
	sql([ $node, $database ], sprintf 'insert into musicverse.tracks (user_id, title) values (%s, %s)', lit($user), $expression);
}

# ---- LATIN1 ----
my $latin1 = [ $node, 'latin1' ];
insert_title('latin1', "'" . utf8("Gr\x{f6}\x{df}e \x{ab}1\x{bb}") . "'");
my $request = next_request('latin1');
is(from_json($request->{body})->{data}{title}, "Gr\x{f6}\x{df}e \x{ab}1\x{bb}", 'LATIN1: the body is UTF-8');
ok($request->{verified}, 'LATIN1: and so is what was signed');
is( sql($latin1, sprintf 'select musicverse.verify_webhook(%s, %s, %s)',
		lit($webhook{latin1}{secret}), lit($request->{headers}), lit(utf8($request->{body}))),
	't', 'LATIN1: verify_webhook takes the body in the encoding of the database');
is( sql($latin1, sprintf 'select (payload ->> $$timestamp$$) is not null and payload -> $$data$$ ->> $$title$$ = %s from musicverse.webhook_deliveries',
		lit(utf8("Gr\x{f6}\x{df}e \x{ab}1\x{bb}"))),
	't', 'LATIN1: the view shows the text as it is in the database');

insert_title('latin1', "(select string_agg(chr(n), '') from generate_series(1, 255) n)");
$request = next_request('latin1');
is(from_json($request->{body})->{data}{title}, join('', map { chr } 1 .. 255), 'LATIN1: every character comes through');
ok($request->{verified}, 'LATIN1: and is signed');

sql($latin1, "create table docs (user_id uuid, doc json);
	create trigger emit after insert on docs for each row execute function musicverse.emit_row_event('doc', 'user_id')");
sql($latin1, sprintf 'insert into docs values (%s, %s)', lit($user), q('{"in": "\u00e9", "out": "\u20ac \ud83d\ude00", "none": "\u0000"}'));
$request = next_request('latin1');
is_deeply(from_json($request->{body})->{data}{doc}, { in => "\x{e9}", out => '? ?', none => '?' },
	'LATIN1: escapes that the encoding lacks do not keep anybody from reading the event');
is( sql($latin1, 'select count(*) from musicverse.webhook_deliveries where payload is not null'), '3', 'LATIN1: as jsonb in the view');
is( sql($latin1, sprintf 'select count(*) from musicverse.poll_events(%s)', lit($user)), '3', 'LATIN1: and in poll_events');

$receiver->control('latin1', { mode => 'ok', body => "t\x{fc} \x{4e2d} ok" });
insert_title('latin1', "'answer'");
next_request('latin1');
wait_for_sql($latin1, "select count(*) from musicverse.webhook_deliveries where status = 'delivered'", '4', 60);
like(sql($latin1, "select response_body from musicverse.webhook_attempts order by delivery_id desc limit 1"),
	qr/^t\S+ \?+ ok$/, 'LATIN1: an answer in UTF-8 is stored, with question marks for what the encoding lacks');

# ---- SQL_ASCII ----
my $ascii = [ $node, 'ascii' ];
insert_title('ascii', "'" . utf8("M\x{fc}sik \x{97f3}\x{697d} \x{1f600}") . "'");
$request = next_request('ascii');
is(from_json($request->{body})->{data}{title}, "M\x{fc}sik \x{97f3}\x{697d} \x{1f600}", 'SQL_ASCII: UTF-8 goes through as it is');
ok($request->{verified}, 'SQL_ASCII: signed as it is');

insert_title('ascii', q(E'M\374sik \303 \355\240\200 \377'));
insert_title('ascii', "'behind'");
next_request('ascii');
next_request('ascii');
my ($bad) = grep { $_->{body} =~ /M.sik/ } ($receiver->requests('ascii'))[1, 2];
ok($bad && $bad->{verified}, 'SQL_ASCII: text that is not UTF-8 is sent and signed');
is(from_json($bad->{body})->{data}{title}, "M\x{fffd}sik \x{fffd} \x{fffd}\x{fffd}\x{fffd} \x{fffd}", 'SQL_ASCII: with a mark for each byte that is none');
is(scalar(grep { $_->{body} =~ /behind/ } $receiver->requests('ascii')), 1, 'SQL_ASCII: what comes behind it is sent');
wait_for_sql($ascii, "select count(*) from musicverse.webhook_deliveries where status = 'delivered' and attempt_count = 1", '3', 60);
pass('SQL_ASCII: all of it at the first attempt');
is( sql($ascii, sprintf q{select musicverse.verify_webhook(%s, %s, %s)},
		lit($webhook{ascii}{secret}), lit($bad->{headers}), lit(utf8($bad->{body}))),
	't', 'SQL_ASCII: verify_webhook agrees');

# ---- an encoding of several bytes ----
insert_title('eucjp', "'" . utf8("\x{97f3}\x{697d} \\ \" \x{3042}") . "'");
$request = next_request('eucjp');
is(from_json($request->{body})->{data}{title}, "\x{97f3}\x{697d} \\ \" \x{3042}", 'EUC_JP: the body is UTF-8');
ok($request->{verified}, 'EUC_JP: and so is what was signed');

is($receiver->stats($_)->{bad_signatures}, 0, "$encodings{$_}: no bad signature") foreach sort keys %encodings;
done_testing();
