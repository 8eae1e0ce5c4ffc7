"""
Keys: what a limit and a verdict cost within a backend, with many callers at
once, beside other limiters, and within what PostgREST sends for a call.

Within a backend the limit is a builtin function of the same arguments in the
same loop; among callers it is "select 1", which is what the protocol, the
kernel and pgbench itself leave. The other limiters are a row that is updated,
and Redis with a script, each as fast as it can fairly be made.
"""
import glob
import os
import re
import shutil
import statistics
import subprocess

from lib import WORK, Theme, fail, human

KEYS = 10000
USERS = 1000
BUCKETS = 100000
CLIENTS = 8
CROWD = 64
SCOPE, ADDRESS = "generate", "10.1.2.3"
# never empty while it is measured
BURST, REFILL = 1000000000, 1000000000

# One number a bucket, as ours: the fastest form of a limiter there
REDIS_SCRIPT = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local whole = tonumber(ARGV[1])
local step = whole / tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local next = full + step
if next > now + whole then
	return {0, math.floor((now + whole - full) / step), math.ceil(next - now - whole)}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return {1, math.floor((now + whole - next) / step), 0}
"""

# What PostgREST sends for a call of a function by POST, see docs/postgrest.md
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
VARIABLES = """select set_config('search_path', :path, true), set_config('role', :role, true), set_config('request.jwt.claims', :claims, true),
 set_config('request.method', :method, true), set_config('request.path', :url, true), set_config('request.headers', :headers, true),
 set_config('request.cookies', :cookies, true);"""
CALL = """WITH pgrst_source AS (SELECT pgrst_call.pgrst_scalar FROM (SELECT (:body)::json AS json_data) pgrst_payload,
 LATERAL (SELECT "n" FROM json_to_record(pgrst_payload.json_data) AS _("n" integer) LIMIT 1) pgrst_body,
 LATERAL (SELECT "bench_api"."latest"("n" := pgrst_body."n") pgrst_scalar) pgrst_call)
SELECT null::bigint AS total_result_set, 1 AS page_total, coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null') AS body,
 nullif(current_setting('response.headers', true), '') AS response_headers,
 nullif(current_setting('response.status', true), '') AS response_status, '' AS response_inserted
FROM (SELECT "latest".* FROM "pgrst_source" AS "latest") _postgrest_t;"""
COMMIT = "COMMIT;"


class Keys(Theme):
    """n is how many calls a loop has."""

    rows = ["tokens", "verify", "hot", "limiters", "pre_request", "instructions"]
    settings = {"musicverse.rate_limit_buckets": "262144", "musicverse.usage_entries": "65536",
                "work_mem": "256MB", "jit": "off", "max_parallel_workers_per_gather": "0"}
    scale = 500000

    def prepare(self):
        self.sql.rows(f"update musicverse.tiers set burst = {BURST}, refill_per_second = {REFILL}, monthly_quota = null, max_api_keys = {KEYS}")
        self.sql.rows("set search_path = public, musicverse")
        self.sql.rows(f"create table bench_keys as select n, (create_api_key(md5('user' || n % {USERS})::uuid, 'key ' || n, "
                      f"array['tracks:read', '{SCOPE}'], null, '{{192.168.0.0/16,10.0.0.0/8}}')).key from generate_series(1, {KEYS}) n")
        # as calls come: in no order, each key and each bucket as often as any other
        self.sql.rows(f"create table bench_calls as select k.key, 'bucket ' || i % {BUCKETS} as bucket, i from generate_series(1, {self.n}) i "
                      f"join bench_keys k on k.n = 1 + i % {KEYS} order by hashint4(i)")
        self.sql.rows("vacuum analyze")
        self.key = self.sql.value("select key from bench_keys where n = 1")

    # ---- within one backend ----

    def loop(self, call, source):
        """Calls a second, of the backend's time, of an expression for each row of a source, everything around it included."""
        return lambda: self.n / self.sql.computed(f"select count({call}) from {source}")

    def tokens(self):
        series, calls = f"generate_series(1, {self.n}) i", "bench_calls"
        for source, name, ours, builtin, least in (
                (series, "take_tokens, one bucket", "take_tokens('hot', 1, 1000000000, 1e9)", "substr('hot', 1, i)", 4e6),
                (calls, f"take_tokens, {BUCKETS} buckets", "take_tokens(bucket, 1, 1000000000, 1e9)", "substr(bucket, 1, i)", 2e6)):
            self.loop(ours, source)()
            figures = self.in_turn(name, {"ours": self.loop(ours, source), "substr()": self.loop(builtin, source)})
            rate, other = (statistics.median(figures[kind]) for kind in ("ours", "substr()"))
            cost = self.ratio(figures["substr()"], figures["ours"])
            self.report(name, "<= 4 x", f"{cost:.2f} x", cost <= 4, f"the cost of substr() in the same loop, which does {human(other)}")
            self.report("  calls in one backend", f">= {human(least)}", human(rate), rate >= least, f"{1e6 / rate:.2f} us with the loop")

    def verify(self):
        calls, series = "bench_calls", f"generate_series(1, {self.n}) i"
        typo = self.key[:-1] + ("0" if self.key[-1] != "0" else "1")
        allowed = f"verify_api_key(key, '{SCOPE}', '{ADDRESS}')"
        wrong = int(self.sql.value(f"select count(*) from bench_calls, {allowed} v where not v.allowed"))
        if wrong > 0:
            fail(f"{wrong} verifications of {self.n} were refused")
        for source, name, ours, builtin, least in (
                (calls, f"verify_api_key, allowed, {KEYS} keys", allowed, "substr(key, 1, i)", 7e5),
                (series, "verify_api_key, a typo", f"verify_api_key('{typo}', '{SCOPE}', '{ADDRESS}')", f"substr('{typo}', 1, i)", 3e6)):
            figures = self.in_turn(name, {"ours": self.loop(ours, source), "substr()": self.loop(builtin, source)})
            rate = statistics.median(figures["ours"])
            cost = self.ratio(figures["substr()"], figures["ours"])
            self.report(name, f">= {human(least)}", human(rate), rate >= least,
                        f"{1e6 / rate:.2f} us with the loop; {cost:.1f} x the cost of substr() in the same loop")

    # ---- among callers ----

    def statement(self, script, clients=CLIENTS):
        return lambda: self.server.pgbench(script, clients, seconds=1, key=self.key, name="hot")

    def hot(self):
        """The verdict alone, as a server asks that needs to know whether to go on; and all its columns as a table."""
        verdict = f"select (musicverse.verify_api_key(:key, '{SCOPE}', '{ADDRESS}')).allowed;"
        whole = f"select * from musicverse.verify_api_key(:key, '{SCOPE}', '{ADDRESS}');"
        nothing = "select 1;"
        measures = {"select 1": (nothing, CLIENTS), "verdict": (verdict, CLIENTS), "whole row": (whole, CLIENTS),
                    "select 1, crowd": (nothing, CROWD), "verdict, crowd": (verdict, CROWD)}
        figures = self.in_turn("one hot key", {name: self.statement(*what) for name, what in measures.items()}, times=3)
        for title, ours, limit, least in ((f"one hot key, {CLIENTS} clients", "verdict", "select 1", 0.9),
                                          (f"one hot key, {CROWD} clients", "verdict, crowd", "select 1, crowd", 0.8),
                                          ("  all of its columns, as a table", "whole row", "select 1", None)):
            ratio = self.ratio(figures[ours], figures[limit])
            self.report(title, f">= {least} x" if least else "", f"{ratio:.2f} x", ratio >= least if least else None,
                        f"{human(statistics.median(figures[ours]))}; select 1 {human(statistics.median(figures[limit]))}")

    # ---- beside other limiters ----

    def updated_row(self):
        self.sql.rows("create unlogged table if not exists bench_limits (name text primary key, tokens float8 not null, at timestamptz not null) "
                      "with (fillfactor = 10)")
        self.sql.rows("truncate bench_limits; insert into bench_limits values ('hot', 1000000000, now())")
        now = "least(1000000000, tokens + extract(epoch from clock_timestamp() - at)::float8 * 1000000000)"
        script = (f"update bench_limits set tokens = {now} - 1, at = clock_timestamp() where name = :name and {now} >= 1 returning tokens;")
        return self.statement(script)

    def start_redis(self):
        program = shutil.which("redis-server")
        if program is None:
            return None
        folder = self.server.folder(os.path.join(WORK, "redis"))
        socket = os.path.join(self.server.sockets, "redis.sock")

        def command(*words):
            run = subprocess.run(["redis-cli", "-s", socket, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            return run.stdout.strip() if run.returncode == 0 else None

        self.server.spawn([program, "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "", "--appendonly", "no"],
                          lambda: command("ping"), "redis-server did not start", stdout=subprocess.DEVNULL)
        digest = command("script", "load", REDIS_SCRIPT)
        if not re.fullmatch("[0-9a-f]{40}", digest or "") or command("evalsha", digest, "1", "hot", "1000000", "1000000000") is None:
            fail(f"the script for Redis failed: {digest}")

        def measure():
            # one thread: with more it is slower on few processors
            run = subprocess.run(["redis-benchmark", "-s", socket, "-c", str(CLIENTS), "-n", "60000", "--csv",
                                  "evalsha", digest, "1", "hot", "1000000", "1000000000"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                return float(run.stdout.splitlines()[-1].split('","')[1])
            except (IndexError, ValueError):
                fail(f"redis-benchmark failed: {run.stdout} {run.stderr}")
        return measure

    def limiters(self):
        redis = self.start_redis()
        measures = {
            "take_tokens": self.statement("select (musicverse.take_tokens(:name, 1, 1000000000, 1e9)).allowed;"),
            "verify_api_key": self.statement(f"select (musicverse.verify_api_key(:key, '{SCOPE}', '{ADDRESS}')).allowed;"),
            "updated row": self.updated_row(),
            "in one backend": self.loop("take_tokens('hot', 1, 1000000000, 1e9)", f"generate_series(1, {self.n}) i"),
        }
        if redis is not None:
            measures["Redis"] = redis
        figures = self.in_turn(f"limiters, {CLIENTS} clients", measures, times=3)
        for other in ("updated row", "Redis"):
            if other not in measures:
                self.skip(f"ahead of {other}", "there is no redis-server")
                continue
            for ours in ("take_tokens", "verify_api_key"):
                ratio = self.ratio(figures[ours], figures[other])
                self.report(f"{ours} against {other}", "> 1 x", f"{ratio:.2f} x", ratio > 1,
                            f"{human(statistics.median(figures[ours]))}; {other} {human(statistics.median(figures[other]))}, {CLIENTS} clients each")
            ratio = self.ratio(figures["in one backend"], figures[other])
            self.report("  called where the data are", "", f"{ratio:.0f} x", None,
                        f"{human(statistics.median(figures['in one backend']))}: a request that is in SQL already asks without a round trip")

    # ---- within a call by PostgREST ----

    def pre_request(self):
        name = "pre_request() within a call"
        if self.sql.value("select to_regprocedure('musicverse.pre_request()') is null") == "t":
            self.skip(name, "musicverse.pre_request() does not exist")
            return
        self.sql.rows("create role bench_caller; select expose_to('bench_caller')")
        self.sql.rows("create schema bench_api; grant usage on schema bench_api to bench_caller; "
                      "create table bench_api.songs (id bigint primary key, owner int, title text, style text, at timestamptz); "
                      "insert into bench_api.songs select i, i % 1000, 'Song ' || i, 'ambient', now() - i * interval '1 s' from generate_series(1, 100000) i; "
                      "create index on bench_api.songs (owner, at desc); grant select on bench_api.songs to bench_caller; analyze bench_api.songs")
        self.sql.rows("create function bench_api.latest(n integer) returns json language sql stable set search_path = bench_api, pg_catalog as "
                      "$$ select json_agg(s) from (select id, title, style, at from songs where owner = n order by at desc limit 20) s $$")
        self.sql.rows("create function bench_api.nothing() returns void language plpgsql set search_path = pg_catalog as $$ begin end $$")
        # PostgREST doesn't tell the address of its caller
        key = self.sql.value("select key from create_api_key(md5('caller')::uuid, 'caller')")
        variables = {
            "path": '"bench_api", "public"', "role": "bench_caller", "claims": '{"role":"bench_caller"}', "method": "POST", "url": "/rpc/latest",
            "headers": '{"accept":"application/json","user-agent":"bench","content-type":"application/json","host":"localhost:3000","x-api-key":"%s"}' % key,
            "cookies": "{}", "body": '{"n":7}'}

        def replay(statement):
            script = "\n".join(part for part in (BEGIN, VARIABLES, statement, CALL, COMMIT) if part)
            return lambda: self.server.pgbench(script, CLIENTS, seconds=1, **variables)

        figures = self.in_turn(name, {"without": replay(""), "an empty one": replay('select "bench_api"."nothing"();'),
                                      "ours": replay('select "musicverse"."pre_request"();')}, times=3)
        rate = {kind: statistics.median(values) for kind, values in figures.items()}
        # one statement more is a round trip more, whatever it does
        for other, title, limit in (("an empty one", name, 1.05), ("without", "  its statement's round trip included", None)):
            cost = self.ratio(figures[other], figures["ours"])
            self.report(title, f"<= {limit} x" if limit else "", f"{cost:.3f} x", cost <= limit if limit else None,
                        f"{human(rate['ours'])}; {other} {human(rate[other])}")

    # ---- what can be repeated on a busy machine ----

    def instructions(self):
        """Counted by valgrind in a server of one process, within the function and all it calls."""
        if shutil.which("valgrind") is None:
            self.skip("instructions a call", "there is no valgrind")
            return
        n = 20000
        typo = self.key[:-1] + ("0" if self.key[-1] != "0" else "1")
        cases = {
            "substr()": ("text_substr", "substr('hot', 1, i)", "generate_series(1, %d) i"),
            "take_tokens, one bucket": ("musicverse_take_tokens", "take_tokens('hot', 1, 1000000000, 1e9)", "generate_series(1, %d) i"),
            "take_tokens, 1000 buckets": ("musicverse_take_tokens", "take_tokens('bucket ' || i % 1000, 1, 1000000000, 1e9)", "generate_series(1, %d) i"),
            "verify_api_key, allowed": ("musicverse_verify_api_key", f"verify_api_key('{self.key}', '{SCOPE}', '{ADDRESS}')", "generate_series(1, %d) i"),
            "verify_api_key, a typo": ("musicverse_verify_api_key", f"verify_api_key('{typo}')", "generate_series(1, %d) i"),
        }
        self.sql.close()
        self.server.pause()
        counted = {title: self.count(function, f"select count({call}) from {source % n}", n) for title, (function, call, source) in cases.items()}
        self.server.resume()
        self.sql = type(self.sql)(self.server)
        for title, each in counted.items():
            self.report(f"instructions, {title}", "", f"{each:.0f}", None, f"a call; {each / counted['substr()']:.1f} x those of substr()")

    def count(self, function, statement, n):
        out = os.path.join(WORK, "callgrind.out")
        for old in glob.glob(out + "*"):
            os.remove(old)
        subprocess.run(["valgrind", "--tool=callgrind", f"--toggle-collect={function}", f"--callgrind-out-file={out}", "--log-file=/dev/null",
                        f"{self.server.pgbin}/postgres", "--single", "-D", self.server.data, "-c", "search_path=public,musicverse", "bench"],
                       input=statement + "\n", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd="/", **self.server.as_owner())
        with open(out) as file:
            found = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)
        if found is None or found.group(1) == "0":
            fail(f"valgrind counted nothing of: {statement}")
        return int(found.group(1)) / n
