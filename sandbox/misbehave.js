/*
 * The answers of the receiver, from the plain to the hostile. Answers that are
 * HTTP go through Node's server; what Node would refuse to send is written to
 * the socket itself, and the connection is closed behind it.
 *
 * Every endless answer stops when the client goes away and never buffers more
 * than one piece: a sender that doesn't read costs nothing here.
 */
'use strict';

const zlib = require('node:zlib');

const MEBIBYTE = 1024 * 1024;

/* The answer of an endpoint that was told nothing: sent without a detour */
const PLAIN = Object.freeze({});

const SHORT_ANSWERS = {
	ok: 200, fail: 500, redirect: 302, gone: 410, busy: 429,
};

const OK_HEADERS = ['content-type', 'text/plain', 'content-length', '2'];

function plain(mode, answer, req, res) {
	if (mode === 'ok' && answer === PLAIN) {
		res.writeHead(200, OK_HEADERS);
		res.end('ok');
		return;
	}
	const status = answer.status ?? SHORT_ANSWERS[mode];
	const body = answer.body ?? (mode === 'ok' ? 'ok' : `${mode}\n`);
	const headers = { 'content-type': 'text/plain', ...answer.headers };
	if (answer.retry_after !== undefined) headers['retry-after'] = String(answer.retry_after);
	else if (mode === 'busy') headers['retry-after'] = '1';
	if (mode === 'redirect') headers.location = answer.location ?? `${req.url}-redirected`;
	if (status !== 204 && status !== 304) headers['content-length'] = Buffer.byteLength(body);
	res.writeHead(status, headers);
	res.end(status === 204 || status === 304 ? undefined : body);
}

/* Calls produce() again and again, as fast as the client reads, until it returns null */
function pour(stream, produce) {
	const more = () => {
		while (!stream.destroyed && !stream.writableEnded) {
			const piece = produce();
			if (piece === null) return stream.end();
			if (!stream.write(piece)) return stream.once('drain', more);
		}
	};
	more();
}

/* One byte of text every interval, until it ends or the client is gone */
function drip(stream, text, interval) {
	let at = 0;
	const timer = setInterval(() => {
		if (stream.destroyed) clearInterval(timer);
		else stream.write(at < text.length ? text[at++] : 'x');
	}, interval);
	stream.once('close', () => clearInterval(timer));
}

let bomb = null;

/* Gzip members can be joined: 1 GiB of zeros in about 1 MiB, made once */
function gzipBomb() {
	if (bomb === null) {
		const member = zlib.gzipSync(Buffer.alloc(16 * MEBIBYTE), { level: 9 });
		bomb = Buffer.concat(Array(64).fill(member));
	}
	return bomb;
}

/* Answers made of HTTP, possible in every version of it */
const THROUGH_NODE = {
	hang() {},

	trickle(answer, req, res) {
		res.writeHead(answer.status ?? 200, { 'content-type': 'text/plain' });
		res.flushHeaders();
		drip(res, '', answer.interval_ms ?? 1000);
	},

	endless(answer, req, res) {
		const piece = Buffer.alloc(65536, 'x');
		let left = answer.size ?? Infinity;
		res.writeHead(answer.status ?? 200, { 'content-type': 'text/plain' });
		pour(res, () => {
			if (left <= 0) return null;
			left -= piece.length;
			return piece;
		});
	},

	'gzip-bomb'(answer, req, res) {
		const bytes = gzipBomb();
		res.writeHead(answer.status ?? 200, {
			'content-type': 'text/plain', 'content-encoding': 'gzip', 'content-length': bytes.length,
		});
		res.end(bytes);
	},

	nul(answer, req, res) {
		const body = answer.body ?? 'before\0between\0\0after\n';
		res.writeHead(answer.status ?? 200, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
		res.end(body);
	},
};

/* Status line and headers as text, for answers that Node would not send */
function head(answer, lines) {
	return `HTTP/1.1 ${answer.status ?? 200} Whatever\r\nConnection: close\r\n${lines.map((line) => line + '\r\n').join('')}`;
}

const ON_THE_SOCKET = {
	reset(answer, socket) {
		/* a TLS socket can't send RST itself: the connection below it can */
		const bottom = socket.encrypted ? socket._parent : socket;
		if (bottom?.resetAndDestroy) bottom.resetAndDestroy();
		else socket.destroy();
	},

	close(answer, socket) {
		socket.destroy();
	},

	/* less body than announced */
	short(answer, socket) {
		socket.end(head(answer, ['Content-Length: 1000']) + '\r\nonly this');
	},

	'header-bomb'(answer, socket) {
		const line = `X-Bomb: ${'b'.repeat(8000)}\r\n`;
		let left = answer.size ?? 16 * MEBIBYTE;
		let started = false;
		pour(socket, () => {
			if (!started) {
				started = true;
				return head(answer, []);
			}
			if (left <= 0) return null;
			left -= line.length;
			return line;
		});
	},

	http09(answer, socket) {
		socket.end(answer.body ?? 'ok, and this is all there is\n');
	},

	'1xx'(answer, socket) {
		socket.end('HTTP/1.1 100 Continue\r\n\r\n' +
			'HTTP/1.1 102 Processing\r\nX-Interim: yes\r\n\r\n' +
			'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Interim: yes\r\n\r\n' +
			head(answer, ['Content-Length: 2', 'X-Final: yes']) + '\r\nok');
	},

	'bad-utf8'(answer, socket) {
		const body = Buffer.from([0x6f, 0x6b, 0x20, 0xff, 0xfe, 0xc3, 0x28, 0xe2, 0x82, 0xed, 0xa0, 0x80, 0x0a]);
		socket.end(Buffer.concat([
			Buffer.from(head(answer, [`Content-Length: ${body.length}`])),
			Buffer.from('X-Odd: '), Buffer.from([0xff, 0xc3, 0x28]), Buffer.from('\r\n\r\n'), body,
		]));
	},

	'nul-header'(answer, socket) {
		socket.end(head(answer, ['Content-Length: 2', 'X-Odd: a\0b']) + '\r\nok');
	},

	'slow-headers'(answer, socket) {
		drip(socket, head(answer, []) + 'X-Slow: ', answer.interval_ms ?? 1000);
	},

	garbage(answer, socket) {
		const bytes = Buffer.alloc(4096);
		/* the same bytes in every run; none of them starts "HTTP/" */
		for (let i = 0, x = 42; i < bytes.length; i++) {
			x = (x * 1103515245 + 12345) % 2147483648;
			bytes[i] = x >> 16;
		}
		socket.end(bytes);
	},
};

const MODES = [...Object.keys(SHORT_ANSWERS), ...Object.keys(THROUGH_NODE), ...Object.keys(ON_THE_SOCKET)];

function misbehave(mode, answer, req, res) {
	if (res.destroyed || req.socket?.destroyed) return;
	if (mode in SHORT_ANSWERS) plain(mode, answer, req, res);
	else if (mode in THROUGH_NODE) THROUGH_NODE[mode](answer, req, res);
	else if (req.httpVersionMajor === 2) req.stream.session.destroy();
	else ON_THE_SOCKET[mode](answer, req.socket);
}

/* What only a server of JSON can get wrong, beside all of the above */
const ODD_BODIES = {
	'bad-json': ['application/json', '{"id":"gen_0","status":"succ'],
	html: ['text/html', '<!doctype html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>\n'],
	empty: ['application/json', ''],
	array: ['application/json', '[1,2,3]\n'],
};

const JSON_MODES = [...MODES, ...Object.keys(ODD_BODIES), 'huge'];

function misbehaveJson(mode, answer, req, res) {
	if (mode === 'huge') return misbehave('endless', { size: 64 * MEBIBYTE, ...answer }, req, res);
	if (!(mode in ODD_BODIES)) return misbehave(mode, answer, req, res);
	const [type, body] = ODD_BODIES[mode];
	return misbehave('ok', { body, ...answer, headers: { 'content-type': type, ...answer.headers } }, req, res);
}

module.exports = { misbehave, misbehaveJson, MODES, JSON_MODES, PLAIN };
