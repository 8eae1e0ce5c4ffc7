/*
 * A provider of music that behaves as each job says: params.submit, .poll and
 * .cancel are lists of behaviours, one for each request in turn, of which the
 * last repeats. A behaviour is an object:
 *
 *   doc     merged into the document that is answered
 *   http    status, with header retry_after, and body if the answer is no document
 *   body    answered as it is; bytes: the same in base64
 *   size    so many bytes of text
 *   hang    no answer at all
 *   reset   the connection is closed without an answer
 *   wait    milliseconds before the answer
 *   begun   false: the generation is not begun (with submit)
 *
 * Without a list the protocol is kept: a generation is begun, and the second
 * poll finds it done. The same Idempotency-Key means the same generation.
 *
 * PUT /control {"submit": […], "poll": […], "cancel": […]} is for jobs that say
 * nothing. GET /log lists the requests, GET /generations what was begun. The
 * first line of the output is {"host", "port"}.
 */
'use strict';

const http = require('node:http');

const byKey = new Map();
const byId = new Map();
const log = [];
let control = {};
let running = 0;
let most = 0;

function document(generation) {
	const done = generation.status === 'succeeded';
	return {
		id: generation.id,
		status: generation.status,
		progress: generation.progress,
		client_reference: generation.reference,
		...(done ? { result: { audio_url: `https://audio.example.com/${generation.id}.mp3`, duration: 30.4, title: `Song ${generation.id}`, peaks: [0, 0.5, 1], metadata: { bpm: 120 } } } : {}),
	};
}

function answer(res, behaviour, body) {
	const status = behaviour.http ?? 200;
	const headers = { 'content-type': 'application/json', ...(behaviour.retry_after !== undefined ? { 'retry-after': String(behaviour.retry_after) } : {}), ...behaviour.headers };
	res.writeHead(status, headers);
	res.end(body);
}

function behave(req, res, behaviour, doc) {
	if (behaviour.hang) return;
	if (behaviour.reset) return req.socket.destroy();
	setTimeout(() => {
		if (res.destroyed) return;
		if (behaviour.size !== undefined) answer(res, behaviour, '"' + 'x'.repeat(behaviour.size) + '"');
		else if (behaviour.bytes !== undefined) answer(res, behaviour, Buffer.from(behaviour.bytes, 'base64'));
		else if (behaviour.body !== undefined) answer(res, behaviour, behaviour.body);
		else answer(res, { http: req.method === 'POST' ? 202 : 200, ...behaviour }, JSON.stringify({ ...doc, ...behaviour.doc }));
	}, behaviour.wait ?? 0);
}

function pick(params, what, generation) {
	const list = params?.[what] ?? control[what];
	if (!Array.isArray(list) || list.length === 0) return null;
	const n = generation.turns[what] ?? 0;
	generation.turns[what] = n + 1;
	return list[Math.min(n, list.length - 1)];
}

/* What is remembered of a job, whether or not its generation was begun */
const jobs = new Map();

function submit(req, res, body, entry) {
	const key = req.headers['idempotency-key'];
	let job = jobs.get(key);
	if (!job) jobs.set(key, job = { turns: {}, params: body.params });
	const behaviour = pick(body.params, 'submit', job) ?? {};
	let generation = byKey.get(key);
	if (!generation && behaviour.begun !== false) {
		generation = { id: `gen-${byKey.size + 1}`, status: 'queued', progress: 0, reference: body.client_reference, key, job, polls: 0, prompt: body.prompt };
		byKey.set(key, generation);
		byId.set(generation.id, generation);
		most = Math.max(most, ++running);
	}
	behave(req, res, behaviour, generation ? document(generation) : {});
}

function end(generation, status) {
	if (!['queued', 'running'].includes(generation.status)) return;
	generation.status = status;
	running--;
}

function poll(req, res, generation) {
	const behaviour = pick(generation.job.params, 'poll', generation.job);
	if (behaviour === null) {
		generation.polls++;
		if (generation.polls >= 2 && ['queued', 'running'].includes(generation.status)) {
			end(generation, 'succeeded');
			generation.progress = 100;
		} else if (generation.status === 'queued') {
			generation.status = 'running';
			generation.progress = 50;
		}
		return behave(req, res, {}, document(generation));
	}
	if (behaviour.doc?.status === 'succeeded' || behaviour.done) end(generation, 'succeeded');
	return behave(req, res, behaviour, document(generation));
}

const server = http.createServer((req, res) => {
	const chunks = [];
	req.on('data', (chunk) => chunks.push(chunk));
	req.on('end', () => {
		const text = Buffer.concat(chunks).toString('utf8');
		const path = new URL(req.url, 'http://x').pathname;
		const give = (status, value) => {
			res.writeHead(status, { 'content-type': 'application/json' });
			res.end(JSON.stringify(value));
		};
		if (path === '/log') return give(200, log);
		if (path === '/generations') return give(200, { all: [...byId.values()].map(({ job, ...rest }) => rest), running, most });
		if (path === '/control') {
			control = JSON.parse(text);
			return give(200, control);
		}
		const entry = { seq: log.length + 1, method: req.method, path: req.url, key: req.headers['idempotency-key'], authorization: req.headers.authorization, text };
		log.push(entry);
		if (req.method === 'POST' && path === '/v1/generations') return submit(req, res, JSON.parse(text), entry);
		const generation = byId.get(decodeURIComponent(path.replace(/^\/v1\/generations\//, '')));
		if (!generation) return give(404, { error: { code: 'unknown', message: 'no such generation' } });
		entry.key = generation.key;
		if (req.method === 'GET') return poll(req, res, generation);
		const behaviour = pick(generation.job.params, 'cancel', generation.job) ?? {};
		if (behaviour.http === undefined) end(generation, 'cancelled');
		return behave(req, res, behaviour, document(generation));
	});
});

server.listen(0, '127.0.0.1', () => {
	const { address, port } = server.address();
	process.stdout.write(JSON.stringify({ host: address, port }) + '\n');
});
process.on('SIGTERM', () => process.exit(0));
