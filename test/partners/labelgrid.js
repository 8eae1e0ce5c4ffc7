/*
 * A LabelGrid that behaves as it is told: releases, tracks, uploads by
 * presigned URLs, photo, validate, distribute, the queue, takedown. It keeps
 * what it is given in memory, refuses what the real one would, and honours
 * Idempotency-Key.
 *
 * PUT /control {"<step>": [behaviour, …], "live": bool, "redistributes": bool, "locks": bool, "gives": {}}: a list is used up
 * one request after the other; with locks nothing of what was distributed can be changed. gives has what it is given that
 * lacks codes, {"upc", "isrc" (without its last digit), "late": only what is live}. A behaviour is an object:
 *   http    status instead of the right one, with body and retry_after
 *   done    true: the request is carried out all the same
 *   hang    no answer; reset: the connection is closed without one
 *   wait    milliseconds before the answer
 * Steps: create_release, list_releases, update_release, delete_release,
 * create_track, list_tracks, update_track, upload_url, put, commit, photo,
 * validate, distribute, queue, look, takedown.
 *
 * GET /state tells all, GET /log the requests. GET /files/<name> serves audio of that format,
 * 404 for missing…, no audio for text….
 * The first line of the output is {"host", "port"}.
 */
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const audio = require('./audio.js');

let control = {};
let live = true;
let redistributes = true;
let locks = false;
let gives = null;
let next = 1;
const releases = new Map();
const tracks = new Map();
const objects = new Map();
const seen = new Map();
const log = [];
let base;

const token = process.env.LABELGRID_TOKEN ?? 'secret-token';
const files = new Map();

/* Audio that is some, but for what is named text…; covers are text as well */
function bytes(name) {
	if (!files.has(name)) {
		const large = name.startsWith('large');
		if (name.endsWith('.flac') && !name.startsWith('text')) files.set(name, audio.flac(name, large ? 780 : 2));
		else if (name.endsWith('.wav')) files.set(name, audio.wav(name, large ? 800000 : 2000));
		else files.set(name, Buffer.from(crypto.createHash('sha256').update(name).digest('hex').repeat(100)));
	}
	return files.get(name);
}

class Refusal extends Error {
	constructor(status, message, code) { super(message); Object.assign(this, { status, code }); }
}

function release(id) {
	const found = releases.get(Number(id));
	if (!found) throw new Refusal(404, 'release not found');
	return found;
}

/* One that may be changed */
function open(id) {
	const found = release(id);
	if (locks && found.status !== 'draft') throw new Refusal(403, 'the release is locked', 'RELEASE_LOCKED_FIELDS');
	return found;
}

/* Gives it what it lacks */
function give(found) {
	if (!gives) return;
	found.barcode_number ??= gives.upc;
	for (const [n, mine] of [...tracks.values()].filter((t) => t.release_id === found.id).entries()) mine.isrc ??= `${gives.isrc}${n}`;
}

function track(id) {
	const found = tracks.get(Number(id));
	if (!found) throw new Refusal(404, 'track not found');
	return found;
}

function json(body) {
	try {
		return JSON.parse(body);
	} catch {
		throw new Refusal(400, 'the body is no JSON');
	}
}

const steps = [
	['POST', /^\/releases$/, 'create_release', (m, body) => {
		const given = json(body);
		for (const name of ['content_type', 'artists', 'titles', 'cat', 'artwork_ai_usage', 'primary_genre_id'])
			if (given[name] === undefined) throw new Refusal(422, `${name} is required`);
		const made = { id: next++, ...given, status: 'draft', updates: 0, distributions: [] };
		releases.set(made.id, made);
		return [201, { data: made }];
	}],
	['GET', /^\/releases$/, 'list_releases', (m, body, query) => [200, { data: [...releases.values()].filter((r) => r.cat === query.get('filter[cat]')) }]],
	['PUT', /^\/releases\/(\w+)$/, 'update_release', (m, body) => {
		const found = open(m[1]);
		Object.assign(found, json(body), { updates: found.updates + 1 });
		return [200, { data: found }];
	}],
	['DELETE', /^\/releases\/(\w+)$/, 'delete_release', (m) => {
		if (release(m[1]).distributions.length) throw new Refusal(422, 'only drafts can be deleted');
		releases.delete(Number(m[1]));
		return [204];
	}],
	['POST', /^\/releases\/(\w+)\/tracks$/, 'create_track', (m, body) => {
		const made = { id: next++, release_id: release(m[1]).id, ...json(body), file: null };
		tracks.set(made.id, made);
		return [201, { data: made }];
	}],
	['GET', /^\/tracks$/, 'list_tracks', (m, body, query) => [200, { data: [...tracks.values()].filter((t) => t.release_id === release(query.get('release_id')).id) }]],
	['GET', /^\/releases\/(\w+)$/, 'look', (m) => [200, { data: { ...release(m[1]), is_live: live } }]],
	['PUT', /^\/tracks\/(\w+)$/, 'update_track', (m, body) => {
		open(track(m[1]).release_id);
		return [200, { data: Object.assign(track(m[1]), json(body)) }];
	}],
	['POST', /^\/tracks\/(\w+)\/files\/stereo\/upload-url$/, 'upload_url', (m, body) => {
		track(m[1]);
		const key = `k/${next++}-${json(body).filename}`;
		objects.set(key, null);
		return [200, { upload_url: `${base}/store/${encodeURIComponent(key)}?signature=x`, key }];
	}],
	['PUT', /^\/tracks\/(\w+)\/files\/stereo$/, 'commit', (m, body) => {
		const { s3_key } = json(body);
		if (!objects.get(s3_key)) throw new Refusal(422, 'no such object');
		track(m[1]).file = { sha256: crypto.createHash('sha256').update(objects.get(s3_key)).digest('hex'), size: objects.get(s3_key).length };
		return [200, { data: track(m[1]) }];
	}],
	['POST', /^\/releases\/(\w+)\/photo$/, 'photo', (m, body, query, req) => {
		const boundary = /boundary=(.+)$/.exec(req.headers['content-type'] ?? '')?.[1];
		if (!boundary || !body.includes(`--${boundary}--`) || !body.includes('name="file"')) throw new Refusal(400, 'no file');
		open(m[1]).photo = body.length;
		return [200, {}];
	}],
	['POST', /^\/releases\/(\w+)\/validate$/, 'validate', (m) => {
		const found = release(m[1]);
		const errors = [];
		if (!found.photo) errors.push('no cover');
		const mine = [...tracks.values()].filter((t) => t.release_id === found.id);
		if (!mine.length || mine.some((t) => !t.file)) errors.push('a track has no audio');
		return [200, { valid: !errors.length, errors }];
	}],
	['POST', /^\/releases\/(\w+)\/distribute$/, 'distribute', (m, body, query, req) => {
		const found = release(m[1]);
		if (found.status !== 'draft' && !redistributes) throw new Refusal(409, 'the release has been submitted', 'RELEASE_ALREADY_SUBMITTED');
		found.status = 'distributed';
		found.outlets = json(body).outlets;
		found.distributions.push(req.headers['idempotency-key']);
		if (!gives?.late) give(found);
		return [202, { data: { id: found.id, status: 'queued' } }];
	}],
	['GET', /^\/queues\/distro$/, 'queue', (m, body, query) => {
		const found = release(query.get('release_id'));
		if (live && gives?.late && found.distributions.length) give(found);
		const status = found.status === 'removed' ? 'removed' : found.distributions.length ? (live ? 'live' : 'processing') : null;
		return [200, { data: status === null ? [] : found.outlets.map((outlet) => ({
			id: next++, release_id: found.id, outlet: { name: outlet }, status: found.statuses?.[outlet] ?? status,
			...(status === 'live' ? { external_id: `${outlet.toLowerCase()}-${found.id}`, url: `https://${outlet.toLowerCase().replace(/ /g, '')}.example.com/${found.id}` } : {}),
			...(found.statuses?.[outlet] === 'error' ? { error: 'the cover shows a price' } : {}) })) }];
	}],
	['POST', /^\/releases\/(\w+)\/takedown-all$/, 'takedown', (m) => {
		const found = release(m[1]);
		if (!found.distributions.length) throw new Refusal(409, 'it was never distributed', 'RELEASE_NOT_DISTRIBUTED');
		found.status = 'removed';
		return [202, {}];
	}],
	['PUT', /^\/store\/(.+)$/, 'put', (m, body, query, req) => {
		const key = decodeURIComponent(m[1]);
		if (req.headers.authorization) throw new Refusal(400, 'only one auth mechanism allowed');
		if (req.headers['content-length'] === undefined) throw new Refusal(411, 'MissingContentLength');
		if (!objects.has(key)) throw new Refusal(403, 'the signature does not fit');
		objects.set(key, req.bytes);
		return [200];
	}],
];

function answer(res, status, body, headers = {}) {
	res.writeHead(status, { 'content-type': 'application/json', ...headers });
	res.end(body === undefined ? '' : JSON.stringify(body));
}

function own(req, res, url, body) {
	if (url.pathname === '/control') {
		({ live = live, redistributes = redistributes, locks = locks, gives = gives, ...control } = json(body));
		return answer(res, 200, {}), true;
	} else if (url.pathname === '/statuses') {
		const { id, statuses } = json(body);
		release(id).statuses = statuses;
		return answer(res, 200, {}), true;
	} else if (url.pathname === '/state') {
		return answer(res, 200, { releases: [...releases.values()], tracks: [...tracks.values()], objects: objects.size }), true;
	} else if (url.pathname === '/log') {
		return answer(res, 200, log), true;
	} else if (url.pathname.startsWith('/files/')) {
		const name = url.pathname.slice(7);
		if (name.startsWith('missing')) return answer(res, 404, {}), true;
		res.writeHead(200, { 'content-type': 'application/octet-stream' });
		res.end(bytes(name));
		return true;
	}
	return false;
}

function handle(req, res, raw) {
	const url = new URL(req.url, base);
	const body = raw.toString('latin1');
	req.bytes = raw;
	if (own(req, res, url, raw.toString())) return;
	const found = steps.find(([method, pattern]) => method === req.method && pattern.test(url.pathname));
	if (!found) return answer(res, 404, { message: `no ${req.method} ${url.pathname}` });
	const [, pattern, step, run] = found;
	const key = req.headers['idempotency-key'];
	const behaviour = control[step]?.shift() ?? {};
	log.push({ step, path: req.url, key, authorization: req.headers.authorization, behaviour, at: Date.now() });

	let result;
	if (step !== 'put' && req.headers.authorization !== `Bearer ${token}`) result = [401, { message: 'Unauthenticated.' }];
	else if (key && seen.has(key)) result = seen.get(key);
	else if (!behaviour.http && !behaviour.hang && !behaviour.reset || behaviour.done) {
		try {
			result = run(pattern.exec(url.pathname), step === 'put' || step === 'photo' ? body : raw.toString(), url.searchParams, req);
			if (key) seen.set(key, result);
		} catch (error) {
			result = [error.status ?? 500, { message: error.message, code: error.code }];
		}
	}
	if (behaviour.hang) return;
	if (behaviour.reset) return req.socket.destroy();
	if (behaviour.http) result = [behaviour.http, behaviour.body ?? { message: 'as told' }];
	setTimeout(() => answer(res, result[0], result[1], behaviour.retry_after === undefined ? {} : { 'retry-after': String(behaviour.retry_after) }), behaviour.wait ?? 0);
}

const server = http.createServer((req, res) => {
	const chunks = [];
	req.on('data', (chunk) => chunks.push(chunk));
	req.on('end', () => {
		try {
			handle(req, res, Buffer.concat(chunks));
		} catch (error) {
			answer(res, error.status ?? 500, { message: error.message });
		}
	});
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => {
	const { address, port } = server.address();
	base = `http://${address}:${port}`;
	console.log(JSON.stringify({ host: address, port }));
});
process.on('SIGTERM', () => process.exit(0));
