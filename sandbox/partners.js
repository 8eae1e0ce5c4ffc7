#!/usr/bin/env node
/*
 * Stand-ins for the partners that releases are distributed to, for tests and
 * the demonstration: SoundCloud, LabelGrid, the catalogues of Spotify, Apple
 * and Deezer, and object storage. They follow the partners' documents and
 * misbehave on demand.
 *
 * It shares no code with the platform. It listens on loopback only by default,
 * needs nothing but Node 18, keeps of an upload its header and digests, and
 * remembers the newest 10,000 of everything.
 *
 * README.md beside this file lists options, paths and what PUT /control takes.
 */
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { parseOptions, sendJson, prepare, listen, announce } = require('./serve.js');
const { Call, clock, serve } = require('./partners/partner.js');
const { SoundCloud } = require('./partners/soundcloud.js');
const { LabelGrid } = require('./partners/labelgrid.js');
const { Spotify, Apple, Deezer } = require('./partners/lookups.js');
const { Storage } = require('./partners/storage.js');

/* ---- options ---- */

const OPTIONS = {
	'--host': 'text', '--port': 'number', '--work': 'text', '--quiet': 'flag', '--token': 'text', '--client-id': 'text',
		'--client-secret': 'text',
	'--soundcloud-openapi': 'text', '--validate': 'text',
};
const USAGE = {
	name: 'partners',
	text: 'usage: partners.js [--host ADDRESS] [--port N] [--token TEXT] [--client-id TEXT --client-secret TEXT]\n' +
		'                   [--soundcloud-openapi FILE] [--validate MODULE] [--work DIR] [--quiet]\n',
};

const { options, refuse } = parseOptions(OPTIONS, { port: 0, host: '127.0.0.1',
	'soundcloud-openapi': path.join(__dirname, '..', '..', 'shared', 'soundcloud-openapi.yaml') }, process.argv.slice(2), USAGE);
const ownDirectory = options.work === undefined;
const directory = options.work ?? fs.mkdtempSync(path.join(os.tmpdir(), 'partners-'));

function complain(message) {
	if (!options.quiet) process.stderr.write(`partners: ${message}\n`);
}

/* The judge needs packages that the sandbox doesn't: it comes from outside, and the description of SoundCloud from its owner */
function loadJudge() {
	const file = options['soundcloud-openapi'];
	if (options.validate === undefined) {
		complain('SoundCloud goes on unvalidated: no --validate MODULE');
		return null;
	}
	if (!fs.existsSync(file)) {
		complain(`SoundCloud goes on unvalidated: no file ${file}`);
		return null;
	}
	try {
		return require(path.resolve(options.validate))(file);
	} catch (error) {
		return refuse(`--validate ${options.validate}: ${error.message}`);
	}
}

/* ---- the partners ---- */

let root;
const client = { id: options['client-id'], secret: options['client-secret'] };
const at = (where) => () => root + where;
const ROOMS = { soundcloud: '/soundcloud', labelgrid: '/labelgrid/api/public', spotify: '/spotify', apple: '/apple', deezer: '/deezer',
	storage: '/storage' };
const storage = new Storage({ directory, base: at(ROOMS.storage) });
const labelgrid = new LabelGrid({ token: options.token, base: at(ROOMS.labelgrid), storage });
storage.received = (key, measured) => labelgrid.received(key, measured);
const shown = (outlet) => () => labelgrid.shown(outlet);
const judge = loadJudge();
const partners = {
	soundcloud: new SoundCloud({ client, judge, base: at(ROOMS.soundcloud), complain }),
	labelgrid,
	spotify: new Spotify({ client, base: at(ROOMS.spotify), shown: shown('spotify') }),
	apple: new Apple({ token: options.token, shown: shown('apple') }),
	deezer: new Deezer({ shown: shown('deezer') }),
	storage,
};

/* ---- control ---- */

const summary = () => ({ now: new Date(clock.now()).toISOString(), clock_offset_ms: clock.offset,
	...Object.fromEntries(Object.entries(partners).map(([name, partner]) => [name, partner.summary()])) });

/* What a document doesn't name stays. advance_ms moves the time of all stand-ins on */
function configure(document) {
	for (const name of Object.keys(document))
		if (name !== 'advance_ms' && !(name in partners))
			throw new Error(`unknown partner "${name}": one of ${Object.keys(partners).join(', ')}`);
	if ('advance_ms' in document) {
		if (!(document.advance_ms >= 0)) throw new Error('advance_ms must be a number that is not negative');
		clock.offset += document.advance_ms;
		labelgrid.tick();
	}
	for (const [name, changes] of Object.entries(document)) if (name !== 'advance_ms') partners[name].configure(changes);
}

async function control(call, req, res) {
	if (req.method === 'PUT') {
		try {
			configure(JSON.parse((await call.bytes()).toString()));
		} catch (error) {
			return sendJson(res, 400, { error: error.message });
		}
	} else if (req.method === 'DELETE') {
		clock.offset = 0;
		for (const partner of Object.values(partners)) partner.forget();
	} else if (req.method !== 'GET') {
		return sendJson(res, 405, { error: `${req.method} is not GET, PUT or DELETE` });
	}
	return sendJson(res, 200, summary());
}

/* ---- routes ---- */

async function route(req, res) {
	const [where, query = ''] = req.url.split(/\?(.*)/s);
	const call = new Call(null, req, where, new URLSearchParams(query));
	call.res = res;
	if (where === '/control') return control(call, req, res);
	const [, asked] = /^\/records\/(\w+)$/.exec(where) ?? [];
	if (asked && asked in partners && req.method === 'GET') return sendJson(res, 200, partners[asked].records());
	for (const [name, prefix] of Object.entries(ROOMS)) {
		if (!where.startsWith(`${prefix}/`)) continue;
		const partner = call.partner = partners[name];
		const found = partner.find(req.method, name === 'storage' ? where.slice(prefix.length) :
			decodeURIComponent(where.slice(prefix.length)));
		if (found) return serve(partner, found, call, req, res);
		await call.drain();
		return partner.problem(404, `${req.method} ${where} has no meaning here`).send(req, res);
	}
	await call.drain();
	return sendJson(res, 404, { error: `no such path: ${where}` });
}

function take(req, res) {
	req.on('error', () => {});
	res.on('error', () => {});
	route(req, res).catch((error) => {
		if (req.destroyed && !req.complete) return;
		const status = error instanceof URIError ? 400 : 500;
		if (status === 500) complain(error.stack);
		if (!res.headersSent) sendJson(res, status, { error: error.message });
	});
}

/* ---- start ---- */

function stop() {
	if (ownDirectory) fs.rmSync(directory, { recursive: true, force: true });
	process.exit(0);
}

async function main() {
	const port = await listen(prepare(http.createServer(take), 'partners', options.quiet), options.port, options.host);
	root = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`;
	announce({ host: options.host, port, validated: judge ? judge.name : null });
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
main().catch((error) => {
	process.stderr.write(`partners: ${error.message}\n`);
	process.exit(1);
});
