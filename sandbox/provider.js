#!/usr/bin/env node
/*
 * A provider of music for tests and the demonstration: takes prompts over HTTP,
 * composes and renders real pieces, calls back, and misbehaves on demand.
 *
 * It shares no code with the platform. It listens on loopback only by default,
 * needs nothing but Node 18, and never grows without bounds: one thread
 * renders, the newest GENERATIONS_MAX are remembered with their audio.
 *
 * README.md beside this file lists options, paths and what PUT /control takes.
 */
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { misbehaveJson: odd, JSON_MODES: ALL_MODES, PLAIN } = require('./misbehave.js');
const { parseOptions, sendJson, prepare, listen, announce } = require('./serve.js');
const { Callbacks } = require('./callbacks.js');
const { Studio, ended } = require('./studio.js');
const { sendAudio } = require('./audio.js');

const GENERATIONS_MAX = 10000;
const BODY_MAX = 256 * 1024;
const DURATION_MAX = 600;

/* ---- options ---- */

const OPTIONS = {
	'--host': 'text', '--port': 'number', '--token': 'text', '--callback-secret': 'text', '--work': 'text', '--quiet': 'flag',
};
const USAGE = {
	name: 'provider',
	text: 'usage: provider.js [--host ADDRESS] [--port N] [--token TEXT] [--callback-secret whsec_…] [--work DIR] [--quiet]\n',
};

const { options, refuse } = parseOptions(OPTIONS, { port: 0, host: '127.0.0.1' }, process.argv.slice(2), USAGE);
const ownDirectory = options.work === undefined;
const directory = options.work ?? fs.mkdtempSync(path.join(os.tmpdir(), 'provider-'));
fs.mkdirSync(directory, { recursive: true });

/* ---- what we know ---- */

const generations = new Map();		/* by id, oldest first */
const byKey = new Map();			/* Idempotency-Key -> { id, digest } */
const counters = { submitted: 0, distinct: 0, repeated: 0, refused: 0, polled: 0, listed: 0, cancelled: 0, downloads: 0 };
const references = new Map();		/* client_reference -> submissions, repeated ones included */
let base;

const FRESH = Object.freeze({
	mode: 'ok', count: null, on: ['submit', 'poll', 'list', 'cancel'], after: false, answer: PLAIN, lie: null, callback: 'normal',
		instant: false, render_ms: 0,
	outcome: 'succeeded', error: null,
});
let behaviour = { ...FRESH };

let callbacks;
try {
	callbacks = new Callbacks(options['callback-secret']);
} catch (error) {
	refuse(error.message);
}

const studio = new Studio(directory, (generation) => {
	if (!generation.callback_url || behaviour.callback === 'none') return;
	callbacks.send(generation, documentOf(generation), {
		duplicate: behaviour.callback === 'duplicate', badSignature: behaviour.callback === 'bad-signature',
	});
});

/* ---- documents ---- */

function documentOf(generation) {
	const { id, status, progress, request, created_at, result, error } = generation;
	const document = { id, status, progress, client_reference: request.client_reference, created_at };
	if (result) document.result = { audio_url: `${base}/v1/audio/${id}.wav`, ...result };
	if (error) document.error = error;
	return behaviour.lie ? LIES[behaviour.lie](document, generation) : document;
}

/* Documents that are JSON, and wrong */
const LIES = {
	'no-audio'(document) {
		if (document.result) delete document.result.audio_url;
		return document;
	},
	'no-result'(document) {
		delete document.result;
		return { ...document, status: 'succeeded', progress: 100 };
	},
	progress: (document) => ({ ...document, progress: 900 }),
	'progress-text': (document) => ({ ...document, progress: 'almost' }),
	backwards(document, generation) {
		generation.backwards = Math.max(0, (generation.backwards ?? 95) - 15);
		return ended(generation) ? document : { ...document, status: 'running', progress: generation.backwards };
	},
	state: (document) => ({ ...document, status: 'daydreaming' }),
	'other-id': (document) => ({ ...document, id: 'gen_somebody_elses' }),
	'evil-audio'(document) {
		if (document.result) document.result.audio_url = 'file:///etc/passwd';
		return document;
	},
};

const problem = (code, message) => ({ error: { code, message } });

/* ---- requests ---- */

class Refusal extends Error {
	constructor(status, code, message) {
		super(message);
		this.status = status;
		this.code = code;
	}
}

const invalid = (message) => new Refusal(422, 'invalid_request', message);

function readRequest(text) {
	let body;
	try {
		body = JSON.parse(text);
	} catch {
		throw new Refusal(422, 'invalid_json', 'the body is not JSON');
	}
	if (body === null || typeof body !== 'object' || Array.isArray(body)) throw invalid('the body must be an object');
	const { prompt, style = null, duration = null, params = null, callback_url = null, client_reference = null } = body;
	if (typeof prompt !== 'string' || prompt.trim() === '') throw invalid('prompt must be a text that says something');
	if (prompt.length > 4000) throw invalid(`prompt has ${prompt.length} characters: 4000 are read`);
	if (style !== null && (typeof style !== 'string' ||
		style.length > 200)) throw invalid('style must be a text of at most 200 characters');
	if (duration !== null && !(Number.isFinite(duration) && duration >= 1 && duration <= DURATION_MAX))
		throw invalid(`duration must be 1 to ${DURATION_MAX} seconds, not ${JSON.stringify(duration)}`);
	if (params !== null && (typeof params !== 'object' || Array.isArray(params))) throw invalid('params must be an object');
	if (client_reference !== null && (typeof client_reference !== 'string' || client_reference.length > 255))
		throw invalid('client_reference must be a text of at most 255 characters');
	if (callback_url !== null && !(typeof callback_url === 'string' && /^https?:\/\//.test(callback_url) &&
		URL.canParse?.(callback_url) !== false))
		throw invalid('callback_url must be an http or https URL');
	return { prompt, style, duration: duration ?? 60, params: params ?? {}, callback_url, client_reference };
}

function forgetOldest() {
	for (const [id, generation] of generations) {
		if (generations.size <= GENERATIONS_MAX) return;
		if (!ended(generation)) continue;
		generations.delete(id);
		if (generation.key !== undefined) byKey.delete(generation.key);
		studio.forget(generation);
	}
}

/* The generation for a request: a new one, or the one its key has had before. { generation, fresh } */
function submit(req, text) {
	const key = req.headers['idempotency-key'];
	counters.submitted++;
	const request = readRequest(text);
	if (request.client_reference !== null) references.set(request.client_reference, (references.get(request.client_reference) ?? 0) + 1);
	const digest = crypto.createHash('sha256').update(JSON.stringify(request)).digest('hex');
	const known = key === undefined ? undefined : byKey.get(key);
	if (known) {
		if (known.digest !== digest) throw new Refusal(409, 'idempotency_conflict', 'this Idempotency-Key has come with another body');
		counters.repeated++;
		return { generation: generations.get(known.id), fresh: false };
	}
	const generation = {
		id: `gen_${crypto.randomBytes(12).toString('hex')}`, key, request, callback_url: request.callback_url, status: 'queued',
			progress: 0,
		created_at: new Date().toISOString(),
	};
	counters.distinct++;
	generations.set(generation.id, generation);
	if (key !== undefined) byKey.set(key, { id: generation.id, digest });
	forgetOldest();
	const { instant, render_ms, outcome, error } = behaviour;
	studio.submit(generation, { instant, render_ms, outcome, error });
	return { generation, fresh: true };
}

function find(id) {
	const generation = generations.get(id);
	if (!generation) throw new Refusal(404, 'not_found', `no generation has the id "${id}"`);
	return generation;
}

/* Waits until the callbacks of a generation were answered: "early" tells the end before the beginning */
async function early(generation) {
	while (!ended(generation) || callbacks.queues.has(generation.id)) await new Promise((resolve) => setTimeout(resolve, 5));
}

const HANDLERS = {
	async submit(req, text) {
		const { generation, fresh } = submit(req, text);
		const document = documentOf(generation);
		if (behaviour.callback === 'early' && fresh && generation.callback_url) await early(generation);
		return [fresh ? 202 : 200, fresh ? document : documentOf(generation), { location: `/v1/generations/${generation.id}` }];
	},
	poll(req, text, id) {
		counters.polled++;
		return [200, documentOf(find(id))];
	},
	list(req, text, id, query) {
		counters.listed++;
		const reference = query.get('client_reference');
		const found = [...generations.values()].filter((generation) => reference === null ||
			generation.request.client_reference === reference);
		return [200, { data: found.reverse().slice(0, 100).map(documentOf) }];
	},
	cancel(req, text, id) {
		const generation = find(id);
		if (studio.cancel(generation)) counters.cancelled++;
		return [200, documentOf(generation)];
	},
};

async function answer(kind, req, res, text, id, query) {
	const { on, after, mode: wanted, answer: how } = behaviour;
	let mode = on.includes(kind) ? wanted : 'ok';
	const slow = on.includes(kind) ? how.delay_ms ?? 0 : 0;
	if (mode !== 'ok' || slow > 0) {
		if (behaviour.count !== null && behaviour.count-- <= 0) {
			behaviour = { ...behaviour, mode: 'ok', count: null, answer: PLAIN, after: false };
			mode = 'ok';
		} else if (slow > 0) {
			await new Promise((resolve) => setTimeout(resolve, slow));
		}
	}
	try {
		if (mode !== 'ok' && !after) return odd(mode, how, req, res);
		const [status, document, headers] = await HANDLERS[kind](req, text, id, query);
		if (mode !== 'ok') return odd(mode, how, req, res);
		sendJson(res, status, document, headers);
	} catch (error) {
		if (!(error instanceof Refusal)) throw error;
		counters.refused++;
		sendJson(res, error.status, problem(error.code, error.message));
	}
}

/* ---- control ---- */

const CALLBACKS = ['normal', 'early', 'duplicate', 'bad-signature', 'none'];
const KINDS = Object.keys(HANDLERS);
const ANSWER_FIELDS = ['status', 'retry_after', 'delay_ms', 'body', 'headers', 'location', 'size', 'interval_ms'];

function oneOf(name, value, list) {
	if (!list.includes(value)) throw new Error(`unknown ${name} "${value}": one of ${list.join(', ')}`);
	return value;
}

/* What a control document doesn't name stays, except that a new mode starts afresh */
function configure(changes) {
	const next = { ...behaviour };
	if ('mode' in changes) Object.assign(next, { mode: oneOf('mode', changes.mode, ALL_MODES), count: null, answer: PLAIN, on: FRESH.on,
		after: false });
	for (const [field, value] of Object.entries(changes)) {
		if (field === 'mode') continue;
		else if (ANSWER_FIELDS.includes(field)) next.answer = { ...next.answer, [field]: value };
		else if (field === 'on') next.on = [value].flat().map((kind) => oneOf('request', kind, KINDS));
		else if (field === 'lie') next.lie = value === null ? null : oneOf('lie', value, Object.keys(LIES));
		else if (field === 'callback') next.callback = oneOf('callback', value, CALLBACKS);
		else if (field === 'outcome') next.outcome = oneOf('outcome', value, ['succeeded', 'failed']);
		else if (field in FRESH) next[field] = value;
		else throw new Error(`unknown field "${field}"`);
	}
	behaviour = next;
}

function summary() {
	const states = { queued: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };
	for (const generation of generations.values()) states[generation.status]++;
	const { answer: how, ...rest } = behaviour;
	return { ...counters, states, callbacks: callbacks.counters, client_references: Object.fromEntries(references), behaviour: { ...rest,
		...how } };
}

function control(req, res, text) {
	if (req.method === 'PUT') {
		try {
			configure(JSON.parse(text));
		} catch (error) {
			return sendJson(res, 400, problem('invalid_control', error.message));
		}
	} else if (req.method === 'DELETE') {
		behaviour = { ...FRESH };
		for (const name of Object.keys(counters)) counters[name] = 0;
		for (const name of Object.keys(callbacks.counters)) callbacks.counters[name] = 0;
		references.clear();
	} else if (req.method !== 'GET') {
		return sendJson(res, 405, problem('method_not_allowed', `${req.method} is not GET, PUT or DELETE`));
	}
	return sendJson(res, 200, summary());
}

/* ---- routes ---- */

function allowed(req) {
	if (options.token === undefined) return true;
	const [, token = ''] = /^Bearer (.*)$/i.exec(req.headers.authorization ?? '') ?? [];
	const digest = (text) => crypto.createHash('sha256').update(text).digest();
	return crypto.timingSafeEqual(digest(token), digest(options.token));
}

function audio(req, res, name, kind) {
	const generation = generations.get(name);
	if (!generation || generation.status !== 'succeeded') return sendJson(res, 404, problem('not_found', `no audio has the id "${name}"`));
	if (kind === 'json') return sendJson(res, 200, { id: name, ...generation.result });
	counters.downloads++;
	return sendAudio(req, res, studio.audioPath(generation), generation.etag);
}

function route(req, res, text) {
	const mark = req.url.indexOf('?');
	const where = mark < 0 ? req.url : req.url.slice(0, mark);
	const query = new URLSearchParams(mark < 0 ? '' : req.url.slice(mark + 1));
	if (where === '/control') return control(req, res, text);
	const [, sound, kind] = /^\/v1\/audio\/([\w-]+)\.(wav|json)$/.exec(where) ?? [];
	if (sound && (req.method === 'GET' || req.method === 'HEAD')) return audio(req, res, sound, kind);
	const [, , id] = /^\/v1\/generations(\/([\w-]+))?$/.exec(where) ?? [null, null, null];
	if (!/^\/v1\/generations(\/[\w-]+)?$/.test(where)) return sendJson(res, 404, problem('not_found', `no such path: ${where}`));
	if (!allowed(req)) return sendJson(res, 401, problem('unauthorized', 'send Authorization: Bearer with the token'),
		{ 'www-authenticate': 'Bearer' });
	const what = { POST: id ? null : 'submit', GET: id ? 'poll' : 'list', DELETE: id ? 'cancel' : null }[req.method];
	if (!what) return sendJson(res, 405, problem('method_not_allowed', `${req.method} has no meaning for ${where}`));
	return answer(what, req, res, text, id, query);
}

function take(req, res) {
	const chunks = [];
	let size = 0;
	req.on('error', () => {});
	res.on('error', () => {});
	req.on('data', (chunk) => {
		size += chunk.length;
		if (size <= BODY_MAX) chunks.push(chunk);
	});
	req.on('end', () => {
		if (size > BODY_MAX) return sendJson(res, 413, problem('too_large', `a request may have ${BODY_MAX} bytes`));
		Promise.resolve(route(req, res, Buffer.concat(chunks).toString())).catch((error) => {
			if (!options.quiet) process.stderr.write(`provider: ${error.stack}\n`);
			if (!res.headersSent) sendJson(res, 500, problem('internal', error.message));
		});
	});
}

/* ---- start ---- */

function stop() {
	if (studio.current) studio.forget(studio.current);
	if (ownDirectory) fs.rmSync(directory, { recursive: true, force: true });
	process.exit(0);
}

async function main() {
	const port = await listen(prepare(http.createServer(take), 'provider', options.quiet), options.port, options.host);
	base = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`;
	announce({ host: options.host, port });
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
main().catch((error) => {
	process.stderr.write(`provider: ${error.message}\n`);
	process.exit(1);
});
