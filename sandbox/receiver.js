#!/usr/bin/env node
/*
 * A webhook receiver for tests, demonstrations and benchmarks: it judges every
 * signature by itself, counts, remembers, and misbehaves on demand.
 *
 * It shares no code with the sender: HMAC and Ed25519 come from Node, the rules
 * from the Standard Webhooks specification. It listens on loopback only by
 * default, needs nothing but Node 18, and never grows without bounds: the last
 * RING_ENTRIES requests and at most RING_BYTES of bodies are kept an endpoint,
 * and the newest IDS_MAX ids.
 *
 * README.md beside this file lists options, paths and modes.
 */
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const http2 = require('node:http2');
const { performance } = require('node:perf_hooks');
const { misbehave, MODES, PLAIN } = require('./misbehave.js');
const { parseOptions, sendJson, prepare, listen, announce } = require('./serve.js');

const RING_ENTRIES = 10000;
const RING_BYTES = 64 * 1024 * 1024;
const IDS_MAX = 2000000;
const TOLERANCE_SECONDS = 300;

/* ---- options ---- */

const OPTIONS = {
	'--port': 'number', '--host': 'text', '--https': 'flag', '--https-port': 'number', '--http2': 'flag',
	'--cert': 'text', '--key': 'text', '--client-ca': 'text', '--log': 'text', '--quiet': 'flag',
};

const USAGE = {
	name: 'receiver',
	text: 'usage: receiver.js [--host ADDRESS] [--port N] [--https [--https-port N] --cert PEM --key PEM\n' +
		'                   [--client-ca PEM] [--http2]] [--log FILE] [--quiet]\n',
};

/* ---- the clock ---- */

/*
 * Microseconds since the epoch. Date.now() follows the system clock but has
 * milliseconds only; performance.now() is fine but drifts from it. The offset
 * between them is pulled back whenever their difference shows.
 */
let clockOffset = performance.timeOrigin;

function nowMicros() {
	const coarse = Date.now();
	let fine = clockOffset + performance.now();
	if (fine < coarse) {
		clockOffset += coarse - fine;
		fine = coarse;
	} else if (fine >= coarse + 1.05) {
		clockOffset -= fine - coarse - 1;
		fine = coarse + 1;
	}
	return Math.floor(fine * 1000);
}

/* Starts with an offset that is right: watches one millisecond begin. */
function calibrateClock() {
	const before = Date.now();
	let tick;
	do { tick = Date.now(); } while (tick === before);
	clockOffset = tick - performance.now();
}

/* ---- signatures ---- */

function parseSecret(text) {
	if (typeof text !== 'string') throw new Error('a secret must be a text');
	const [, kind, base64] = /^(whsec_|whpk_)(.*)$/s.exec(text) ?? [];
	if (!kind) throw new Error('a secret must start with whsec_ or whpk_');
	const bytes = Buffer.from(base64, 'base64');
	if (kind === 'whsec_') return { version: 'v1', key: crypto.createSecretKey(bytes) };
	if (bytes.length !== 32) throw new Error('a whpk_ key must hold 32 bytes');
	return {
		version: 'v1a',
		key: crypto.createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') }, format: 'jwk' }),
	};
}

function matches(secret, signature, prefix, body) {
	if (secret.version === 'v1') {
		const expected = crypto.createHmac('sha256', secret.key).update(prefix).update(body).digest();
		return expected.length === signature.length && crypto.timingSafeEqual(expected, signature);
	}
	return signature.length === 64 &&
		crypto.verify(null, Buffer.concat([Buffer.from(prefix), body]), secret.key, signature);
}

/* "ok" or what is wrong with the request's signature */
function judge(endpoint, headers, body) {
	const id = headers['webhook-id'];
	const timestamp = headers['webhook-timestamp'];
	const list = headers['webhook-signature'];
	if (!id || !timestamp || !list) return 'headers missing';
	if (!/^[0-9]{1,12}$/.test(timestamp)) return 'timestamp malformed';
	if (endpoint.tolerance !== null && Math.abs(Date.now() / 1000 - Number(timestamp)) > endpoint.tolerance)
		return 'timestamp outside the tolerance';
	const prefix = `${id}.${timestamp}.`;
	for (const part of list.split(' ')) {
		const comma = part.indexOf(',');
		const version = part.slice(0, comma);
		const signature = Buffer.from(part.slice(comma + 1), 'base64');
		for (const secret of endpoint.secrets)
			if (secret.version === version && matches(secret, signature, prefix, body)) return 'ok';
	}
	return 'no signature matches';
}

/* ---- endpoints ---- */

const endpoints = new Map();

function newEndpoint(name) {
	return {
		name,
		/* behaviour */
		secrets: [], tolerance: TOLERANCE_SECONDS, record: true, mode: 'ok', count: null, answer: PLAIN,
		/* what came */
		received: 0, verified: 0, bad: 0, duplicates: 0, ids: new Set(), concurrent: 0, concurrentMax: 0, connections: 0,
		ring: [], ringBytes: 0, last: null, waiters: [],
	};
}

function endpointOf(name) {
	let endpoint = endpoints.get(name);
	if (!endpoint) endpoints.set(name, endpoint = newEndpoint(name));
	return endpoint;
}

const ANSWER_FIELDS = ['status', 'retry_after', 'delay_ms', 'body', 'headers', 'location', 'size', 'interval_ms'];

/* Applies a control document; what it doesn't name stays, except that a new mode starts afresh. */
function configure(endpoint, changes) {
	for (const field of Object.keys(changes))
		if (!['secrets', 'tolerance', 'record', 'mode', 'count', ...ANSWER_FIELDS].includes(field))
			throw new Error(`unknown field "${field}"`);
	if ('mode' in changes && !MODES.includes(changes.mode))
		throw new Error(`unknown mode "${changes.mode}": one of ${MODES.join(', ')}`);

	const secrets = 'secrets' in changes ? changes.secrets.map(parseSecret) : endpoint.secrets;
	endpoint.secrets = secrets;
	if ('tolerance' in changes) endpoint.tolerance = changes.tolerance;
	if ('record' in changes) endpoint.record = Boolean(changes.record);
	if ('mode' in changes) {
		endpoint.mode = changes.mode;
		endpoint.count = null;
		endpoint.answer = PLAIN;
	}
	if ('count' in changes) endpoint.count = changes.count;
	for (const field of ANSWER_FIELDS)
		if (field in changes) endpoint.answer = { ...endpoint.answer, [field]: changes[field] };
}

function summary(endpoint) {
	return {
		name: endpoint.name, mode: endpoint.mode, count: endpoint.count, secrets: endpoint.secrets.length,
		received: endpoint.received, verified: endpoint.verified, bad_signatures: endpoint.bad,
		duplicates: endpoint.duplicates, ids: endpoint.ids.size, concurrent: endpoint.concurrent,
		concurrent_max: endpoint.concurrentMax, connections: endpoint.connections, last: endpoint.last,
	};
}

/* Counts the request, judges it, remembers it. Returns the mode that answers it. */
function take(endpoint, req, body, micros) {
	const { headers } = req;
	const id = headers['webhook-id'];
	let verdict = null;
	let duplicate = false;

	endpoint.received++;
	if (endpoint.secrets.length > 0) {
		verdict = judge(endpoint, headers, body);
		if (verdict === 'ok') endpoint.verified++;
		else endpoint.bad++;
	}
	if (id !== undefined) {
		if (endpoint.ids.has(id)) {
			duplicate = true;
			endpoint.duplicates++;
		} else {
			endpoint.ids.add(id);
			if (endpoint.ids.size > IDS_MAX) endpoint.ids.delete(endpoint.ids.values().next().value);
		}
	}

	let mode = endpoint.mode;
	let answer = endpoint.answer;
	if (endpoint.count !== null && endpoint.count-- <= 0) {
		endpoint.mode = mode = 'ok';
		endpoint.count = null;
		endpoint.answer = answer = PLAIN;
	}

	if (endpoint.record || log) {
		const entry = {
			seq: endpoint.received, name: endpoint.name, at: micros / 1000, at_us: micros, method: req.method, path: req.url,
			http: req.httpVersion, tls: Boolean(req.socket.encrypted), client_cert: clientCertificate(req.socket),
			remote_port: req.socket.remotePort, headers, body: body.toString(), verified: verdict === 'ok', verdict, duplicate, mode,
		};
		if (log) log.write(JSON.stringify(entry) + '\n');
		if (endpoint.record) remember(endpoint, entry, body.length);
	}
	if (endpoint.waiters.length > 0) wakeWaiters(endpoint);
	return { mode, answer };
}

function clientCertificate(socket) {
	const certificate = socket.authorized && socket.getPeerCertificate ? socket.getPeerCertificate() : null;
	return certificate?.subject?.CN ?? null;
}

function remember(endpoint, entry, bytes) {
	endpoint.last = entry;
	endpoint.ring.push({ entry, bytes });
	endpoint.ringBytes += bytes;
	/* cut in slices, so that a full ring doesn't move at every request */
	if (endpoint.ring.length >= RING_ENTRIES + 1000)
		for (const old of endpoint.ring.splice(0, endpoint.ring.length - RING_ENTRIES)) endpoint.ringBytes -= old.bytes;
	while (endpoint.ringBytes > RING_BYTES && endpoint.ring.length > 1)
		for (const old of endpoint.ring.splice(0, Math.ceil(endpoint.ring.length / 4))) endpoint.ringBytes -= old.bytes;
}

const NO_BYTES = Buffer.alloc(0);
const ignore = () => {};

function hook(endpoint, req, res) {
	const micros = nowMicros();
	let body = NO_BYTES;
	let chunks = null;

	if (++endpoint.concurrent > endpoint.concurrentMax) endpoint.concurrentMax = endpoint.concurrent;
	if (!req.socket.mvSeen) {
		req.socket.mvSeen = true;
		endpoint.connections++;
	}
	res.on('close', () => { endpoint.concurrent--; });
	req.on('error', ignore);
	res.on('error', ignore);
	req.on('data', (chunk) => {
		if (body === NO_BYTES) body = chunk;
		else (chunks ??= [body]).push(chunk);
	});
	req.on('end', () => {
		const { mode, answer } = take(endpoint, req, chunks ? Buffer.concat(chunks) : body, micros);
		if (answer.delay_ms > 0) setTimeout(() => misbehave(mode, answer, req, res), answer.delay_ms);
		else misbehave(mode, answer, req, res);
	});
}

/* ---- waiting ---- */

function reached(endpoint, wanted) {
	return endpoint.received >= wanted.received && endpoint.verified >= wanted.verified &&
		endpoint.ids.size >= wanted.ids && endpoint.duplicates >= wanted.duplicates && endpoint.bad >= wanted.bad_signatures;
}

function wakeWaiters(endpoint) {
	endpoint.waiters = endpoint.waiters.filter((waiter) => {
		if (!reached(endpoint, waiter.wanted)) return true;
		clearTimeout(waiter.timer);
		waiter.done(200);
		return false;
	});
}

/* Answers when the counters are at least what the query asks for: 200, or 408 when it took too long. */
function wait(endpoint, query, res) {
	const wanted = {};
	for (const field of ['received', 'verified', 'ids', 'duplicates', 'bad_signatures']) wanted[field] = Number(query.get(field) ?? 0);
	const done = (status) => sendJson(res, status, summary(endpoint));
	if (reached(endpoint, wanted)) return done(200);
	const waiter = { wanted, done };
	waiter.timer = setTimeout(() => {
		endpoint.waiters = endpoint.waiters.filter((other) => other !== waiter);
		done(408);
	}, Number(query.get('timeout_ms') ?? 10000));
	endpoint.waiters.push(waiter);
}

/* ---- control ---- */

function requests(endpoint, query, res) {
	const after = Number(query.get('after') ?? 0);
	const limit = Number(query.get('limit') ?? 1000);
	sendJson(res, 200, endpoint.ring.filter((item) => item.entry.seq > after).slice(0, limit).map((item) => item.entry));
}

function control(endpoint, req, res) {
	if (req.method === 'GET') return sendJson(res, 200, summary(endpoint));
	if (req.method === 'DELETE') {
		/* in place: requests that are still running must count down somewhere */
		const { concurrent } = endpoint;
		Object.assign(endpoint, newEndpoint(endpoint.name), { concurrent, concurrentMax: concurrent });
		return sendJson(res, 200, summary(endpoint));
	}
	if (req.method !== 'PUT') return sendJson(res, 405, { error: `${req.method} is not GET, PUT or DELETE` });
	const chunks = [];
	req.on('data', (chunk) => chunks.push(chunk));
	req.on('end', () => {
		try {
			configure(endpoint, JSON.parse(Buffer.concat(chunks).toString()));
			sendJson(res, 200, summary(endpoint));
		} catch (error) {
			sendJson(res, 400, { error: error.message });
		}
	});
}

function route(req, res) {
	const { url } = req;
	const mark = url.indexOf('?');
	const path = mark < 0 ? url : url.slice(0, mark);
	if (path.startsWith('/hook/')) return hook(endpointOf(path.slice(6)), req, res);

	const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1));
	const [, room, name, ...rest] = path.split('/');
	if (path === '/control') return sendJson(res, 200, [...endpoints.values()].map(summary));
	if (!name || rest.length > 0) return sendJson(res, 404, { error: `no such path: ${path}` });
	const endpoint = endpointOf(name);
	if (room === 'control') return control(endpoint, req, res);
	if (room === 'requests') return requests(endpoint, query, res);
	if (room === 'wait') return wait(endpoint, query, res);
	if (room === 'ids') {
		res.writeHead(200, { 'content-type': 'text/plain' });
		return res.end([...endpoint.ids, ''].join('\n'));
	}
	return sendJson(res, 404, { error: `no such path: ${path}` });
}

/* ---- start ---- */

const { options, refuse } = parseOptions(OPTIONS, { port: 0, host: '127.0.0.1', 'https-port': 0 }, process.argv.slice(2), USAGE);
if (options.https && !(options.cert && options.key)) refuse('--https needs --cert and --key');
const log = options.log ? fs.createWriteStream(options.log, { flags: 'a' }) : null;

async function main() {
	calibrateClock();
	const open = (server, port) => listen(prepare(server, 'receiver', options.quiet), port, options.host);
	const ready = { host: options.host, port: await open(http.createServer(route), options.port) };
	if (options.https) {
		const tls = { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) };
		if (options['client-ca'])
			Object.assign(tls, { ca: fs.readFileSync(options['client-ca']), requestCert: true, rejectUnauthorized: true });
		const server = options.http2
			? http2.createSecureServer({ ...tls, allowHTTP1: true }, route)
			: https.createServer(tls, route);
		server.on('session', (session) => session.on('error', () => {}));
		ready.https_port = await open(server, options['https-port']);
	}
	announce(ready);
}

function stop() {
	if (log) log.end(() => process.exit(0));
	else process.exit(0);
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
main().catch((error) => {
	process.stderr.write(`receiver: ${error.message}\n`);
	process.exit(1);
});
