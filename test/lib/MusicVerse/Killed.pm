# Workers that are ended by SIGKILL after steps of connectors: the partner has
# carried the step out, and its answer is lost with the process.
#
#   my $killed = MusicVerse::Killed->new($node);
#   $killed->after_each($id, 'insert');       # each step of this release ends the worker, once
#   $killed->after($id, 'audio', shell => "rm -r '$folder'");     # one does; first a command is run
#   $killed->at($id, 'prepare', $sql);        # what is done in the transaction that settles a step
#   $killed->resumed_at($id, 'message', $sql);    # what is done when another worker finds the step begun
#   $killed->act("select musicverse.submit_distribution('$id')");
#   ...
#   $killed->complete('ddex_sftp', ['ddex*']);    # tests: every step was ended at
#
# A trigger does it, where the worker writes down what came of a step: it lets
# a shell note the step in a file, which outlives the transaction, and kill its
# parent. So nothing has to be waited for, and what is due next is killed as
# well. Steps have no number here: audio.0 and audio.1 are "audio".
#
# complete() compares with the steps that ran in releases that are watched, and
# with the names of steps in the connector's sources: a new step that no release
# here comes by fails it.
package MusicVerse::Killed;

use strict;
use warnings;

use MusicVerse::Test;
use Test::More ();

sub new
{
	my ($class, $node) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/killed';
	append_to_file($file, '');
	sql($node, sprintf q{
		create table public.watched (distribution_id uuid primary key);
		create table public.ended_at (distribution_id uuid, step text, phase text, shell text, primary key (distribution_id, step, phase));
		create table public.at_step (distribution_id uuid, step text, resumed boolean, query text);
		create table public.ran (connector text, goal text, step text, primary key (connector, goal, step));
		create function public.end_worker() returns trigger language plpgsql as $$
		declare
			base text := split_part(old.step, '.', 1);
			kind text := (select p.connector from musicverse.partners p where p.name = new.partner);
			line text;
			e public.ended_at;
		begin
			for e in select x.* from public.ended_at x where x.distribution_id = new.distribution_id and x.step in ('*', base) loop
				line := format('%%s %%s %%s %%s %%s', new.distribution_id, kind, new.goal, base, e.phase);
				if position(line || E'\n' in pg_catalog.pg_read_file(%1$s)) = 0 then
					execute format('copy (select) to program %%L', format('%%s; echo "%%s" >>%%s; kill -9 $PPID', coalesce(e.shell, ':'), line, %1$s));
					perform pg_catalog.pg_sleep(600);
				end if;
			end loop;
			if exists (select from public.watched w where w.distribution_id = new.distribution_id) then
				insert into public.ran values (kind, new.goal, base) on conflict do nothing;
			end if;
			return new;
		end $$;
		create function public.do_at_step() returns trigger language plpgsql as $$
		declare
			q text;
		begin
			delete from public.at_step a where a.distribution_id = new.distribution_id
				and a.step = split_part(old.step, '.', 1) and a.resumed = new.is_unsure returning a.query into q;
			if q is not null then
				execute q;
			end if;
			return null;
		end $$;
		-- what is unsure was resumed, or failed
		create trigger end_worker before update on musicverse.distribution_work for each row
			when (old.begun_at is not null and new.begun_at is null and not new.is_unsure) execute function public.end_worker();
		create trigger do_at_step after update on musicverse.distribution_work for each row
			when (old.begun_at is not null and new.begun_at is null) execute function public.do_at_step()}, lit($file));
	return bless { node => $node, file => $file }, $class;
}

# ---- what is to happen

sub watch { my ($self, $id) = @_; $self->act("insert into public.watched values ('$id') on conflict do nothing"); return; }

sub after
{
	my ($self, $id, $step, %more) = @_;
	$self->watch($id);
	$self->act(sprintf 'insert into public.ended_at values (%s, %s, %s, %s) on conflict do nothing', map { lit($_) } $id, $step, $more{phase} // 'once', $more{shell});
	return;
}

# In each phase of a release's life once
sub after_each { my ($self, $id, $phase) = @_; $self->act("delete from public.ended_at where distribution_id = '$id'"); $self->after($id, '*', phase => $phase); return; }

sub add_query { my ($self, $id, $step, $resumed, $query) = @_; $self->act(sprintf 'insert into public.at_step values (%s, %s, %s, %s)', lit($id), lit($step), $resumed, lit($query)); return; }

sub at         { my ($self, @what) = @_; return $self->add_query(@what[ 0, 1 ], 'false', $what[2]); }
sub resumed_at { my ($self, @what) = @_; return $self->add_query(@what[ 0, 1 ], 'true', $what[2]); }

# Runs SQL that may meet a server that is ended under it; $done tells whether it was carried out all the same
sub act
{
	my ($self, $query, $done) = @_;
	return wait_for(sub {
		return 1 if eval { sql($self->{node}, $query); 1 };
		die $@ unless $@ =~ /terminat|recovery mode|starting up|shutting down|closed the connection|connection to server|not yet accepting/;
		return defined $done && eval { sql($self->{node}, $done) eq 't' };
	}, 60, $query);
}

# What a query says when nobody is ended
sub ask
{
	my ($self, $query) = @_;
	my $said;
	wait_for(sub { eval { $said = sql($self->{node}, $query); 1 } }, 60, $query);
	return $said;
}

# ---- what has happened

# Steps that a release's worker was ended at, with goal and phase: "deliver audio insert"
sub ended
{
	my ($self, $id) = @_;
	return map { /^\Q$id\E \w+ (\w+ \w+ \w+)$/ ? $1 : () } split /\n/, slurp_file($self->{file});
}

# Waits until nothing is due for a release, and kills for it no more
sub rest
{
	my ($self, $id) = @_;
	wait_for_sql($self->{node}, "select bool_and(begun_at is null and coalesce(next_attempt_at > musicverse._now(), true)) from musicverse.distribution_work where distribution_id = '$id'", 't', 90, "release $id to come to rest");
	$self->act("delete from public.ended_at where distribution_id = '$id'");
	return;
}

# What was told of a release, in order: its history, its events, its notifications
sub told
{
	my ($self, $id) = @_;
	return $self->ask(sprintf q{select concat_ws(' | ',
		(select string_agg(concat_ws(' ', platform, status), ', ' order by id) from musicverse.distribution_history where distribution_id = %1$s),
		(select string_agg(type, ', ' order by id) from musicverse.events where payload::jsonb #>> '{data,distribution_id}' = %1$s),
		(select string_agg(kind, ', ' order by id) from musicverse.notifications where body ->> 'distribution_id' = %1$s))}, lit($id));
}

# What is to be done, when nothing is under way
sub rest_of
{
	my ($self, $id) = @_;
	return $self->ask("select string_agg(concat_ws(' ', partner, goal, revision, delivered_revision, failures, last_error), ', ' order by partner) from musicverse.distribution_work where distribution_id = '$id'");
}

sub wait_ended
{
	my ($self, $id, $step) = @_;
	wait_for(sub { grep { / \Q$step\E / } $self->ended($id) }, 60, "the worker to be ended at $step");
	return;
}

# The names of steps in the sources of a connector
sub steps_in
{
	my (@files) = @_;
	my %steps;
	foreach my $file (map { glob "$root/src/distribution/$_.c" } @files)
	{
		my $text = slurp_file($file);
		$steps{$1} = 1 while $text =~ /mv_is_step\((?:job->last_)?step, "(\w+)"\)/g;
	}
	return sort keys %steps;
}

# A test: steps of a connector that ran, and those of its sources, were ended at; but for those named
sub complete
{
	my ($self, $connector, $files, %but) = @_;
	my %ended = map { /^\S+ \Q$connector\E (\w+ \w+) \w+$/ ? ($1 => 1) : () } split /\n/, slurp_file($self->{file});
	my %steps = map { (split / /)[1] => 1 } keys %ended;
	my @ran   = split /\n/, $self->ask("select goal || ' ' || step from public.ran where connector = '$connector' order by 1");
	Test::More::cmp_ok(scalar(@ran), '>', 0, "steps of $connector ran");
	Test::More::is(join(', ', grep { !$ended{$_} } @ran), '', "the worker was ended at each step of $connector that ran (" . @ran . ')');
	Test::More::is(join(', ', grep { !$steps{$_} && !$but{$_} } steps_in(@$files)), '', "and at each that its sources have");
	return;
}

1;
