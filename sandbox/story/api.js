/*
 * The story of the API: a program with a key asks for music by curl, follows the
 * job, is told by a webhook, and fetches a piece that can be listened to.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { PATIENCE_MS, WORK, claim, folder, say, startProgram, table, title } = require('./stage.js');
const { at, curl, pause, run, short, something } = require('./client.js');

const BEN = '0190a000-0000-7000-8000-00000000000b';
const SECRET = 'whsec_c2FuZGJveC1wcm92aWRlci1zZWNyZXQ=';
const SECONDS = 24;
const BARS = ' ▁▂▃▄▅▆▇█';

async function keyIsMade(db) {
	title('A program gets a key');
	const port = await something(db, `select port from musicverse.gateway_status where state = 'listening' limit 1`);
	at.base = `http://127.0.0.1:${port}`;
	await db.rows(`select musicverse.set_tier('${BEN}', 'pro')`);
	at.key = await db.value(`select key from musicverse.create_api_key('${BEN}', 'demo', '{generate,jobs:read,tracks:read,webhooks:write,webhooks:read,usage:read}')`);
	say(`the gateway, a background worker of the server, listens at ${at.base}`);
	say(`the key, seen this once: ${at.key}`);
	const me = await curl('/api/v1/me');
	say(short(me.text));
	claim(me.status === 200 && me.json.user_id === BEN, 'the key is known');
	say(`RateLimit-Policy: ${me.headers['ratelimit-policy']}    RateLimit: ${me.headers.ratelimit}`);
	const typo = await curl('/api/v1/me', { as: at.key.slice(0, -1) + (at.key.endsWith('0') ? '1' : '0'), quiet: true });
	claim(typo.status === 401 && typo.json.status === 401, `one letter wrong: ${typo.status}, "${typo.json.detail}"`);
	const forbidden = await curl('/api/v1/api-keys', { method: 'POST', body: { name: 'more' }, quiet: true });
	claim(forbidden.status === 403, `what it has no scope for: ${forbidden.status}, "${forbidden.json.detail}"`);
}

async function musicComesOut(db, receiver) {
	title('It asks for music, and music comes out');
	const provider = await startProgram('provider.js', ['--port', '0', '--token', 'sesame', '--callback-secret', SECRET, '--work', folder(path.join(WORK, 'audio')), '--quiet']);
	await db.rows(`select musicverse.configure_provider('sandbox', 'http://127.0.0.1:${provider.port}',
		'{"token": "sesame", "callback_secret": "${SECRET}"}', '{"poll_interval": 0.2}')`);
	say('the provider composes and renders for real; in a service of its own, over HTTP');

	const hook = await curl('/api/v1/webhooks', { method: 'POST', body: { url: receiver.url('program'), events: ['generation.*', 'track.created'] } });
	claim(hook.status === 201, 'a webhook is set up through the API');
	await receiver.control('program', { secrets: [hook.json.secret], tolerance: null });

	const wish = { prompt: 'Epic orchestral battle music in D minor', style: 'Orchestral', duration: SECONDS };
	const once = { 'Idempotency-Key': 'the-first-piece' };
	const made = await curl('/api/v1/generate', { method: 'POST', body: wish, headers: once });
	say(short(made.text));
	claim(made.status === 202 && made.json.status === 'queued', 'the job is queued');
	const again = await curl('/api/v1/generate', { method: 'POST', body: wish, headers: once, quiet: true });
	claim(again.json.job_id === made.json.job_id, 'the same request again, as after a lost answer, makes no second job');

	const began = Date.now();
	let job;
	let progress = -1;
	do {
		await pause(100);
		job = (await curl(`/api/v1/jobs/${made.json.job_id}`, { quiet: true })).json;
		if (job.progress >= progress + 25 || (job.status !== 'queued' && progress < 0)) {
			progress = job.progress;
			say(`  ${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${job.status} ${job.progress} %`);
		}
		if (Date.now() - began > 3 * PATIENCE_MS) throw new Error(`the job is still ${job.status}`);
	} while (['queued', 'started'].includes(job.status));
	claim(job.status === 'completed' && job.track_id, 'it is completed, and there is a track', job);
	const track = (await curl(`/api/v1/tracks/${job.track_id}`)).json;
	say(short(JSON.stringify(track), 220));

	const file = path.join(WORK, `${track.title.replace(/[^\p{L}\p{N} -]/gu, '').trim() || 'piece'}.wav`);
	await run('curl', ['-sS', '-f', '-o', file, track.audio_url]);
	const wav = fs.readFileSync(file);
	const seconds = (wav.length - 44) / wav.readUInt32LE(28);
	claim(wav.toString('latin1', 0, 4) === 'RIFF' && wav.toString('latin1', 8, 12) === 'WAVE' && Math.abs(seconds - SECONDS) < 1,
		`"${track.title}": ${seconds.toFixed(1)} s, ${wav.readUInt32LE(24)} Hz, ${wav.readUInt16LE(22)} channels, ${(wav.length / 1e6).toFixed(1)} MB`);
	const peaks = track.metadata.peaks ?? [];
	const columns = Array.from({ length: 96 }, (_, i) => Math.max(0, ...peaks.slice(Math.floor(i * peaks.length / 96), Math.ceil((i + 1) * peaks.length / 96))));
	say(columns.map((peak) => BARS[Math.round(Math.min(1, peak) * 8)]).join(''));
	say(`listen to it: ${file}`);

	await receiver.arrival('program', { verified: 3 });
	const told = (await receiver.requests('program')).filter((request) => request.verified).map((request) => JSON.parse(request.body));
	for (const event of told) say(`webhook  ${event.type.padEnd(22)} ${short(JSON.stringify(event.data), 110)}`);
	claim(told.some((event) => event.type === 'generation.completed' && event.data.track_id === track.id), 'generation.completed told the program, signed');
	return track;
}

async function limitsHold(db) {
	title('Its limits are kept without writing a row, and told');
	const small = await db.value(`select key from musicverse.create_api_key('0190a000-0000-7000-8000-00000000000c', 'small', '{jobs:read}')`);
	let calls = 0;
	let answer;
	do {
		answer = await curl('/api/v1/jobs', { as: small, quiet: true });
		calls++;
	} while (answer.status === 200 && calls < 200);
	claim(answer.status === 429, `call ${calls} of a free account: ${answer.status}, Retry-After: ${answer.headers['retry-after']}, RateLimit: ${answer.headers.ratelimit}`);
	say(short(answer.text, 200));
	await db.rows(`select musicverse.revoke_api_key(id) from musicverse.api_keys where name = 'small'`);
	claim((await curl('/api/v1/jobs', { as: small, quiet: true })).status === 401, 'revoked: refused from the commit on');
	await db.rows('select musicverse.flush_usage()');
	say('');
	say('select … from musicverse.usage_top(user_id, …)');
	table(`select * from musicverse.usage_top('${BEN}', musicverse._now() - interval '1 day', musicverse._now() + interval '1 minute')`);
}

async function pageIsThere() {
	title('The documentation is drawn from the same catalogue');
	const document = await curl('/api/v1/openapi.json', { as: null, quiet: true });
	const page = await curl('/docs/', { as: null, quiet: true });
	claim(document.status === 200 && document.json.openapi.startsWith('3.1') && page.status === 200,
		`OpenAPI ${document.json.openapi} with ${Object.values(document.json.paths).flatMap((path) => Object.keys(path)).length} operations, and the page that shows them`);
	say(`${at.base}/docs/   (make demo KEEP=1 leaves it running)`);
}

async function tell(db, receiver) {
	await keyIsMade(db);
	const track = await musicComesOut(db, receiver);
	await limitsHold(db);
	await pageIsThere();
	return { track };
}

module.exports = { tell };
