# Partners who take messages of DDEX by SFTP: folders on a real server, what
# lies there, and what they answer.
#
#   my $partner = MusicVerse::Ddex->new($node, $sftp, $http, 'one', choreography => 'batch');
#   my ($id, $delivery) = $partner->sent({ title => 'Rain' });
#   $partner->acknowledge($delivery, status => 'ReleaseMadeAvailableToConsumers');
#   $partner->wait_status($id, 'live');
package MusicVerse::Ddex;

use strict;
use warnings;

use Digest::MD5;
use Exporter qw(import);
use File::Path qw(make_path);
use MusicVerse::Test;

our @EXPORT = qw(ddex_schemas ddex_judge ddex_xpath);

my $serial = 0;
my $files;

# ---- messages

# The folder of DDEX's schemas, which its licence lets tests have and not the repository; undef where they aren't
sub ddex_schemas
{
	my $folder = ($ENV{MUSICVERSE_DDEX} || "$root/../shared/ddex") . '/xsd';
	return -r "$folder/ern432/release-notification.xsd" ? $folder : undef;
}

sub file_of
{
	my ($text) = @_;
	$files //= PostgreSQL::Test::Utils::tempdir();
	my $file = "$files/" . ++$serial . '.xml';
	append_to_file($file, $text);
	return $file;
}

# What xmllint says against a message, empty when it is valid, or there are no schemas
sub ddex_judge
{
	my ($version, $message) = @_;
	my $folder = ddex_schemas() // return '';
	my $file   = file_of($message);
	my $schema = "$folder/ern" . ($version =~ s/\.//gr) . '/release-notification.xsd';
	my $said   = qx{xmllint --nonet --noout --schema "$schema" "$file" 2>&1};
	return $? == 0 ? '' : $said;
}

sub ddex_xpath
{
	my ($message, $path) = @_;
	my $file = file_of($message);
	chomp(my $said = qx{xmllint --nonet --xpath '$path' "$file"});
	utf8::decode($said);
	return $said;
}

# ---- partners


# A platform and its partner; both are called so
sub new
{
	my ($class, $node, $sftp, $http, $name, %config) = @_;
	my $self = bless { node => $node, sftp => $sftp, http => $http, name => $name, dir => $sftp->file($name), config => \%config }, $class;
	make_path("$self->{dir}/acks");
	sql($node, "insert into musicverse.platforms (name, title, lead_time) values ('$name', '$name', '0')");
	$self->configure;
	return $self;
}

sub configure
{
	my ($self, %more) = @_;
	my $credentials = delete $more{credentials} // { username => scalar getpwuid($>), private_key => $self->{sftp}{key} };
	my %config = (
		connector => 'ddex_sftp', platforms => [ $self->{name} ], host_keys => [ $self->{sftp}{fingerprint} ], poll_interval => 0.3, timeout => 20,
		sender => { dpid => 'PADPIDA2012041004F', name => 'Example Label' }, recipient => { dpid => 'PADPIDA2011072101T', name => 'Example DSP' },
		directory => 'in', acknowledgements => 'acks', validate => ddex_schemas() ? JSON::PP::true : JSON::PP::false, %{ $self->{config} }, %more);
	sql($self->{node}, sprintf 'select musicverse.configure_partner(%s, %s, %s, %s)',
		lit($self->{name}), lit("sftp://127.0.0.1:$self->{sftp}{port}$self->{dir}"), lit($credentials), lit(\%config));
	return;
}

# A release of so many tracks, not submitted
sub release
{
	my ($self, $metadata, %with) = @_;
	my $n    = $with{tracks} // 1;
	my $size = $with{size} // 200_000;
	my $base = "$self->{http}{base}/source?" . ($with{query} // '') . "&n=" . ++$serial;
	return sql($self->{node}, sprintf q{with t as (insert into musicverse.tracks (user_id, title, style, isrc, audio_url, cover_url, duration, metadata)
			select %1$s, 'Song ' || i, 'Ambient', 'QZABC26' || lpad((%6$d * 100 + i)::text, 5, '0'), %2$s || '&size=' || %7$d + i, %2$s || '&size=5000', 60,
				'{"audio": {"format": "flac", "sample_rate": 44100, "bit_depth": 16, "channels": 2}}' from generate_series(1, %3$d) i returning id)
		select array_agg(id) as ids from t \gset
		select musicverse.create_distribution(%1$s, :'ids', array[%4$s], %8$s, %5$s)},
		lit(user(1)), lit($base), $n, lit($self->{name}),
		lit({ title => 'Rain', artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', upc => upc($serial), %{ $metadata // {} } }),
		$serial, $size, lit($with{date}) . '::date');
}

sub upc
{
	my ($n)    = @_;
	my $digits = sprintf '06141411%03d', $n;
	my $sum    = 0;
	$sum += substr($digits, $_, 1) * ($_ % 2 ? 1 : 3) foreach 0 .. 10;
	return $digits . (10 - $sum % 10) % 10;
}

# ---- releases on their way

# Delivered at once, whatever its date
sub submit
{
	my ($self, $id) = @_;
	sql($self->{node}, "select musicverse.submit_distribution('$id');
		update musicverse.distribution_work set next_attempt_at = musicverse._now() where distribution_id = '$id' and next_attempt_at > musicverse._now();
		select musicverse._wake_distribution()");
	return;
}

sub work { my ($self, $id) = @_; return sql_row($self->{node}, "select * from musicverse.distribution_work where distribution_id = '$id'"); }
sub status { my ($self, $id) = @_; return sql($self->{node}, "select status from musicverse.distribution_targets where distribution_id = '$id'"); }
sub reason { my ($self, $id) = @_; return sql($self->{node}, "select reason from musicverse.distribution_targets where distribution_id = '$id'"); }

sub wait_status
{
	my ($self, $id, $status, $seconds) = @_;
	eval { wait_for_sql($self->{node}, "select status from musicverse.distribution_targets where distribution_id = '$id'", $status, $seconds // 60, "release $id to be $status"); 1 }
	  or die $@, json($self->work($id)), "\n";
	return;
}

# A release that the partner has got: its id, and what lies there
sub sent
{
	my ($self, $metadata, %with) = @_;
	my $id = $self->release($metadata, %with);
	$self->submit($id);
	$self->wait_status($id, 'processing');
	return ($id, $self->of($id));
}

# ---- what lies there

sub under
{
	my ($dir) = @_;
	opendir my $handle, $dir or return ();
	return map { "$dir/$_" } sort grep { !/^\.\.?$/ } readdir $handle;
}

# Each message that is there, oldest first: dir, xml, message (its text), message_id, upc, manifest, files
sub deliveries
{
	my ($self) = @_;
	my @found;
	foreach my $folder (under("$self->{dir}/in"))
	{
		foreach my $dir ($folder, under($folder))
		{
			foreach my $xml (grep { m{/\w+\.xml$} && !m{/BatchComplete} } under($dir))
			{
				my $text = slurp_file($xml);
				my ($upc) = $xml =~ m{/(\w+)\.xml$};
				my ($manifest) = grep { m{/BatchComplete_} } under($folder);
				push @found, { dir => $dir, folder => $folder, xml => $xml, message => $text, message_id => ($text =~ m{<MessageId>([^<]+)})[0], upc => $upc,
					manifest => $manifest, files => [ map { s{.*/}{}r } under("$dir/resources") ] };
			}
		}
	}
	return sort { ($a->{folder} =~ /(\d+)$/)[0] <=> ($b->{folder} =~ /(\d+)$/)[0] } @found;
}

# Those of a release
sub of
{
	my ($self, $id) = @_;
	my $upc = sql($self->{node}, "select metadata ->> 'upc' from musicverse.distributions where id = '$id'");
	return grep { $_->{upc} eq $upc && (($self->{config}{choreography} // '') ne 'batch' || $_->{manifest}) } $self->deliveries;
}

# Does each file have the size and the hash that the message tells?
sub wrong_files
{
	my ($delivery) = @_;
	my @wrong;
	my $n = 0;
	my $message = $delivery->{message};
	while ($message =~ m{<File>(.*?)</File>}gs)
	{
		my $file = $1;
		my ($path) = $file =~ m{<URI>([^<]+)} ? $1 : do { my ($folder) = $file =~ m{<FilePath>([^<]*)}; my ($name) = $file =~ m{<FileName>([^<]+)}; $folder . $name };
		my ($hash) = $file =~ m{<HashSum(?:Value)?>([0-9a-f]+)<};
		my $real   = -e "$delivery->{dir}/$path" ? Digest::MD5->new->addfile(do { open my $h, '<:raw', "$delivery->{dir}/$path" or die; $h })->hexdigest : 'missing';
		push @wrong, "$path: $hash, really $real" if $hash ne $real;
		push @wrong, "$path: size" if $file =~ m{<FileSize>(\d+)} && $1 != -s "$delivery->{dir}/$path";
		$n++;
	}
	push @wrong, 'no file' if $n == 0;
	return join '; ', @wrong;
}

# ---- what it answers

# A file in the folder of acknowledgements, there as a whole
sub answer
{
	my ($self, $name, $text) = @_;
	my $file = "$self->{dir}/acks/$name";
	open my $handle, '>:raw', "$file.tmp" or die "$file: $!";
	print $handle $text;
	close $handle;
	rename "$file.tmp", $file or die "$file: $!";
	return;
}

# An acknowledgement of a delivery; status, file, action, text, upc, message, space
sub acknowledge
{
	my ($self, $delivery, %how) = @_;
	my $space = $how{space} // 'http://ddex.net/xml/ern-c-sftp/18';
	my $n     = ++$serial;
	my $message = exists $how{message} ? $how{message} : $delivery->{message_id};
	my $upc     = exists $how{upc} ? $how{upc} : $delivery->{upc};
	$self->answer("ACK_$n.xml", join '', qq{<?xml version="1.0" encoding="UTF-8"?>\n<x:AcknowledgementMessage xmlns:x="$space"><MessageHeader><MessageId>ACK-$n</MessageId></MessageHeader><ReleaseStatus>},
		defined $upc ? "<ReleaseId><ICPN>$upc</ICPN></ReleaseId>" : '', defined $how{status} ? "<ReleaseStatus>$how{status}</ReleaseStatus>" : '',
		'<Acknowledgement>', defined $message ? "<MessageId>$message</MessageId>" : '', "<MessageStatus><Status>", $how{file} // 'FileOK', '</Status></MessageStatus>',
		defined $how{text} ? "<ErrorText>$how{text}</ErrorText>" : '', defined $how{action} ? "<ProposedActionType>$how{action}</ProposedActionType>" : '',
		"</Acknowledgement></ReleaseStatus></x:AcknowledgementMessage>");
	return "ACK_$n.xml";
}

1;
