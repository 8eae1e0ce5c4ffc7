# The doors of the REST API, with one interface: the gateway over HTTP, the edge
# function under Deno over HTTP, and handle_request() as PostgREST calls it.
#
#   my @doors = MusicVerse::Api->doors($node);
#   foreach my $door (@doors)
#   {
#       my $got = $door->request('GET', '/api/v1/me', { 'x-api-key' => $key });
#       is($got->{status}, 200, "$door->{name}: ...");    # headers (small letters), content, json
#   }
#
# An option ip => ADDRESS is the client's, as a trusted proxy tells it. A body is
# bytes, or a reference that becomes JSON. What a door cannot even be handed (the
# text of SQL holds no bytes that aren't UTF-8) has status 0.
package MusicVerse::Api;

use strict;
use warnings;

use Carp qw(croak);
use Encode qw(decode FB_CROAK LEAVE_SRC);
use MusicVerse::Test;
use MusicVerse::Gateway;
use MusicVerse::PostgREST;

# Settings of a cluster that all doors are opened to
sub settings
{
	return (
		listen_addresses            => '127.0.0.1',
		max_connections             => 100,
		'musicverse.gateway_workers' => 1,
		'musicverse.gateway_listen'  => '127.0.0.1:0',
		'musicverse.trusted_proxies' => '127.0.0.0/8');
}

# Is Deno there, so that the edge function can run?
sub deno { my $deno = "$root/test/edge/node_modules/.bin/deno"; return -e $deno ? $deno : undef; }

# Starts the edge function; (pid, base URL)
sub start_edge
{
	my ($name, %environment) = @_;
	local %ENV = (%ENV, HOST => '127.0.0.1', PORT => 0, DENO_DIR => "$PostgreSQL::Test::Utils::tmp_check/deno", DENO_NO_UPDATE_CHECK => 1, NO_COLOR => 1, %environment);
	my ($pid, $out) = start_process($name, deno(), 'run', '--quiet', '--no-prompt', '--allow-net', '--allow-env', '--allow-read',
		'--config', "$root/test/edge/deno.json", "$root/supabase/functions/api/index.ts");
	my $port;
	local $SIG{ALRM} = sub { die "the function did not start in 60 s\n" };
	alarm 60;
	while (my $line = <$out>) { last if ($port) = $line =~ m{http://127\.0\.0\.1:(\d+)}; }
	alarm 0;
	$port or croak 'the function did not start: ' . PostgreSQL::Test::Utils::slurp_file("$PostgreSQL::Test::Utils::log_path/$name.log");
	return ($pid, "http://127.0.0.1:$port");
}

# Where the edge function finds the database of a cluster with settings()
sub database_url
{
	my ($node) = @_;
	return 'postgres://postgres@127.0.0.1:' . $node->port . '/postgres?user=' . scalar(getpwuid($>));
}

# PostgREST's roles, on a cluster that hasn't them
sub make_roles
{
	my ($node) = @_;
	sql($node, q{
		create role anon nologin noinherit;
		create role authenticated nologin noinherit;
		create role service_role nologin noinherit bypassrls;
		create role authenticator login noinherit;
		grant anon, authenticated, service_role to authenticator;
		select musicverse.expose_to('service_role', 'authenticated', 'anon')});
	return;
}

# All doors of a cluster that has settings(); without Deno one less
sub doors
{
	my ($class, $node) = @_;
	my @doors = (bless { name => 'gateway', base => base(gateway_port($node)), how => \&by_http }, $class);
	if (deno())
	{
		# what pages may do is the database's affair here
		my ($pid, $base) = start_edge('edge', MUSICVERSE_DB_URL => database_url($node), MUSICVERSE_CORS_ORIGINS => '');
		push @doors, bless { name => 'edge', base => $base, how => \&by_http }, $class;
	}
	make_roles($node);
	push @doors, bless { name => 'sql', how => \&by_sql, rest => MusicVerse::PostgREST->new($node, $root) }, $class;
	return @doors;
}

sub is_http { return defined $_[0]{base}; }

sub port { my ($port) = ($_[0]{base} // '') =~ /:(\d+)$/; return $port; }

sub request
{
	my ($self, $method, $target, $headers, $body, %option) = @_;
	my %headers = map { lc $_ => $headers->{$_} } keys %{ $headers // {} };
	if (ref $body)
	{
		$headers{'content-type'} //= 'application/json';
		$body = json($body);
	}
	my $got = $self->{how}->($self, $method, $target, \%headers, $body, $option{ip});
	$got->{json} = eval { from_json($got->{content}) } if length($got->{content} // '');
	return $got;
}

sub by_http
{
	my ($self, $method, $target, $headers, $body, $ip) = @_;
	my $answer = http($method, "$self->{base}$target", $body, { %$headers, defined $ip ? ('x-forwarded-for' => $ip) : () });
	croak "$self->{name}: $method $target: $answer->{content}" if $answer->{status} == 599;
	return { status => $answer->{status}, headers => $answer->{headers}, content => $answer->{content} // '' };
}

sub by_sql
{
	my ($self, $method, $target, $headers, $body, $ip) = @_;
	my %text = (method => $method, path => $target, headers => $headers, body => $body, client_ip => $ip);
	foreach my $text ($text{path}, $text{body})
	{
		next if !defined $text;
		my $decoded = eval { decode('UTF-8', $text, FB_CROAK | LEAVE_SRC) };
		return { status => 0, headers => {}, content => '' } if !defined $decoded || $decoded =~ /\0/;
		$text = $decoded;
	}
	my $got = $self->{rest}->post('handle_request', \%text, {}, set => 1, role => 'service_role',
		types => { method => 'text', path => 'text', headers => 'jsonb', body => 'text', client_ip => 'inet' });
	croak "sql: $method $target: " . json($got->{body}) if $got->{error};
	my $row = $got->{body}[0];
	my $content = $row->{body} // '';
	utf8::encode($content);
	return { status => $row->{status}, headers => { map { lc $_ => $row->{headers}{$_} } keys %{ $row->{headers} } }, content => $content };
}

1;
