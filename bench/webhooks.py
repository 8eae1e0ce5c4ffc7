"""
Webhooks: what an event costs the caller, how fast a worker delivers, how soon,
and what it takes while it does or waits. The limits are the same insert
without triggers, and the bare sender of sender.c, which does nothing but send;
the receiver is an nginx of its own on a free port of loopback.
"""
import json
import os
import signal
import statistics
import subprocess
import time

from lib import HERE, WORK, Theme, cpu_seconds, fail, private_kib, say, wait

BODY_BYTES = 1024
BARE_CONCURRENCY = 32
DRAIN_WEBHOOKS = 100
ENQUEUE_USERS = 1000
LATENCY_EVENTS = 1000
IDLE_SECONDS = 20
PATIENCE = 300          # seconds until a drain counts as stuck


class Webhooks(Theme):
    """n is how many rows are inserted and how many events are sent."""

    rows = ["enqueue", "drain", "latency", "cost", "idle"]
    settings = {"musicverse.delivery_workers": "1", "musicverse.allow_http": "on", "musicverse.allowed_networks": "127.0.0.0/8"}

    def prepare(self):
        if self.n % ENQUEUE_USERS != 0:
            fail(f"--rows must be a multiple of {ENQUEUE_USERS}")
        subprocess.run(["sh", os.path.join(HERE, "build.sh"), WORK], check=True)
        self.receiver = self.server.start_nginx()
        wait(lambda: self.server.workers("delivery"), 15, "the delivery worker did not start")
        # stays after its first transactions; the title names it
        self.worker = self.server.workers("delivery")[0]
        time.sleep(1)
        self.idle_kib = private_kib(self.worker)
        self.begin()

    def pending(self):
        return int(self.sql.value("select count(*) from musicverse.webhook_deliveries /* bench */ where status = 'pending'"))

    def webhooks(self, kind, users, path, events):
        """One webhook for each of so many users; returns the SQL that lists their ids."""
        listing = f"select md5('{kind}' || n)::uuid as user_id, n from generate_series(1, {users}) n"
        self.sql.rows(f"select count((musicverse.create_webhook(user_id, '{self.receiver.url(path)}/' || n, "
                      f"array['{events}'])).id) from ({listing}) u")
        return listing

    # ---- enqueue ----

    def enqueue(self):
        users = {"match": self.webhooks("match", ENQUEUE_USERS, "hook", "track.*"),
                 "other": self.webhooks("other", ENQUEUE_USERS, "hook", "payment.*")}

        def insert(kind):
            listing = users["match" if kind == "bare" else kind]
            self.sql.rows("truncate musicverse.tracks cascade")
            self.sql.rows(f"alter table musicverse.tracks {'disable' if kind == 'bare' else 'enable'} trigger user")
            self.sql.rows("checkpoint")
            taken = self.sql.timed(
                "insert into musicverse.tracks (user_id, title, style, prompt, duration) "
                f"select user_id, 'Track ' || i, 'ambient', 'a quiet morning by the sea', 180 from ({listing}) u, "
                f"generate_series(1, {self.n // ENQUEUE_USERS}) i")
            if kind == "match":
                self.settle(self.n)
            return taken

        seconds = self.in_turn("enqueue", {kind: lambda kind=kind: insert(kind) for kind in ("bare", "other", "match")},
                               lambda taken: f"{taken:.2f} s")
        self.sql.rows("alter table musicverse.tracks enable trigger user")
        median = {kind: statistics.median(values) for kind, values in seconds.items()}
        for kind, limit, name in (("match", 4, "enqueue, one matching webhook"), ("other", 2, "enqueue, no matching webhook")):
            ratio = self.ratio(seconds[kind], seconds["bare"])
            self.report(name, f"<= {limit} x", f"{ratio:.2f} x", ratio <= limit,
                        f"{median[kind] / self.n * 1e6:.1f} us a row; without triggers {median['bare'] / self.n * 1e6:.1f}")

    # ---- drain ----

    def release(self, listing, users):
        """Commits so many events of 1 KiB; from its return on the worker has them."""
        overhead = int(self.sql.value("select length(format('{\"type\":\"track.created\",\"timestamp\":\"%s\",\"data\":{\"pad\":\"\"}}', "
                                      "'2025-01-01T00:00:00.000000Z'))"))
        self.sql.rows(f"select count(musicverse.emit_event(user_id, 'track.created', jsonb_build_object('pad', repeat('x', {BODY_BYTES - overhead})))) "
                      f"from ({listing}) u, generate_series(1, {self.n // users}) i")

    def settle(self, expected, sample=None):
        """Waits until nothing is pending and what was written is on disk."""
        # ids begin with their time: what is older has settled before
        unsettled = f"select count(*) from musicverse.deliveries /* bench */ where id >= '{self.mark}' and status = 'p'"
        base = self.receiver_base
        deadline = time.monotonic() + PATIENCE
        while self.receiver.requests() - base < expected and time.monotonic() < deadline:
            if sample:
                sample()
            time.sleep(0.02)
        while int(self.sql.value(unsettled)) > 0:
            if time.monotonic() > deadline:
                fail(f"{self.pending()} deliveries are still pending after {PATIENCE} s")
            time.sleep(0.02)
        # a synchronous commit puts all WAL before it on disk
        self.sql.rows("select pg_logical_emit_message(true, 'bench', '') /* bench */")
        self.begin()

    def begin(self):
        """From here on requests and deliveries count."""
        self.receiver_base = self.receiver.requests()
        self.mark = self.sql.value("select musicverse._uuid7_bound(clock_timestamp())")

    def bare(self):
        run = subprocess.run([os.path.join(WORK, "sender"), self.receiver.url("hook/bare"), str(self.n),
                              str(BARE_CONCURRENCY), str(BODY_BYTES)], stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(run.stdout)
        return figures["per_second"], figures["cpu_us_each"]

    def drain_once(self, listing):
        self.sql.rows("checkpoint")
        self.begin()
        self.release(listing, DRAIN_WEBHOOKS)
        began, cpu = time.monotonic(), cpu_seconds(self.worker)
        self.settle(self.n)
        return self.n / (time.monotonic() - began), (cpu_seconds(self.worker) - cpu) / self.n * 1e6

    def drain_listing(self):
        if not hasattr(self, "listing"):
            self.listing = self.webhooks("drain", DRAIN_WEBHOOKS, "hook", "track.*")
        return self.listing

    def drain(self):
        listing, rounds = self.drain_listing(), []
        for i in range(self.rounds):
            rounds.append(self.bare() + self.drain_once(listing))
            say("drain, round {} of {}: bare sender {:.0f}/s with {:.1f} us of CPU each, worker {:.0f}/s with {:.1f}"
                .format(i + 1, self.rounds, *rounds[-1]))
        ratio = statistics.median(ours / bare for bare, _, ours, _ in rounds)
        bare, bare_cpu, ours, ours_cpu = map(statistics.median, zip(*rounds))
        self.report("drain, one worker", ">= 0.4 x", f"{ratio:.2f} x", ratio >= 0.4,
                    f"{ours:.0f}/s, {ours_cpu:.1f} us of CPU each; bare {bare:.0f}/s, {bare_cpu:.1f} us")
        if self.profile:
            self.take_profile(listing)

    def take_profile(self, listing):
        data, text = os.path.join(WORK, "perf.data"), os.path.join(WORK, "worker.profile")
        perf = subprocess.Popen(["perf", "record", "-q", "-g", "-o", data, "-p", str(self.worker)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.drain_once(listing)
        perf.send_signal(signal.SIGINT)
        perf.wait()
        with open(text, "w") as file:
            for sort in ("dso", "dso,symbol"):
                subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.3",
                                "--sort", sort], stdout=file, stderr=subprocess.DEVNULL)
        os.remove(data)
        say(f"profile of the worker: {text}")

    # ---- latency ----

    def latency(self):
        user = "musicverse_bench_latency"
        run = subprocess.run([os.path.join(WORK, "latency"), f"host={self.server.sockets} user=postgres dbname=bench", str(LATENCY_EVENTS),
                              f"select musicverse.create_webhook(md5('{user}')::uuid, $1::text, array['track.*'])",
                              f"insert into musicverse.tracks (user_id, title) values (md5('{user}')::uuid, 'one')"],
                             stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            fail("the latency could not be measured")
        figures = json.loads(run.stdout)
        after, whole = figures["after_commit"], figures["with_commit"]
        self.report("commit to request, median", "<= 1.5 ms", f"{after['p50'] / 1000:.2f} ms", after["p50"] <= 1500,
                    f"{whole['p50'] / 1000:.2f} ms with the commit itself")
        self.report("commit to request, p99", "<= 5 ms", f"{after['p99'] / 1000:.2f} ms", after["p99"] <= 5000,
                    f"{whole['p99'] / 1000:.2f} ms with the commit itself; worst {after['max'] / 1000:.2f}")

    # ---- statements and memory ----

    def statements(self):
        return int(self.sql.value("select coalesce(sum(calls), 0) from pg_stat_statements where query not like '%/* bench */%'"))

    def cost(self):
        listing = self.drain_listing()
        self.sql.rows("alter system set pg_stat_statements.track = 'all'")
        self.sql.rows("set pg_stat_statements.track = 'none'; select pg_reload_conf()")
        time.sleep(1)
        idle = self.idle_kib
        peak = [idle]
        sample = lambda: peak.append(private_kib(self.worker))

        self.begin()
        self.release(listing, DRAIN_WEBHOOKS)
        before = self.statements()
        self.settle(self.n, sample)
        per_delivery = (self.statements() - before) / self.n
        self.report("SQL statements a delivery", "< 0.1", f"{per_delivery:.4f}", per_delivery < 0.1, "by pg_stat_statements, nested ones too")
        self.sql.rows("alter system reset pg_stat_statements.track")
        self.sql.rows("select pg_reload_conf()")

        # the same number, all of them waiting: the receiver says 503
        draining = max(peak) - idle
        peak[:] = [idle]
        refused = self.webhooks("refused", DRAIN_WEBHOOKS, "busy", "track.*")
        self.release(refused, DRAIN_WEBHOOKS)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            sample()
            time.sleep(0.05)
        held = self.pending()
        if held < self.n:
            fail(f"only {held} of {self.n} deliveries were pending while their receiver refused them")
        waiting = max(peak) - idle
        self.sql.rows("select count(musicverse.delete_webhook(w.id)) from musicverse.webhooks w "
                      f"where w.user_id in (select user_id from ({refused}) u)")
        worst = max(draining, waiting) / 1024
        self.report(f"memory with {self.n} pending", "<= 64 MiB", f"{worst:.1f} MiB", worst <= 64,
                    f"above {idle / 1024:.1f} idle; draining {draining / 1024:.1f}, all refused {waiting / 1024:.1f}")

    # ---- idle ----

    def idle(self):
        wait(lambda: self.pending() == 0, 60, "deliveries stay pending, so that nothing is idle")
        time.sleep(3)
        processes = self.server.workers()
        before = {pid: cpu_seconds(pid) for pid in processes}
        began = time.monotonic()
        time.sleep(IDLE_SECONDS)
        used = sum(cpu_seconds(pid) - before[pid] for pid in processes)
        share = 100 * used / (time.monotonic() - began)
        self.report("idle CPU of all workers", "< 0.5 %", f"{share:.2f} %", share < 0.5,
                    f"{used * 1000:.0f} ms in {IDLE_SECONDS} s, {len(processes)} processes")
