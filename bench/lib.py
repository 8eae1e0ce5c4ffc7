"""
What every benchmark builds on: a cluster of its own, sessions, loads, rounds
in turn, and the table at the end.

A theme is a file beside this one with a class derived from Theme, named in
bench/run. It says which rows it has and which settings its server needs; each
row is a method that measures and calls report(). Every speed is a ratio to a
limit measured in the same run, in turn with it, so that the machine and its
mood cancel out; the absolute figure stands beside it.
"""
import argparse
import glob
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
WORK = os.path.join(ROOT, "build", "bench")
TICKS = os.sysconf("SC_CLK_TCK")


def fail(message):
    sys.exit("bench: " + message)


def say(message):
    print("  " + message, file=sys.stderr, flush=True)


def wait(condition, seconds, problem):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            fail(problem)
        time.sleep(0.02)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def running_seconds(pid):
    """The same to the nanosecond, of a process of one thread."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def private_kib(pid):
    """Memory of the process alone: anonymous pages, without shared memory and files."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon:")).split()[1])


def human(per_second):
    """A rate as people read it: 4.21 M/s, 51.3 k/s, 870 /s."""
    for limit, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if per_second >= limit:
            return f"{per_second / limit:.3g} {unit}"
    return f"{per_second:.0f} /s"


class Server:
    """A private cluster with the extension, and the processes around it."""

    def __init__(self, pgbin, settings):
        self.pgbin = pgbin
        # servers refuse root; the socket's path must be short
        self.owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.sockets = self.folder(tempfile.mkdtemp(prefix="mvbench-"))
        self.data = os.path.join(WORK, "data")
        self.log = os.path.join(WORK, "server.log")
        self.started = []
        self.settings = settings

    def folder(self, path):
        os.makedirs(path, exist_ok=True)
        if self.owner:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        return path

    def as_owner(self):
        if not self.owner:
            return {}
        return {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def start(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.folder(WORK)
        if os.path.exists(self.log):
            os.remove(self.log)
        quiet = {"stdout": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([f"{self.pgbin}/initdb", "-D", self.data, "-A", "trust", "-U", "postgres",
                        "-E", "UTF8", "--no-locale"], check=True, **quiet, **self.as_owner())
        lines = {
            "listen_addresses": "", "unix_socket_directories": self.sockets,
            "shared_preload_libraries": "musicverse,pg_stat_statements",
            "shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "max_connections": "150",
            "pg_stat_statements.track": "none", "log_line_prefix": "%m [%p] %b ", "musicverse.databases": "bench",
            **self.settings,
        }
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            for name, value in lines.items():
                conf.write(f"{name} = '{value}'\n")
        self.resume()
        subprocess.run([f"{self.pgbin}/createdb", "-h", self.sockets, "-U", "postgres", "bench"], check=True, **quiet)

    def control(self, *arguments):
        subprocess.run([f"{self.pgbin}/pg_ctl", "-D", self.data, "-w", *arguments],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **self.as_owner())

    def resume(self):
        self.control("-l", self.log, "start")

    def pause(self):
        """Stops the cluster, for those who run it otherwise; resume() starts it again."""
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            self.control("-m", "fast", "stop")

    def stop(self):
        for process in self.started:
            process.send_signal(signal.SIGTERM)
            process.wait()
        self.pause()
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid")) as file:
            return int(file.readline())

    def workers(self, part=""):
        """The extension's processes whose title contains the part, by their parent and title."""
        found = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                with open(path.replace("stat", "cmdline")) as file:
                    title = file.read()
            except OSError:
                continue
            if int(fields[1]) == self.postmaster() and "musicverse" in title and part in title:
                found.append(int(path.split("/")[2]))
        return found

    def spawn(self, command, ready, problem, **options):
        """Starts a process that ends with the server; waits until ready() returns something, and returns that."""
        process = subprocess.Popen(command, cwd="/", **options, **self.as_owner())
        self.started.append(process)
        deadline = time.monotonic() + 10
        while True:
            try:
                found = ready()
                if found is not None:
                    return found
            except OSError:
                pass
            if time.monotonic() > deadline or process.poll() is not None:
                fail(problem)
            time.sleep(0.02)

    def start_nginx(self):
        folder = self.folder(os.path.join(WORK, "nginx"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with open(os.path.join(HERE, "nginx.conf.in")) as file:
            text = file.read().replace("@DIR@", folder).replace("@PORT@", str(port))
        conf = os.path.join(folder, "nginx.conf")
        with open(conf, "w") as file:
            file.write(text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        receiver = Receiver(port)
        self.spawn([program, "-p", folder, "-e", f"{folder}/error.log", "-c", conf], receiver.requests,
                   f"nginx did not start, see {folder}/error.log", stderr=subprocess.DEVNULL)
        return receiver

    def pgbench(self, script, clients=8, seconds=2, user="postgres", **variables):
        """Transactions a second of a script with the server's own pgbench, by prepared statements."""
        path = os.path.join(WORK, "pgbench.sql")
        with open(path, "w") as file:
            file.write(script + "\n")
        defined = [part for name, value in variables.items() for part in ("-D", f"{name}={value}")]
        run = subprocess.run([f"{self.pgbin}/pgbench", "-n", "-M", "prepared", "-h", self.sockets, "-U", user,
                              "-c", str(clients), "-j", str(min(clients, os.cpu_count())), "-T", str(seconds),
                              "-f", path, *defined, "bench"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
        found = re.search(r"^tps = ([0-9.]+)", run.stdout, re.M)
        if run.returncode != 0 or found is None:
            fail(f"pgbench failed: {run.stderr.strip()}\nin: {script}")
        return float(found.group(1))


class Receiver:
    """nginx; its own counter tells how far a drain is without a query."""

    def __init__(self, port):
        self.port = port
        self.asked = 0

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def requests(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/status")
        text = connection.getresponse().read().decode()
        connection.close()
        self.asked += 1
        return int(text.splitlines()[2].split()[2]) - self.asked


class Session:
    """One psql that stays connected."""

    def __init__(self, server):
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.psql = subprocess.Popen(
            [f"{server.pgbin}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", server.sockets, "-U", "postgres", "bench"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def rows(self, sql):
        self.psql.stdin.write(sql + ("" if sql.startswith("\\") else ";\n") + "\\echo --end--\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "--end--\n":
                return lines
            lines.append(line.rstrip("\n"))
        self.errors.seek(0)
        fail(f"{self.errors.read().strip()}\nin: {sql}")

    def value(self, sql):
        lines = self.rows(sql)
        return lines[0] if lines else None

    def timed(self, sql):
        """Seconds from sending the statement until its commit has returned, by psql."""
        self.rows("\\timing on\n")
        lines = self.rows(sql)
        self.rows("\\timing off\n")
        return float(next(line for line in lines if line.startswith("Time:")).split()[1]) / 1000

    def computed(self, sql):
        """Seconds that its backend ran for the statement: what it would take on a machine of its own, where it waits for nothing."""
        pid = int(self.value("select pg_backend_pid()"))
        before = running_seconds(pid)
        self.rows(sql)
        return running_seconds(pid) - before

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


class Theme:
    """The rows of one room. A derived class names them, and says what they need."""

    rows = []                # methods, in the order in which they run
    settings = {}            # of its server
    scale = 100000           # what n means is the theme's own business

    def __init__(self, args, server):
        self.rounds, self.n, self.profile = args.rounds, args.rows or self.scale, args.profile
        self.server = server
        self.results = []
        self.sql = Session(server)
        self.sql.rows("create extension musicverse; create extension pg_stat_statements")
        self.prepare()

    def prepare(self):
        """What all rows need; called once, with the extension in place."""

    def in_turn(self, title, measures, show=human, times=1):
        """Takes each of the measures so many times a round, in turn; a list of figures for each."""
        figures = {name: [] for name in measures}
        rounds = self.rounds * times
        for i in range(rounds):
            for name, measure in measures.items():
                figures[name].append(measure())
            say(f"{title}, round {i + 1} of {rounds}: " + ", ".join(f"{k} {show(v[-1])}" for k, v in figures.items()))
        return figures

    @staticmethod
    def ratio(ours, limit):
        """Pair by pair, so that a machine that slows down meanwhile slows both."""
        return statistics.median(a / b for a, b in zip(ours, limit))

    @classmethod
    def before_start(cls):
        """What the server's settings name has to be there."""

    def report(self, figure, target, reached, good, absolute):
        """A line of the table; good is None for a figure without a target of its own."""
        self.results.append({"figure": figure, "target": target, "reached": reached, "good": good, "absolute": absolute})

    def skip(self, figure, why):
        self.report(figure, "", "skipped", None, why)


def table(results):
    wide = max(len(row["figure"]) for row in results) + 2
    print(f"\n{'figure':<{wide}}{'target':>11}{'reached':>12}  {'':<7}absolute")
    for row in results:
        met = {True: "met", False: "MISSED", None: ""}[row["good"]]
        print(f"{row['figure']:<{wide}}{row['target']:>11}{row['reached']:>12}  {met:<7}{row['absolute']}")
    aims = [row for row in results if row["good"] is not None]
    missed = sum(not row["good"] for row in aims)
    print(f"\n{missed} of {len(aims)} targets missed" if missed else "\nall targets reached")
    with open(os.path.join(WORK, "results.json"), "w") as file:
        json.dump(results, file, indent=1)
    return missed


def main(themes, description):
    """Runs the rows that were asked for, a theme after the other, each with a server of its own."""
    known = [row for theme in themes.values() for row in theme.rows]
    parser = argparse.ArgumentParser(prog="bench/run", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="*", metavar="ROW",
                        help="; ".join(f"{name}: {', '.join(theme.rows)}" for name, theme in themes.items()))
    parser.add_argument("--strict", action="store_true", help="end with status 1 when a target is missed")
    parser.add_argument("--profile", action="store_true", help="profile the delivery worker (needs perf)")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    parser.add_argument("--rows", type=int, default=int(os.environ.get("BENCH_ROWS", 0)), help="how many of what a theme counts")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    args = parser.parse_args()
    for row in args.row:
        if row not in known and row not in themes:
            fail(f"there is no \"{row}\": name a theme ({', '.join(themes)}) or a row ({', '.join(known)})")
    pgbin = os.environ.get("PGBIN")
    if not pgbin or not os.access(os.path.join(pgbin, "postgres"), os.X_OK):
        fail("PGBIN must name the folder of a PostgreSQL server that has the extension: use make bench")

    os.makedirs(WORK, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    results = []
    try:
        for name, theme in themes.items():
            rows = [row for row in theme.rows if not args.row or row in args.row or name in args.row]
            if not rows:
                continue
            theme.before_start()
            server = Server(pgbin, {**theme.settings, **dict(pair.split("=", 1) for pair in args.set)})
            try:
                server.start()
                bench = theme(args, server)
                try:
                    for row in rows:
                        getattr(bench, row)()
                finally:
                    results += bench.results
            finally:
                server.stop()
    finally:
        missed = table(results) if results else 0
    return 1 if missed and args.strict else 0
