# Sales reports that lie on a partner's SFTP server, a real OpenSSH one: looked
# for, fetched and imported by the worker. When a file is whole, packed files,
# corrections; what a hostile server has there; servers that break off, stall, or
# are somebody else; a worker that is killed after any step.
use Digest::SHA qw(sha256_hex);
use File::Path qw(make_path);
use IO::Compress::Gzip ();
use MusicVerse::Ddex;
use MusicVerse::LabelGrid;
use MusicVerse::Stream;
use MusicVerse::Test;

my $node = new_cluster('reports', 'log_lock_waits' => 'off');
my $sftp = MusicVerse::Stream::Sftp->start;
my $http = { base => 'http://127.0.0.1:1' };
my $user = user(1);
my $made = 0;

# ---- reports and where they lie

# A partner with a folder of reports, and a release that it carries; the clock decides when it is looked into
sub partner
{
	my ($name, %reports) = @_;
	my $partner = MusicVerse::Ddex->new($node, $sftp, $http, $name);
	make_path(map { "$partner->{dir}/reports$_" } '', $reports{control_directory} ? '/file_available' : ());
	follow($partner, %reports);
	my $id = sprintf '00000000-0000-4000-8000-%012d', ++$made;
	sql($node, sprintf q{insert into musicverse.distributions (id, user_id, track_ids, platforms, metadata) values (%1$s, '%2$s', '{}', array[%3$s],
			'{"title": "R", "tracks": [{"isrc": "QZABC2600001"}]}');
		insert into musicverse.distribution_work (distribution_id, user_id, partner, next_attempt_at) values (%1$s, '%2$s', %3$s, null);
		insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status, submitted_at)
		select %1$s, '%2$s', k.id, %3$s, %3$s, 'scheduled', now() from musicverse.distribution_work k where k.distribution_id = %1$s}, lit($id), $user, lit($name));
	return $partner;
}

sub follow
{
	my ($partner, %reports) = @_;
	my $before = sql($node, 'select musicverse._now()');
	$partner->configure(reports => { directory => 'reports', %reports });
	wait_for_sql($node, "select looked_at > '$before' and begun_at is null from musicverse.report_folders where partner = '$partner->{name}'", 't', 60, 'the first look');
	return;
}

# A report of so many lines with one use each
sub report
{
	my ($message, $lines, %option) = @_;
	return join("\t", 'HEAD', 'dsrf/1.4/6/1.4', 'BasicAudioProfileSRB', '1.4', $message, $option{made} // '2026-11-02T10:00:00Z', 1, 1, '2026-10-01', '2026-10-31', '', 'Example', ('') x 4) . "\n"
	  . join("\t", 'SY02.03', 1, '', '', 'SubscriptionModel', 'OnDemandStream', 'SE', ('') x 15) . "\n"
	  . join('', map { join("\t", 'SR02.01', 1, $option{random} ? rand : 'd', 'QZABC2600001', ('') x 30, 1, ('') x 4) . "\n" } 1 .. $lines)
	  . ($option{bad} ? "SR02.01\tx\n" : '')
	  . join("\t", 'SRFO', $option{told} // $lines + 3 + ($option{bad} ? 1 : 0), 1) . "\n";
}

# A file there, as a whole unless it is said where it goes on
sub put
{
	my ($partner, $name, $content, %option) = @_;
	my $path = "$partner->{dir}/reports/$name";
	unless ($option{append})
	{
		open my $file, '>:raw', "$path.part" or die "$path: $!";
		print $file $content;
		close $file;
		rename "$path.part", $path or die "$path: $!";
		return;
	}
	open my $file, '>>:raw', $path or die "$path: $!";
	print $file $content;
	close $file;
	return;
}

sub packed { my ($content) = @_; IO::Compress::Gzip::gzip(\$content, \my $packed) or die 'gzip'; return $packed; }
sub name   { my ($period, $part, $time) = @_; return "DSR_PADPIDA2012041004F_PADPIDA2011072101T_Premium_${period}_SE_${part}_$time.tsv"; }

# The next look, once all that it finds due is fetched; what was found by the one before is whole by then
sub look
{
	my ($partner, $what) = @_;
	my $before = sql($node, q{select musicverse.advance_clock('2 minutes'); select musicverse._now()}) =~ s/.*\n//sr;
	sql($node, "select musicverse.fetch_reports('$partner->{name}')");
	eval { wait_for_sql($node, qq{select looked_at > '$before' and step = 'list' and begun_at is null and not exists (
		select from musicverse.report_files f where f.partner = r.partner and f.state = 'due' and f.attempts = 0) from musicverse.report_folders r where partner = '$partner->{name}'}, 't', 90, $what // "a look at $partner->{name}"); 1 }
	  or die $@, json(sql_row($node, "select * from musicverse.report_folders where partner = '$partner->{name}'")), json([ sql_rows($node, "select * from musicverse.report_files where partner = '$partner->{name}'") ]), "\n";
	return;
}
sub state   { my ($partner, $name) = @_; return sql($node, sprintf q{select string_agg(concat_ws('|', state, lines, imported, rejected), ' ' order by id) from musicverse.report_files where partner = %s and file_name = %s}, lit($partner->{name}), lit($name)); }
sub reason  { my ($partner, $name) = @_; return sql($node, sprintf q{select reason from musicverse.report_files where partner = %s and file_name = %s order by id desc limit 1}, lit($partner->{name}), lit($name)); }
sub streams { my ($partner) = @_; return sql($node, "select coalesce(sum(streams), 0) from musicverse.distribution_stats where platform = '$partner->{name}'"); }
sub logged  { my ($pattern) = @_; return scalar(grep { /$pattern/ } split /\n/, slurp_file($node->logfile)); }

# ---- two looks

my $plain = partner('plain');
my $one   = name('2026-10', '1of1', '20261102T100000');
put($plain, $one, report('M1', 40, bad => 1));
look($plain);
is(state($plain, $one), 'waiting', 'a file that was seen once may not be whole yet');
look($plain);
is(state($plain, $one), 'imported|44|40|1', 'one that stayed as it was is imported');
is(streams($plain), 40, 'its lines count');
is(sql($node, sprintf 'select f.sha256, r.report from musicverse.report_files f join musicverse.dsr_reports r on r.id = f.report_id where file_name = %s', lit($one)),
	sha256_hex(report('M1', 40, bad => 1)) . '|' . $one =~ s/_[^_]*$//r, 'it is known by its digest, and the report by its name without the time');
is(logged(qr/sales report "\Q$one\E" of partner "plain" is imported: 44 lines, 40 taken, 1 put aside, 0 of no release/), 1, 'the log tells of it');
ok(-e "$plain->{dir}/reports/$one", 'the partner keeps it');
my $time = time - 3000;
utime $time, $time, "$plain->{dir}/reports/$one";
look($plain) foreach 1 .. 3;
is(state($plain, $one) . ' ' . streams($plain), 'imported|44|40|1 40', 'looked at again, also when its time has changed, it counts once');
is(sql($node, q{select count(*) from musicverse.dsr_reports}), 1, 'and was imported once');

# one that grows
my $grows = name('2026-09', '1of1', '20261102T100000');
my $whole = report('M2', 100);
put($plain, $grows, substr($whole, 0, 2000));
look($plain);
put($plain, $grows, substr($whole, 2000, 500), append => 1);
look($plain);
is(state($plain, $grows), 'waiting', 'a file that grows is left alone');
put($plain, $grows, substr($whole, 2500), append => 1);
look($plain) foreach 1 .. 2;
is(state($plain, $grows) . ' ' . streams($plain), 'imported|103|100|0 140', 'until it is whole');

# packed, and the same twice
my $zipped = name('2026-08', '1of1', '20261102T100000') . '.gz';
put($plain, $zipped, packed(report('M3', 1000, random => 1)));
put($plain, 'copy_of_' . $one, report('M1', 40, bad => 1));
look($plain) foreach 1 .. 2;
is(state($plain, $zipped) . ' ' . streams($plain), 'imported|1003|1000|0 1140', 'a packed file is imported');
is(state($plain, "copy_of_$one"), 'refused|0|0|0', 'the same report under another name is refused');
like(reason($plain, "copy_of_$one"), qr/its message "M1" counts already as report "DSR_/, 'and why');

# corrections: of the same name, and of one with another time
put($plain, $one, report('M1', 50, made => '2026-11-03T10:00:00Z'));
look($plain) foreach 1 .. 2;
is(state($plain, $one), 'imported|44|40|1 imported|53|50|0', 'a corrected file of the same name is imported');
is(streams($plain), 1150, 'in place of what was there');
put($plain, $one, report('M1', 60, made => '2026-11-01T10:00:00Z'));
look($plain) foreach 1 .. 2;
like(reason($plain, $one), qr/counts already, and this one was not made later/, 'one that was made before comes too late');
my $later = name('2026-10', '1of1', '20261105T090000');
put($plain, $later, report('M4', 70, made => '2026-11-05T09:00:00Z'));
look($plain) foreach 1 .. 2;
is(streams($plain), 1170, 'one whose name has a later time takes its place');
is(sql($node, q{select count(*) from musicverse.dsr_reports where state = 'superseded'}), 2, 'and those before are superseded');

# ---- control files

my $control = partner('control', control_files => JSON::PP::true);
my @parts   = map { name('2026-10', "${_}of2", '20261102T100000') } 1 .. 2;
put($control, $parts[$_], report("P$_", 10 + $_)) foreach 0, 1;
my $single = name('2026-09', '1of1', '20261102T100000') . '.gz';
put($control, $single, packed(report('P3', 5)));
look($control) foreach 1 .. 3;
is(join(' ', map { state($control, $_) } @parts, $single), 'waiting waiting waiting', 'without its control file a file is left alone');
put($control, $parts[0] =~ s/_1of2(_.*)\.tsv/$1.ctrl/r, '');
put($control, '_' . $single =~ s/\.tsv\.gz/.ctrl/r, '');
look($control);
is(join(' ', map { state($control, $_) } @parts, $single), 'imported|13|10|0 imported|14|11|0 imported|8|5|0', 'with it, it is fetched at once, in all its parts');
is(streams($control), 26, 'and counts');
put($control, $parts[0], report('P0', 1, made => '2026-11-09T10:00:00Z'));
look($control);
is(state($control, $parts[0]), 'imported|13|10|0 waiting', 'the control file of what was there before is not that of another');
look($control);
is(state($control, $parts[0]) . ' ' . streams($control), 'imported|13|10|0 imported|4|1|0 17', 'which is imported when it stayed as it was');

my $apart = partner('apart', control_files => JSON::PP::true, control_directory => 'reports/file_available');
put($apart, $one, report('A1', 9));
look($apart);
is(state($apart, $one), 'waiting', 'control files may lie in a folder of their own');
put($apart, 'file_available/_' . $one =~ s/_1of1(_.*)\.tsv/$1.ctrl/r, '');
look($apart);
is(state($apart, $one) . ' ' . streams($apart), 'imported|12|9|0 9', 'where they are seen');

# ---- what is bad

my $bad = partner('bad');
my %files = (
	'garbage.tsv'       => join('', map { chr int rand 256 } 1 .. 20000),
	'empty.tsv'         => '',
	'counts.tsv'        => report('B1', 20, told => 99),
	'cut.tsv'           => substr(report('B2', 20), 0, 700),
	'cut.tsv.gz'        => substr(packed(report('B3', 5000, random => 1)), 0, 30000),
	'garbage.tsv.gz'    => "\x1f\x8b\x08\0" . 'x' x 5000,
	'bomb.tsv.gz'       => packed("HEAD\t" . "\0" x 300_000_000),
	'lines.tsv.gz'      => packed(report('B6', 1_200_000)),
	'nozip.tsv.gz'      => report('B4', 3),
	'behind.tsv.gz'     => packed(report('B5', 3)) . 'more');
put($bad, $_, $files{$_}) foreach keys %files;
symlink '/etc/passwd', "$bad->{dir}/reports/link.tsv" or die $!;
mkdir "$bad->{dir}/reports/folder.tsv" or die $!;
put($bad, $_, report('E', 3)) foreach "\x1b[31mred.tsv", "new\nline.tsv", "tab\there.tsv", '-rf.tsv', '.hidden.tsv', '$(touch x).tsv', "a'b.tsv", '..tsv', "caf\xc3\xa9.tsv", "\xff\xfe.tsv", 'x' x 200 . '.tsv', 'space name.tsv', '%2e%2e%2fx.tsv';
system("cd '$bad->{dir}/reports' && truncate -s 6G huge.tsv") == 0 or die 'truncate';
look($bad) foreach 1 .. 2;
is(state($bad, $_) =~ /^refused/ ? 'refused' : state($bad, $_), $_ eq 'nozip.tsv.gz' ? 'imported|6|3|0' : 'refused', "$_: refused, unless it is good") foreach sort keys %files;
like(reason($bad, 'counts.tsv'),     qr/^its footer counts 99 lines, but there are 23/,         'wrong counts');
like(reason($bad, 'cut.tsv'),        qr/FOOT or SRFO/,                                          'no end');
like(reason($bad, 'cut.tsv.gz'),     qr/^what was packed ends in the middle: it was cut/,       'no end of what is packed');
like(reason($bad, 'garbage.tsv.gz'), qr/^what was packed is damaged/,                           'damaged');
like(reason($bad, 'bomb.tsv.gz'),    qr/^unpacked it has more than 200 times its length/,       'a bomb');
like(reason($bad, 'lines.tsv.gz'),   qr/^unpacked it has more than 200 times its length/,       'a bomb of good lines');
like(reason($bad, 'behind.tsv.gz'),  qr/^something else is behind/,                             'something behind it');
like(reason($bad, 'huge.tsv'),       qr/longer than the 4294967296 bytes that are taken/,       'huge, which is known before it comes');
is(sql($node, q{select count(*) from musicverse.report_files where partner = 'bad' and (file_name !~ '^[A-Za-z0-9_.]+$' or file_name in ('link.tsv', 'folder.tsv'))}), 0, 'names that no report has, links and folders are not looked at');
like(sql($node, q{select note from musicverse.report_folders where partner = 'bad'}), qr/^\d+ files were passed over/, 'which is noted');
is(streams($bad), 3, 'of all that only the good one counts');
is(logged(qr/sales report "bomb.tsv.gz" of partner "bad" was refused: unpacked/), 1, 'the log tells of refusals');
my $again = sql($node, q{select count(*) from musicverse.dsr_reports where partner = 'bad'});
look($bad);
is(sql($node, q{select count(*) from musicverse.dsr_reports where partner = 'bad'}), $again, 'what is refused is not fetched again');
put($bad, 'counts.tsv', report('B1', 21));
look($bad) foreach 1 .. 2;
is(state($bad, 'counts.tsv'), 'refused|23|0|0 imported|24|21|0', 'until it is another one') or diag(reason($bad, 'counts.tsv'));
put($bad, 'behind.tsv.gz', packed(report('B5', 3)));
sql($node, q{select musicverse.fetch_reports('bad', true)});
wait_for_sql($node, q{select count(*) from musicverse.report_files where partner = 'bad' and state = 'due'}, '0', 60, 'what was refused to be fetched again');
is(sql($node, q{select string_agg(file_name, ' ' order by file_name) from musicverse.report_files where partner = 'bad' and state = 'refused' and sha256 is not null}),
	'bomb.tsv.gz counts.tsv cut.tsv cut.tsv.gz empty.tsv garbage.tsv garbage.tsv.gz lines.tsv.gz', 'it is refused again') or diag(json([ sql_rows($node, q{select file_name, state, reason from musicverse.report_files where partner = 'bad'}) ]));

# a hundred thousand names
my $crowd = partner('crowd', control_files => JSON::PP::true);
foreach my $n (1 .. 100_000)
{
	my $name = $n % 10 ? "junk-$n.bin" : "r$n.tsv";
	open my $file, '>', "$crowd->{dir}/reports/$name" or die "$name: $!";
}
put($crowd, 'last.tsv',  report('C1', 7));
put($crowd, 'last.ctrl', '');
look($crowd);
wait_for_sql($node, q{select count(*) from musicverse.report_files where partner = 'crowd'}, '10001', 60, 'a folder of 100000 names to be read, in two looks');
is(state($crowd, 'last.tsv') . ' ' . streams($crowd), 'imported|10|7|0 7', 'and what is good in it imported');

# ---- others, while an import takes long

my $long = partner('long', control_files => JSON::PP::true);
my $grid = MusicVerse::LabelGrid->start;
$grid->configure($node, timeout => 60);
$grid->control(live => \1, create_release => [ { wait => 8000 } ]);
my $release = $grid->release($node, $user, { title => 'Meanwhile' });
submit($node, $release);
wait_for(sub { $grid->log('create_release') > 0 }, 60, 'a request to be under way');
sql($node, q{create table public.go_on ();
	create function public.wait_to_go_on() returns trigger language plpgsql as $$
	begin while not exists (select from public.go_on) loop perform pg_sleep(0.05); end loop; return new; end $$;
	create trigger wait_to_go_on before insert on musicverse.dsr_reports for each row when (new.partner = 'long') execute function public.wait_to_go_on()});
put($long, 'long.tsv',  report('C2', 8));
put($long, 'long.ctrl', '');
sql($node, q{select musicverse.fetch_reports('long')});
wait_for_sql($node, q{select count(*) from pg_stat_activity a join musicverse.distribution_status d on d.pid = a.pid where a.wait_event = 'PgSleep'}, '1', 90, 'the import');
my ($asked) = $grid->log('create_release');
wait_for(sub { time > $asked->{at} / 1000 + 9 }, 60, 'the answer');
sql($node, q{select musicverse.advance_clock('10 minutes'); insert into public.go_on default values});
wait_release($node, $release, 'live', 60);
is(join(' ', map { scalar(() = $grid->log($_)) } 'create_release', 'list_releases'), '1 0', 'what was answered while a report was imported is not asked again');
is(state($long, 'long.tsv'), 'imported|11|8|0', 'which was imported meanwhile');
$grid->stop;

# ---- what is no profile
my $config = sql_json($node, q{select config from musicverse.partners where name = 'plain'});
like(sql_error($node, sprintf q{select musicverse.configure_partner('plain', 'sftp://127.0.0.1', null, %s)}, lit({ %$config, reports => $_->[0] }))->{message}, $_->[1], "$_->[1]") foreach
  [ { directory => '../x' }, qr/reports.directory .* cannot be "..\/x"/ ], [ 'reports', qr/must be a JSON object/ ], [ { control_files => 1 }, qr/must be true or false/ ],
  [ { control_directory => 'x' }, qr/has a folder of control files, and uses none/ ], [ { interval => 0 }, qr/reports.interval .* cannot be 0/ ], [ { dir => 'x' }, qr/reports.dir .* is unknown/ ];
like(sql_error($node, sprintf q{select musicverse.configure_partner('bundled', null, '{}', %s)}, lit({ connector => 'bundle', platforms => ['spotify'], reports => {} }))->{message}, qr/it is no SFTP server/, 'a partner without an SFTP server has no reports there');
like(sql_error($node, q{select musicverse.fetch_reports('labelgrid')})->{message}, qr/no reports are fetched from partner "labelgrid"/, 'whoever has no folder of reports has none');

# ---- servers that break off, stall, or are somebody else

# Ends the server with all its connections
sub hang_up
{
	$sftp->stop;
	foreach my $session (grep { -e "/proc/$_/stat" } $sftp->sessions)
	{
		my ($parent) = slurp_file("/proc/$session/stat") =~ /^\d+ \(.*\) \S (\d+)/;
		kill 'KILL', $session, $parent > 1 ? $parent : ();
	}
	return;
}

# Sessions from now on send so much, and then run that
sub serve
{
	my ($bytes, $then) = @_;
	my $pipe = defined $bytes ? qq[| { perl -e 'for (my \$n = $bytes; \$n > 0 and my \$r = sysread STDIN, my \$b, \$n < 32768 ? \$n : 32768; \$n -= \$r) { syswrite STDOUT, \$b }'; $then; }] : '';
	hang_up();
	open my $file, '>', "$sftp->{dir}/serve.new" or die $!;
	print $file "#!/bin/sh\necho \$\$ >>$sftp->{pidfile}\ncd $sftp->{dir}/files && " . ($pipe ? '' : 'exec ') . MusicVerse::Stream::Sftp::sftp_server() . " -l ERROR $pipe\n";
	close $file;
	chmod 0755, "$sftp->{dir}/serve.new";
	rename "$sftp->{dir}/serve.new", "$sftp->{dir}/serve" or die $!;
	$sftp->run;
	return;
}
sub attempts { my ($partner) = @_; return sql($node, "select coalesce(max(attempts), 0) from musicverse.report_files where partner = '$partner->{name}'"); }
sub recover  { my ($partner) = @_; serve(); sql($node, "select musicverse.fetch_reports('$partner->{name}')"); return; }

my $lame = partner('lame');
my $big  = name('2026-10', '1of1', '20261102T100000');
my $text = report('L1', 20000);
put($lame, $big, $text);
look($lame);
serve(400_000, 'kill -KILL $PPID');
sql($node, q{select musicverse.advance_clock('2 minutes'), musicverse.fetch_reports('lame')});
wait_for(sub { attempts($lame) > 0 }, 90, 'a fetch that breaks off');
is(state($lame, $big) . ' ' . streams($lame), 'due 0', 'a file that broke off is not imported');
isnt(reason($lame, $big), '', 'the reason is there');
serve(400_000, 'sleep 100');
my $tried = attempts($lame);
sql($node, q{select musicverse.fetch_reports('lame')});
wait_for(sub { attempts($lame) > $tried }, 180, 'a fetch that stalls');
like(reason($lame, $big), qr/slower than \d+ bytes a second/, 'one that stalled is given up');
my $fds = sub { my $pid = sql($node, 'select pid from musicverse.distribution_status'); return scalar grep { (readlink($_) // '') =~ /pgsql_tmp/ } glob "/proc/$pid/fd/*" };
is($fds->(), 0, 'no temporary file is left open');
recover($lame);
wait_for_sql($node, q{select state from musicverse.report_files where partner = 'lame'}, 'imported', 120, 'the file when the server is well again');
is(streams($lame), 20000, 'then it counts, once');

# ---- a worker that is killed: while it fetches, while it imports, and then

put($lame, name('2026-07', '1of1', '20261102T100000'), report('L2', 20000));
look($lame);
serve(400_000, 'sleep 100');
my $deaths = 0;
sub die_now
{
	my $pid = sql($node, 'select pid from musicverse.distribution_status');
	kill 'KILL', $pid;
	wait_for(sub { !kill 0, $pid }, 30, 'it to die');
	$deaths++;		# its clock begins anew
	wait_for(sub { eval { sql($node, "select musicverse.advance_clock('@{[ $deaths * 6 ]} hours')"); 1 } }, 60, 'the server to be back');
	return $pid;
}
sql($node, q{select musicverse.advance_clock('2 minutes'), musicverse.fetch_reports('lame')});
wait_for(sub { $fds->() > 0 }, 90, 'the fetch');
my $dead = die_now();
is(streams($lame), 20000, 'killed while it fetched: nothing of it counts');
is(scalar(grep { /pgsql_tmp$dead\./ } glob $node->data_dir . '/base/pgsql_tmp/*'), 0, 'and nothing of it stays on disk');
my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe('begin; lock table musicverse.dsr_products in share mode');
serve();
sql($node, q{select musicverse.advance_clock('10 minutes'), musicverse.fetch_reports('lame')});
wait_for_sql($node, q{select count(*) from pg_stat_activity a join musicverse.distribution_status d on d.pid = a.pid where a.wait_event_type = 'Lock'}, '1', 90, 'the import');
die_now();
eval { $session->quit };
wait_for_sql($node, q{select count(*) from musicverse.report_files where partner = 'lame' and state = 'imported'}, '2', 120, 'both to be imported');
is(streams($lame), 40000, 'killed while it imported: each line counts once');
die_now();
look($lame) foreach 1 .. 2;
is(streams($lame), 40000, 'killed afterwards: as well');
is(sql($node, q{select count(*) from musicverse.dsr_reports where partner = 'lame'}), 2, 'each was imported once');

# ---- somebody else's server

hang_up();
$sftp->new_host_key;
$sftp->run;
put($lame, name('2026-06', '1of1', '20261102T100000'), report('L3', 5));
sql($node, q{select musicverse.advance_clock('10 minutes'), musicverse.fetch_reports('lame')});
# a look that was under way broke off
wait_for_sql($node, q{select last_error ~* 'host key' from musicverse.report_folders where partner = 'lame'}, 't', 60, 'the refusal');
pass('a server with another host key is not asked');
is(logged(qr/partner "lame" could not be asked for sales reports: .*host key/i) > 0, 1, 'which the log tells');
is(sql($node, q{select count(*) from musicverse.report_files where partner = 'lame' and state = 'waiting'}), 0, 'nothing of it is known');
is(sql($node, q{select paused_at is null from musicverse.partners where name = 'lame'}), 't', 'the partner is not paused');
$lame->configure(host_keys => [ $sftp->{fingerprint} ], reports => { directory => 'reports' });
look($lame) foreach 1 .. 2;
is(streams($lame), 40005, 'once its new key is known, it is');

# ---- no more
$lame->configure(host_keys => [ $sftp->{fingerprint} ]);
is(sql($node, q{select count(*) from musicverse.report_folders where partner = 'lame'}), 0, 'without reports in its config nobody looks');
is(sql($node, q{select count(*) from musicverse.report_files where partner = 'lame'}), 3, 'but what was fetched is remembered');

done_testing();
