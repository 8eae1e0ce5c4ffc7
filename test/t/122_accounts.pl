# Users who log in at a partner: the code is exchanged, tokens are refreshed by
# one request at a time, and what goes wrong with them ends in another login.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::Partners;
use MusicVerse::SoundCloud;

my $node     = new_cluster('accounts');
my $partners = MusicVerse::Partners->start;
configure_soundcloud($node, $partners);

sub told { my ($user) = @_; return sql($node, "select string_agg(kind, ' ' order by id) from musicverse.notifications where user_id = '$user' and kind like 'partner.%'"); }

sub cloud { return $partners->counters('soundcloud'); }

# Asks for a token as a request would; "ready", "later", "login"
sub use_account { my ($user) = @_; return sql($node, "select state from musicverse._use_account('soundcloud', '$user')"); }

sub wait_token
{
	my ($user, $state) = @_;
	wait_for(sub { use_account($user) eq $state }, 60, "the token of $user to be $state");
	return;
}

sub expire { my ($user) = @_; sql($node, "update musicverse.partner_accounts set expires_at = musicverse._now() where user_id = '$user'"); return; }

# ---- logging in

my $user = user(1);
my ($state, $code) = begin_login($node, $partners, $user);
is(sql($node, 'select count(*) from musicverse.partner_accounts'), 0, 'nobody is there before the browser is back');
sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')");
wait_account($node, $user, 'connected');
my $account = account_of($node, $user);
is_deeply([ @$account{qw(external_id username external_url code last_error next_attempt_at)} ], [ 'soundcloud:users:1000', 'sandbox', 'https://soundcloud.com/sandbox', undef, undef, undef ], 'the partner has told whose it is');
like(sql($node, "select extract(epoch from expires_at - musicverse._now())::int from musicverse.partner_accounts where user_id = '$user'"), qr/^(35\d\d|3600)$/, 'and how long the token holds');
is(told($user), 'partner.connected', 'the user is told');
is(cloud()->{codes} . cloud()->{tokens_issued}, '11', 'a code, a pair of tokens');
is(sql_error($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')")->{sqlstate}, '22023', 'the same again is refused');
unlike(sql($node, q{select string_agg(a::text, '') from musicverse.partner_accounts a}) . sql($node, 'select string_agg(b::text, \'\') from musicverse.partner_authorizations b'), qr/at_|rt_|code_|\Q$state\E/, 'nothing that opens anything is in the tables');

# through the API, as somebody else
my $key = sql($node, "select key from musicverse.create_api_key('${\user(2)}', 'app')");

sub api
{
	my ($method, $path, $body) = @_;
	my $answer = sql_row($node, sprintf 'select * from musicverse.handle_request(%s, %s, null, %s, %s)', lit($method), lit("/api/v1/partners$path"), lit({ 'x-api-key' => $key, defined $body ? ('content-type' => 'application/json') : () }), lit(defined $body ? json($body) : undef));
	return ($answer->{status}, length($answer->{body} // '') ? from_json($answer->{body}) : undef);
}

my ($status, $got) = api('GET', '');
is_deeply([ $status, @{ $got->{data} } ], [ 200, { name => 'soundcloud', title => 'SoundCloud', platforms => ['soundcloud'], account => undef } ], 'whoever asks sees his own account, which is none');
is((api('GET', '/soundcloud/account'))[0], 404, 'as if there were no other');
($status, $got) = api('POST', '/soundcloud/authorize', { redirect_uri => 'https://music.example.com/back' });
is(http('GET', "$got->{url}&approve=no")->{headers}{location} =~ /error=access_denied/ ? 'no' : 'yes', 'no', 'who says no comes back with an error');
($code, $state) = http('GET', "$got->{url}&approve=yes")->{headers}{location} =~ /code=([^&]+)&state=([^&]+)/;
($status, $got) = api('POST', '/soundcloud/authorized', { state => $state, code => $code });
is_deeply([ $status, $got->{status} ], [ 200, 'pending' ], 'who says yes waits for the worker');
wait_account($node, user(2), 'connected');
is(scalar(grep { $_->{account} && $_->{account}{username} eq 'sandbox' } @{ (api('GET', ''))[1]{data} }), 1, 'and is connected');
is((api('DELETE', '/soundcloud/account'))[0], 204, 'he goes away');
is((api('DELETE', '/soundcloud/account'))[0], 404, 'once');

# ---- codes of no use, and answers that make no sense

foreach my $case (
	[ 'a wrong code',            undef, 'needs_login' ],
	[ 'a code whose answer is lost', { on => 'token', mode => 'lost', count => 1 }, 'needs_login' ],
	[ 'a partner that fails',    { on => 'token', mode => 'error', status => 500, count => 2 }, 'connected' ],
	[ 'one that is busy',        { on => 'token', mode => 'limited', reset_seconds => 1, count => 1 }, 'connected' ],
	[ 'one that answers HTML',   { on => 'token', mode => 'html', count => 1 }, 'connected' ],
	[ 'one that answers 403',    { on => 'token', mode => 'html', status => 403, count => 1 }, 'connected' ],
	[ 'one that breaks off',     { on => 'me', mode => 'cut', bytes => 20, count => 1 }, 'connected' ],
	[ 'one that answers an array', { on => 'me', mode => 'array', count => 1 }, 'connected' ])
{
	my ($name, $fault, $end) = @$case;
	my $who = user(10);
	faults($partners, $fault // ());
	my ($state, $code) = begin_login($node, $partners, $who);
	$code = 'guess' unless $fault;
	sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')");
	wait_account($node, $who, $end);
	is(use_account($who), $end eq 'connected' ? 'ready' : 'login', "$name: $end");
	sql($node, "select musicverse.partner_disconnect('soundcloud', '$who')");
	faults($partners);
}
is(sql($node, "select state from musicverse.partner_status where name = 'soundcloud'"), 'ready', 'none of which paused the partner');

configure_soundcloud($node, $partners, credentials => { %MusicVerse::Partners::client, client_secret => 'wrong' });
($state, $code) = begin_login($node, $partners, user(3));
sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')");
wait_for_sql($node, "select state from musicverse.partner_status where name = 'soundcloud'", 'paused: it refuses us', 60, 'the partner to be paused');
is(account_of($node, user(3))->{status}, 'pending', 'that it does not know us pauses it: the login waits');
configure_soundcloud($node, $partners);
wait_account($node, user(3), 'connected');
pass('and goes on when the secret is mended');

# ---- refreshing

$partners->forget;
log_in($node, $partners, $user);
is(cloud()->{refreshes}, 0, 'a token that holds is not refreshed');
my $before = account_of($node, $user)->{generation};
expire($user);
is(use_account($user), 'later', 'one that does not is not given away');
wait_token($user, 'ready');
is(join(' ', @{ cloud() }{qw(refreshes refresh_reuses)}), '1 0', 'another pair came');
is(account_of($node, $user)->{generation}, $before + 1, 'which is the next generation');

# many at once, while the partner takes its time
faults($partners, { on => 'token', mode => 'ok', delay_ms => 300 });
$before = account_of($node, $user)->{generation};
foreach my $round (1 .. 5)
{
	expire($user);
	my @sessions = map { session($node) } 1 .. 4;
	$_->query_safe("begin; select count(musicverse._use_account('soundcloud', '$user')) from generate_series(1, 50); commit") foreach @sessions;
	$_->quit foreach @sessions;
	wait_token($user, 'ready');
}
is(join(' ', @{ cloud() }{qw(refreshes refresh_reuses)}), '6 0', 'however many ask, it is refreshed once a time');
is(account_of($node, $user)->{generation}, $before + 5, 'each time to the next generation');

faults($partners);

# the answer is lost before and after the partner has taken the token
foreach my $case ([ 'before', 'reset', \0, 'ready' ], [ 'after', 'lost', \1, 'login' ])
{
	my ($name, $mode, $after, $end) = @$case;
	faults($partners, { on => 'token', mode => $mode, count => 1 });
	expire($user);
	wait_token($user, $end);
	is(use_account($user), $end, "a refresh whose answer is lost $name the token is spent: $end");
}
is(account_of($node, $user)->{status}, 'needs_login', 'the user has to log in');
like(told($user), qr/partner\.needs_login$/, 'and is told');
like(sql($node, "select body ->> 'reason' from musicverse.notifications where user_id = '$user' order by id desc limit 1"), qr/invalid_grant/, 'why');
log_in($node, $partners, $user);
is(use_account($user), 'ready', 'logged in again, all is well');

# a token that is refused: refreshed once, then it is the user's turn
my $generation = account_of($node, $user)->{generation};
sql($node, "select musicverse._tokens_refused('soundcloud', '$user', $generation)");
wait_token($user, 'ready');
sql($node, "select musicverse._tokens_refused('soundcloud', '$user', $generation)");
is(use_account($user), 'ready', 'a refusal of an older one says nothing');
sql($node, "select musicverse._tokens_refused('soundcloud', '$user', $generation + 1)");
is(use_account($user), 'login', 'refused again, it is no use');

# ---- kill -9 during each request

sub left { return sql($node, 'select count(*) from musicverse.partner_sign_outs'); }

foreach my $step (qw(token me))
{
	$partners->forget;
	faults($partners, { on => $step, mode => 'hang', after => \1, count => 1 });
	my $who = user(20);
	my ($state, $code) = begin_login($node, $partners, $who);
	sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')");
	wait_for(sub { (cloud()->{faulty}{$step} // 0) >= 1 }, 60, "the request of $step");
	my $pid = sql($node, 'select pid from musicverse.distribution_status');
	kill 'KILL', $pid;
	wait_account($node, $who, $step eq 'token' ? 'needs_login' : 'connected');
	is(cloud()->{code_reuses}, $step eq 'token' ? 1 : 0, "killed at $step: it is asked once more, and ends");
	sql($node, "select musicverse.partner_disconnect('soundcloud', '$who')");
	# which may ask for a token as well
	wait_for(sub { left() == 0 }, 60, 'the partner to be told');
}
log_in($node, $partners, $user);
faults($partners, { on => 'token', mode => 'hang', count => 1 });
expire($user);
is(use_account($user), 'later', 'a refresh begins');
wait_for(sub { (cloud()->{faulty}{token} // 0) >= 1 }, 60, 'the request');
kill 'KILL', sql($node, 'select pid from musicverse.distribution_status');
wait_for(sub { (eval { use_account($user) } // '') eq 'ready' }, 60, 'the token to be ready');
is(join(' ', @{ cloud() }{qw(refreshes refresh_reuses)}), '1 0', 'killed before the token was spent: it is spent once');

# ---- disconnecting

sub disconnect
{
	my ($who) = @_;
	is(sql($node, "select musicverse.partner_disconnect('soundcloud', '$who')") . sql($node, "select count(*) from musicverse.partner_accounts where user_id = '$who'"), 't0', 'who disconnects is so at once');
	return;
}

$partners->forget;
my $leaving = user(30);
log_in($node, $partners, $leaving);
disconnect($leaving);
wait_for(sub { left() == 0 }, 60, 'the partner to be told');
is(join(' ', @{ cloud() }{qw(sign_outs families_revoked refreshes)}), '1 1 0', 'the session there ends too');

log_in($node, $partners, $leaving);
expire($leaving);
disconnect($leaving);
wait_for(sub { left() == 0 }, 60, 'the partner to be told');
is(join(' ', @{ cloud() }{qw(sign_outs families_revoked refreshes)}), '2 2 1', 'with a fresh token where the last one has run out');

foreach my $fault ({ mode => 'fail' }, { mode => 'gone' }, { mode => 'html' }, { mode => 'redirect' }, { mode => 'hang' })
{
	log_in($node, $partners, $leaving);
	configure_soundcloud($node, $partners, timeout => 2);
	faults($partners, { on => 'sign-out', %$fault });
	disconnect($leaving);
	wait_for(sub { cloud()->{faulty}{'sign-out'} }, 60, 'the request');
	log_in($node, $partners, $leaving);
	wait_for(sub { left() == 0 }, 60, 'the tokens to be gone');
	is(use_account($leaving), "ready", "$fault->{mode}: holds nobody up, and ends");
	cmp_ok(cloud()->{faulty}{'sign-out'}, '<=', 3, 'after three times at most');
	is(sql($node, "select state from musicverse.partner_status where name = 'soundcloud'"), 'ready', 'and pauses nothing');
	disconnect($leaving);
	$partners->forget;
	wait_for(sub { left() == 0 }, 60, 'nothing to be left');
}
log_in($node, $partners, $leaving);
sql($node, "update musicverse.partner_accounts set tokens = 'nonsense' where user_id = '$leaving'");
disconnect($leaving);
wait_for(sub { left() == 0 }, 60, 'what can not be opened to be gone');
configure_soundcloud($node, $partners, sign_out_url => undef);
log_in($node, $partners, $leaving);
disconnect($leaving);
is(left(), 0, 'where there is no place to tell it, nothing is left');

is_deeply(cloud()->{validated}{invalid_requests}, [], 'no request was other than described') if $partners->{validated};
done_testing();
