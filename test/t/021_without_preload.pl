# Without shared_preload_libraries everything is recorded and nothing is sent:
# every function works as it does in a server that has loaded the library, or
# says in one line what to set. What was recorded is sent after a restart.
use MusicVerse::Test;

my $receiver = start_receiver();
my $user     = user(1);
my %conf     = ('musicverse.allow_http' => 'on', 'musicverse.allowed_networks' => '127.0.0.0/8');

my $with    = new_cluster('with',    -extension => 0);
my $without = new_cluster('without', -extension => 0, -preload => 0, %conf);

my ($status, $stdout, $stderr) = $without->psql('postgres', 'create extension musicverse');
is($status, 0, 'CREATE EXTENSION succeeds');
like($stderr, qr/NOTICE:  musicverse records events here.*\n.*HINT:  Set shared_preload_libraries = 'musicverse' and restart the server\./,
	'and says what to set');
($status, $stdout, $stderr) = $with->psql('postgres', 'create extension musicverse');
is($stderr, '', 'with the library loaded and the database served it says nothing');

# ---- every function

# The same rows in both; the ones to be sent later come afterwards
foreach my $node ($with, $without)
{
	sql($node, qq{
		create table ids (name text primary key, id uuid);
		insert into ids select 'webhook', w.id from musicverse.create_webhook('$user', '@{[ $receiver->url('calls') ]}', '{track.*}') w;
		with t as (insert into musicverse.tracks (user_id, title) values ('$user', 'one') returning id) insert into ids select 'track', id from t;
		insert into ids select 'event', id from musicverse.events;
		insert into ids select 'delivery', id from musicverse.deliveries;
		with j as (insert into musicverse.generation_jobs (user_id, prompt) values ('$user', 'x') returning id) insert into ids select 'job', id from j;
		insert into ids select 'key', k.id from musicverse.create_api_key('$user', 'x') k;
		create table host_users (id uuid primary key);
		insert into host_users values ('$user');
		select musicverse._create_leaves('2999-01-02');
		create table musicverse.half_a_leaf (like musicverse.api_usage);
		create role service;
	});
}

wait_for_sql($with, q{select status = 'd' from musicverse.deliveries}, 't', 60, 'the delivery to be settled');
sql($without, q{update musicverse.deliveries set status = 'd', attempt_count = 1, delivered_at = now()});

my $secret = q{'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='};
my %id = map { $_ => "(select id from ids where name = '$_')" } qw(webhook event delivery job key);
my $histogram = q{array_fill(1::bigint, '{64}')};
my %arguments = (
	_add_histograms         => "$histogram, $histogram",
	_add_usage              => qq{array[row('2020-01-01Z', '$user', null, 'x', 2, 1, 0, 0, 0, 0, 0, 0, null)::musicverse.api_usage]},
	_announce_deliveries    => q{1, 2, 1},
	_check_key_scopes       => q{'{generate}'},
	_check_webhook_events   => q{'{track.*}'},
	_check_webhook_headers  => q{'{"x-a": "b"}'},
	_check_webhook_url      => q{'https://example.com/'},
	_create_leaves          => q{'2020-01-01'},
	_exposed                => q{'anon'},
	_filter_matches         => q{'$.a', '{"a": true}'},
	_index_usage_leaf       => q{'api_usage', 'half_a_leaf'},
	_insert_api_key         => qq{(select k from musicverse.api_keys k)},
	_openapi_json           => q{'v1'},
	_known_tier             => q{'free'},
	_leaf_is_pending        => q{'29990102'},
	_matches_event          => q{'{track.*}', 'track.created'},
	_ordering_hash          => q{'$.a', '{"a": 1}'},
	_own_api_key            => $id{key},
	_own_webhook            => $id{webhook},
	_quota_used             => "'$user'",
	_require_usage          => 'null',
	_require_user           => "'$user'",
	_reseal                 => q{musicverse._seal('s', 'c'), 'c'},
	_tend_leaves            => q{'30 days'},
	_tend_usage             => q{'7 days', '90 days', '1000 days'},
	_api_choice             => q{'x', 'a', '{a}'},
	_api_range              => q{'x', 1, 0, 2},
	_unseal                 => q{musicverse._seal('s', 'c'), 'c'},
	_usage_leaf             => q{'api_usage', 'day', '2020-01-01Z'},
	_usage_span             => q{'2020-01-01', '2020-01-02'},
	_webhook_interval       => q{'timeout', '"5s"'},
	_webhook_jsonpath       => q{'filter', '"$.a"'},
	address_refusal         => q{'10.0.0.1'},
	advance_clock           => q{'1 minute'},
	attach_users            => q{'host_users'},
	cancel_job              => $id{job},
	create_api_key          => "'$user', 'y'",
	create_webhook          => "'$user', 'https://example.com/', '{track.*}'",
	delete_webhook          => $id{webhook},
	disable_webhook         => $id{webhook},
	configure_provider      => q{'p', 'https://p.example.com', '{"token": "t"}'},
	emit_event              => qq{'$user', 'payment.failed', '{}', 'key'},
	enable_webhook          => $id{webhook},
	generate                => "'$user', 'a waltz'",
	explain_event           => $id{event},
	expose_to               => q{'service'},
	poll_events             => "'$user'",
	quota_status            => "'$user'",
	record_payment          => "'$user', 'pi_1', 9.99, 'EUR', 'succeeded'",
	record_subscription     => "'$user', 'sub_1', 'pro', 'active'",
	record_usage            => "'$user', null, 'x', 200",
	register_event_type     => q{'a.b', 'c', '{}'},
	replay_delivery         => $id{delivery},
	replay_since_event      => "$id{webhook}, $id{event}",
	replay_webhook          => "$id{webhook}, '-infinity'",
	report_leaked_key       => q{'x'},
	request_signature       => q{'s', 'GET', '/', 1, ''},
	revoke_api_key          => $id{key},
	rotate_api_key          => $id{key},
	rotate_webhook_secret   => $id{webhook},
	row_schema              => q{'musicverse.tracks'},
	set_tier                => "'$user', 'pro'",
	sign_webhook            => qq{$secret, 'msg_1', 1, 'body'},
	take_tokens             => q{'x', 1, 5, 1},
	take_tokens_all         => q{'{x}', 1, '{5}', '{1}'},
	test_webhook            => $id{webhook},
	update_webhook          => qq{$id{webhook}, '{"description": "x"}'},
	usage_percentile        => "$histogram, 0.5",
	usage_summary           => "'$user', '2020-01-01', '2020-01-02'",
	usage_top               => "'$user', '2020-01-01', '2020-01-02'",
	verify_api_key          => q{'x'},
	verify_request_signature => q{'s', 'x', 'GET', '/', 1, ''},
	verify_signed_request   => q{'s', 'x', 'GET', '/', 1, ''},
	verify_webhook          => qq{$secret, '{}', 'body'},
	webhook_stats           => $id{webhook});

# For those that this test doesn't know
my %by_type = (
	uuid => "'$user'", text => q{'x'}, name => q{'x'}, 'text[]' => q{'{x}'}, jsonb => q{'{}'}, json => q{'{}'}, jsonpath => q{'$'},
	interval => q{'1 day'}, 'timestamp with time zone' => 'now()', date => 'current_date', inet => q{'10.0.0.1'},
	bigint => 1, integer => 1, smallint => 1, numeric => 1, 'double precision' => 1, boolean => 'true', bytea => q{'x'},
	regclass => q{'host_users'}, regrole => q{'service'});

sub outcome
{
	my ($node, $call) = @_;
	my $error = sql_error($node, "begin;\n$call;\nset constraints all immediate;\nrollback;");
	return defined $error ? "$error->{sqlstate} $error->{message}" . ($error->{hint} ? " | $error->{hint}" : '') : 'works';
}

my @functions = sql_rows($without, q{
	select p.proname as name, p.oid::regprocedure::text as signature, p.pronargs - p.pronargdefaults as needed,
	       array(select format_type(t, null) from unnest(p.proargtypes) with ordinality u (t, n) order by n) as types
	  from pg_proc p
	 where p.pronamespace = 'musicverse'::regnamespace and p.prokind = 'f' and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
	 order by p.oid::regprocedure::text});
cmp_ok(scalar(@functions), '>', 40, 'there are functions to walk over');

my @refused;
foreach my $function (@functions)
{
	my $arguments = $arguments{ $function->{name} };
	my @types     = @{ $function->{types} }[ 0 .. $function->{needed} - 1 ];
	$arguments //= join ', ', map { ($by_type{$_} // 'null') . "::$_" } @types;

	my $call = "select * from musicverse.$function->{name}($arguments)";
	my ($loaded, $alone) = (outcome($with, $call), outcome($without, $call));
	my $refused = $alone =~ /^55000 \S+ needs musicverse to be loaded at server start \| Set shared_preload_libraries = 'musicverse' and restart the server\.$/;
	push @refused, $function->{name} if $refused;
	ok($refused || ($alone eq $loaded && (!exists $arguments{ $function->{name} } || $alone eq 'works')),
		"$function->{signature}: " . ($refused ? 'says what to set' : 'is the same without'))
	  or diag("with the library: $loaded\nwithout: $alone");
}
is("@refused", '_distribution_worker _gateway_status _generation_worker _media_worker _usage_status _worker_status advance_clock flush_usage health metrics poll_events pre_request rate_limit_status record_usage take_tokens take_tokens_all verify_api_key verify_request_signature verify_signed_request', 'only what needs shared memory refuses');

foreach my $view (map { $_->{name} } sql_rows($without, q{select oid::regclass::text as name from pg_class where relnamespace = 'musicverse'::regnamespace and relkind in ('v', 'r', 'p') order by 1}))
{
	my $outcome = outcome($without, "select count(*) from $view");
	like($outcome, $view =~ /^musicverse\.(worker|usage|gateway|generation|provider|distribution|partner|media)_status$/ ? qr/^55000 .*shared_preload_libraries/ : qr/^works$/, "$view: " . ($outcome eq 'works' ? 'can be read' : 'says what to set'));
}
is(sql($without, "select string_agg(period || ' ' || used, ', ') from musicverse.quota_status('$user')"), 'day 0, month 0',
	'quotas are told by the ledger');
is(sql($without, 'select enabled || $$ | $$ || remedy from musicverse.sending_status()'),
	"false | Set shared_preload_libraries = 'musicverse' and restart the server.", 'sending_status() says it too');

# ---- recorded now, sent after a restart

sql($without, 'delete from musicverse.webhook_endpoints');
my $webhook = sql_row($without, sprintf 'select * from musicverse.create_webhook(%s, %s, $${payment.*,track.*}$$)', lit($user), lit($receiver->url('later')));
$receiver->control('later', { secrets => [ $webhook->{secret} ] });
my $commit = sub {
	my ($n) = @_;
	return map { "select musicverse.emit_event('$user', 'payment.succeeded', '{\"n\": $_}');\n" } 1 .. $n;
};
my @sessions = map { session($without) } 1 .. 3;
$_->query_safe(join '', $commit->(10)) foreach @sessions;
$sessions[0]->query_safe("begin; insert into musicverse.tracks (user_id, title) values ('$user', 'never'); rollback");
$sessions[1]->query_safe("begin; savepoint s; insert into musicverse.tracks (user_id, title) values ('$user', 'never'); rollback to s;
	insert into musicverse.tracks (user_id, title) values ('$user', 'kept'); commit");
$sessions[2]->query_safe("insert into musicverse.tracks (user_id, title) select '$user', 'many' from generate_series(1, 3000)");
$_->quit foreach @sessions;
is(sql($without, "select count(*), count(distinct seq) from musicverse.deliveries where webhook_id = '$webhook->{id}'"), '3031|3031',
	'events are recorded and queued, each under a number of its own');
is($receiver->stats('later')->{received}, 0, 'nothing is sent');

set_conf($without, shared_preload_libraries => 'musicverse');
$without->restart;
$receiver->wait_stats('later', 120, ids => 3031);
wait_for_sql($without, "select count(*) from musicverse.deliveries where webhook_id = '$webhook->{id}' and status = 'd'", '3031', 60, 'all to be settled');
my $stats = $receiver->stats('later');
is("$stats->{verified} $stats->{duplicates}", '3031 0', 'after a restart with the library all of it is sent, once and signed');
is(sql($without, "select count(*) from musicverse.poll_events('$user', 0, 1000) where position is not null"), 1000, 'poll_events() works then');
is(sql($without, "select count(*) from musicverse.tracks where title = 'never'"), 0, 'what was rolled back is not there');

my $highest = sql($without, 'select greatest((select max(seq) from musicverse.deliveries), (select max(position) from musicverse.event_log))');
sql($without, "select musicverse.emit_event('$user', 'payment.succeeded', '{}')");
cmp_ok(sql($without, 'select max(seq) from musicverse.deliveries'), '>', $highest, 'numbers go on above those taken without the library');
$receiver->wait_stats('later', 60, ids => 3032);
pass('and new events are sent');

done_testing();
