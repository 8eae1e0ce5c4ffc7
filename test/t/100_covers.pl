# Covers as whoever looks at them sees them: decoded without the library that
# wrote them, their text found as what differs from the same cover without it.
# And what drawing does to a server process: threads, memory, messages.
use MusicVerse::Test;

use utf8;
use Compress::Zlib qw(uncompress);
use Encode qw(encode);
use File::Copy qw(copy);
use File::Temp ();
use List::Util ();

my $node = new_cluster('main', 'musicverse.databases' => '', client_min_messages => 'warning');
my @families = qw(gradient flow grid ring halftone strata);

# The files that calls return, drawn by one session
sub files
{
	my $where = ref $_[0] ? shift : $node;
	my $query = join '; ', "set client_encoding = 'UTF8'", map { "select encode(musicverse.$_, 'hex')" } @_;
	return map { pack 'H*', $_ } split /\n/, sql($where, encode('UTF-8', $query));
}

sub file
{
	my ($call, @where) = @_;
	return (files(@where, $call))[0];
}

# [width, rows of bytes], and the chunks by name
sub decode
{
	my ($png) = @_;
	die "no PNG\n" unless $png =~ s/^\x89PNG\r\n\x1a\n//;
	my (%chunk, $data);
	while (length $png)
	{
		my ($length, $name) = unpack 'N a4', $png;
		$chunk{$name} = substr $png, 8, $length;
		$data .= $chunk{$name} if $name eq 'IDAT';
		$png = substr $png, 12 + $length;
	}
	my ($width, $height, $bits, $colour) = unpack 'N N C C', $chunk{IHDR};
	die "not RGB of 8 bits\n" unless $bits == 8 && $colour == 2;
	my $bytes = uncompress($data);
	my @above = (0) x (3 * $width);
	my @rows;
	foreach my $y (0 .. $height - 1)
	{
		my ($filter, @row) = unpack 'C*', substr $bytes, $y * (3 * $width + 1), 3 * $width + 1;
		die "filter $filter is not expected\n" if $filter != 0 && $filter != 2;
		@row = map { $row[$_] + $above[$_] & 255 } 0 .. $#row if $filter == 2;
		push @rows, [@row];
		@above = @row;
	}
	return ([ $width, @rows ], \%chunk);
}

my @linear = map { my $x = $_ / 255; $x <= 0.04045 ? $x / 12.92 : (($x + 0.055) / 1.055)**2.4 } 0 .. 255;

sub luminance
{
	my ($r, $g, $b) = @_;
	return 0.2126 * $linear[$r] + 0.7152 * $linear[$g] + 0.0722 * $linear[$b];
}

sub ratio
{
	my ($light, $dark) = sort { $b <=> $a } @_;
	return ($light + 0.05) / ($dark + 0.05);
}

# Where the text is, how near to an edge, and its least contrast with what is behind it
sub judge_text
{
	my ($arguments, $size, $family) = @_;
	my $call = "_cover_art_bare($arguments, $size, null, " . lit($family);
	my ($with, $without) = map { (decode($_))[0] } files("$call, false)", "$call, true)");
	my (@text, %seen);
	my $nearest = $size;
	foreach my $y (0 .. $size - 1)
	{
		my ($a, $b) = ($with->[ $y + 1 ], $without->[ $y + 1 ]);
		next if "@$a" eq "@$b";
		foreach my $x (0 .. $size - 1)
		{
			my @a = @$a[ 3 * $x .. 3 * $x + 2 ];
			my @b = @$b[ 3 * $x .. 3 * $x + 2 ];
			next if "@a" eq "@b";
			my $half = $y < $size / 2 ? 0 : 1;
			push @text, [ $half, @b ];
			$seen{$half}{"@a"}++;
			foreach my $distance ($x, $y, $size - 1 - $x, $size - 1 - $y)
			{
				$nearest = $distance if $distance < $nearest;
			}
		}
	}
	# the ink of a half is the colour farthest from what is behind it: soft edges lie between the two
	# (a half into which a few pixels of the other's text reach has none of its own)
	my %all;
	$all{$_->[0]}++ foreach @text;
	foreach my $half (0, 1)
	{
		$seen{$half} = $seen{ 1 - $half } if ($all{$half} // 0) * 8 < ($all{ 1 - $half } // 0);
	}
	my %ink;
	foreach my $half (0, 1)
	{
		my @behind = map { luminance(@$_[ 1 .. 3 ]) } grep { $_->[0] == $half } @text or next;
		my $mean = List::Util::sum(@behind) / @behind;
		$ink{$half} = List::Util::reduce { $a->[1] > $b->[1] ? $a : $b } map { [ $_, ratio(luminance(split / /), $mean) ] } keys %{ $seen{$half} };
		$ink{$half} = $ink{$half}[0];
	}
	my $contrast = 21;
	foreach my $pixel (@text)
	{
		my ($half, @b) = @$pixel;
		my $ratio = ratio(luminance(split / /, $ink{$half}), luminance(@b));
		$contrast = $ratio if $ratio < $contrast;
	}
	return (scalar @text, $nearest / $size, $contrast);
}

# ---- the file, by somebody else's eyes -----------------------------------

my $folder = File::Temp->newdir;
my %drawn;
@drawn{@families} = files(map { "_cover_art_bare('Night Drive', 'Laser Palms', 'pop', 'x', 3000, null, '$_', false)" } @families);
foreach my $family (@families)
{
	my $png = $drawn{$family};
	open my $out, '>:raw', "$folder/$family.png" or die;
	print $out $png;
	close $out;
	my $said = `pngcheck -v $folder/$family.png`;
	like($said, qr/3000 x 3000 image, 24-bit RGB, non-interlaced.*chunk sRGB.*No errors detected/s, "$family: a valid PNG, RGB of 24 bits, sRGB");
	cmp_ok(length $png, '<', 10_000_000, "$family: a file that platforms take: " . length $png);
}

%drawn = ();

# ---- the text ------------------------------------------------------------

my @texts = (
	"'Harmattan', 'Adama Diallo', 'world'",  "'Я вижу свет в конце тоннеля', 'Маяк', 'rock'",
	"'雨の日のカフェ', '青木ハル', 'lo-fi'", "'ליל קיץ', 'נועה', 'folk'",
	"'Paper moons and other things that I never told you about, because you were asleep', 'A band with a rather long name', 'indie'",
	"'Ấm áp g', 'jÿ', 'ambient'");
foreach my $family (@families)
{
	my ($least, $nearest, $fewest) = (21, 1, 1e9);
	foreach my $i (0 .. $#texts)
	{
		my ($count, $near, $contrast) = judge_text("$texts[$i], 'seed $i $family'", 160, $family);
		$least   = $contrast if $contrast < $least;
		$nearest = $near     if $near < $nearest;
		$fewest  = $count    if $count < $fewest;
	}
	cmp_ok($fewest,  '>',  50,    "$family: every text is there");
	cmp_ok($least,   '>=', 4.5,   "$family: the contrast of every pixel of text: " . sprintf '%.2f', $least);
	cmp_ok($nearest, '>=', 0.079, "$family: no text in the margin: " . sprintf '%.3f', $nearest);
}
my ($count, undef, $contrast) = judge_text("'Velvet Hours', 'Simone Ashe', 'r&b', 's'", 600, 'gradient');
cmp_ok($contrast, '>=', 4.5, 'the same for a larger one');
cmp_ok($count / 600**2, '>', 0.02, 'a title takes its share of the cover');

# ---- every family by style and seed --------------------------------------

my @met = split /\n/, sql($node, q{
	select distinct f from generate_series(1, 10) i, unnest('{ambient,jazz,rock,null}'::text[]) s, unnest('{gradient,flow,grid,ring,halftone,strata}'::text[]) f
	 where musicverse.cover_art('t', 'a', s, i::text, 64) = musicverse._cover_art_bare('t', 'a', s, i::text, 64, null, f, false) order by 1});
is("@met", join(' ', sort @families), 'every family is met');

# ---- the same in every process -------------------------------------------

my $one = file("cover_art('Midnight 夜', 'Otis', 'blues', null, 500)");
is(file("cover_art('Midnight 夜', 'Otis', 'blues', null, 500)"), $one, 'another session draws the same bytes');
$node->restart;
is(file("cover_art('Midnight 夜', 'Otis', 'blues', null, 500)"), $one, 'and another server process too');
foreach my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $database = lc $encoding;
	sql($node, "create database $database encoding '$encoding' locale 'C' template template0");
	sql([ $node, $database ], 'create extension musicverse');
	is(file("cover_art('Größe', 'É', 'pop', null, 100)", [ $node, $database ]), file("cover_art('Größe', 'É', 'pop', null, 100)"), "a database in $encoding draws the same")
	  if $encoding eq 'LATIN1';
}
is(sql_error([ $node, 'sql_ascii' ], "select musicverse.cover_art(e'\\xff\\xfe', 'x', 'pop', null, 100)")->{sqlstate}, '22021', 'bytes that are no UTF-8 are refused');

# ---- the process ---------------------------------------------------------

my $session = session($node);
my $pid     = $session->query_safe('select pg_backend_pid()');

sub status
{
	my ($task) = @_;
	my $text = slurp_file("/proc/$pid/task/$task/status");
	my ($blocked) = $text =~ /^SigBlk:\s*([0-9a-f]+)/m;
	return hex $blocked;
}

sub resident
{
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmRSS:\s*(\d+)/m;
	return $kb;
}

$session->query_safe("select length(musicverse.cover_art('Größe 夜 ליל', 'b', 'pop', 'x', 100))");
opendir my $dir, "/proc/$pid/task" or die;
my @threads = grep { /^\d+$/ && $_ != $pid } readdir $dir;
my $signals = 0;
$signals |= 1 << $_ - 1 foreach 1, 2, 3, 10, 12, 14, 15;    # HUP INT QUIT USR1 USR2 ALRM TERM
# (they end soon: mostly there are none left to be looked at)
is(scalar(grep { (status($_) & $signals) != $signals } @threads), 0, 'no thread of Pango takes a signal of the server');
is(status($pid) & $signals, 0, 'and the process takes its own again');

# cancelled at any moment, and refused
sub cancelled
{
	my ($from, $to) = @_;
	my $times = 0;
	foreach my $i ($from .. $to)
	{
		my $family = $families[ $i % @families ];
		$session->query(sprintf "set statement_timeout = '%dms'; select length(musicverse._cover_art_bare('Größe', 'b', 'pop', '%d', 3000, null, '%s', false)); reset statement_timeout",
			5 + ($i * 37) % 160, $i, $family);
		$times++ if $session->{stderr} =~ /canceling statement/;
		$session->{stderr} = '';
		$session->query("reset statement_timeout");
	}
	return $times;
}
sub draw_many { $session->query_safe("select count(length(musicverse.cover_art('Song ' || i, 'b', 'pop', 'x', 128))) from generate_series(1, $_[0]) i") }

# A cancel that is asked for while the arguments are evaluated is heeded when the text has been set
sub cancel_many
{
	return $session->query_safe(q{
		create or replace function pg_temp.cancel_many(times int) returns int language plpgsql as $$
		declare
			n int := 0;
		begin
			for i in 1 .. times loop
				begin
					perform musicverse.cover_art(case when pg_cancel_backend(pg_backend_pid()) then 'Song ' || i end, 'b', 'pop', 'x', 128);
				exception when query_canceled then
					n := n + 1;
				end;
			end loop;
			return n;
		end $$;} . "select pg_temp.cancel_many($_[0])");
}

my $cancelled = cancelled(1, 6);
draw_many(120);
cancel_many(200);
my $before = resident();
is(cancel_many(1000), 1000, 'a thousand covers are cancelled with their text set');
$cancelled += cancelled(7, 30);
draw_many(120);
$session->query("select musicverse.cover_art('x', 'y', 'pop', null, 64, '{NaN}')") foreach 1 .. 50;
my $grown = resident() - $before;
cmp_ok($cancelled, '>=', 10, "$cancelled drawings were cancelled");
cmp_ok($grown, '<', 3000, "and left nothing behind: $grown KiB after as many more");
$session->{stderr} = '';
$session->quit;

# ---- fonts ---------------------------------------------------------------

my ($font) = glob '/usr/share/fonts/opentype/inter/Inter-Bold.*';
my $own = PostgreSQL::Test::Utils::tempdir();
copy($font, "$own/a.otf") or die "no font: $!";
my $answer = sql($node, "set musicverse.font_directory = '$own'; select length(musicverse.cover_art('Own', 'fonts', 'pop', null, 200)) > 1000");
is($answer, 't', 'fonts of a folder that no cache of the machine knows');
ok(-d $node->data_dir . '/pg_stat_tmp/musicverse_fonts', 'are remembered beside the statistics');
my $stderr;
$node->psql('postgres', encode('UTF-8', "set client_min_messages = notice; set musicverse.font_directory = '$own'; select length(musicverse.cover_art('Own 夜', 'fonts', 'pop', null, 200))"), stderr => \$stderr);
like($stderr, qr/no font has U\+591C: 1 of the characters/, 'what they lack is said');
unlike(slurp_file($node->logfile), qr/fontconfig|pango|glib|cairo/i, 'the libraries wrote nothing to the log of the server');

done_testing();
