/*
 * What the servers of the sandbox share: options, JSON answers, a server that
 * puts up with everything, the line that says where it listens.
 */
'use strict';

/* options: { '--name': 'number' | 'text' | 'flag' }; usage is the text that a wrong one gets, with the program's name first */
function parseOptions(kinds, defaults, argv, usage) {
	const options = { ...defaults };
	const refuse = (problem) => {
		process.stderr.write(`${usage.name}: ${problem}\n${usage.text}`);
		process.exit(2);
	};
	for (let i = 0; i < argv.length; i++) {
		const [name, inline] = argv[i].split(/=(.*)/s);
		const kind = kinds[name];
		if (!kind) refuse(`unknown option ${name}`);
		if (kind === 'flag') {
			options[name.slice(2)] = true;
			continue;
		}
		const value = inline ?? argv[++i];
		if (value === undefined) refuse(`${name} needs a value`);
		options[name.slice(2)] = kind === 'number' ? Number(value) : value;
		if (kind === 'number' && !Number.isInteger(Number(value))) refuse(`${name} needs a number, not "${value}"`);
	}
	return { options, refuse };
}

function sendJson(res, status, value, headers = {}) {
	const text = JSON.stringify(value) + '\n';
	res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers });
	res.end(text);
}

/* Connections are kept, nothing times out, and a peer that breaks the rules costs a line of log at most */
function prepare(server, name, quiet) {
	server.keepAliveTimeout = 3600000;
	server.headersTimeout = 0;
	server.requestTimeout = 0;
	server.maxRequestsPerSocket = 0;
	server.on('clientError', (error, socket) => {
		if (!quiet && error.code !== 'ECONNRESET') process.stderr.write(`${name}: bad request: ${error.message}\n`);
		socket.destroy();
	});
	server.on('tlsClientError', (error) => {
		if (!quiet) process.stderr.write(`${name}: TLS: ${error.message}\n`);
	});
	return server;
}

function listen(server, port, host) {
	return new Promise((resolve, reject) => {
		server.once('error', reject);
		server.listen({ port, host, backlog: 4096 }, () => resolve(server.address().port));
	});
}

/* The one line on stdout that whoever started us waits for */
function announce(ready) {
	process.stdout.on('error', () => {});
	process.stdout.write(JSON.stringify({ ...ready, pid: process.pid }) + '\n');
}

module.exports = { parseOptions, sendJson, prepare, listen, announce };
