/*
 * The story of a release: the piece gets a cover, goes to SoundCloud, to an
 * aggregator and to a partner who takes messages of DDEX by SFTP, is heard
 * there and counted, and is taken down from one of them.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');

const { PATIENCE_MS, WORK, claim, folder, say, startProgram, table, title } = require('./stage.js');
const { at, curl, pause, short } = require('./client.js');
const { startSftp } = require('./sftp.js');

const BEN = '0190a000-0000-7000-8000-00000000000b';
const CALLBACK_SECRET = 'whsec_c2FuZGJveC1wYXJ0bmVyLXNlY3JldC0wMQ==';
const BACK = 'http://127.0.0.1:9/back';
const ISRC = 'DEXA12600001';
const OURS = 'PADPIDA2012041004F';

const text = (value) => `'${String(value).replaceAll("'", "''")}'`;
const json = (value) => `${text(JSON.stringify(value))}::jsonb`;

/* Waits for what a function finds */
async function seen(what, find) {
	const deadline = Date.now() + PATIENCE_MS * 2;
	for (;;) {
		const found = await find();
		if (found) return found;
		if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
		await pause(100);
	}
}

/* The schemas of DDEX, which its licence doesn't let anybody hand on; NULL where the machine has none */
function schemas() {
	const place = path.join(process.env.MUSICVERSE_DDEX ?? path.join(WORK, '..', '..', '..', 'shared', 'ddex'), 'xsd');
	return fs.existsSync(path.join(place, 'ern432', 'release-notification.xsd')) ? place : null;
}

async function partnersAreConfigured(db) {
	title('Partners are configured');
	const program = await startProgram('partners.js', ['--port', '0', '--token', 'sesame', '--client-id', 'app', '--client-secret', 'hush',
		'--work', folder(path.join(WORK, 'partners')), '--quiet']);
	const root = `http://127.0.0.1:${program.port}`;
	const sftp = await startSftp();
	folder(path.join(sftp.files, 'acknowledgements'));
	folder(path.join(sftp.files, 'reports'));
	const place = schemas();
	if (place) await db.rows(`alter system set musicverse.ddex_schema_directory = ${text(place)}; select pg_reload_conf()`);
	await db.rows(`select musicverse.configure_partner('soundcloud', '${root}/soundcloud', '{"client_id": "app", "client_secret": "hush"}',
		'{"authorize_url": "${root}/soundcloud/authorize", "token_url": "${root}/soundcloud/oauth/token", "poll_interval": 0.3, "analytics_interval": 1}')`);
	await db.rows(`select musicverse.configure_partner('labelgrid', '${root}/labelgrid/api/public', ${json({ token: 'sesame', callback_secret: CALLBACK_SECRET })},
		'{"label_id": 1, "genres": {"Orchestral": 1}, "recording_country": "DE", "poll_interval": 0.3, "analytics_interval": 1}')`);
	await db.rows(`select musicverse.configure_partner('spotify_direct', '${sftp.url}/~', ${json({ username: sftp.user, private_key: sftp.key })}, ${json({
		preset: 'spotify', sender: { dpid: OURS, name: 'MusicVerse' }, host_keys: [sftp.fingerprint], poll_interval: 0.3, validate: place !== null,
		reports: { directory: 'reports', control_files: true, interval: 0.5 } })})`);
	table(`select name, connector, array_to_string(platforms, ', ') as platforms, state from musicverse.partner_status where is_active order by name`);
	say('SoundCloud and the aggregator are stand-ins that follow their documents; the third is a real OpenSSH server');
	say(place ? 'messages are held against the schemas of DDEX before they are sent' : 'the schemas of DDEX are not on this machine: messages go unvalidated');
	return { root, sftp };
}

async function artistLogsIn() {
	title('The artist lets it into SoundCloud');
	const asked = await curl('/api/v1/partners/soundcloud/authorize', { method: 'POST', body: { redirect_uri: BACK } });
	say(short(asked.text));
	claim(asked.status === 200 && /code_challenge_method=S256/.test(asked.json.url), 'a page to log in at, by OAuth with PKCE');
	const answer = await fetch(`${asked.json.url}&approve=yes`, { redirect: 'manual' });
	const back = new URL(answer.headers.get('location'));
	const done = await curl('/api/v1/partners/soundcloud/authorized', { method: 'POST',
		body: { state: back.searchParams.get('state'), code: back.searchParams.get('code') }, quiet: true });
	claim(done.status < 300, 'the artist approves, and the code comes back', done.json);
	const account = await seen('the account', async () => {
		const { json: found } = await curl('/api/v1/partners/soundcloud/account', { quiet: true });
		return found.status === 'connected' && found;
	});
	claim(account, `connected as ${account.username ?? account.external_id}; the tokens are sealed, and refreshed by the worker`);
}

async function releaseIsMade(db, track) {
	title('A release is made of the piece');
	const metadata = { title: track.title, artist: 'Ben Example', label: 'Example Records', genre: 'Orchestral', language: 'zxx', explicit: false,
		p_line: '2026 Example Records', c_line: '2026 Example Records', upc: '4006381333931', cover: 'draw', tracks: [{ track_id: track.id, isrc: ISRC }] };
	const platforms = ['soundcloud', 'deezer', 'spotify'];
	say('$ curl …/api/v1/distributions/check, with a title and a UPC that are not right');
	const bad = await curl('/api/v1/distributions/check', { method: 'POST', quiet: true,
		body: { track_ids: [track.id], platforms, metadata: { ...metadata, title: `${track.title} (Explicit) ft. Ada`, upc: '4006381333930' } } });
	for (const problem of bad.json.problems ?? bad.json.data ?? []) say(`  ${problem.severity.padEnd(8)}${(problem.platform ?? 'all').padEnd(12)}${short(`${problem.field}: ${problem.message}`, 110)}`);
	const made = await curl('/api/v1/distributions', { method: 'POST', body: { track_ids: [track.id], platforms, metadata, submit: true }, quiet: true });
	claim(made.status === 201, 'what is wrong is said first; what is right is made, and sent off', made.json);
	return made.json.id;
}

/* Reads what lies at the partner who takes messages, and answers as it would */
async function partnerReads(sftp) {
	const files = () => fs.readdirSync(sftp.files, { recursive: true }).map(String).filter((name) => !name.startsWith('ack')).sort();
	await seen('the batch to be complete', () => files().some((name) => /BatchComplete/.test(name)));
	say('on the SFTP server lies:');
	const walk = (dir) => fs.readdirSync(path.join(sftp.files, dir), { withFileTypes: true }).flatMap((entry) => {
		const name = path.join(dir, entry.name);
		return entry.isDirectory() ? walk(name) : [name];
	});
	const all = walk('.').filter((name) => !name.startsWith('acknowledgements'));
	for (const name of all) say(`  ${String(fs.statSync(path.join(sftp.files, name)).size).padStart(9)}  ${name}`);
	const message = fs.readFileSync(path.join(sftp.files, all.find((name) => /\/\w+\.xml$/.test(name) && !/BatchComplete/.test(name))), 'utf8');
	const [, id] = /<MessageId>([^<]+)/.exec(message);
	const [, upc] = /<ICPN[^>]*>([^<]+)/.exec(message);
	say('');
	for (const line of message.split('\n').slice(0, 14)) say(`  ${short(line, 120)}`);
	say(`  … ${message.split('\n').length} lines`);
	claim(/<ContainsAI|ContainsAI=|ContainsAI/.test(message), 'an ERN message, which discloses what was made by AI');
	fs.writeFileSync(path.join(sftp.files, 'acknowledgements', '.new'), `<?xml version="1.0" encoding="UTF-8"?>
<a:AcknowledgementMessage xmlns:a="http://ddex.net/xml/ern-c-sftp/18"><MessageHeader><MessageId>ACK-1</MessageId></MessageHeader><ReleaseStatus>
<ReleaseId><ICPN>${upc}</ICPN></ReleaseId><ReleaseStatus>ReleaseMadeAvailableToConsumers</ReleaseStatus><Acknowledgement><MessageId>${id}</MessageId>
<MessageStatus><Status>FileOK</Status></MessageStatus></Acknowledgement></ReleaseStatus></a:AcknowledgementMessage>`);
	fs.renameSync(path.join(sftp.files, 'acknowledgements', '.new'), path.join(sftp.files, 'acknowledgements', 'ACK_1.xml'));
}

async function itIsHeard(db, id, sftp) {
	title('It goes out, and comes back confirmed');
	const began = Date.now();
	const told = new Map();
	let answered = false;
	const look = async () => {
		const { json: found } = await curl(`/api/v1/distributions/${id}`, { quiet: true });
		for (const target of found.targets) {
			if (told.get(target.platform) === target.status) continue;
			told.set(target.platform, target.status);
			say(`  ${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${target.platform.padEnd(12)}${target.status}${target.reason ? `: ${target.reason}` : ''}`);
		}
		if (!answered && told.get('spotify') === 'processing') {
			answered = true;
			await partnerReads(sftp);
		}
		if ([...told.values()].includes('failed')) throw new Error(`it failed: ${JSON.stringify(found.targets)}`);
		return found.targets.every((target) => target.status === 'live') && found;
	};
	const live = await seen('the release to be live', look).catch(async (error) => {
		throw new Error(`${error.message}: ${JSON.stringify(await db.rows(`select partner, step, last_error, state from musicverse.distribution_work where next_attempt_at is not null`))}`);
	});
	claim(live, `live on ${live.targets.map((target) => target.platform).join(', ')}`);
	for (const target of live.targets.filter((target) => target.external_url)) say(`  ${target.platform.padEnd(12)}${target.external_url}`);
	const cover = path.join(WORK, 'cover.jpg');
	const hex = await db.value(`select encode(musicverse.cover_image(m.id), 'hex') from musicverse.media m where m.kind = 'cover' order by m.created_at limit 1`);
	if (hex) {
		fs.writeFileSync(cover, Buffer.from(hex, 'hex'));
		say(`its cover, drawn from the piece's own peaks: ${cover}`);
	}
}

async function itIsTakenDown(id, root) {
	title('It is taken down from one of them');
	const asked = await curl(`/api/v1/distributions/${id}/takedown`, { method: 'POST', body: { platforms: ['soundcloud'] } });
	claim(asked.status < 300, 'asked for', asked.json);
	const gone = await seen('the takedown', async () => {
		const { json: found } = await curl(`/api/v1/distributions/${id}`, { quiet: true });
		return found.targets.find((target) => target.platform === 'soundcloud').status === 'taken_down' && found;
	});
	const records = await (await fetch(`${root}/records/soundcloud`)).json();
	claim(records.tracks.length === 0 || records.tracks.every((track) => track.deleted), 'SoundCloud has it no more', records.tracks);
	claim(gone.targets.filter((target) => target.status === 'live').length === 2, 'the others stay live');
	const timeline = await curl(`/api/v1/distributions/${id}/timeline`);
	for (const entry of timeline.json.data) say(`  ${entry.at.slice(11, 23)}  ${(entry.platform ?? '').padEnd(12)}${entry.status}${entry.reason ? `: ${short(entry.reason, 80)}` : ''}`);
}

/* A sales report as streaming services send them every month */
function salesReport() {
	const first = new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() - 1, 1));
	const last = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0));
	const day = (date) => date.toISOString().slice(0, 10);
	const cells = (...values) => values.join('\t');
	return [
		cells('HEAD', 'dsrf/1.4/6/1.4', 'BasicAudioProfileSRB', '1.4', 'REPORT-1', new Date().toISOString(), 1, 1, day(first), day(last), '', 'Spotify', 'Premium', '', '', ''),
		cells('SY02.03', 1, '', '', 'SubscriptionModel', 'OnDemandStream', 'SE', 'Premium', 1200, '', 'EUR', '4.31', ...Array(10).fill('')),
		cells('SR06', 1, 'spotify-1', ISRC, ...Array(9).fill(''), 1200, ...Array(10).fill(''), '4.31'),
		cells('SRFO', 4, 1)].join('\n');
}

async function numbersComeHome(db, id, sftp) {
	title('It is heard, and the numbers come home');
	const name = 'DSR_MusicVerse_Spotify_Premium_lastmonth_SE_1of1_20261102T100000';
	fs.writeFileSync(path.join(sftp.files, 'reports', `${name}.tsv.gz`), zlib.gzipSync(salesReport()));
	fs.writeFileSync(path.join(sftp.files, 'reports', `${name}.ctrl`), '');
	await seen('the sales report to be fetched', async () => (await db.value('select state from musicverse.report_files')) === 'imported');
	table('select file_name, state, lines, imported, rejected from musicverse.report_files');
	claim(true, 'a sales report of DDEX that the partner put on his server is fetched and imported, each line once');
	const days = async () => Number(await db.value(`select count(distinct platform) from musicverse.distribution_stats where distribution_id = '${id}' and streams > 0`)) >= 3;
	await seen('numbers of all three', days);
	table(`select platform, day, streams, likes, revenue, currency from musicverse.distribution_stats where distribution_id = '${id}' and streams > 0 order by platform, day desc limit 6`);
	const stats = await curl(`/api/v1/distributions/${id}/stats?by=platform`);
	say(short(stats.text, 300));
	claim(stats.status === 200, 'by SQL, and through the API');
	say('');
	table(`select platform, partner, submitted, live, failed, success_rate from musicverse.distribution_success_rate order by platform`);
}

async function tell(db, receiver, track) {
	at.key = await db.value(`select key from musicverse.create_api_key('${BEN}', 'releases', '{distributions:read,distributions:write,tracks:read}')`);
	const { root, sftp } = await partnersAreConfigured(db);
	await artistLogsIn();
	const id = await releaseIsMade(db, track);
	await itIsHeard(db, id, sftp);
	await numbersComeHome(db, id, sftp);
	await itIsTakenDown(id, root);
}

module.exports = { tell };
