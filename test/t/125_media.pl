# The media worker: work is done once, by one process, whatever ends it; files
# are a cache that can be lost.
use MusicVerse::Test;

my $node = new_cluster('main');

# The state of a piece of work, waited for
sub wait_state
{
	my ($id, $state) = @_;
	wait_for_sql($node, "select state from musicverse.media_work where id = '$id'", $state, 60, "the work to be $state");
}

sub request
{
	my ($kind, $input) = @_;
	return sql($node, sprintf 'select musicverse._request_media(%s, %s)', lit($kind), lit(json($input)));
}

wait_for_sql($node, 'select state from musicverse.media_status', 'running', 60, 'the worker');

# ---- work that can't be done

my $id = request('nothing', { a => 1 });
wait_state($id, 'failed');
is(sql($node, "select last_error from musicverse.media_work where id = '$id'"), 'this server knows no work of kind "nothing"', 'what cannot be done says why');
is(request('nothing', { a => 1 }), $id, 'the same has the same id');
isnt(request('nothing', { a => 2 }), $id, 'and something else another one');

# ---- the directory

my $directory = $node->data_dir . '/musicverse_media';
wait_for(sub { glob("$directory/*-*") }, 60, 'the directory of the database');
my ($own) = glob "$directory/*-*";
is(sprintf('%04o', (stat $own)[2] & 07777), '0700', 'it is its owner\'s alone');
append_to_file("$own/$id.part", 'half');
append_to_file("$own/00000000-0000-4000-8000-000000000001.flac", 'of a row that was never committed');
(my $dropped = $own) =~ s/-\d+$/-4000000000/;
mkdir $dropped or die $!;
append_to_file("$dropped/a.png", 'x');
(my $foreign = $own) =~ s{/\d+-}{/1-};
mkdir $foreign or die $!;
$node->restart;
wait_for_sql($node, 'select state from musicverse.media_status', 'running', 60, 'the worker');
wait_for(sub { !glob "$own/*" }, 60, 'files without a row to go');
wait_for(sub { !-e $dropped }, 60, 'the directory of a database that is gone to go');
ok(-e $foreign, 'that of another cluster stays');

done_testing();
