"""
Analytics: what the import of a sales report costs, with its look-ups, sums and
indexes, beside a bare COPY of the very rows that it writes: into a table like
theirs without an index, from a file that is in COPY's own format already.
"""
import os

from lib import WORK, Theme, human

TERRITORIES = ("US", "DE", "FR", "GB", "JP", "BR", "SE", "NO", "IT", "ES")
OFFERS = 4                   # lines of a recording in a territory, as reports tell tiers apart
RELEASES, TRACKS = 200, 10


class Analytics(Theme):
    """n is the lines of a report."""

    rows = ["dsr"]
    settings = {"max_parallel_workers_per_gather": "0"}
    scale = 300000

    def prepare(self):
        self.folder = self.server.folder(os.path.join(WORK, "analytics"))
        self.sql.rows(f"""set search_path = musicverse, public;
            insert into distributions (user_id, track_ids, platforms, metadata)
            select md5('user' || r % 20)::uuid, '{{}}', '{{spotify}}', jsonb_build_object('title', 'Release ' || r, 'tracks', (
                   select jsonb_agg(jsonb_build_object('track_id', gen_random_uuid(), 'isrc', 'QZABC26' || lpad((r * {TRACKS} + t)::text, 5, '0')))
                     from generate_series(0, {TRACKS - 1}) t)) from generate_series(0, {RELEASES - 1}) r;
            insert into distribution_work (distribution_id, user_id, partner) select id, user_id, 'spotify_direct' from distributions;
            insert into distribution_targets (distribution_id, user_id, work_id, platform, partner, status)
            select distribution_id, user_id, id, 'spotify', 'spotify_direct', 'scheduled' from distribution_work""")
        self.made = 0

    def write_report(self):
        """Each with another name; the same lines."""
        self.made += 1
        path = os.path.join(self.folder, f"report{self.made}.tsv")
        with open(path, "w") as file:
            file.write(f"HEAD\tdsrf/1.4/6/1.4\tFinancialReportingToRecordCompaniesSRB\t1.1\tM{self.made}\t2026-11-02T10:00:00Z\t1\t1\t2026-10-01\t2026-10-31"
                       "\tPADPIDA2011072101T\tSpotify\tPremium\tPADPIDA2014120301U\tMira Records\t\n")
            for n, territory in enumerate(TERRITORIES):
                cells = ["SY10.01", str(n), "", "", "SubscriptionModel", "OnDemandStream", "2026-10-01", "2026-10-31", "", "", "", "", territory, "Premium",
                         "", "", "", "", "", "", "USD", "EUR"]
                file.write("\t".join(cells + [""] * (46 - len(cells))) + "\n")
            tracks = RELEASES * TRACKS
            for i in range(self.n):
                track = i // (OFFERS * len(TERRITORIES)) % tracks
                file.write(f"SR08.01\ttx{i}\t\t4006381333931\tdsp{track}\t\t\t\tSingle\tBattle at Dawn\t\tMira\t\tQZABC26{track:05}\t\tdspr{track}\t\t\t\tSoundRecording"
                           f"\tBattle at Dawn {track}\t\tMira\t\t{i % len(TERRITORIES)}\t\t{i % 977}\t0\t{i % 977}\t\t\t\t\t\t\t\t\t\t\t\t100\t0.0031\t0.0029"
                           f"\t{i % 100}.{i % 1000000:06}\t\t\t{i % 50}.{i % 999983:06}\t\n")
            file.write(f"SRFO\t{self.n + len(TERRITORIES) + 2}\t{len(TERRITORIES)}\n")
        return path

    def import_once(self, path):
        rate = self.n / self.sql.computed(f"create temp table told as select * from import_dsr_file('spotify_direct', '{path}')")
        told = self.sql.value("select state || ' ' || imported || ' ' || unmatched from told")
        self.sql.rows("drop table told")
        if told != f"imported {self.n} 0":
            raise SystemExit(f"bench: the report was {told}")
        os.remove(path)
        return rate

    def copy_once(self):
        self.sql.rows("truncate bare")
        return self.n / self.sql.computed(f"copy bare from '{self.folder}/lines.copy'")

    def dsr(self):
        self.import_once(self.write_report())
        self.sql.rows(f"copy dsr_lines to '{self.folder}/lines.copy'; create table bare (like dsr_lines)")
        figures = self.in_turn("import_dsr_file()", {"import": lambda: self.import_once(self.write_report()), "COPY": self.copy_once})
        ratio = self.ratio(figures["import"], figures["COPY"])
        self.report("import_dsr_file(), all of it", ">= 0.5", f"{ratio:.2f}", ratio >= 0.5,
                    f"{human(max(figures['import']))} lines (COPY of the rows {human(max(figures['COPY']))}), processor time of the backend")
