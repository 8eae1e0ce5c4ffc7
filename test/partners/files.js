/*
 * Files of releases, as their first bytes say: GET /<name>.<flac|wav|mp3|png|jpg|html>?size=N
 * serves N bytes that follow from the name. GET /gone... is 404. Of /held... half
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
	const body = content(url.pathname, Number(url.searchParams.get('size') ?? 20000));
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
