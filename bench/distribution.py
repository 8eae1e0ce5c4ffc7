"""
Distribution: releases that are all due at once and carried to a partner that
answers at once, beside a bare sender of as many requests; the messages of DDEX
for an album, beside judging them alone; a cover in full size.
"""
import json
import os
import struct
import subprocess
import time
import wave

from lib import ROOT, WORK, Theme, cpu_seconds, fail, human, say, wait

STEPS = 4
CONCURRENCY = 64
BODY_BYTES = 300
MESSAGES = 100
DDEX = os.environ.get("MUSICVERSE_DDEX", os.path.join(ROOT, "..", "shared", "ddex")) + "/xsd"
USER = "00000000-0000-4000-8000-000000000001"
HASHES = {"MD5": "d41d8cd98f00b204e9800998ecf8427e"}


class Distribution(Theme):
    """n is the releases that are due at once."""

    rows = ["releases", "ern", "cover"]
    settings = {"shared_preload_libraries": f"musicverse,pg_stat_statements,{WORK}/connector/connector_test",
                "musicverse.allow_http": "on", "musicverse.allowed_networks": "127.0.0.0/8", "musicverse.distribution_concurrency": str(CONCURRENCY),
                "musicverse.ddex_schema_directory": DDEX if os.path.exists(f"{DDEX}/ern432/release-notification.xsd") else ""}
    scale = 10000

    @classmethod
    def before_start(cls):
        subprocess.run([f"{ROOT}/test/connector/build.sh", f"{WORK}/connector"], check=True)

    def prepare(self):
        subprocess.run([f"{ROOT}/bench/build.sh", WORK], check=True)

    # ---- releases

    def partner(self):
        """A partner who answers at once, and a file for all releases."""
        receiver = self.server.start_nginx()
        folder = self.server.folder(os.path.join(WORK, "nginx", "files"))
        with wave.open(f"{folder}/audio.wav", "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(44100)
            file.writeframes(b"".join(struct.pack("<hh", i % 1000, -(i % 1000)) for i in range(44100)))
        body = json.dumps({"pad": "x" * (BODY_BYTES - 11)})
        script = [{"step": f"step{i}", "request": {"method": "POST", "path": f"/hook/{i}", "body": body}} for i in range(STEPS)]
        config = json.dumps({"connector": "labelgrid", "platforms": ["spotify"], "priority": 9, "concurrency": CONCURRENCY, "script": script})
        self.sql.rows(f"""begin;
            select musicverse.configure_partner('instant', '{receiver.url("")[:-1]}', '{{"token": "x"}}', '{config}');
            update musicverse.partners set connector = 'scripted' where name = 'instant'; commit;
            update musicverse.platforms set lead_time = '0' where name = 'spotify'""")
        return receiver

    def make(self, receiver):
        """So many releases of a track each, not submitted."""
        metadata = json.dumps({"artist": "Mira", "label": "Mira Records", "language": "en", "genre": "Ambient", "p_line": "2026 Mira", "c_line": "2026 Mira"})
        self.sql.rows(f"""with t as (insert into musicverse.tracks (user_id, title, style, isrc, audio_url, cover_url, duration)
            select '{USER}', 'Song ' || i, 'Ambient', 'QZABC26' || lpad(i::text, 5, '0'), '{receiver.url("files/audio.wav")}', '{receiver.url("files/cover.png")}', 1
              from generate_series(0, {self.n - 1}) i returning id)
            select count(musicverse.create_distribution('{USER}', array[id], '{{spotify}}', null, '{metadata}')) from t""")

    def left(self):
        return int(self.sql.value("select count(*) from musicverse.distribution_targets where status <> 'live'"))

    def bare(self, receiver):
        run = subprocess.run([os.path.join(WORK, "sender"), receiver.url("hook/bare"), str(self.n * STEPS), str(CONCURRENCY), str(BODY_BYTES)],
                             stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(run.stdout)
        return figures["per_second"] / STEPS, figures["cpu_us_each"] * STEPS

    def releases(self):
        receiver = self.partner()
        self.make(receiver)
        say(f"{self.n} releases are made")
        bare, bare_cpu = self.bare(receiver)
        worker = self.server.workers("distribution")[0]
        self.sql.rows("analyze; checkpoint")
        before = cpu_seconds(worker)
        self.sql.rows("select count(musicverse.submit_distribution(id)) from musicverse.distributions")
        began = time.monotonic()
        wait(lambda: self.left() == 0, 600, "not every release is live")
        rate, cpu = self.n / (time.monotonic() - began), (cpu_seconds(worker) - before) / self.n * 1e6
        told = self.sql.value("select string_agg(distinct status, ' ') from musicverse.distribution_history where status in ('failed', 'cancelled')")
        if told:
            fail(f"releases are {told}")
        self.report(f"{self.n} releases due at once, {STEPS} calls each", ">= 300/s", f"{rate:.0f}/s", rate >= 300,
                    f"{rate / bare:.2f} x a bare sender's {bare:.0f}/s; {cpu:.0f} us of CPU in the worker (bare {bare_cpu:.0f})")

    # ---- messages

    def album(self):
        artists = [{"name": "Ada Example"}]
        line = {"year": 2026, "text": "2026 Example Label"}
        return {"upc": "0614141123452", "title": "Long Night", "label": "Example Label", "genre": "Electronic", "artists": artists, "p_line": line, "c_line": line,
                "release_date": "2026-03-06", "contains_ai": "Partly", "cover": {"file": "0614141123452.jpg", "width": 3000, "height": 3000, "hashes": HASHES},
                "tracks": [{"isrc": f"QZABC26{n:05}", "title": f"Song {n}", "duration": 200, "file": f"0614141123452_01_{n:03}.flac", "hashes": HASHES, "artists": artists,
                            "contributors": [{"name": "Ada Example", "role": "Composer"}]} for n in range(1, 13)]}

    def ern(self):
        if not self.settings["musicverse.ddex_schema_directory"]:
            self.skip("ERN 4.3.2 of a 12-track album", "no schemas of DDEX: name their folder by MUSICVERSE_DDEX")
            return
        profile = {"version": "4.3.2", "sender": {"dpid": "PADPIDA2012041004F", "name": "Example Label"}, "recipient": {"dpid": "PADPIDA2011072101T", "name": "Example DSP"},
                   "message_id": "MSG-1", "created": "2026-01-15T10:00:00Z", "hash_algorithm": "MD5", "commercial_models": ["SubscriptionModel"], "use_types": ["OnDemandStream"]}
        self.sql.rows(f"""create table album (release jsonb, profile jsonb, message text);
            insert into album values ('{json.dumps(self.album())}', '{json.dumps(profile)}');
            update album set message = musicverse.ern_message(release, profile)""")
        titled = "jsonb_set(release, '{title}', to_jsonb('Long Night ' || i))"
        figures = self.in_turn("ERN", {
            "built and judged": lambda: MESSAGES / self.sql.computed(f"select count(musicverse.ern_message({titled}, profile)) from album, generate_series(1, {MESSAGES}) i"),
            "judged": lambda: MESSAGES / self.sql.computed(f"select count(p) from album, generate_series(1, {MESSAGES}) i, musicverse.ern_problems(message || repeat(' ', i), '4.3.2') p"),
        })
        rate = max(figures["built and judged"])
        ratio = self.ratio(figures["built and judged"], figures["judged"])
        self.report("ERN 4.3.2 of a 12-track album, built and judged", ">= 200/s", f"{rate:.0f}/s", rate >= 200, f"{ratio:.2f} x judging alone ({human(max(figures['judged']))})")

    # ---- covers

    def cover(self):
        def draw(size):
            return lambda: self.sql.computed(f"select length(musicverse.cover_art('Long Night', 'Ada Example', 'Ambient', 'bench', {size}))")
        figures = self.in_turn("cover", {"3000": draw(3000), "1000": draw(1000)}, lambda taken: f"{taken:.2f} s")
        taken = min(figures["3000"])
        self.report("cover_art() of 3000 pixels", "<= 2 s", f"{taken:.2f} s", taken <= 2, f"{self.ratio(figures['3000'], figures['1000']):.1f} x one of 1000")
