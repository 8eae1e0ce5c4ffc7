"""
The REST API: what a request costs beside a bare gateway, which only runs one
prepared select; what key, limit and usage add; how long a caller waits; and
the same dispatcher from SQL.

Beside the rates stand microseconds of the workers' processor time: the client
shares the processors, and wakes more often for a server that is slower.
"""
import glob
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request

from lib import HERE, WORK, Theme, fail, human, private_kib, running_seconds, wait

USER, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
JOB, OPEN_JOB, TRACK = (f"00000000-0000-4000-8000-0000000000{n}" for n in ("a1", "a2", "b1"))
CONNECTIONS = 32
SETUP = f"""
update musicverse.tiers set burst = 1000000000, refill_per_second = 1000000000, monthly_quota = null;
insert into musicverse.tracks (id, user_id, title, style, prompt, duration, audio_url)
select case n when 1 then '{TRACK}' else gen_random_uuid() end, case when n <= 20 then '{USER}' else '{OTHER}' end::uuid, 'Track ' || n, 'epic',
       'a battle at dawn', 120, 'https://cdn.example.com/' || n || '.mp3' from generate_series(1, 5000) n;
insert into musicverse.generation_jobs (id, user_id, prompt, style, duration, params)
select case n when 1 then '{JOB}' when 2 then '{OPEN_JOB}' else gen_random_uuid() end, case when n <= 20 then '{USER}' else '{OTHER}' end::uuid,
       'a battle at dawn', 'epic', 120, '{{"tempo": 120}}' from generate_series(1, 5000) n;
update musicverse.generation_jobs set status = 'started' where id = '{JOB}';
update musicverse.generation_jobs set status = 'completed', track_id = '{TRACK}' where id = '{JOB}';
vacuum analyze
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway(Theme):
    """n is how many requests a loop in SQL makes."""

    rows = ["rest", "paced_rest", "added", "from_sql", "gateway_memory"]
    scale = 20000
    ports = {"bare": free_port(), "ours": free_port()}
    settings = {"shared_preload_libraries": "musicverse,pg_stat_statements,bare_gateway", "max_worker_processes": "48", "jit": "off",
                "bare_gateway.port": str(ports["bare"]), "musicverse.gateway_workers": "1",
                "musicverse.gateway_listen": f"127.0.0.1:{ports['ours']}", "musicverse.gateway_connections_per_address": "0",
                "musicverse.rate_limit_buckets": "262144"}

    def prepare(self):
        self.sql.rows(SETUP)
        self.key = self.sql.value(f"select key from musicverse.create_api_key('{USER}', 'bench', '{{jobs:read,tracks:read}}')")
        self.peak = None
        for url in (self.url("bare", "/"), self.url("ours", "/healthz")):
            wait(lambda: self.answers(url), 20, f"nothing answers at {url}")

    def url(self, which, path):
        return f"http://127.0.0.1:{self.ports[which]}{path}"

    @staticmethod
    def answers(url):
        try:
            return urllib.request.urlopen(url, timeout=5).status == 200
        except OSError:
            return False

    def worker(self, title):
        """The process of a gateway: bare or ours."""
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                with open(path.replace("stat", "cmdline")) as file:
                    if parent == self.server.postmaster() and title in file.read():
                        return int(path.split("/")[2])
            except OSError:
                continue
        return fail(f"there is no {title}")

    def load(self, which, path, seconds=2):
        """One run of wrk: requests a second, and processor seconds of the worker for each."""
        pid = self.worker("bare gateway" if which == "bare" else "musicverse gateway worker")
        before = running_seconds(pid)
        run = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"X-API-Key: {self.key}", self.url(which, path)],
                             check=True, capture_output=True, text=True)
        if "Non-2xx" in run.stdout:
            fail(f"requests to {path} were refused: {run.stdout}")
        requests = int(re.search(r"(\d+) requests in", run.stdout).group(1))
        return float(re.search(r"Requests/sec:\s*([\d.]+)", run.stdout).group(1)), (running_seconds(pid) - before) / max(requests, 1)

    # ---- over HTTP ----

    def rest(self):
        if shutil.which("wrk") is None:
            self.skip("GET of a job", "there is no wrk")
            return
        paths = {"GET of a job with its track": f"/api/v1/jobs/{JOB}", "GET of a job without one": f"/api/v1/jobs/{OPEN_JOB}",
                 "GET of 20 tracks": "/api/v1/tracks", "healthz": "/healthz"}
        measures = {"bare": lambda: self.load("bare", "/")}
        measures.update({name: lambda path=path: self.load("ours", path) for name, path in paths.items()})
        figures = self.in_turn("one gateway worker", measures, show=lambda f: f"{human(f[0])} {1e6 * f[1]:.1f} us")
        rates = {name: [rate for rate, _ in runs] for name, runs in figures.items()}
        costs = {name: [cost for _, cost in runs] for name, runs in figures.items()}
        self.peak = statistics.median(rates["GET of a job with its track"])
        for name, path in paths.items():
            ratio = self.ratio(rates[name], rates["bare"])
            target = 0.4 if "job" in name else None
            self.report(name, f">= {target} x" if target else "", f"{ratio:.2f} x", ratio >= target if target else None,
                        f"{human(statistics.median(rates[name]))}; a bare gateway {human(statistics.median(rates['bare']))}")
            self.report("  of the worker's processor time", "", f"{self.ratio(costs['bare'], costs[name]):.2f} x", None,
                        f"{1e6 * statistics.median(costs[name]):.1f} us each; bare {1e6 * statistics.median(costs['bare']):.1f} us")

    def paced_rest(self):
        programs = os.path.join(WORK, "programs")
        subprocess.run([os.path.join(HERE, "build.sh"), programs], check=True)
        path = f"/api/v1/jobs/{JOB}"
        if self.peak is None:
            self.peak = self.load("ours", path)[0]

        def measure(which, path):
            run = subprocess.run([os.path.join(programs, "paced"), str(self.ports[which]), path, f"X-API-Key: {self.key}",
                                  str(self.peak / 2), "3"], check=True, capture_output=True, text=True)
            return json.loads(run.stdout)
        figures = self.in_turn("at half of the peak rate", {"ours": lambda: measure("ours", path), "bare": lambda: measure("bare", "/")},
                               show=lambda f: f"p50 {f['p50']:.0f} us, p99 {f['p99']:.0f} us at {human(f['rate'])}")
        p99, bare = (statistics.median(f["p99"] for f in figures[which]) / 1000 for which in ("ours", "bare"))
        self.report("p99 at half of the peak rate", "<= 3 ms", f"{p99:.2f} ms", p99 <= 3,
                    f"p50 {statistics.median(f['p50'] for f in figures['ours']):.0f} us at {human(self.peak / 2)}; "
                    f"p99 of a bare gateway at the same rate {bare:.2f} ms")

    def gateway_memory(self):
        if shutil.which("wrk") is None:
            self.skip("memory of a gateway worker", "there is no wrk")
            return
        pid = self.worker("musicverse gateway worker")
        paths = (f"/api/v1/jobs/{JOB}", "/api/v1/tracks", f"/api/v2/jobs/{OPEN_JOB}")
        for path in paths:
            self.load("ours", path, 2)
        before, began, done = private_kib(pid), time.monotonic(), 0
        while done < 1e6:
            for path in paths:
                done += 5 * self.load("ours", path, 5)[0]
        growth = private_kib(pid) - before
        self.report("growth of a gateway worker in a million requests", "<= 256 KiB", f"{growth} KiB", growth <= 256,
                    f"{before} KiB before, {done / 1e6:.2f} million requests in {time.monotonic() - began:.0f} s")

    # ---- in one backend ----

    def request(self, n):
        # volatile, so asked once a row
        return (f"select count(h.status) from generate_series(1, {n}) i, musicverse.handle_request('GET', "
                f"'/api/v1/jobs/{JOB}' || left(i::text, 0), null, '{{\"x-api-key\": \"{self.key}\"}}', null) h where h.status = 200")

    def from_sql(self):
        self.sql.rows(self.request(1000))
        figures = self.in_turn("handle_request()", {"ours": lambda: self.n / self.sql.computed(self.request(self.n))})
        rate = statistics.median(figures["ours"])
        self.report("handle_request() in one backend", ">= 30 k/s", human(rate), rate >= 30000, f"{1e6 / rate:.1f} us of processor time each")

    def added(self):
        """
        What judges the key, counts and tells the limit, as a part of a request of the gateway: by instructions as a part of
        handle_request(), which is a part of the request by processor time. (valgrind knows no instructions for SHA-256: of
        the key's hash it counts too many.)
        """
        if shutil.which("valgrind") is None or shutil.which("wrk") is None:
            self.skip("added by key, limit and usage", "there is no valgrind, or no wrk")
            return
        path = f"/api/v1/jobs/{JOB}"
        request = 1e6 * statistics.median(self.load("ours", path)[1] for _ in range(3))
        handled = 1e6 * statistics.median(self.sql.computed(self.request(self.n)) / self.n for _ in range(3))
        self.sql.close()
        self.server.pause()
        n = 2000
        counted = {function: self.count(function, n) for function in
                   ("musicverse_handle_request", "mv_identify", "mv_usage_record", "mv_render_headers")}
        self.server.resume()
        self.sql = type(self.sql)(self.server)
        wait(lambda: self.answers(self.url("ours", "/healthz")), 20, "the gateway did not come back")
        whole = counted.pop("musicverse_handle_request")
        part = sum(counted.values()) / whole
        added = part * handled
        share = 100 * added / (request - added)
        self.report("added by key, limit and usage", "<= 15 %", f"{share:.1f} %", share <= 15,
                    f"{added:.2f} us of {request:.1f}; {100 * part:.1f} % of the {whole:.0f} instructions of handle_request(), {handled:.1f} us: "
                    + ", ".join(f"{k} {v:.0f}" for k, v in counted.items()))

    def count(self, function, n):
        out = os.path.join(WORK, "callgrind.out")
        for old in glob.glob(out + "*"):
            os.remove(old)
        subprocess.run(["valgrind", "--tool=callgrind", f"--toggle-collect={function}", f"--callgrind-out-file={out}", "--log-file=/dev/null",
                        f"{self.server.pgbin}/postgres", "--single", "-D", self.server.data, "bench"],
                       input=self.request(n) + "\n", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd="/", **self.server.as_owner())
        with open(out) as file:
            found = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)
        if found is None or found.group(1) == "0":
            fail(f"valgrind counted nothing of {function}")
        return int(found.group(1)) / n
