# HTTPS with certificates of our own making: whom a delivery trusts, how it
# shows itself, and that nothing is sent to anybody else.
use MusicVerse::Test;

my $dir = PostgreSQL::Test::Utils::tempdir();

# ---- certificates -------------------------------------------------------

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$dir/$name" or die "$dir/$name: $!";
	print $file $text;
	close $file;
	return "$dir/$name";
}

sub openssl
{
	my (@arguments) = @_;
	my $output = write_file('openssl.log', '');
	system('sh', '-c', 'log=$1; shift; exec openssl "$@" >"$log" 2>&1 </dev/null', 'sh', $output, @arguments) == 0
	  or die "openssl @arguments: " . slurp_file($output);
}

# An authority: a certificate that signs itself, and what "openssl ca" keeps
sub authority
{
	my ($ca) = @_;
	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', "/CN=$ca",
		'-config', '/dev/null', '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
		'-keyout', "$dir/$ca.key", '-out', "$dir/$ca.pem");
	write_file("$ca.index", '');
	write_file("$ca.conf", <<"CONF");
[ca]
default_ca = this
[this]
database = $dir/$ca.index
new_certs_dir = $dir
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
}

# A certificate NAME.pem and NAME.key of an authority; -from and -to as YYYYMMDD
sub certificate
{
	my ($ca, $name, $extensions, %validity) = @_;
	openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', "/CN=$name", '-config', '/dev/null',
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
	my $file = write_file("$name.ext", "basicConstraints=CA:FALSE\n$extensions\n");
	openssl('ca', '-batch', '-notext', '-config', "$dir/$ca.conf", '-cert', "$dir/$ca.pem", '-keyfile', "$dir/$ca.key",
		'-in', "$dir/$name.csr", '-out', "$dir/$name.pem", '-extfile', $file,
		$validity{-from} ? ('-startdate', "$validity{-from}000000Z", '-enddate', "$validity{-to}000000Z") : ('-days', 20));
}

sub pem { return slurp_file("$dir/$_[0]"); }

my $server = "extendedKeyUsage=serverAuth\nsubjectAltName=";
my $client = 'extendedKeyUsage=clientAuth';
authority($_) foreach qw(ours theirs);
certificate('ours',   'good',     $server . 'DNS:localhost');
certificate('ours',   'address',  $server . 'IP:127.0.0.1');
certificate('ours',   'elsewhere', $server . 'DNS:elsewhere.example');
certificate('ours',   'expired',  $server . 'DNS:localhost', -from => '20200101', -to => '20210101');
certificate('ours',   'early',    $server . 'DNS:localhost', -from => '20450101', -to => '20460101');
certificate('ours',   'sender',   $client);
certificate('ours',   'another',  $client);
certificate('theirs', 'stranger', $client);

# ---- tools --------------------------------------------------------------

my $node = new_cluster('main', 'musicverse.retry_schedule' => '1h');
sql($node, "select musicverse.register_event_type('thing.happened', 'Something', '{}')");
my %receiver = map { $_ => start_receiver('--quiet', '--https', '--cert', "$dir/$_.pem", '--key', "$dir/$_.key") } qw(good elsewhere expired early);
my $mutual = start_receiver('--quiet', '--https', '--cert', "$dir/good.pem", '--key', "$dir/good.key", '--client-ca', "$dir/ours.pem");
my $users  = 0;

# One delivery to a URL, with the properties given: its attempt
sub deliver
{
	my ($url, %changes) = @_;
	my $user = user(++$users);
	my $webhook = sql($node, sprintf "select id from musicverse.create_webhook(%s, %s, '{*}')", lit($user), lit($url));
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook), lit(\%changes)) if %changes;
	return again($user, $webhook);
}

# Another one
sub again
{
	my ($user, $webhook) = @_;
	my $event = sql($node, sprintf "select musicverse.emit_event(%s, 'thing.happened', '{}')", lit($user));
	wait_for_sql($node, "select attempt_count from musicverse.webhook_deliveries where event_id = '$event'", '1', 60);
	my $attempt = sql_row($node, "select a.* from musicverse.webhook_attempts a join musicverse.webhook_deliveries d on d.id = a.delivery_id where d.event_id = '$event'");
	return { %$attempt, user => $user, webhook => $webhook };
}

# A delivery that must fail before anything was sent
sub refused
{
	my ($receiver, $name, $error, $what, %changes) = @_;
	my $attempt = deliver($receiver->url($name, 'https'), %changes);
	like($attempt->{error}, $error, "$what: refused, and the attempt says why");
	is($attempt->{response_status}, undef, "$what: no answer");
	is($receiver->stats($name)->{received}, 0, "$what: nothing was sent");
}

# ---- whom it trusts -----------------------------------------------------

{
	my $attempt = deliver($receiver{good}->url('a', 'https'), ca_cert => pem('ours.pem'));
	is($attempt->{response_status}, 200, 'HTTPS works with the CA of the webhook');
	my ($request) = $receiver{good}->requests('a');
	ok($request->{tls}, 'over TLS');
	cmp_ok($attempt->{tls_us} // 0, '>', 0, 'the attempt has the time of the handshake');
	cmp_ok($attempt->{tls_us}, '<=', $attempt->{total_us}, 'which is not more than the whole');
	is($attempt->{error}, undef, 'and no error');
	$attempt = deliver($receiver{good}->url('a', 'https'), ca_cert => pem('theirs.pem') . pem('ours.pem'));
	is($attempt->{response_status}, 200, 'one of several CAs is enough');
}

refused($receiver{good}, 'no_ca', qr/certificate/i, 'a certificate that the system does not know');
refused($receiver{good}, 'wrong_ca', qr/certificate/i, 'another CA', ca_cert => pem('theirs.pem'));
refused($receiver{expired}, 'x', qr/expired/i, 'an expired certificate', ca_cert => pem('ours.pem'));
refused($receiver{early}, 'x', qr/not yet valid/i, 'a certificate of the future', ca_cert => pem('ours.pem'));
refused($receiver{elsewhere}, 'x', qr/subject|host ?name/i, 'a certificate of another host', ca_cert => pem('ours.pem'));

{
	my $attempt = deliver("https://127.0.0.1:" . $receiver{good}->https_port . '/hook/by_address', ca_cert => pem('ours.pem'));
	like($attempt->{error}, qr/subject|host ?name/i, 'a certificate of the name does not hold for the address');
	my $address = start_receiver('--quiet', '--https', '--cert', "$dir/address.pem", '--key', "$dir/address.key");
	$attempt = deliver("https://127.0.0.1:" . $address->https_port . '/hook/a', ca_cert => pem('ours.pem'));
	is($attempt->{response_status}, 200, 'one of the address does');

	$attempt = deliver('https://127.0.0.1:' . $receiver{good}->port . '/hook/plain', ca_cert => pem('ours.pem'));
	like($attempt->{error}, qr/ssl|tls|version/i, 'a server that speaks no TLS is refused');
	is($receiver{good}->stats('plain')->{received}, 0, 'nothing is sent in clear');

	# the connection that one webhook may use is not for one that trusts others
	$attempt = deliver($receiver{good}->url('shared', 'https'), ca_cert => pem('ours.pem'));
	is($attempt->{response_status}, 200, 'a connection is open');
	$attempt = deliver($receiver{good}->url('shared', 'https'), ca_cert => pem('theirs.pem'));
	like($attempt->{error}, qr/certificate/i, 'a webhook that trusts another CA does not get to use it');

	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($attempt->{webhook}), lit({ ca_cert => pem('ours.pem') }));
	sql($node, "select musicverse.advance_clock('1 hour')");
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where id = '$attempt->{delivery_id}'", 'delivered', 60);
	pass('after the right CA was given the retry arrives');
}

# ---- how it shows itself ------------------------------------------------

{
	my %ca     = (ca_cert => pem('ours.pem'));
	my %sender = (client_cert => pem('sender.pem'), client_key => pem('sender.key'));
	my $url    = $mutual->url('m', 'https');

	my $attempt = deliver($url, %ca, %sender);
	is($attempt->{response_status}, 200, 'with a client certificate mTLS works');
	is($mutual->stats('m')->{last}{client_cert}, 'sender', 'the receiver sees whose it is');
	my ($user, $webhook) = @$attempt{qw(user webhook)};

	my $received = $mutual->stats('m')->{received};
	$attempt = deliver($url, %ca);
	isnt($attempt->{error}, undef, 'without one it is refused');
	like($attempt->{error}, qr/certificate|alert|handshake/i, 'and the attempt says so');
	$attempt = deliver($url, %ca, client_cert => pem('stranger.pem'), client_key => pem('stranger.key'));
	isnt($attempt->{error}, undef, 'a certificate of another authority is refused');
	$attempt = deliver($url, %ca, client_cert => pem('sender.pem'), client_key => pem('another.key'));
	isnt($attempt->{error} // (sql_row($node, "select last_error from musicverse.webhook_deliveries where id = '$attempt->{delivery_id}'"))->{last_error},
		undef, 'a certificate without its key is refused, although a connection with it is open');
	is($mutual->stats('m')->{received}, $received, 'none of these sent anything');

	$attempt = deliver($url, %ca, client_cert => pem('another.pem'), client_key => pem('another.key'));
	is($mutual->stats('m')->{last}{client_cert}, 'another', 'another webhook shows its own certificate');
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook),
		lit({ client_cert => pem('another.pem'), client_key => pem('another.key') }));
	again($user, $webhook);
	is($mutual->stats('m')->{last}{client_cert}, 'another', 'a change of the certificate takes effect at once');
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook), lit({ client_cert => undef, client_key => undef }));
	isnt(again($user, $webhook)->{error}, undef, 'and so does its removal');

	is(sql($node, "select count(*) from musicverse.webhook_endpoints where encode(client_key, 'escape') like '%PRIVATE KEY%'"), '0',
		'keys are sealed in the table');
	is(sql($node, "select count(*) from musicverse.webhook_attempts a where a::text like '%PRIVATE KEY%'"), '0', 'and no attempt shows one');
	is(sql($node, "select count(*) from information_schema.columns where table_name = 'webhooks' and column_name = 'client_key'"), '0',
		'nor does the view of webhooks');
}

# ---- what is no certificate ---------------------------------------------

{
	my $webhook = sql($node, sprintf "select id from musicverse.create_webhook(%s, 'https://localhost/', '{*}')", lit(user(++$users)));
	my %bad = (
		'a CA that is no PEM'                   => { ca_cert => 'hello' },
		'a key in place of a certificate'       => { client_cert => pem('sender.key'), client_key => pem('sender.key') },
		'a certificate in place of a key'       => { client_cert => pem('sender.pem'), client_key => pem('sender.pem') },
		'a client certificate without a key'    => { client_cert => pem('sender.pem') },
		'a client key without a certificate'    => { client_key => pem('sender.key') });
	foreach my $what (sort keys %bad)
	{
		my $error = sql_error($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($webhook), lit($bad{$what}));
		is($error && $error->{sqlstate}, '22023', "$what is refused");
	}

	# PEM in form only
	my $attempt = deliver($receiver{good}->url('broken', 'https'), ca_cert => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	isnt($attempt->{error}, undef, 'a CA that cannot be read fails the delivery with a word about it');
	is($receiver{good}->stats('broken')->{received}, 0, 'and nothing is sent');
	is(deliver($receiver{good}->url('after', 'https'), ca_cert => pem('ours.pem'))->{response_status}, 200, 'while others go on');
}

done_testing();
