use MusicVerse::Test; use MusicVerse::Stream;
my $node = stream_cluster('main'); my $http = http_server(); my $sftp = MusicVerse::Stream::Sftp->start;
foreach my $rate (6000000, 1000000000) { foreach my $signal ('NONE', 'STOP', 'KILL') {
	my $session = session($node);
	my $pid = $session->query_safe('select pg_backend_pid()');
	my $size = $signal eq 'NONE' ? 12000000 : $rate > 6000000 ? 2000000000 : 60000000;
	$session->query_until(qr/begun/, "\\echo begun\nselect stream_run(" . lit([ { source => {url=>"$http->{base}/source?size=$size&rate=$rate"}, sink => $sftp->sink("cut$signal$rate", temporary => $sftp->file(".cut$signal")),
		low_speed_bytes => 1000, low_speed_seconds => 2 } ]) . ");\n\\echo ended\n");
	if ($signal ne 'NONE') {
	wait_for(sub { (-s $sftp->file(".cut$signal") // 0) > 2000000 }, 20, 'the upload to be under way');
	my $server = ($sftp->sessions)[-1];
	kill $signal => $server; 
	}
	my ($told) = $session->query_until(qr/ended/, '') =~ /(\{.*\})/;
	diag("$rate $signal $told");
	$session->quit;
	unlink $sftp->file(".cut$signal");
	kill KILL => ($sftp->sessions)[-1];
}}
# frozen sshd
kill STOP => $sftp->{pid};
diag(json(stream_run($node, { source => {text=>"x"}, sink=>{%{$sftp->sink("y")}, connect_timeout=>1500} })));
kill CONT => $sftp->{pid};
ok(1); done_testing();
