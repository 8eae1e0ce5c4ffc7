/*
 * Reads multipart/form-data as it comes. Of a file it keeps the first HEAD
 * bytes, the size and a digest, never the content: an upload of 4 GiB costs what
 * one of 4 KiB does. Fields are kept whole, up to FIELD_MAX bytes each.
 *
 * Resolves to a list of { name, filename, type, size, head, sha256, value },
 * value being the text of a part without a filename. Rejects with a Malformed
 * when the body isn't what its Content-Type says, or the client goes away.
 */
'use strict';

const crypto = require('node:crypto');

const HEAD = 64 * 1024;
const FIELD_MAX = 1024 * 1024;
const HEADERS_MAX = 16 * 1024;
const CRLF2 = Buffer.from('\r\n\r\n');

class Malformed extends Error {}

/* What is remembered of bytes that go by */
class Measure {
	constructor(algorithms) {
		this.size = 0;
		this.kept = [];
		this.keptBytes = 0;
		this.hashes = algorithms.map((name) => [name, crypto.createHash(name)]);
	}

	add(bytes) {
		this.size += bytes.length;
		if (this.keptBytes < HEAD) {
			const piece = Buffer.from(bytes.subarray(0, HEAD - this.keptBytes));
			this.kept.push(piece);
			this.keptBytes += piece.length;
		}
		for (const [, hash] of this.hashes) hash.update(bytes);
	}

	end() {
		const digests = this.hashes.map(([name, hash]) => [name, hash.digest('hex')]);
		return { size: this.size, head: Buffer.concat(this.kept), ...Object.fromEntries(digests) };
	}
}

function unquote(text) {
	return text.replace(/\\(["\\])/g, '$1').replaceAll('%22', '"');
}

function openPart(headers) {
	const disposition = /^content-disposition:\s*form-data\s*(;.*)$/im.exec(headers)?.[1];
	if (disposition === undefined) throw new Malformed('a part has no Content-Disposition: form-data');
	const parameter = (name) => {
		const found = new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]*))`, 'i').exec(disposition);
		return found ? unquote(found[1] ?? found[2]) : undefined;
	};
	const name = parameter('name');
	if (name === undefined) throw new Malformed('a part has no name');
	const filename = parameter('filename');
	return { name, filename, type: /^content-type:\s*(.*?)\s*$/im.exec(headers)?.[1] ?? null,
		measure: filename === undefined ? null : new Measure(['sha256']), chunks: [], size: 0 };
}

function feed(part, bytes) {
	if (part.measure) return part.measure.add(bytes);
	part.size += bytes.length;
	if (part.size > FIELD_MAX) throw new Malformed(`the field "${part.name}" is longer than ${FIELD_MAX} bytes`);
	part.chunks.push(Buffer.from(bytes));
}

function closePart({ name, filename, type, measure, chunks, size }) {
	if (measure) return { name, filename, type, ...measure.end() };
	return { name, type, size, value: Buffer.concat(chunks).toString() };
}

/* States: "preamble", "line" (behind a delimiter), "headers", "body", "end" */
class Reader {
	constructor(boundary) {
		this.delimiter = Buffer.from(`\r\n--${boundary}`);
		this.rest = Buffer.from('\r\n');		/* so that the first delimiter is like the others */
		this.state = 'preamble';
		this.part = null;
		this.parts = [];
	}

	take(chunk) {
		this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
		while (this.step());
	}

	/* one step forward; false when more bytes are needed */
	step() {
		const { rest, delimiter } = this;
		if (this.state === 'preamble' || this.state === 'body') {
			const at = rest.indexOf(delimiter);
			const sure = at >= 0 ? at : Math.max(0, rest.length - delimiter.length + 1);
			if (this.part && sure > 0) feed(this.part, rest.subarray(0, sure));
			this.rest = rest.subarray(at >= 0 ? at + delimiter.length : sure);
			if (at < 0) return false;
			if (this.part) this.parts.push(closePart(this.part));
			this.part = null;
			this.state = 'line';
			return true;
		}
		if (this.state === 'line') {
			if (rest.length < 2) return false;
			const mark = rest.toString('latin1', 0, 2);
			if (mark !== '--' && mark !== '\r\n') throw new Malformed('a delimiter is followed by neither CRLF nor --');
			this.state = mark === '--' ? 'end' : 'headers';
			/* the line end stays, for the search of the empty line behind the headers */
			return this.state === 'headers';
		}
		if (this.state === 'headers') {
			const at = rest.indexOf(CRLF2);
			if (at < 0 && rest.length > HEADERS_MAX) throw new Malformed('the headers of a part have no end');
			if (at < 0) return false;
			this.part = openPart(rest.toString('utf8', 2, at));
			this.rest = rest.subarray(at + 4);
			this.state = 'body';
			return true;
		}
		this.rest = rest.subarray(rest.length);
		return false;
	}
}

function readMultipart(req) {
	const boundary = /^multipart\/form-data\s*;.*?boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(req.headers['content-type'] ?? '');
	if (!boundary) return Promise.reject(new Malformed('the Content-Type is not multipart/form-data with a boundary'));
	const reader = new Reader(boundary[1] ?? boundary[2]);
	return new Promise((resolve, reject) => {
		let failed = false;
		req.on('data', (chunk) => {
			if (failed) return;
			try {
				reader.take(chunk);
			} catch (error) {
				failed = true;
				reject(error);
			}
		});
		req.on('end', () => (reader.state === 'end' ? resolve(reader.parts) :
			reject(new Malformed('the body ends before its last delimiter'))));
		req.on('close', () => req.complete || reject(new Malformed('the client went away')));
	});
}

/* The same memory, with an md5, for a body that is one file; null when it didn't come whole */
function readFile(req, onChunk) {
	const measure = new Measure(['md5', 'sha256']);
	return new Promise((resolve) => {
		req.on('data', (chunk) => {
			measure.add(chunk);
			onChunk?.(chunk);
		});
		req.on('end', () => resolve(req.complete ? measure.end() : null));
		req.on('close', () => req.complete || resolve(null));
	});
}

module.exports = { readMultipart, readFile, Malformed };
