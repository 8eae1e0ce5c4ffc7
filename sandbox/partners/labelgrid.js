/*
 * A stand-in for LabelGrid's public API: catalogue, uploads to signed URLs,
 * checks, distribution to outlets, its queue, takedowns, webhooks, analytics.
 *
 * Paths, the order of the upload, required fields and parameters are those that
 * its public client shows; README.md tells what had to be invented. A delivery
 * moves through its states by itself, pace_ms each, unless it is held or put.
 */
'use strict';

const crypto = require('node:crypto');
const { Answer, Partner, Refused, clock, remember, count, sameText } = require('./partner.js');
const { soundOf, pictureOf } = require('./media.js');
const { summaryOf } = require('./analytics.js');
const { Webhooks, EVENTS } = require('./webhooks.js');

const DAY_MS = 24 * 3600 * 1000;
const UPLOAD_MS = 15 * 60 * 1000;
const COVER_MIN = 3000;
const OUTLETS = ['spotify', 'apple', 'deezer', 'youtube', 'amazon', 'tidal'];
const STATES = ['queued', 'processing', 'delivered', 'live'];
/* what the public client's description calls them */
const DOCUMENTED = { queued: 'pending review', processing: 'processing', delivered: 'complete', live: 'complete', failed: 'error' };

const AI_RELEASE = ['artwork_ai_usage'];
const AI_TRACK = ['audio_ai_usage', 'composition_ai_usage'];
const NEEDED_RELEASE = ['content_type', 'label_id', 'artists', 'titles', 'cat', 'primary_genre_id'];
const NEEDED_TRACK = ['disc', 'track_num', 'composition_type', 'artists', 'commercial_samples', 'audio_language', 'contributors',
	'recording_country'];

const titleOf = (thing) => thing.titles?.[0]?.text ?? thing.title ?? '';
const empty = (value) => value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
const flat = (list) => Object.fromEntries(list.map(({ field, message }) => [field, [message]]));

/* mod 10, weights 3 and 1 from the right */
function isGtin(text) {
	if (!/^\d{12,14}$/.test(text)) return false;
	return [...text].reverse().reduce((sum, digit, at) => sum + Number(digit) * (at % 2 === 1 ? 3 : 1), 0) % 10 === 0;
}

class LabelGrid extends Partner {
	constructor({ token, base, storage }) {
		super('labelgrid', ['reference', 'releases', 'release-create', 'release', 'release-update', 'release-delete', 'tracks',
			'track-create', 'track',
			'track-update', 'track-delete', 'upload-url', 'commit', 'file', 'photo', 'validate', 'distribute', 'queue', 'takedown',
			'analytics', 'webhooks', 'webhook']);
		Object.assign(this, { token, base, storage });
		this.routes = this.table();
	}

	forget() {
		super.forget();
		clearTimeout(this.timer);
		for (const name of ['releases', 'tracks', 'uploads', 'queue', 'keys', 'keyUses']) this[name] = new Map();
		this.webhooks = new Webhooks();
		this.artists = new Map([[1, { id: 1, artist_name: 'Sandbox Artist' }]]);
		this.lastId = 100;
		this.counters = { releases: 0, tracks: 0, uploads: 0, bytes: 0, commits: 0, photos: 0, distributed: 0, takedowns: 0, replayed: 0,
			conflicts: 0 };
	}

	problem(status, message, { code, errors, structured } = {}) {
		return new Answer(status, { message, ...(code ? { code } : {}), ...(errors ? { errors } : {}),
			...(structured ? { errors_structured: structured } : {}) });
	}

	limited({ retry_after: seconds = 1 }) {
		return new Answer(429, { message: 'Too Many Attempts.' }, { 'retry-after': String(seconds) });
	}

	/* ---- routes ---- */

	table() {
		return [
			['GET', /^\/me$/, 'reference', () => this.one({ id: 1, name: 'Sandbox', sandbox: true })],
			['GET', /^\/distro-outlets$/, 'reference', () => this.list(OUTLETS.map((name, at) => ({ id: at + 1, name })))],
			['GET', /^\/labels$/, 'reference', () => this.list([{ id: 1, name: 'Sandbox Records' }])],
			['GET', /^\/genres$/, 'reference', () => this.list(['Ambient', 'Electronic', 'Hip Hop', 'Jazz', 'Pop', 'Rock',
				'Techno'].map((name, at) => ({ id: at + 1, name })))],
			['GET', /^\/artists$/, 'reference', (call) => this.list([...this.artists.values()], call, ['artist_name'])],
			['POST', /^\/artists$/, 'reference', (call) => this.once(call, (body) => this.createArtist(call, body))],
			['GET', /^\/releases$/, 'releases', (call) => this.list([...this.releases.values()].map((it) => this.releaseDocument(it)), call,
				['label_id', 'is_live', 'barcode_number', 'cat'])],
			['POST', /^\/releases$/, 'release-create', (call) => this.once(call, (body) => this.createRelease(call, body))],
			['GET', /^\/releases\/(\d+)$/, 'release', (call, id) => this.one(this.releaseDocument(this.release(call, id)))],
			['PATCH', /^\/releases\/(\d+)$/, 'release-update', (call, id) => this.once(call, (body) => this.updateRelease(call, id, body))],
			['PUT', /^\/releases\/(\d+)$/, 'release-update', (call, id) => this.once(call, (body) => this.updateRelease(call, id, body))],
			['DELETE', /^\/releases\/(\d+)$/, 'release-delete', (call, id) => this.deleteRelease(call, id)],
			['GET', /^\/tracks$/, 'tracks', (call) => this.list([...this.tracks.values()].map((it) => this.trackDocument(it)), call,
				['release_id', 'isrc'])],
			['POST', /^\/tracks$/, 'track-create', (call) => this.once(call, (body) => this.createTrack(call, body.release_id, body))],
			['POST', /^\/releases\/(\d+)\/tracks$/, 'track-create', (call, id) => this.once(call, (body) =>
				this.createTrack(call, id, body))],
			['GET', /^\/tracks\/(\d+)$/, 'track', (call, id) => this.one(this.trackDocument(this.track(call, id)))],
			['PATCH', /^\/tracks\/(\d+)$/, 'track-update', (call, id) => this.once(call, (body) => this.updateTrack(call, id, body))],
			['PUT', /^\/tracks\/(\d+)$/, 'track-update', (call, id) => this.once(call, (body) => this.updateTrack(call, id, body))],
			['DELETE', /^\/tracks\/(\d+)$/, 'track-delete', (call, id) => this.deleteTrack(call, id)],
			['POST', /^\/tracks\/(\d+)\/files\/stereo\/upload-url$/, 'upload-url', (call, id) =>
				this.once(call, (body) => this.uploadUrl(call, id, body))],
			['PUT', /^\/tracks\/(\d+)\/files\/stereo$/, 'commit', (call, id) => this.once(call, (body) => this.commit(call, id, body))],
			['GET', /^\/tracks\/(\d+)\/files\/stereo$/, 'file', (call, id) =>
				this.one(this.track(call, id).file ?? call.refuse(404, 'no file'))],
			['POST', /^\/releases\/(\d+)\/photo$/, 'photo', (call, id) => this.photo(call, id)],
			['POST', /^\/releases\/(\d+)\/validate$/, 'validate', (call, id) => this.validate(call, id)],
			['POST', /^\/releases\/(\d+)\/distribute$/, 'distribute', (call, id) => this.once(call, (body) =>
				this.distribute(call, id, body))],
			['POST', /^\/releases\/(\d+)\/takedown-all$/, 'takedown', (call, id) => this.once(call, () => this.takedown(call, id))],
			['GET', /^\/queues\/distro$/, 'queue', (call) => this.list(this.queueDocuments(), call, ['release_id', 'outlet_id', 'status'])],
			['GET', /^\/analytics\/summary$/, 'analytics', (call) => this.analytics(call)],
			['GET', /^\/webhooks\/event-types$/, 'reference', () => this.list(EVENTS.map((name) => ({ name })))],
			['GET', /^\/webhooks$/, 'webhooks', () => this.list([...this.webhooks.all.values()].map((it) => this.webhooks.shown(it)))],
			['POST', /^\/webhooks$/, 'webhooks', (call) => this.once(call, (body) => this.createWebhook(call, body))],
			['GET', /^\/webhooks\/(\d+)$/, 'webhook', (call, id) => this.one(this.webhooks.shown(this.webhook(call, id)))],
			['PATCH', /^\/webhooks\/(\d+)$/, 'webhook', (call, id) =>
				this.once(call, (body) => this.one(this.webhooks.change(this.webhook(call, id), body)))],
			['DELETE', /^\/webhooks\/(\d+)$/, 'webhook', (call, id) => this.deleteWebhook(call, id)],
			['POST', /^\/webhooks\/(\d+)\/test$/, 'webhook', (call, id) => this.testWebhook(call, id)],
			['POST', /^\/webhooks\/(\d+)\/regenerate-secret$/, 'webhook', (call, id) =>
				this.one(this.webhooks.rotate(this.webhook(call, id)))],
		];
	}

	find(method, path) {
		for (const [wanted, pattern, step, run] of this.routes) {
			const found = wanted === method && pattern.exec(path);
			if (!found) continue;
			return { step, run: async (call) => {
				const [, text = ''] = /^Bearer (\S+)$/i.exec(call.req.headers.authorization ?? '') ?? [];
				if (text === '' || (this.token !== undefined && !sameText(text, this.token))) call.refuse(401, 'Unauthenticated.');
				return run(call, found[1]);
			} };
		}
		return null;
	}

	/* Laravel wraps a resource in "data"; the client takes both */
	one(document, status = 200) {
		return new Answer(status, this.settings.envelope ? { data: document } : document);
	}

	/* ?filter[name]=value, or the bare name; page and per_page */
	list(all, call, filters = []) {
		let found = all;
		for (const name of filters) {
			const wanted = call.query.get(`filter[${name}]`) ?? call.query.get(name);
			if (wanted !== null) found = found.filter((it) =>
					String(typeof it[name] === 'boolean' ? Number(it[name]) : it[name]) === wanted);
		}
		const perPage = Math.min(200, Number(call?.query.get('per_page')) || 50);
		const page = Math.max(1, Number(call?.query.get('page')) || 1);
		const last = Math.max(1, Math.ceil(found.length / perPage));
		const shown = found.slice((page - 1) * perPage, page * perPage);
		return new Answer(200, { data: this.settings.lie === 'duplicates' ? shown.flatMap((it) => [it, it]) : shown,
			meta: { current_page: page, last_page: last, per_page: perPage, total: found.length } });
	}

	/*
	 * Idempotency-Key, 24 hours: the same request gets the answer of the first
	 * time, refusals included; another one with the key gets 409.
	 */
	async once(call, work) {
		const key = call.req.headers['idempotency-key'];
		const body = await call.json();
		if (key === undefined) return work(body);
		count(this.keyUses, key);
		const digest = crypto.createHash('sha256').update(`${call.req.method} ${call.path}\n${JSON.stringify(body)}`).digest('hex');
		const known = this.keys.get(key);
		if (known && clock.now() < known.until) {
			if (known.digest !== digest) {
				this.counters.conflicts++;
				call.refuse(409, 'this Idempotency-Key came with another request', { code: 'IDEMPOTENCY_KEY_REUSED' });
			}
			this.counters.replayed++;
			return new Answer(known.answer.status, known.answer.body, { ...known.answer.headers, 'idempotency-replayed': 'true' });
		}
		let answer;
		try {
			answer = await work(body);
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			answer = error.answer;
		}
		this.keys.delete(key);
		remember(this.keys, key, { digest, answer, until: clock.now() + DAY_MS });
		return answer;
	}

	invalid(call, structured) {
		call.refuse(422, structured[0].message, { errors: flat(structured), structured });
	}

	lacks(call, body, names) {
		const missing = names.filter((name) => empty(body[name]));
		if (missing.length === 0) return;
		this.invalid(call, missing.map((field) => ({ field, code: 'required', message: `The ${field} field is required.` })));
	}

	/* what is needed at creation */
	need(call, body, ai, others) {
		this.lacks(call, body, this.settings.strict ? [...ai, ...others] : ai);
	}

	/* what was sent out can't be changed */
	open(call, release) {
		if (this.locked(release)) call.refuse(403, 'the release is no longer a draft', { code: 'RELEASE_LOCKED_FIELDS' });
	}

	/* ---- catalogue ---- */

	createArtist(call, body) {
		this.lacks(call, body, ['artist_name']);
		const artist = remember(this.artists, ++this.lastId, { ...body, id: this.lastId });
		return this.one(artist, 201);
	}

	release(call, id) {
		return this.releases.get(Number(id)) ?? call.refuse(404, 'No query results for model [Release].');
	}

	track(call, id) {
		return this.tracks.get(Number(id)) ?? call.refuse(404, 'No query results for model [Track].');
	}

	tracksOf(release) {
		return [...this.tracks.values()].filter((track) => track.release_id === release.id);
	}

	/* submitted and not taken down */
	locked(release) {
		return ['submitted', 'distributed', 'takedown'].includes(release.status);
	}

	releaseDocument(release) {
		return { ...release, is_live: this.entries(release, 'release').some((entry) => this.stateOf(entry) === 'live') &&
			release.status !== 'taken_down',
			tracks: this.tracksOf(release).map(({ id }) => ({ id })) };
	}

	trackDocument(track) {
		const { file, ...rest } = track;
		return { ...rest, has_stereo: Boolean(file) };
	}

	createRelease(call, body) {
		this.need(call, body, AI_RELEASE, NEEDED_RELEASE);
		if (!empty(body.barcode_number) && !isGtin(body.barcode_number))
			this.invalid(call, [{ field: 'barcode_number', code: 'gtin', message: `"${body.barcode_number}" is not a UPC or EAN.` }]);
		const release = { ...body, id: ++this.lastId, status: 'draft', review_status: null, photo: null,
			created_at: new Date(clock.now()).toISOString() };
		remember(this.releases, release.id, release);
		this.counters.releases++;
		return this.one(this.releaseDocument(release), 201);
	}

	change(call, thing, release, body) {
		const { id, status, release_id: of, photo, file, ...fields } = body;
		const changed = Object.keys(fields).filter((name) => JSON.stringify(fields[name]) !== JSON.stringify(thing[name]));
		if (this.locked(release) && changed.length > 0)
			call.refuse(403, `locked: ${changed.join(', ')}`, { code: 'RELEASE_LOCKED_FIELDS',
				errors: Object.fromEntries(changed.map((name) => [name, ['locked']])) });
		Object.assign(thing, fields);
	}

	updateRelease(call, id, body) {
		const release = this.release(call, id);
		this.change(call, release, release, body);
		return this.one(this.releaseDocument(release));
	}

	deleteRelease(call, id) {
		const release = this.release(call, id);
		if (release.status !== 'draft') call.refuse(409, 'only a draft that was never submitted can be deleted',
				{ code: 'RELEASE_NOT_DRAFT' });
		for (const track of this.tracksOf(release)) this.tracks.delete(track.id);
		this.releases.delete(release.id);
		return new Answer(204);
	}

	createTrack(call, releaseId, body) {
		const release = this.release(call, releaseId);
		this.open(call, release);
		this.need(call, body, AI_TRACK, NEEDED_TRACK);
		if (!empty(body.isrc) && !/^[A-Z]{2}[A-Z0-9]{3}\d{7}$/.test(body.isrc))
			this.invalid(call, [{ field: 'isrc', code: 'isrc', message: `"${body.isrc}" is not an ISRC.` }]);
		const taken = this.tracksOf(release).some((track) => track.disc === body.disc && track.track_num === body.track_num);
		if (taken && body.track_num !== undefined)
			this.invalid(call, [{ field: 'track_num', code: 'taken',
				message: `Track ${body.track_num} of disc ${body.disc} is there already.` }]);
		const track = { ...body, id: ++this.lastId, release_id: release.id, file: null };
		remember(this.tracks, track.id, track);
		this.counters.tracks++;
		return this.one(this.trackDocument(track), 201);
	}

	updateTrack(call, id, body) {
		const track = this.track(call, id);
		this.change(call, track, this.release(call, track.release_id), body);
		return this.one(this.trackDocument(track));
	}

	deleteTrack(call, id) {
		const track = this.track(call, id);
		this.open(call, this.release(call, track.release_id));
		this.tracks.delete(track.id);
		return new Answer(204);
	}

	/* ---- files ---- */

	uploadUrl(call, id, body) {
		const track = this.track(call, id);
		if (!/\.(wav|flac|aiff?)$/i.test(body.filename ?? ''))
			this.invalid(call, [{ field: 'filename', code: 'extension', message: 'The filename must end in .wav, .flac, .aif or .aiff.' }]);
		this.open(call, this.release(call, track.release_id));
		const key = `uploads/${track.id}/${crypto.randomUUID()}/${encodeURIComponent(body.filename)}`;
		remember(this.uploads, key, { track: track.id, received: null });
		return new Answer(200, { upload_url: this.storage.sign(key, clock.now() + UPLOAD_MS), key });
	}

	/* the storage tells what came; null when it isn't one of ours */
	received(key, measured) {
		const upload = this.uploads.get(key);
		if (!upload) return;
		upload.received = measured;
		this.counters.uploads++;
		this.counters.bytes += measured.size;
	}

	/* s3_key as the client has it; size and md5 may be named as well and must be right */
	commit(call, id, body) {
		const track = this.track(call, id);
		const upload = this.uploads.get(body.s3_key);
		const wrong = (field, message) => this.invalid(call, [{ field, code: 'invalid', message }]);
		if (!upload || upload.track !== track.id) return wrong('s3_key', 'The s3_key is unknown.');
		if (!upload.received) return wrong('s3_key', 'Nothing has been uploaded there.');
		const { size, md5, sha256, head } = upload.received;
		if (body.size !== undefined && Number(body.size) !== size) return wrong('size', `The size is ${size}.`);
		if (body.md5 !== undefined && String(body.md5).toLowerCase() !== md5) return wrong('md5', `The md5 is ${md5}.`);
		const sound = soundOf(head, size);
		if (sound.problem) return wrong('s3_key', `The audio cannot be read: ${sound.problem}.`);
		if (sound.channels !== 2) return wrong('s3_key', `The audio has ${sound.channels} channels, not 2.`);
		track.file = { type: 'stereo', status: 'processed', size, md5, sha256, ...sound };
		this.counters.commits++;
		return this.one(track.file);
	}

	async photo(call, id) {
		if (call.type !== 'multipart/form-data') call.refuse(422, 'send multipart/form-data');
		const parts = await call.multipart();
		const release = this.release(call, id);
		this.open(call, release);
		const file = parts.find((part) => part.name === 'file' && part.head);
		const picture = file ? pictureOf(file.head) : { problem: 'the file field is required' };
		if (picture.problem) this.invalid(call, [{ field: 'file', code: 'image', message: picture.problem }]);
		release.photo = { ...picture, size: file.size, sha256: file.sha256 };
		this.counters.photos++;
		return this.one(release.photo);
	}

	/* ---- checks and distribution ---- */

	problemsOf(release) {
		const found = [];
		const say = (field, code, message) => found.push({ field, code, message });
		const tracks = this.tracksOf(release);
		if (titleOf(release).trim() === '') say('titles', 'required', 'The release has no title.');
		if (empty(release.barcode_number)) say('barcode_number', 'required', 'The release has no UPC.');
		if (empty(release.release_date)) say('release_date', 'required', 'The release has no date.');
		if (!release.photo) say('photo', 'required', 'The release has no cover.');
		else if (release.photo.width !== release.photo.height) say('photo', 'square', 'The cover is not square.');
		else if (release.photo.width < COVER_MIN) say('photo', 'small',
			`The cover has ${release.photo.width} pixels a side, not ${COVER_MIN}.`);
		if (tracks.length === 0) say('tracks', 'required', 'The release has no track.');
		for (const track of tracks) {
			if (!track.file) say(`tracks.${track.id}.stereo`, 'required', `Track ${track.track_num ?? track.id} has no audio.`);
			if (empty(track.isrc)) say(`tracks.${track.id}.isrc`, 'required', `Track ${track.track_num ?? track.id} has no ISRC.`);
			for (const name of AI_TRACK) if (empty(track[name])) say(`tracks.${track.id}.${name}`, 'required',
					`The ${name} field is required.`);
		}
		return [...found, ...this.settings.problems];
	}

	async validate(call, id) {
		await call.bytes();
		const structured = this.problemsOf(this.release(call, id));
		return new Answer(200, { valid: structured.length === 0, errors: structured.map((it) => it.message),
			errors_structured: structured });
	}

	distribute(call, id, body) {
		const release = this.release(call, id);
		if (this.locked(release)) call.refuse(409, 'the release has been submitted', { code: 'RELEASE_ALREADY_SUBMITTED' });
		const problems = this.problemsOf(release);
		if (problems.length > 0) this.invalid(call, problems);
		const wanted = body.outlets ?? OUTLETS;
		const unknown = wanted.find((name) => !OUTLETS.includes(name));
		if (unknown) this.invalid(call, [{ field: 'outlets', code: 'unknown', message: `The outlet ${unknown} is unknown.` }]);
		for (const entry of this.entries(release)) this.queue.delete(entry.id);
		release.status = 'submitted';
		this.counters.distributed++;
		this.enqueue(release, 'release', wanted);
		this.tell('release.distributed', release, {});
		return this.one({ id: release.id, status: release.status }, 202);
	}

	takedown(call, id) {
		const release = this.release(call, id);
		const outlets = this.entries(release, 'release').filter((entry) => entry.state !== 'failed').map((entry) => entry.outlet);
		if (outlets.length === 0 || release.status === 'taken_down') call.refuse(409, 'the release is nowhere',
				{ code: 'RELEASE_NOT_DISTRIBUTED' });
		if (release.status !== 'takedown') {
			release.status = 'takedown';
			this.counters.takedowns++;
			this.enqueue(release, 'takedown', outlets);
		}
		return this.one({ id: release.id, status: release.status }, 202);
	}

	/* ---- the queue ---- */

	entries(release, type) {
		return [...this.queue.values()].filter((entry) => entry.release === release && (!type || entry.type === type));
	}

	enqueue(release, type, outlets) {
		for (const outlet of outlets) {
			const id = ++this.lastId;
			remember(this.queue, id, { id, release, type, outlet, state: 'queued', since: clock.now(), createdAt: clock.now(), error: null,
				deliveredAt: null });
		}
		this.tick();
	}

	/* where an entry goes next, or null when it stays */
	next(entry) {
		const { hold, fail } = this.settings;
		if (entry.put || entry.state === 'failed' || entry.state === hold) return null;
		if (entry.state === 'processing' && entry.type === 'release' && entry.outlet in fail) return 'failed';
		const at = STATES.indexOf(entry.state);
		return at === (entry.type === 'release' ? 3 : 2) ? null : STATES[at + 1];
	}

	move(entry, state, message) {
		entry.state = state;
		entry.since += this.settings.pace_ms;
		const { release } = entry;
		if (state === 'failed') {
			entry.error = message ?? this.settings.fail[entry.outlet] ?? 'the outlet refused the delivery';
			this.tell('delivery.failed', release, entry);
		} else if (state === 'delivered' && entry.type === 'takedown') {
			entry.deliveredAt = clock.now();
			if (this.entries(release, 'takedown').every((other) => other.state === 'delivered')) release.status = 'taken_down';
			this.tell('takedown.completed', release, entry);
		} else if (state === 'delivered') {
			entry.deliveredAt = clock.now();
			this.tell('delivery.completed', release, entry);
		}
		const mine = this.entries(release, 'release');
		if (release.status === 'submitted' && mine.every((other) => ['delivered', 'live',
				'failed'].includes(other.state))) release.status = 'distributed';
	}

	/* Moves what is due, and sets the clock for the next */
	tick() {
		clearTimeout(this.timer);
		let soonest = Infinity;
		for (const entry of this.queue.values()) {
			for (let state = this.next(entry); state; state = this.next(entry)) {
				const due = entry.since + this.settings.pace_ms;
				if (due > clock.now()) {
					soonest = Math.min(soonest, due);
					break;
				}
				this.move(entry, state);
			}
		}
		if (soonest < Infinity) this.timer = setTimeout(() => this.tick(), Math.min(60000, Math.max(1, soonest - clock.now())));
	}

	stateOf(entry) {
		if (this.settings.lie === 'backwards') return STATES[Math.max(0, STATES.indexOf(entry.state) - 1)];
		return this.settings.lie === 'state' ? 'daydreaming' : entry.state;
	}

	queueDocuments() {
		const documents = [...this.queue.values()].map((entry) => {
			const state = this.stateOf(entry);
			return { id: entry.id, release_id: entry.release.id, type: entry.type, outlet: entry.outlet,
				outlet_id: OUTLETS.indexOf(entry.outlet) + 1,
				status: this.settings.vocabulary === 'documented' ? DOCUMENTED[state] ?? state : state, error: entry.error,
				created_at: new Date(entry.createdAt).toISOString(), delivered_at: entry.deliveredAt ?
					new Date(entry.deliveredAt).toISOString() : null };
		});
		if (this.settings.lie !== 'contradictory') return documents;
		return documents.flatMap((it) => [it, { ...it, id: it.id + 100000, status: it.status === 'failed' ? 'live' : 'failed',
			error: 'contradiction' }]);
	}

	/* ---- look-ups and analytics ---- */

	/* a release that an outlet shows: it is live there and not taken down there */
	shown(outlet) {
		return [...this.releases.values()].filter((release) => {
			const there = (type, states) => this.entries(release, type).some((entry) => entry.outlet === outlet &&
				states.includes(entry.state));
			return there('release', ['live']) && !there('takedown', ['delivered']);
		}).map((release) => ({ id: release.id, upc: release.barcode_number, title: titleOf(release), artist: this.artistOf(release),
			date: release.release_date,
			tracks: this.tracksOf(release).map((track) => ({ id: track.id, isrc: track.isrc, title: titleOf(track),
				seconds: track.file?.seconds ?? 0 })) }));
	}

	artistOf(release) {
		const [first] = release.artists ?? [];
		return first?.name ?? first?.artist_name ?? this.artists.get(first?.artist_id)?.artist_name ?? '';
	}

	analytics(call) {
		const shown = OUTLETS.map((outlet) => ({ outlet, releases: this.shown(outlet) }));
		const answer = summaryOf(call.query, shown, clock.now());
		if (answer.problems) this.invalid(call, answer.problems);
		return new Answer(200, answer);
	}

	/* ---- webhooks ---- */

	webhook(call, id) {
		return this.webhooks.all.get(Number(id)) ?? call.refuse(404, 'No query results for model [Webhook].');
	}

	createWebhook(call, body) {
		this.lacks(call, body, ['name', 'url', 'events']);
		const unknown = Array.isArray(body.events) ? body.events.find((name) => !EVENTS.includes(name)) : undefined;
		if (unknown !== undefined) this.invalid(call, [{ field: 'events', code: 'unknown', message: `The event ${unknown} is unknown.` }]);
		return this.one(this.webhooks.create(++this.lastId, body), 201);
	}

	deleteWebhook(call, id) {
		this.webhooks.all.delete(this.webhook(call, id).id);
		return new Answer(204);
	}

	testWebhook(call, id) {
		this.webhooks.post(this.webhook(call, id), 'delivery.completed', { test: true }, this.settings.callback);
		return new Answer(202, { message: 'sent' });
	}

	tell(event, release, { outlet, type, state, error }) {
		const data = { release_id: release.id, barcode_number: release.barcode_number ?? null, cat: release.cat ?? null };
		if (outlet) Object.assign(data, { outlet, outlet_id: OUTLETS.indexOf(outlet) + 1, type, status: state, error });
		this.webhooks.tell(event, data, this.settings.callback);
	}

	/* ---- control ---- */

	/* put: { release_id, outlet, status, message }, of all outlets without one; it stays until it is put again */
	check(field, value) {
		if (field === 'put') {
			const { release_id: id, outlet, status, message, type = 'release' } = value;
			if (![...STATES, 'failed'].includes(status)) throw new Error(`unknown status "${status}": one of ${STATES.join(', ')}, failed`);
			const wanted = [...this.queue.values()].filter((entry) => entry.release.id === id && entry.type === type &&
				(!outlet || entry.outlet === outlet));
			if (wanted.length === 0) throw new Error(`release ${id} is not in the queue`);
			for (const entry of wanted) {
				entry.put = true;
				this.move(entry, status, message);
			}
			return null;
		}
		if (field === 'vocabulary' && !['plain', 'documented'].includes(value)) throw new Error('vocabulary is "plain" or "documented"');
		if (field === 'callback' && !['normal', 'duplicate', 'bad-signature', 'none'].includes(value))
			throw new Error('callback is "normal", "duplicate", "bad-signature" or "none"');
		return super.check(field, value);
	}

	configure(changes) {
		super.configure(changes);
		this.tick();
	}

	summary() {
		const distinct = new Set([...this.releases.values()].map((release) => release.barcode_number ?? release.cat ?? `id ${release.id}`));
		return { ...super.summary(), ...this.counters, distinct_releases: distinct.size,
			idempotency_keys: Object.fromEntries(this.keyUses), callbacks: this.webhooks.counters() };
	}

	records() {
		return { releases: [...this.releases.values()].map((it) => this.releaseDocument(it)), tracks: [...this.tracks.values()],
			queue: this.queueDocuments() };
	}
}
LabelGrid.SETTINGS = { strict: true, envelope: true, vocabulary: 'plain', pace_ms: 200, hold: null, fail: {}, problems: [],
	callback: 'normal', put: null,
	lie: null };
LabelGrid.LIES = ['contradictory', 'backwards', 'state', 'duplicates'];

module.exports = { LabelGrid, OUTLETS };
