"""
Streams: what a transfer loop carries from a source to a sink, against the
programs that people would use: sftp puts a file to the same server, curl pipes
into curl. All on loopback, so it is processor that is measured, and the pipe
of two curls has more than one of them. They compute no digests.
"""
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import time

from lib import ROOT, WORK, Session, Theme, fail


def rate(bytes_a_second):
    return f"{bytes_a_second / 1e6:.0f} MB/s"


class Stream(Theme):
    """n is the size of the file in bytes."""

    rows = ["to_sftp", "to_http", "memory"]
    scale = 200_000_000
    settings = {"shared_preload_libraries": "", "musicverse.allowed_networks": "127.0.0.0/8"}

    def __init__(self, args, server):
        # the loop is in a module of the tests: the extension's library stays out
        self.rounds, self.n, self.profile = args.rounds, args.rows or self.scale, args.profile
        self.server = server
        self.results = []
        self.sql = Session(server)
        self.prepare()

    def prepare(self):
        self.folder = self.server.folder(os.path.join(WORK, "stream"))
        module = os.path.join(self.folder, "module")
        subprocess.run([f"{ROOT}/test/stream/build.sh", module], check=True)
        self.sql.rows(f"create function stream_run(jsonb) returns jsonb language c strict as '{module}/stream_test'")
        self.start_http()
        self.start_sshd()
        self.file = os.path.join(self.folder, "file")
        with open(self.file, "wb") as file:
            subprocess.run(["curl", "-s", self.source()], stdout=file, check=True)

    def free_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def answers(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return port

    def start_http(self):
        """Source and receiver are those of the tests."""
        log = os.path.join(self.folder, "server.json")
        with open(log, "w") as out:
            self.server.spawn(["node", f"{ROOT}/test/stream/server.js"], lambda: os.path.getsize(log) or None,
                              "test/stream/server.js did not start", stdout=out)
        with open(log) as file:
            self.port = json.load(file)["port"]

    def source(self):
        return f"http://127.0.0.1:{self.port}/source?size={self.n}"

    def start_sshd(self):
        folder = self.folder
        for name in ("host_key", "user_key"):
            for path in (f"{folder}/{name}", f"{folder}/{name}.pub"):
                if os.path.exists(path):
                    os.remove(path)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"], check=True, **self.server.as_owner())
        shown = subprocess.run(["ssh-keygen", "-l", "-f", f"{folder}/host_key.pub"], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.fingerprint = re.search(r"SHA256:\S+", shown).group()
        self.files = self.server.folder(os.path.join(folder, "files"))
        self.ssh_port = self.free_port()
        with open(f"{folder}/sshd_config", "w") as file:
            file.write(f"ListenAddress 127.0.0.1\nPort {self.ssh_port}\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
                       f"AuthorizedKeysFile {folder}/user_key.pub\nSubsystem sftp internal-sftp\n")
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        self.server.spawn([sshd, "-D", "-e", "-f", f"{folder}/sshd_config"], lambda: self.answers(self.ssh_port), "sshd did not start",
                          stderr=subprocess.DEVNULL)
        self.user = self.server.owner.pw_name if self.server.owner else getpass.getuser()
        with open(f"{folder}/user_key") as file:
            self.key = file.read()

    def stream(self, sink):
        """Bytes a second of one stream; what it cost is kept."""
        job = {"source": {"url": self.source(), "digests": 1}, "sink": sink}
        text = json.dumps([job]).replace("'", "''").replace("\\", "\\\\")
        run = json.loads(self.sql.value(f"select stream_run(E'{text}')"))
        if run["jobs"][0]["failed"] != "none":
            fail(run["jobs"][0]["error"])
        self.cost = run
        return self.n / (run["ms"] / 1000)

    def command(self, arguments, **options):
        start = time.monotonic()
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options, **self.server.as_owner())
        if done.returncode != 0:
            fail(f"{arguments[0]}: {done.stdout}")
        return self.n / (time.monotonic() - start)

    def sftp_sink(self):
        return {"kind": "sftp", "url": f"sftp://127.0.0.1:{self.ssh_port}", "user": self.user, "key": self.key,
                "host_keys": self.fingerprint, "path": f"{self.files}/ours"}

    def to_sftp(self):
        options = ["-q", "-P", str(self.ssh_port), "-i", f"{self.folder}/user_key", "-o", "StrictHostKeyChecking=no",
                   "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        figures = self.in_turn("to SFTP", {
            "ours": lambda: self.stream(self.sftp_sink()),
            "sftp": lambda: self.command(["sftp", *options, "-b", "-", f"{self.user}@127.0.0.1"], input=f"put {self.file} {self.files}/theirs\n"),
        }, rate)
        ratio = self.ratio(figures["ours"], figures["sftp"])
        self.report("HTTP source to SFTP, SHA-256 on the way", "0.7", f"{ratio:.2f}", ratio >= 0.7, f"{rate(max(figures['ours']))} (sftp {rate(max(figures['sftp']))})")

    def to_http(self):
        sink = f"http://127.0.0.1:{self.port}/sink"
        figures = self.in_turn("to HTTP", {
            "ours": lambda: self.stream({"kind": "body", "url": sink}),
            "curl": lambda: self.command(["sh", "-c", f"curl -sN '{self.source()}' | curl -s -X PUT -H Expect: -T - {sink}"]),
        }, rate)
        ratio = self.ratio(figures["ours"], figures["curl"])
        self.report("HTTP source to HTTP, SHA-256 on the way", "0.7", f"{ratio:.2f}", ratio >= 0.7, f"{rate(max(figures['ours']))} (curl | curl {rate(max(figures['curl']))})")

    def memory(self):
        n, self.n = self.n, 2_000_000_000
        self.sql.close()
        self.sql = Session(self.server)     # a process that has streamed nothing yet
        self.stream({"kind": "body", "url": f"http://127.0.0.1:{self.port}/sink"})
        self.n = n
        grown = self.cost["growth_kb"] / 1024
        self.report("memory that 2 GB take", "64 MiB", f"{grown:.1f} MiB", grown <= 64, f"longest turn of the loop {self.cost['longest_turn_ms']:.0f} ms")
