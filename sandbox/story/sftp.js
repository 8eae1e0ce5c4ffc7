/*
 * A real OpenSSH server on loopback, as a partner has one: a key of its own, one
 * user who logs in by a key, files in a folder of the stage.
 */
'use strict';

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const { PATIENCE_MS, WORK, children, folder } = require('./stage.js');
const { pause } = require('./client.js');

const there = (places) => places.find((place) => fs.existsSync(place));

/* A port that nobody has now */
function freePort() {
	return new Promise((resolve, reject) => {
		const probe = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
			const { port } = probe.address();
			probe.close(() => resolve(port));
		});
	});
}

/* What a server says first, or null */
function greeting(port) {
	return new Promise((resolve) => {
		const socket = net.connect(port, '127.0.0.1');
		socket.once('data', (data) => { socket.destroy(); resolve(data.toString()); });
		socket.once('error', () => resolve(null));
		socket.once('close', () => resolve(null));
	});
}

/* Makes a key and returns its file */
function key(name) {
	const file = path.join(WORK, 'sftp', name);
	execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file]);
	return file;
}

/* Starts one: where it is, who may log in, by what key it is known, and where its files are */
async function startSftp() {
	const home = folder(path.join(WORK, 'sftp'));
	const files = folder(path.join(home, 'files'));
	const host = key('host');
	const user = key('user');
	fs.renameSync(`${user}.pub`, path.join(home, 'authorized_keys'));
	const port = await freePort();
	const server = there(['/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server', '/usr/lib/ssh/sftp-server']);
	fs.writeFileSync(path.join(home, 'serve'), `#!/bin/sh\ncd '${files}' && exec ${server}\n`, { mode: 0o755 });
	const config = path.join(home, 'sshd_config');
	fs.writeFileSync(config, [`ListenAddress 127.0.0.1`, `Port ${port}`, `HostKey ${host}`, 'PidFile none', `AuthorizedKeysFile ${path.join(home, 'authorized_keys')}`,
		'StrictModes no', 'UsePAM no', 'PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'LogLevel ERROR',
		`Subsystem sftp ${path.join(home, 'serve')}`, ''].join('\n'));
	children.push(spawn(there(['/usr/sbin/sshd', '/usr/local/sbin/sshd']), ['-D', '-e', '-f', config], { stdio: 'ignore' }));
	const deadline = Date.now() + PATIENCE_MS;
	while (!(await greeting(port))?.startsWith('SSH-2.0')) {
		if (Date.now() > deadline) throw new Error('sshd did not start');
		await pause(50);
	}
	const [fingerprint] = /SHA256:\S+/.exec(execFileSync('ssh-keygen', ['-l', '-f', `${host}.pub`], { encoding: 'utf8' }));
	return { url: `sftp://127.0.0.1:${port}`, user: os.userInfo().username, key: fs.readFileSync(user, 'utf8'), fingerprint, files };
}

module.exports = { startSftp };
