/*
 * A program that calls the API, as the stories tell of it: curl, and patience.
 */
'use strict';

const { execFile } = require('node:child_process');
const { promisify } = require('node:util');

const { PATIENCE_MS, say } = require('./stage.js');

const run = promisify(execFile);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Where the gateway is, and the key that is used */
const at = { base: undefined, key: undefined };

/* Calls curl as anybody would, and shows how; the answer with its status and headers */
async function curl(target, { method, body, headers = {}, as = at.key, quiet } = {}) {
	const args = ['-sS', '-i', '-m', '20'];
	const shown = [];
	const option = (name, value, text = value) => { args.push(name, value); shown.push(`${name} '${text}'`); };
	if (method && method !== 'GET') { args.push('-X', method); shown.push(`-X ${method}`); }
	if (as) option('-H', `Authorization: Bearer ${as}`, `Authorization: Bearer ${as.slice(0, 8)}…`);
	for (const [name, value] of Object.entries(headers)) option('-H', `${name}: ${value}`);
	if (body !== undefined) {
		option('-H', 'Content-Type: application/json');
		option('-d', JSON.stringify(body));
	}
	if (!quiet) say(`$ curl ${at.base}${target} ${shown.join(' ')}`);
	const { stdout } = await run('curl', [...args, at.base + target], { maxBuffer: 1 << 26 });
	const [head, ...rest] = stdout.split('\r\n\r\n');
	const [first, ...lines] = head.split('\r\n');
	const fields = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]));
	const text = rest.join('\r\n\r\n');
	return { status: Number(first.split(' ')[1]), headers: fields, text, json: /json/.test(fields['content-type'] ?? '') && text ? JSON.parse(text) : undefined };
}

/* Asks until there is an answer */
async function something(db, sql) {
	const deadline = Date.now() + PATIENCE_MS;
	for (;;) {
		const value = await db.value(sql);
		if (value) return value;
		if (Date.now() > deadline) throw new Error(`waited in vain for ${sql}`);
		await pause(50);
	}
}

function short(text, most = 150) {
	return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

module.exports = { at, curl, pause, run, short, something };
