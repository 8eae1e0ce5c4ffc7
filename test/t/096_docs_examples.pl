# Every example in SQL of the pages in docs/ that say so runs, from top to
# bottom, in a database of its own with nothing else in it.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.test_clock' => 'on', 'musicverse.signature_memory' => 128);
my $n = 0;

foreach my $page (sort glob "$root/docs/*.md")
{
	my $text = slurp_file($page);
	my ($name) = $page =~ m{(\w+)\.md$};
	my @blocks = $text =~ /^```sql\n(.*?)^```$/msg;

	# what needs the schemas of DDEX, which aren't ours to have here
	@blocks = grep { !/-- with the schemas/ } @blocks;
	next unless @blocks && $text =~ /run from top to bottom/;
	$n++;
	sql($node, "create database docs_$name");
	set_conf($node, 'musicverse.databases' => "docs_$name");
	$node->reload;
	sql([ $node, "docs_$name" ], 'create extension musicverse');
	wait_for_sql([ $node, "docs_$name" ], "select count(distinct backend_type) from pg_stat_activity where datname = current_database() and backend_type in
		('musicverse usage worker', 'musicverse delivery worker', 'musicverse generation worker', 'musicverse distribution worker', 'musicverse media worker')", '5', 120);
	my ($status, $stdout, $stderr) = $node->psql("docs_$name", join("\n", @blocks));
	is("$status $stderr", '0 ', "the examples of $name.md");
	note($stdout);
}
cmp_ok($n, '>=', 12, 'these are the pages that have some');

done_testing();
