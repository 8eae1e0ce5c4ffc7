# The media worker among users: nobody waits behind another one's many or slow
# pieces. What came first is told by what is done while others are held, never by time.
use lib 'test/lib';
use MusicVerse::Test;

my $node = new_cluster('main');

sub source
{
	my ($name) = @_;
	my ($pid, $out) = start_process($name, 'node', "$root/test/partners/sounds.js");
	my $at = from_json(scalar <$out>);
	return "http://$at->{host}:$at->{port}";
}
my ($slow, $quick) = (source('slow'), source('quick'));
my ($many, $few, $third, $fourth) = map { user($_) } 1 .. 4;

sub release  { http('PUT', "$slow/release"); return; }
sub asked    { my ($path) = @_; return scalar grep { $_ eq $path } @{ http_json('GET', "$slow/log") }; }
sub open_now { return http_json('GET', "$slow/open"); }
sub count_of { my ($where) = @_; return sql($node, "select count(*) from musicverse.media_work where $where"); }
sub done     { my ($id) = @_; wait_for_sql($node, "select state from musicverse.media_work where id = '$id'", 'done', 120, 'the work to be done'); return; }

sub inspect
{
	my ($user, @urls) = @_;
	return sql($node, join '', map { sprintf "select musicverse._request_media('inspect', jsonb_build_object('url', %s), user_id => %s);", lit($_), lit($user) } @urls);
}
sub cover { my ($user, $title) = @_; return sql($node, sprintf q{select musicverse.request_cover(%s, 'Mira', size => 64, user_id => %s)}, lit($title), lit($user)); }
sub trickles { my ($name, $n) = @_; return map { "$slow/trickle-$name-$_.wav" } 1 .. $n; }

sub kill_worker
{
	my $pid = sql($node, 'select pid from musicverse.media_status');
	kill KILL => $pid;
	wait_for(sub { my ($now) = eval { sql($node, 'select coalesce(pid, 0) from musicverse.media_status') }; $now && $now != $pid }, 60, 'another worker');
	return;
}

wait_for_sql($node, 'select state from musicverse.media_status', 'running', 60, 'the worker');

# ---- slow files

inspect($many, trickles('many', 50));
wait_for(sub { open_now()->{now} == 2 }, 60, 'two of them to be under way');
my $one   = inspect($few, "$quick/one.wav");
my $drawn = cover($few, 'Rain');
my $his   = cover($many, 'Drops');
done($_) foreach $one, $drawn, $his;
is(count_of("input ->> 'url' like '%trickle-many%' and state = 'done'"), 0, 'the track and the cover of another user are done while all 50 slow ones wait, and so is a cover of their owner');
is(open_now()->{most}, 2, 'of which two are fetched at once');
like(sql($node, 'select at_work from musicverse.media_status'), qr/^inspect [0-9a-f-]{36}, inspect [0-9a-f-]{36}$/, 'as the status tells');
is(sql($node, 'select count(*), count(*) filter (where state = $$running$$), count(distinct user_id), bool_and(waiting_since is not null), max(attempts) from musicverse.media_queue'), '50|2|1|t|1', 'and the queue');
is(sql($node, sprintf 'select count(*) from musicverse.media_queue where user_id = %s', lit($few)), 0, 'where nobody stays who has got what he asked for');

# what the slow user waits for as well, at the end of his queue
my ($both) = inspect($few, (trickles('many', 50))[49]);
wait_for(sub { asked('/trickle-many-50.wav') }, 60, 'it to be begun for the other one');
is(open_now()->{now}, 3, 'who does not wait behind the queue of the first');
is(count_of("input ->> 'url' like '%trickle-many%' and state = 'done'"), 0, 'of which nothing is done yet');

# three users with two each are as much as one host gets; there are places left for others
inspect($third, trickles('third', 5));
inspect($fourth, trickles('fourth', 5));
wait_for(sub { open_now()->{now} == 6 }, 60, 'six to be under way');
done(inspect(user(5), "$quick/two.wav"));
is(open_now()->{most}, 6, 'one host leaves places for others');

# ---- a user who is deleted, in the middle

sql($node, sprintf 'delete from musicverse.accounts where user_id = %s', lit($fourth));
is(count_of("input ->> 'url' like '%trickle-fourth%' and state = 'pending'"), 0, 'with a user goes what waits for him');
is(count_of("id = '$both' and state = 'running'"), 1, 'not what others wait for');

# ---- kill -9 in the middle of all of it

my $cover = cover($few, 'Killed');
kill_worker();
wait_for(sub { open_now()->{now} >= 5 }, 60, 'the next worker to fetch');
done($cover);
is(count_of("state = 'running' and attempts > 2"), 0, 'what was under way is begun again');
release();
wait_for(sub { release(); count_of("state in ('pending', 'running')") == 0 }, 120, 'all to be done');
is(count_of("input ->> 'url' like '%trickle-fourth%'"), 0, 'but what was begun for the user who is gone');
is(count_of("state = 'done'"), 50 + 5 + 2 + 3, 'each once');
is(sql($node, 'select count(*) from musicverse.media_work w left join musicverse.media m using (id) where m.id is null'), 0, 'and all of it is there');
is(sql($node, 'select count(*) from musicverse.media_queue'), 0, 'nobody waits any more');
cmp_ok(open_now()->{most}, '<=', 6, 'and never were there more from one host');

# ---- a row that is locked when its turn comes

my $locked = sql($node, sprintf q{begin; select musicverse._request_media('inspect', jsonb_build_object('url', %s), user_id => %s);
	update musicverse.media_work set next_attempt_at = now() + interval '2 seconds' where state = 'pending'; commit}, lit("$quick/locked.wav"), lit($few));
my $holder = session($node);
$holder->query_safe("begin; select from musicverse.media_work where id = '$locked' for share");
wait_for_sql($node, "select next_attempt_at < now() - interval '1 second' and state = 'pending' from musicverse.media_work where id = '$locked'", 't', 60, 'its time to be over');
$holder->query_safe('commit');
wait_for_sql($node, "select state from musicverse.media_work where id = '$locked'", 'done', 45, 'it to be done, though nobody wakes the worker');
$holder->quit;

# ---- many covers

sql($node, sprintf q{select count(musicverse.request_cover('Cover ' || i, 'Mira', size => 64, user_id => %1$s)) from generate_series(1, 300) i;
	delete from musicverse.media_use}, lit($many));
my $single = cover($few, 'Single');
done($single);
wait_for(sub { count_of("kind = 'cover' and state <> 'done'") == 0 }, 120, 'all covers');
my $before = sql($node, "select count(*) from musicverse.media_work w, musicverse.media_work s where s.id = '$single' and w.kind = 'cover' and w.begun_at > s.created_at and w.finished_at < s.finished_at");
cmp_ok($before, '<=', 2, 'one cover of another user comes next, whatever waits before it');
is(sql($node, "select sum((used > 0)::int) from musicverse.media_use where owner in ('$many', '$few')"), 2, 'what they had is counted');

# ---- a dump in the middle

inspect($many, trickles('dumped', 5));
wait_for(sub { asked('/trickle-dumped-2.wav') }, 60, 'some to be under way');
inspect($few, "$slow/gone-dumped.wav");
my $queue = q{select string_agg(concat_ws(' ', r.user_id, w.input ->> 'url'), ', ' order by 1) from musicverse.media_requests r join musicverse.media_work w on w.id = r.work_id where w.input ->> 'url' like '%dumped%'};
my $dump  = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
system_or_bail('pg_dump', '-f', $dump, '-d', $node->connstr('postgres'));
sql($node, 'create database restored template template0');
system_or_bail('psql', '-qAtX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, '-d', $node->connstr('restored'));
is(sql([ $node, 'restored' ], $queue), sql($node, $queue), 'a dump tells for whom work is done');
release();
wait_for(sub { release(); count_of("state in ('pending', 'running')") == 0 }, 120, 'all to be done here');
set_conf($node, 'musicverse.databases' => 'restored');
$node->reload;
sql([ $node, 'restored' ], 'select musicverse.enable_sending()');
wait_for(sub { release(); sql([ $node, 'restored' ], 'select count(*) from musicverse.media_queue') == 0 }, 120, 'and after the restore, there');
is(sql([ $node, 'restored' ], q{select string_agg(state, ' ' order by input ->> 'url') from musicverse.media_work where input ->> 'url' like '%dumped%'}), 'failed done done done done done', 'with the same end');

done_testing();
