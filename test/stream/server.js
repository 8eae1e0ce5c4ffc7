// Sources and sinks of streams over HTTP, which misbehave as their URL says.
//
// GET /source?size=N        N bytes that begin with "RIFF", the same each time
//     rate=B                so many bytes a second
//     stop=N, reset=N       ends, or resets, the connection after N bytes
//     stall=N               says nothing more after N bytes
//     announce=N            another Content-Length; chunked=1: none
//     linger=MS             ends so much after the last byte
//     status=S              that status instead
//     norange=1             knows no ranges; badrange=1: sends another one
// PUT|POST /sink            reads all, answers { bytes, sha256, headers, parts }
//     rate=B                reads so slowly
//     answer=S&after=N      answers S after N bytes, and reads no more
//     reset=N, stall=N      as above
//     silent=1              reads all and never answers
//     wait=MS               answers so much later
// GET /sha256?size=N&from=M what the source's bytes from M on come to
// GET /log                  the requests so far: method, path, range; method WHOLE when a sink had all of one
//
// Prints {"port": …} when it listens.
'use strict';
const http = require('http');
const crypto = require('crypto');

const BLOCK = 1 << 20;
const block = crypto.createHash('shake256', { outputLength: BLOCK }).update('musicverse').digest();
const first = Buffer.from(block);
first.write('RIFF');
const log = [];

// The bytes from an offset on, within its block
function piece(offset, length) {
	const at = offset % BLOCK;
	return (offset < BLOCK ? first : block).subarray(at, Math.min(at + length, BLOCK));
}

function digest(from, size) {
	const hash = crypto.createHash('sha256');
	for (let at = from; at < size;) {
		const bytes = piece(at, size - at);
		hash.update(bytes);
		at += bytes.length;
	}
	return hash.digest('hex');
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function source(request, response, q) {
	const size = q.size || 0;
	let from = 0;
	if (q.status) {
		response.writeHead(q.status, { 'content-type': 'text/plain' });
		response.end(`no: ${q.status}`);
		return;
	}
	const range = q.norange ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range || '');
	const headers = {};
	let end = size;
	if (range && Number(range[1]) >= size) {
		response.writeHead(416, { 'content-range': `bytes */${size}` });
		response.end();
		return;
	}
	if (range) {
		from = Number(range[1]);
		end = range[2] === '' ? size : Math.min(Number(range[2]) + 1, size);
		headers['content-range'] = `bytes ${q.badrange ? from + 1 : from}-${end - 1}/${size}`;
	}
	if (!q.chunked) headers['content-length'] = q.announce || end - from;
	response.writeHead(range ? 206 : 200, headers);
	const start = Date.now();
	let sent = 0;
	let wake = () => {};
	for (const event of ['drain', 'close']) response.on(event, () => wake());
	for (let at = from; at < end && !response.destroyed;) {
		let bytes = piece(at, end - at);
		for (const limit of ['stop', 'reset', 'stall']) if (q[limit]) bytes = bytes.subarray(0, Math.max(q[limit] - sent, 0));
		if (q.rate) bytes = bytes.subarray(0, Math.max(1, Math.floor(q.rate / 20)));
		if (bytes.length === 0) break;
		if (!response.write(bytes)) await new Promise((done) => { wake = done; });
		at += bytes.length;
		sent += bytes.length;
		const early = q.rate ? sent / q.rate * 1000 - (Date.now() - start) : 0;
		if (early > 5) await sleep(early);
	}
	if (q.stall) return;
	if (q.linger) await sleep(q.linger);
	if (q.reset) request.socket.resetAndDestroy();
	else if (q.stop) request.socket.end();
	else response.end();
}

// The fields of a form, each with the digest of its value; of small ones only
function fields(headers, body) {
	const boundary = /boundary=(.+)$/.exec(headers['content-type'] || '');
	if (!boundary) return undefined;
	return body.toString('latin1').split(`--${boundary[1]}`).slice(1, -1).map((text) => {
		const [, head, value] = /^\r\n([^]*?)\r\n\r\n([^]*)\r\n$/.exec(text);
		return {
			name: (/name="([^"]*)"/.exec(head) || [])[1],
			filename: (/filename="([^"]*)"/.exec(head) || [])[1],
			type: (/content-type: (.*)/i.exec(head) || [])[1],
			bytes: value.length,
			sha256: crypto.createHash('sha256').update(Buffer.from(value, 'latin1')).digest('hex'),
			text: value.length < 200 ? value : undefined,
		};
	});
}

async function sink(request, response, q) {
	const hash = crypto.createHash('sha256');
	const kept = [];
	let bytes = 0;
	const start = Date.now();
	for await (const chunk of request) {
		hash.update(chunk);
		bytes += chunk.length;
		if (bytes < 4 * BLOCK) kept.push(chunk);
		if (q.after && bytes >= q.after) {
			response.writeHead(q.answer, { 'content-type': 'text/plain', connection: 'close' });
			response.end('that is enough');
			return;
		}
		if (q.reset && bytes >= q.reset) {
			request.socket.resetAndDestroy();
			return;
		}
		if (q.stall && bytes >= q.stall) {
			request.pause();
			await new Promise((done) => request.on('close', done));
			return;
		}
		const early = q.rate ? bytes / q.rate * 1000 - (Date.now() - start) : 0;
		if (early > 5) await sleep(early);
	}
	log.push({ method: 'WHOLE', path: request.url });
	if (q.silent) return;
	if (q.wait) await sleep(q.wait);
	response.writeHead(q.answer || 200, { 'content-type': 'application/json' });
	response.end(JSON.stringify({
		bytes, sha256: hash.digest('hex'), method: request.method, headers: request.headers,
		parts: bytes < 4 * BLOCK ? fields(request.headers, Buffer.concat(kept)) : undefined,
	}));
}

const server = http.createServer(async (request, response) => {
	const url = new URL(request.url, 'http://x');
	const q = Object.fromEntries([...url.searchParams].map(([key, value]) => [key, Number(value)]));
	request.on('error', () => {});
	response.on('error', () => {});
	try {
		if (url.pathname === '/log') {
			response.end(JSON.stringify(log));
			return;
		}
		if (url.pathname === '/sha256') {
			response.end(digest(q.from || 0, q.size));
			return;
		}
		log.push({ method: request.method, path: request.url, range: request.headers.range });
		await (url.pathname === '/sink' ? sink : source)(request, response, q);
	} catch (error) {
		request.socket.destroy();
	}
});
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
