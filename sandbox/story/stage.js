/*
 * The stage of the demonstration: what it says, a private cluster, processes
 * beside it. Everything lives in build/demo and in a folder for the socket;
 * every process that is started here has ended when stopEverything() returns.
 */
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const ROOT = path.dirname(path.dirname(__dirname));
const WORK = path.join(ROOT, 'build', 'demo');
const DATA = path.join(WORK, 'data');
const PATIENCE_MS = 20000;

/* ---- words ---- */

const bright = process.stdout.isTTY ? (text) => `\x1b[1m${text}\x1b[0m` : (text) => text;
let chapter = 0;

function title(text) {
	console.log(`\n${bright(`${++chapter}. ${text}`)}\n`);
}

function say(text) {
	console.log(text === '' ? '' : `   ${text}`);
}

/* A claim: said when true, the end of the story when not */
function claim(truth, text, found) {
	if (!truth) throw new Error(`not true: ${text}${found === undefined ? '' : ` (found ${JSON.stringify(found)})`}`);
	say(`✓ ${text}`);
}

/* ---- the cluster ---- */

const pgbin = process.env.PGBIN;
const children = [];
let sockets = null;
let owner = {};

/* Servers refuse root */
function dropRoot() {
	if (process.getuid() !== 0) return;
	const line = fs.readFileSync('/etc/passwd', 'utf8').split('\n').find((entry) => entry.startsWith('postgres:'));
	if (!line) throw new Error('there is no user postgres to run the server as');
	const [, , uid, gid] = line.split(':');
	owner = { uid: Number(uid), gid: Number(gid) };
}

function folder(name) {
	fs.mkdirSync(name, { recursive: true });
	if (owner.uid) fs.chownSync(name, owner.uid, owner.gid);
	return name;
}

function program(name, args, options = {}) {
	const run = spawnSync(path.join(pgbin, name), args, { encoding: 'utf8', cwd: '/', ...options });
	if (run.status !== 0) throw new Error(`${name} failed: ${run.error?.message ?? (run.stderr || run.stdout)}`);
	return run.stdout;
}

function startCluster() {
	fs.rmSync(WORK, { recursive: true, force: true });
	folder(WORK);
	sockets = folder(fs.mkdtempSync(path.join(os.tmpdir(), 'mvdemo-')));
	program('initdb', ['-D', DATA, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-locale', '--no-sync'], owner);
	fs.appendFileSync(path.join(DATA, 'postgresql.conf'), `
listen_addresses = ''
unix_socket_directories = '${sockets}'
shared_preload_libraries = 'musicverse'
musicverse.databases = 'demo'
musicverse.allow_http = on
musicverse.allowed_networks = '127.0.0.0/8'
musicverse.test_clock = on
musicverse.gateway_workers = 1
musicverse.gateway_listen = '127.0.0.1:0'
`);
	program('pg_ctl', ['-D', DATA, '-w', '-l', path.join(WORK, 'server.log'), 'start'], { ...owner, stdio: 'ignore' });
	program('createdb', ['-h', sockets, '-U', 'postgres', 'demo']);
}

function stopEverything() {
	for (const child of children) child.kill('SIGTERM');
	if (fs.existsSync(path.join(DATA, 'postmaster.pid')))
		spawnSync(path.join(pgbin, 'pg_ctl'), ['-D', DATA, '-m', 'fast', '-w', 'stop'], { cwd: '/', stdio: 'ignore', ...owner });
	if (sockets) fs.rmSync(sockets, { recursive: true, force: true });
	fs.rmSync(DATA, { recursive: true, force: true });
}

/* The last lines of the server's log */
function serverLog() {
	const log = path.join(WORK, 'server.log');
	return sockets && fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').slice(-8) : [];
}

const CONNECTION = () => ['-X', '-v', 'ON_ERROR_STOP=1', '-h', sockets, '-U', 'postgres', 'demo'];

/* One psql that stays connected, so that a statement costs a statement */
class Session {
	constructor() {
		this.psql = spawn(path.join(pgbin, 'psql'), ['-qAt', '-F', '\t', ...CONNECTION()], { cwd: '/' });
		children.push(this.psql);
		this.out = '';
		this.err = '';
		this.psql.stdout.on('data', (data) => { this.out += data; this.settle?.(); });
		this.psql.stderr.on('data', (data) => { this.err += data; });
		this.psql.on('close', () => { this.closed = true; this.settle?.(); });
		this.psql.stdin.on('error', () => {});
	}

	/* The rows of the statements, each an array of texts */
	rows(sql) {
		return new Promise((resolve, reject) => {
			this.settle = () => {
				if (this.out.endsWith('--end--\n')) {
					const lines = this.out.slice(0, -'--end--\n'.length).split('\n').slice(0, -1);
					this.out = '';
					resolve(lines.map((line) => line.split('\t')));
				} else if (this.closed) {
					reject(new Error(`${this.err.trim()}\nin: ${sql}`));
				}
			};
			this.psql.stdin.write(`${sql};\n\\echo --end--\n`);
		});
	}

	async value(sql) {
		return (await this.rows(sql))[0]?.[0];
	}

	/* Asks until the answer is the one wanted */
	async until(sql, wanted) {
		const deadline = Date.now() + PATIENCE_MS;
		let found;
		while ((found = await this.value(sql)) !== wanted) {
			if (Date.now() > deadline) throw new Error(`waited in vain for "${wanted}", found "${found}"\nin: ${sql}`);
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	}
}

/* A query's table as psql draws it */
function table(sql) {
	const text = program('psql', ['-P', 'footer=off', '-P', 'null=-', ...CONNECTION(), '-c', sql]);
	for (const line of text.trimEnd().split('\n')) say(line.trimEnd());
}

/* ---- processes beside it ---- */

/* Starts a program of the sandbox; its first line of output tells where it listens */
function startProgram(name, args = []) {
	const child = spawn(process.execPath, [path.join(ROOT, 'sandbox', name), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
	children.push(child);
	return new Promise((resolve, reject) => {
		child.stdout.once('data', (line) => resolve(JSON.parse(line)));
		child.once('exit', () => reject(new Error(`${name} did not start`)));
	});
}

/* The receiver of webhooks, by its paths */
class Receiver {
	async start() {
		({ port: this.port } = await startProgram('receiver.js'));
	}

	async ask(method, where, document) {
		const answer = await fetch(`http://127.0.0.1:${this.port}${where}`,
			{ method, body: document === undefined ? undefined : JSON.stringify(document) });
		const value = await answer.json();
		if (answer.status === 408) throw new Error(`waited in vain at ${where}: ${JSON.stringify({ ...value, last: undefined })}`);
		if (answer.status !== 200) throw new Error(`${where}: ${value.error}`);
		return value;
	}

	url(name) { return `http://127.0.0.1:${this.port}/hook/${name}`; }
	control(name, document) { return this.ask('PUT', `/control/${name}`, document); }
	counters(name) { return this.ask('GET', `/control/${name}`); }
	requests(name, after = 0) { return this.ask('GET', `/requests/${name}?after=${after}`); }
	arrival(name, wanted) { return this.ask('GET', `/wait/${name}?${new URLSearchParams({ timeout_ms: PATIENCE_MS, ...wanted })}`); }
}

module.exports = { WORK, PATIENCE_MS, children, bright, title, say, claim, table, Session, Receiver, startCluster, startProgram, stopEverything, serverLog, folder, pgbin, dropRoot, sockets: () => sockets };
