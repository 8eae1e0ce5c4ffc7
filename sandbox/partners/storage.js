/*
 * Object storage: a folder of files with PUT, GET and Range; silence of any
 * size that is made while it is read; and the signed URLs of uploads, which
 * refuse what a bucket refuses. What comes to a signed URL is measured, not
 * kept.
 */
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { Answer, Partner, clock, sameText, token } = require('./partner.js');
const { readFile } = require('./multipart.js');
const { silenceHeader, WAV_MAX } = require('./media.js');
const { beginAudio, sendAudio } = require('../audio.js');

const ZEROS = Buffer.alloc(65536);
const TYPES = { wav: 'audio/wav', flac: 'audio/flac', png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', xml: 'application/xml',
	json: 'application/json' };

const xml = (status, code, message) => new Answer(status,
	`<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>\n`,
		{ 'content-type': 'application/xml' });

class Storage extends Partner {
	constructor({ directory, base }) {
		super('storage', ['put', 'get', 'delete', 'zeros', 'upload']);
		Object.assign(this, { directory, base, key: token(''), etags: new Map(), received: () => {} });
		fs.mkdirSync(directory, { recursive: true });
	}

	forget() {
		super.forget();
		this.counters = { puts: 0, uploads: 0, bytes_in: 0, bytes_out: 0, broken: 0 };
	}

	problem(status, message, { code = 'Error' } = {}) {
		return xml(status, code, message);
	}

	limited({ retry_after: seconds = 1 }) {
		return new Answer(503, xml(503, 'SlowDown', 'Please reduce your request rate.').body,
			{ 'content-type': 'application/xml', 'retry-after': String(seconds) });
	}

	find(method, where) {
		const reads = method === 'GET' || method === 'HEAD';
		const [, size] = /^\/zeros\/(\d+)\.wav$/.exec(where) ?? [];
		if (size && reads) return { step: 'zeros', run: (call) => this.zeros(call, Number(size)) };
		if (where.startsWith('/uploads/') && method === 'PUT') return { step: 'upload', run: (call) => this.upload(call, where.slice(1)) };
		const [, name] = /^\/([\w.-]+)$/.exec(where) ?? [];
		if (!name || name.startsWith('.')) return null;
		if (reads) return { step: 'get', run: (call) => this.get(call, name) };
		if (method === 'PUT') return { step: 'put', run: (call) => this.put(call, name) };
		if (method === 'DELETE') return { step: 'delete', run: (call) => this.remove(call, name) };
		return null;
	}

	/* ---- signed uploads ---- */

	signature(key, until) {
		return crypto.createHmac('sha256', this.key).update(`PUT\n${key}\n${until}`).digest('hex');
	}

	sign(key, until) {
		return `${this.base()}/${key}?X-Expires=${until}&X-Signature=${this.signature(key, until)}`;
	}

	async upload(call, key) {
		const { req, query } = call;
		const until = query.get('X-Expires') ?? '';
		if (req.headers.authorization !== undefined) return xml(400, 'InvalidArgument', 'Only one auth mechanism allowed');
		if (req.headers['content-length'] === undefined) return xml(411, 'MissingContentLength',
				'You must provide the Content-Length HTTP header.');
		if (!sameText(query.get('X-Signature') ?? '', this.signature(key, until))) return xml(403, 'SignatureDoesNotMatch',
				'The signature does not match.');
		if (clock.now() > Number(until)) return xml(403, 'AccessDenied', 'Request has expired');
		call.read = true;
		const measured = await readFile(req);
		if (!measured) {
			this.counters.broken++;
			return null;
		}
		this.counters.uploads++;
		this.counters.bytes_in += measured.size;
		this.received(key, measured);
		return new Answer(200, null, { etag: `"${measured.md5}"` });
	}

	/* ---- files ---- */

	async put(call, name) {
		const file = path.join(this.directory, name);
		const temporary = `${file}.${crypto.randomUUID()}.part`;
		const out = fs.createWriteStream(temporary);
		call.read = true;
		const measured = await readFile(call.req, (chunk) => {
			if (!out.write(chunk)) {
				call.req.pause();
				out.once('drain', () => call.req.resume());
			}
		});
		await new Promise((resolve) => out.end(resolve));
		if (!measured) {
			this.counters.broken++;
			fs.rmSync(temporary, { force: true });
			return null;
		}
		fs.renameSync(temporary, file);
		this.etags.set(name, measured.md5);
		this.counters.puts++;
		this.counters.bytes_in += measured.size;
		return new Answer(200, null, { etag: `"${measured.md5}"` });
	}

	get(call, name) {
		const file = path.join(this.directory, name);
		if (!fs.existsSync(file)) call.refuse(404, 'The specified key does not exist.', { code: 'NoSuchKey' });
		const { size, mtimeMs } = fs.statSync(file);
		this.follow(call.res);
		sendAudio(call.req, call.res, file, this.etags.get(name) ?? `${size}-${mtimeMs}`,
			TYPES[name.split('.').pop()] ?? 'application/octet-stream');
		return null;
	}

	remove(call, name) {
		fs.rmSync(path.join(this.directory, name), { force: true });
		return new Answer(204);
	}

	zeros(call, size) {
		const head = silenceHeader(size);
		if (!head) call.refuse(400, `a WAV file has an even number of bytes, 44, 48 or 52 to ${WAV_MAX}, not ${size}`,
				{ code: 'InvalidArgument' });
		const { req, res } = call;
		this.follow(res);
		const range = beginAudio(req, res, size, `zeros-${size}`);
		if (!range) return null;
		let [at, last] = range;
		const more = () => {
			while (at <= last && !res.destroyed) {
				const source = at < head.length ? head.subarray(at) : ZEROS;
				const piece = source.subarray(0, Math.min(source.length, last - at + 1));
				at += piece.length;
				if (!res.write(piece) && at <= last) return res.once('drain', more);
			}
			return res.end();
		};
		more();
		return null;
	}

	follow(res) {
		const { socket } = res;
		const before = socket.bytesWritten;
		res.once('close', () => { this.counters.bytes_out += socket.bytesWritten - before; });
	}

	summary() {
		return { ...super.summary(), ...this.counters };
	}
}

module.exports = { Storage };
