/*
 * What every stand-in of a partner is: steps with a name that may be told to go
 * wrong, counters, and answers that are data until they are sent.
 *
 * A partner has
 *   name, steps                     what faults may name
 *   find(method, path)              { step, run(call) } or null
 *   problem(status, message, more)  an error as this partner words it
 *   limited(how)                    its "too many requests"
 * and run() returns, or throws, an Answer. Nothing is written before the answer
 * is complete, so that an answer can get lost although its work is done.
 */
'use strict';

const crypto = require('node:crypto');
const { misbehaveJson, JSON_MODES } = require('../misbehave.js');
const { readMultipart, Malformed } = require('./multipart.js');

const BODY_MAX = 4 * 1024 * 1024;
const RECORDS_MAX = 10000;

class Answer {
	/* body: an object for JSON, a text with its type, or null */
	constructor(status, body = null, headers = {}) {
		this.status = status;
		this.body = body;
		this.headers = headers;
	}

	send(req, res) {
		if (res.destroyed || res.headersSent) return;
		const text = this.body === null ? '' : typeof this.body === 'string' ? this.body : JSON.stringify(this.body) + '\n';
		const type = this.body === null ? {} : { 'content-type': typeof this.body === 'string' ? 'text/html; charset=utf-8' :
			'application/json; charset=utf-8' };
		res.writeHead(this.status, { ...type, 'content-length': Buffer.byteLength(text), ...this.headers });
		res.end(req.method === 'HEAD' ? undefined : text);
	}
}

/* An answer that ends the work: the same data, thrown */
class Refused extends Error {
	constructor(answer) {
		super(`refused with ${answer.status}`);
		this.answer = answer;
	}
}

/* The time of the stand-ins: real, and moved on by PUT /control */
const clock = {
	offset: 0,
	now() {
		return Date.now() + this.offset;
	},
};

/* The newest RECORDS_MAX entries of a map stay */
function remember(map, key, value) {
	map.set(key, value);
	if (map.size > RECORDS_MAX) map.delete(map.keys().next().value);
	return value;
}

function count(map, key) {
	return remember(map, key, (map.get(key) ?? 0) + 1);
}

const token = (prefix) => prefix + crypto.randomBytes(24).toString('base64url');
const sameText = (a, b) => {
	const digest = (text) => crypto.createHash('sha256').update(String(text)).digest();
	return crypto.timingSafeEqual(digest(a), digest(b));
};

/* One request: its parts are read when somebody asks for them */
class Call {
	constructor(partner, req, path, query) {
		Object.assign(this, { partner, req, path, query, read: false });
		[this.type] = (req.headers['content-type'] ?? '').toLowerCase().split(';');
	}

	refuse(status, message, more) {
		throw new Refused(this.partner.problem(status, message, more));
	}

	async bytes() {
		this.read = true;
		const chunks = [];
		let size = 0;
		for await (const chunk of this.req) {
			size += chunk.length;
			if (size <= BODY_MAX) chunks.push(chunk);
		}
		if (size > BODY_MAX) this.refuse(413, `a document may have ${BODY_MAX} bytes`);
		return Buffer.concat(chunks);
	}

	async json() {
		const text = (await this.bytes()).toString();
		if (text === '') return {};
		try {
			const value = JSON.parse(text);
			if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
		} catch {
			/* said below */
		}
		return this.refuse(400, 'the body is not a JSON object');
	}

	async form() {
		if (this.type !== 'application/x-www-form-urlencoded') {
			await this.bytes();
			this.refuse(400, `send application/x-www-form-urlencoded, not "${this.type}"`);
		}
		return Object.fromEntries(new URLSearchParams((await this.bytes()).toString()));
	}

	async multipart() {
		this.read = true;
		try {
			return await readMultipart(this.req);
		} catch (error) {
			if (!(error instanceof Malformed)) throw error;
			/* the rest of it comes in before the answer */
			this.read = false;
			return this.refuse(400, error.message);
		}
	}

	/* what nobody wanted to read still has to come in before the answer */
	async drain() {
		if (this.read || this.req.complete) return;
		this.req.resume();
		await new Promise((resolve) => this.req.once('close', resolve).once('end', resolve));
	}
}

/* ---- faults ---- */

const MODES = [...JSON_MODES, 'error', 'limited', 'lost', 'reset-upload', 'cut'];
const FAULT_FIELDS = ['on', 'mode', 'count', 'skip', 'after', 'unread', 'bytes', 'status', 'message', 'code', 'retry_after', 'delay_ms',
	'body', 'headers', 'location', 'size', 'interval_ms', 'reset_seconds'];

function readFault(partner, fault) {
	for (const field of Object.keys(fault))
		if (!FAULT_FIELDS.includes(field)) throw new Error(`unknown field "${field}" of a fault`);
	const { on = partner.steps, mode = 'ok', count: left = null, skip = 0, after = false, ...how } = fault;
	if (!MODES.includes(mode)) throw new Error(`unknown mode "${mode}": one of ${MODES.join(', ')}`);
	for (const step of [on].flat())
		if (!partner.steps.includes(step)) throw new Error(`unknown step "${step}" of ${partner.name}: one of ${partner.steps.join(', ')}`);
	return { on: [on].flat(), mode, count: left, skip, after: after || mode === 'lost', how };
}

/* The fault that this request meets, if any; one that is used up goes */
function takeFault(partner, step) {
	for (const fault of partner.faults) {
		if (!fault.on.includes(step)) continue;
		if (fault.skip > 0) {
			fault.skip--;
			continue;
		}
		if (fault.count !== null && --fault.count <= 0) partner.faults = partner.faults.filter((other) => other !== fault);
		count(partner.faulty, step);
		return fault;
	}
	return null;
}

function resetDuringUpload(req, res, after) {
	let seen = 0;
	return new Promise((resolve) => {
		req.on('data', (chunk) => {
			seen += chunk.length;
			if (seen < after) return;
			misbehaveJson('reset', {}, req, res);
			resolve();
		});
		req.on('end', resolve);
		req.on('close', resolve);
	});
}

/* The connection breaks when that many bytes of the answer are out */
function cutAfter(res, bytes) {
	const write = res.write.bind(res);
	let left = bytes;
	res.write = (chunk) => {
		if (left <= 0) return false;
		const piece = Buffer.from(chunk).subarray(0, left);
		left -= piece.length;
		return write(piece, () => left <= 0 && res.destroy());
	};
	res.end = (chunk) => {
		if (chunk) res.write(chunk);
		if (left > 0) res.destroy();
	};
}

function spoil(partner, { mode, how }, req, res) {
	if (res.headersSent) return res.destroy();
	if (mode === 'error') return partner.problem(how.status ?? 500, how.message ?? 'told to fail', { code: how.code }).send(req, res);
	if (mode === 'limited') return partner.limited(how).send(req, res);
	return misbehaveJson(mode === 'lost' ? 'close' : mode, how, req, res);
}

async function serve(partner, { step, run }, call, req, res) {
	count(partner.requests, step);
	const fault = takeFault(partner, step);
	if (fault?.how.delay_ms > 0) await new Promise((resolve) => setTimeout(resolve, fault.how.delay_ms));
	if (fault?.mode === 'reset-upload') {
		await resetDuringUpload(req, res, fault.how.bytes ?? 1);
		if (!req.socket.destroyed) misbehaveJson('reset', {}, req, res);
		return;
	}
	if (fault?.mode === 'cut') cutAfter(res, fault.how.bytes ?? 1);
	const goesWrong = fault && !['ok', 'cut'].includes(fault.mode);
	if (goesWrong && !fault.after) {
		if (!fault.how.unread) await call.drain();
		return spoil(partner, fault, req, res);
	}
	let answer;
	try {
		answer = await run(call);
	} catch (error) {
		if (!(error instanceof Refused)) throw error;
		answer = error.answer;
	}
	if (answer?.status >= 400) count(partner.refused, step);
	await call.drain();
	if (goesWrong) return spoil(partner, fault, req, res);
	if (answer) answer.send(req, res);
}

class Partner {
	constructor(name, steps) {
		Object.assign(this, { name, steps });
		this.forget();
	}

	forget() {
		this.faults = [];
		this.requests = new Map();		/* step -> how often */
		this.refused = new Map();
		this.faulty = new Map();
		this.settings = { ...this.constructor.SETTINGS };
	}

	/* fields of the control document that are this partner's own; throws when it can't be */
	configure(changes) {
		for (const [field, value] of Object.entries(changes)) {
			if (field === 'faults') this.faults = [value].flat().map((fault) => readFault(this, fault));
			else if (field in this.settings) this.settings[field] = this.check(field, value);
			else throw new Error(`unknown field "${field}" of ${this.name}: one of faults, ${Object.keys(this.settings).join(', ')}`);
		}
	}

	check(field, value) {
		if (field === 'lie' && value !== null && !this.constructor.LIES.includes(value))
			throw new Error(`unknown lie "${value}" of ${this.name}: one of ${this.constructor.LIES.join(', ')}`);
		return value;
	}

	summary() {
		return { requests: Object.fromEntries(this.requests), refused: Object.fromEntries(this.refused),
			faulty: Object.fromEntries(this.faulty), faults: this.faults.map(({ how, ...rest }) => ({ ...rest, ...how })),
				...this.settings };
	}

	records() {
		return {};
	}
}
Partner.SETTINGS = {};
Partner.LIES = [];

module.exports = { Answer, Refused, Call, Partner, clock, remember, count, token, sameText, serve };
