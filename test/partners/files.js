/*
 * Files of releases, as their first bytes say: GET /<name>.<flac|wav|mp3|png|jpg|html>?size=N
 * serves N bytes that follow from the name; /real/<name>.<wav|aiff> two seconds of sound, which
 * PUT /louder makes another one. GET /gone... is 404. Of /held... half
 * is sent, and the rest after PUT /release. GET /log lists what was asked.
 * The first line of the output is {"host", "port"}.
 */
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');

const marks = {
	flac: 'fLaC', wav: 'RIFF\0\0\0\0WAVEfmt ', mp3: 'ID3\x04\0\0\0\0\0\0\0\0\0\0\0\0',
	png: '\x89PNG\r\n\x1a\n\0\0\0\rIHDR', jpg: '\xff\xd8\xff\xe0\0\x10JFIF\0\x01', html: '<!doctype html><p>sorry',
};

// 16 bits, stereo, 44.1 kHz
function sound(suffix) {
	const frames = 88200;
	const samples = Buffer.alloc(frames * 4);
	for (let i = 0; i < frames * 2; i++) {
		const value = Math.round(Math.sin(i / 40) * loudness);
		if (suffix === 'wav') samples.writeInt16LE(value, i * 2); else samples.writeInt16BE(value, i * 2);
	}
	const head = Buffer.alloc(suffix === 'wav' ? 44 : 54);
	if (suffix === 'wav') {
		head.write('RIFF', 0); head.writeUInt32LE(36 + samples.length, 4); head.write('WAVEfmt ', 8); head.writeUInt32LE(16, 16);
		head.writeUInt16LE(1, 20); head.writeUInt16LE(2, 22); head.writeUInt32LE(44100, 24); head.writeUInt32LE(176400, 28);
		head.writeUInt16LE(4, 32); head.writeUInt16LE(16, 34); head.write('data', 36); head.writeUInt32LE(samples.length, 40);
	} else {
		head.write('FORM', 0); head.writeUInt32BE(46 + samples.length, 4); head.write('AIFFCOMM', 8); head.writeUInt32BE(18, 16);
		head.writeUInt16BE(2, 20); head.writeUInt32BE(frames, 22); head.writeUInt16BE(16, 26); head.write('400eac44000000000000', 28, 'hex');
		head.write('SSND', 38); head.writeUInt32BE(samples.length + 8, 42);
	}
	return Buffer.concat([head, samples]);
}

let loudness = 8000;
const log = [];
let held = [];

function content(path, size) {
	const mark = Buffer.from(marks[path.split('.').pop()] ?? '', 'latin1');
	const filling = crypto.createHash('sha256').update(path).digest();
	return Buffer.concat([mark, Buffer.alloc(Math.max(size - mark.length, 0), filling)]);
}

http.createServer((request, response) => {
	const url = new URL(request.url, 'http://x');
	if (request.method === 'PUT') {
		if (url.pathname === '/louder') loudness = 16000;
		held.forEach((go) => go());
		held = [];
		response.end('{}');
		return;
	}
	if (url.pathname === '/log') {
		response.end(JSON.stringify(log));
		return;
	}
	log.push(url.pathname);
	if (url.pathname.startsWith('/gone')) {
		response.writeHead(404).end('no such file');
		return;
	}
	const body = url.pathname.startsWith('/real') ? sound(url.pathname.split('.').pop()) : content(url.pathname, Number(url.searchParams.get('size') ?? 20000));
	response.writeHead(200, { 'Content-Length': body.length });
	if (!url.pathname.startsWith('/held')) {
		response.end(body);
		return;
	}
	response.write(body.subarray(0, body.length / 2));
	held.push(() => response.end(body.subarray(body.length / 2)));
}).listen(0, '127.0.0.1', function () {
	console.log(JSON.stringify({ host: '127.0.0.1', port: this.address().port }));
});
