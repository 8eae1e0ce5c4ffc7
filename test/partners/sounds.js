/*
 * Audio of releases that behaves as its name says:
 *   /<name>.<flac|wav>?blocks=N&frames=N&channels=N&rate=N&bits=N&extensible=1
 * /gone... is 404, /moved... a redirect, /page... HTML, /empty... nothing. Of
 * /held... half is sent, and the rest after PUT /release; /trickle... comes in
 * drops, fast enough not to be given up, until PUT /release. After PUT /change
 * the same names are other audio. GET /log lists what was asked, GET /open how
 * many trickle now, and how many did at most.
 * The first line of the output is {"host", "port"}.
 */
'use strict';

const http = require('node:http');
const audio = require('./audio.js');

const log = [];
let held = [];
let version = 0;
let trickling = 0;
let most = 0;
let drops;

function trickle(response) {
	drops ??= audio.wav('drops', 1000000);
	const body = drops;
	let at = 0;
	const end = () => {
		clearInterval(timer);
		response.end(body.subarray(at));
	};
	response.writeHead(200, { 'content-length': body.length });
	const timer = setInterval(() => {
		response.write(body.subarray(at, at + 16384));
		at += 16384;
		if (at >= body.length) end();
	}, 200);
	most = Math.max(most, ++trickling);
	response.on('close', () => {
		clearInterval(timer);
		trickling--;
	});
	held.push(end);
}

function content(url) {
	const query = url.searchParams;
	const name = `${url.pathname}${version}`;
	if (url.pathname.startsWith('/page')) return Buffer.from('<!doctype html><p>sorry');
	if (url.pathname.startsWith('/empty')) return Buffer.alloc(0);
	if (url.pathname.endsWith('.flac')) return audio.flac(name, Number(query.get('blocks') ?? 2));
	const how = Object.fromEntries(['channels', 'rate', 'bits'].filter((key) => query.has(key)).map((key) => [key, Number(query.get(key))]));
	return audio.wav(name, Number(query.get('frames') ?? 2000), { ...how, extensible: query.has('extensible') });
}

http.createServer((request, response) => {
	const url = new URL(request.url, 'http://x');
	if (request.method === 'PUT') {
		if (url.pathname === '/change') version++;
		held.forEach((go) => go());
		held = [];
		return response.end('{}');
	}
	if (url.pathname === '/log') return response.end(JSON.stringify(log));
	if (url.pathname === '/open') return response.end(JSON.stringify({ now: trickling, most }));
	log.push(url.pathname);
	if (url.pathname.startsWith('/gone')) return response.writeHead(404).end('no such file');
	if (url.pathname.startsWith('/moved')) return response.writeHead(302, { location: '/a.flac' }).end();
	if (url.pathname.startsWith('/trickle')) return trickle(response);
	const body = content(url);
	response.writeHead(200, { 'content-length': body.length, 'content-type': 'audio/x-some; a=b' });
	if (!url.pathname.startsWith('/held')) return response.end(body);
	response.write(body.subarray(0, body.length / 2));
	held.push(() => response.end(body.subarray(body.length / 2)));
}).listen(0, '127.0.0.1', function () {
	console.log(JSON.stringify({ host: '127.0.0.1', port: this.address().port }));
});
