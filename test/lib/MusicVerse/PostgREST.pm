# What PostgREST does with a request, statement by statement, on one connection
# of its pool: the transaction's mode, the settings, the pre-request, the call,
# the end; and what it makes an answer of.
#
#   my $api = MusicVerse::PostgREST->new($node, schemas => [ 'musicverse_v1' ], secret claims are given);
#   my $got = $api->get('get_job', { job_id => 1 }, { 'x-api-key' => $key });
#   $got->{status}, $got->{headers}{'RateLimit'}, $got->{body}
package MusicVerse::PostgREST;

use strict;
use warnings;

use Carp qw(croak);
use IPC::Open2 qw(open2);
use JSON::PP ();
use PostgreSQL::Test::Utils ();

my $coder = JSON::PP->new->utf8->canonical->allow_nonref;
my $program;

# Compiled once a test
sub program
{
	return $program if $program;
	my ($root) = @_;
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	chomp(my $includes = `$pg_config --includedir`);
	chomp(my $libraries = `$pg_config --libdir`);
	# the private tree's own pg_config names folders there, which has no headers
	s{^\Q$root\E/build/pg}{} foreach $includes, $libraries;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/replay";
	system($ENV{CC} // 'cc', '-std=gnu11', '-Wall', '-O1', "-I$includes", '-o', $file, "$root/test/postgrest/replay.c", "-L$libraries", '-lpq') == 0
	  or croak 'test/postgrest/replay.c could not be compiled';
	return $program = $file;
}

# new(node, root, option => value): schema, extra (search path), pre_request, anon
sub new
{
	my ($class, $node, $root, %option) = @_;
	my $self = bless {
		schema => 'musicverse_v1', extra => ['public'], pre_request => '"musicverse"."pre_request"', anon => 'anon', %option }, $class;
	my $file = program($root);
	$self->{pid} = open2($self->{out}, $self->{in}, 'setpriv', '--pdeathsig', 'TERM', $file, $node->connstr('postgres') . ' user=authenticator');
	return $self;
}

# Ends the connection
sub quit
{
	my ($self) = @_;
	local $?;
	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

# One statement; parameters are [type, value], or values of type unknown
sub statement
{
	my ($self, $sql, @params) = @_;
	my @fields = ($sql, map { my ($type, $value) = ref $_ ? @$_ : (705, $_); "$type:" . ($value // "\0") } @params);
	s/\\/\\\\/g, s/\t/\\t/g, s/\n/\\n/g, s/\0/\\N/g foreach @fields;
	local $SIG{PIPE} = 'IGNORE';
	my $line = join("\t", @fields) . "\n";
	utf8::encode($line) if utf8::is_utf8($line);
	print { $self->{in} } $line;
	$self->{in}->flush;
	my $answer = readline($self->{out}) // croak "the connection is gone, in: $sql";
	return $coder->decode($answer);
}

# JSON within JSON
sub inner { my ($text) = @_; utf8::encode($text); return $coder->decode($text); }

sub list { return join ', ', map { '"' . s/"/""/gr . '"' } @_; }

# request(method, function, call => [SQL of the source, parameters], option => value):
# headers, claims, role, volatile, path, schema
sub request
{
	my ($self, $method, $function, %r) = @_;
	my %headers = map { lc $_ => $r{headers}{$_} } keys %{ $r{headers} // {} };
	my $role    = $r{role} // $self->{anon};
	my $mode    = $method eq 'GET' || $method eq 'HEAD' || !($r{volatile} // 1) ? 'READ ONLY' : 'READ WRITE';
	my $claims  = $coder->encode({ %{ $r{claims} // {} }, role => $role });
	my $schema  = $r{schema} // $self->{schema};
	my $failed  = sub {
		my ($error) = @_;
		$self->statement('ABORT');
		return answer_error($error, $role eq $self->{anon});
	};

	my $begun = $self->statement("BEGIN ISOLATION LEVEL READ COMMITTED $mode");
	return answer_error($begun->{error}) if $begun->{error};
	my $set = $self->statement(
		q{select set_config('search_path', $1, true), set_config('role', $2, true), set_config('request.jwt.claims', $3, true), }
		  . q{set_config('request.method', $4, true), set_config('request.path', $5, true), set_config('request.headers', $6, true), }
		  . q{set_config('request.cookies', $7, true)},
		list($schema, @{ $self->{extra} }), $role, $claims, $method, $r{path} // "/rpc/$function", $r{raw_headers} // $coder->encode(\%headers), '{}');
	return $failed->($set->{error}) if $set->{error};
	my $pre = $self->statement("select $self->{pre_request}()");
	return $failed->($pre->{error}) if $pre->{error};

	my ($source, @params) = @{ $r{call} };
	my $body = $r{set} ? q{coalesce(json_agg(_postgrest_t), '[]')} : q{coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null')};
	my $call = $self->statement(
		qq{WITH pgrst_source AS ($source) SELECT null::bigint AS total_result_set, 1 AS page_total, $body AS body, }
		  . q{nullif(current_setting('response.headers', true), '') AS response_headers, nullif(current_setting('response.status', true), '') AS response_status, '' AS response_inserted }
		  . qq{FROM (SELECT "$function".* FROM "pgrst_source" AS "$function") _postgrest_t}, @params);
	return $failed->($call->{error}) if $call->{error};
	my $end = $self->statement($r{end} // 'COMMIT');
	return answer_error($end->{error}) if $end->{error};

	my $row = $call->{rows}[0];
	my %answer = (status => $row->{response_status} // 200, headers => {}, list => [], body => $method eq 'HEAD' ? undef : inner($row->{body}));
	foreach my $one (@{ defined $row->{response_headers} ? inner($row->{response_headers}) : [] })
	{
		croak 'response.headers must be an array of objects with one string' if ref $one ne 'HASH' || keys %$one != 1 || ref((values %$one)[0]);
		push @{ $answer{list} }, $one;
		%{ $answer{headers} } = (%{ $answer{headers} }, %$one);
	}
	return \%answer;
}

# The status that PostgREST gives an error, and the body it makes of it
sub answer_error
{
	my ($error, $anonymous) = @_;
	my $state = $error->{sqlstate};
	if ($state eq 'PGRST')
	{
		my $message = inner($error->{message});
		my $detail  = inner($error->{detail});
		croak 'a PGRST error needs code and message' if grep { !defined $message->{$_} } qw(code message);
		croak 'a PGRST error needs status and headers' if grep { !defined $detail->{$_} } qw(status headers);
		croak 'headers must be strings' if grep { ref $_ } values %{ $detail->{headers} };
		return { status => $detail->{status}, headers => $detail->{headers}, body => $message, error => $error };
	}
	my $status =
	    $state =~ /^PT(\d{3})$/ ? $1
	  : $state eq '25006'           ? 405
	  : $state eq '42501'           ? ($anonymous ? 401 : 403)
	  : $state =~ /^(42883|42P01)$/ ? 404
	  : $state =~ /^(23503|23505)$/ ? 409
	  : $state =~ /^(0L|0P|28)/     ? 403
	  : $state =~ /^(08|53)/        ? 503
	  : $state =~ /^54/             ? 413
	  : $state eq 'P0001'           ? 400
	  : $state =~ /^(09|25|2D|38|39|3B|40|55|57|58|F0|HV|P0|XX)/ ? 500
	  : 400;
	return { status => $status, headers => {}, error => $error,
		body => { code => $state, message => $error->{message}, details => $error->{detail}, hint => $error->{hint} } };
}

# GET and form POST: arguments as text, cast to the types that the function has
sub arguments
{
	my ($schema, $function, $types, $given) = @_;
	my @names = sort keys %$given;
	my $n     = 0;
	my $list  = join ', ', map { $n++; qq{"$_" := \$${n}::$types->{$_}} } @names;
	return (qq{"$schema"."$function"($list)}, map { $given->{$_} } @names);
}

sub get
{
	my ($self, $function, $given, $headers, %r) = @_;
	my $schema = $r{schema} // $self->{schema};
	my ($call, @params) = arguments($schema, $function, $r{types}, $given // {});
	my $source = $r{set} ? "SELECT pgrst_call.* FROM $call pgrst_call" : "SELECT pgrst_call.pgrst_scalar FROM (SELECT $call pgrst_scalar) pgrst_call";
	return $self->request($r{method} // 'GET', $function, call => [ $source, @params ], headers => $headers, %r);
}

# POST with a JSON body: named arguments, or the body itself for one unnamed argument
sub post
{
	my ($self, $function, $body, $headers, %r) = @_;
	my $schema = $r{schema} // $self->{schema};
	my $types  = $r{types} // {};
	my @names  = sort keys %$types;
	my $text   = ref $body ? $coder->encode($body) : $body;
	my @call;
	if ($r{unnamed})
	{
		@call = (qq{SELECT pgrst_call.pgrst_scalar FROM (SELECT "$schema"."$function"(\$1::json) pgrst_scalar) pgrst_call}, [ 114, $text ]);
	}
	elsif (!@names)
	{
		@call = (qq{SELECT pgrst_call.pgrst_scalar FROM (SELECT "$schema"."$function"() pgrst_scalar) pgrst_call});
	}
	else
	{
		my $columns = join ', ', map { qq{"$_"} } @names;
		my $typed   = join ', ', map { qq{"$_" $types->{$_}} } @names;
		my $list    = join ', ', map { qq{"$_" := pgrst_body."$_"} } @names;
		my $what    = $r{set} ? qq{SELECT "pgrst_call".*} : 'SELECT pgrst_call.pgrst_scalar';
		my $called  = $r{set} ? qq{LATERAL "$schema"."$function"($list) pgrst_call} : qq{LATERAL (SELECT "$schema"."$function"($list) pgrst_scalar) pgrst_call};
		@call = (qq{$what FROM (SELECT \$1 AS json_data) pgrst_payload, LATERAL (SELECT $columns FROM json_to_record(pgrst_payload.json_data) AS _($typed) LIMIT 1) pgrst_body, $called},
			[ 114, $text ]);
	}
	return $self->request('POST', $function, call => \@call, headers => $headers, %r);
}

1;
