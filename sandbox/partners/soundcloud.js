/*
 * A stand-in for SoundCloud: authorization, uploads, tracks, playlists and
 * counters as its guide and its OpenAPI document describe them.
 *
 * With a judge (see --validate) every request and every answer is held against
 * that document: a request that doesn't fit is refused with 400, an answer that
 * doesn't is counted and told on stderr, for it is our own mistake.
 */
'use strict';

const { Answer, Partner, Refused, clock, remember } = require('./partner.js');
const { Tokens, OauthError, clientOf } = require('./oauth.js');
const { soundOf, pictureOf } = require('./media.js');

const LINK = 'https://developers.soundcloud.com/docs/api/explorer/open-api';
const USER_ID = 1000;
const PROBLEMS_MAX = 20;
const SHARING = ['public', 'private'];
const LICENSES = ['no-rights-reserved', 'all-rights-reserved', 'cc-by', 'cc-by-nc', 'cc-by-nd', 'cc-by-sa', 'cc-by-nc-nd', 'cc-by-nc-sa'];
const TEXTS = ['title', 'permalink', 'sharing', 'embeddable_by', 'purchase_url', 'description', 'genre', 'tag_list', 'label_name',
	'release',
	'license', 'isrc'];
const FLAGS = ['streamable', 'downloadable', 'commentable', 'reveal_stats', 'reveal_comments'];
const COUNTERS = ['playback_count', 'favoritings_count', 'download_count', 'comment_count', 'reposts_count'];

const two = (number) => String(number).padStart(2, '0');

/* yyyy/MM/dd HH:mm:ss +0000, in all documents of this partner */
function stamp(ms) {
	const at = new Date(ms);
	return `${at.getUTCFullYear()}/${two(at.getUTCMonth() + 1)}/${two(at.getUTCDate())} ` +
		`${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/* track[title] and the like, without what is around the name */
function fieldsOf(parts, prefix) {
	const fields = {};
	for (const { name, value } of parts) {
		const inner = name.startsWith(`${prefix}[`) && /^\[([^\]]+)\](.*)$/.exec(name.slice(prefix.length));
		if (inner && value !== undefined) fields[inner[1] + inner[2]] = value;
	}
	return fields;
}

class SoundCloud extends Partner {
	constructor({ client, judge, base, complain }) {
		super('soundcloud', ['authorize', 'token', 'sign-out', 'me', 'upload', 'track', 'tracks', 'update', 'delete', 'playlist-create', 'playlists',
			'playlist', 'playlist-update', 'playlist-delete']);
		Object.assign(this, { judge, base, complain, tokens: new Tokens(client) });
	}

	forget() {
		super.forget();
		this.tokens?.forget();
		this.tracks = new Map();
		this.playlists = new Map();
		this.lastId = 1000;
		this.counters = { uploads: 0, bytes: 0, tracks: 0, playlists: 0, deleted: 0, bad_assets: 0 };
		this.judged = { requests: 0, answers: 0, invalid_requests: [], invalid_answers: [] };
	}

	problem(status, message, { code, error } = {}) {
		return new Answer(status, { code: code ?? status, message, link: LINK, ...(error ? { error } : {}) });
	}

	/* the documented body; the time of the next attempt stands in it, not in a header, unless one is wished */
	limited({ reset_seconds: seconds = 1, retry_after: header }) {
		const meta = { rate_limit: { group: 'uploads', max_nr_of_requests: 50, time_window: 'PT24H' }, remaining_requests: 0,
			reset_time: stamp(Math.ceil((clock.now() + seconds * 1000) / 1000) * 1000) };
		return new Answer(429, { code: 429, message: 'too many requests',
			link: 'https://developers.soundcloud.com/docs/api/rate-limits#errors',
			errors: [{ meta }] }, header === undefined ? {} : { 'retry-after': String(header) });
	}

	/* ---- routes ---- */

	find(method, path) {
		const [, room, id, inner] = /^\/(tracks|playlists)(?:\/(?:soundcloud:(?:tracks|playlists):)?(\d+)(\/tracks)?)?$/.exec(path) ?? [];
		const to = (step, template, run) => ({ step, run: (call) => this.judgedRun(method, template, run, call) });
		if (path === '/authorize' && (method === 'GET' || method === 'POST')) return { step: 'authorize', run: (call) =>
				this.authorize(method, call) };
		if (path === '/oauth/token' && method === 'POST') return { step: 'token', run: (call) => this.token(call) };
		if (path === '/sign-out' && method === 'POST') return { step: 'sign-out', run: (call) => this.signOut(call) };
		if (path === '/me' && method === 'GET') return to('me', '/me', () => new Answer(200, this.meDocument()));
		if (path === '/me/tracks' && method === 'GET') return to('tracks', '/me/tracks', (call) => this.listTracks(call));
		if (path === '/me/playlists' && method === 'GET') return to('playlists', '/me/playlists', (call) => this.listPlaylists(call));
		if (room === 'tracks' && id === undefined && method === 'POST') return to('upload', '/tracks', (call) => this.upload(call));
		if (room === 'tracks' && id !== undefined && !inner) {
			const template = '/tracks/{track_urn}';
			if (method === 'GET') return to('track', template, (call) => new Answer(200, this.trackDocument(this.track(call, id), 'read')));
			if (method === 'PUT') return to('update', template, (call) => this.update(call, id));
			if (method === 'DELETE') return to('delete', template, (call) => this.remove(call, this.tracks, id));
		}
		if (room === 'playlists' && id === undefined && method === 'POST') return to('playlist-create', '/playlists', (call) =>
				this.createPlaylist(call));
		if (room === 'playlists' && id !== undefined && !inner) {
			const template = '/playlists/{playlist_urn}';
			if (method === 'GET') return to('playlist', template, (call) => new Answer(200,
					this.playlistDocument(this.playlist(call, id))));
			if (method === 'PUT') return to('playlist-update', template, (call) => this.updatePlaylist(call, id));
			if (method === 'DELETE') return to('playlist-delete', template, (call) => this.remove(call, this.playlists, id));
		}
		return null;
	}

	note(list, problems) {
		list.push(...problems);
		list.splice(0, list.length - PROBLEMS_MAX);
	}

	/* Runs behind the check of the token, with the judge before and after it */
	async judgedRun(method, template, run, call) {
		call.template = template;
		const answer = await (async () => {
			try {
				this.authorized(call);
				return await run(call);
			} catch (error) {
				if (error instanceof Refused) return error.answer;
				throw error;
			}
		})();
		if (this.judge) {
			this.judged.answers++;
			const problems = this.judge.answer(method, template, answer.status, answer.body);
			this.note(this.judged.invalid_answers, problems);
			if (problems.length > 0) this.complain(`our answer to ${method} ${template} is not as documented: ${problems.join('; ')}`);
		}
		/* the document has no nulls where its own examples, and the real service, have them */
		if (this.settings.lie === 'nulls' && answer.body?.kind === 'track')
			Object.assign(answer.body, { description: null, genre: null, isrc: null, bpm: null, release_year: null, label_name: null });
		return answer;
	}

	/* value: the fields of a form, or a JSON document */
	judgeRequest(call, value) {
		if (!this.judge) return;
		this.judged.requests++;
		const problems = this.judge.request(call.req.method, call.template, call.type, value);
		if (problems.length === 0) return;
		this.note(this.judged.invalid_requests, problems.map((problem) => `${call.req.method} ${call.template}: ${problem}`));
		call.refuse(400, `not as documented: ${problems.join('; ')}`);
	}

	/* ---- authorization ---- */

	authorized(call) {
		const [, text] = /^OAuth (\S+)$/.exec(call.req.headers.authorization ?? '') ?? [];
		if (text === undefined) call.refuse(401, 'send Authorization: OAuth and the access token');
		const problem = this.tokens.problemOf(text);
		if (problem) call.refuse(401, `the access token is ${problem}`);
	}

	/* GET shows a page with two buttons; POST, approve=yes or the setting auto_approve send the browser back at once */
	async authorize(method, call) {
		const asked = method === 'POST' ? await call.form() : Object.fromEntries(call.query);
		const { client_id: client, redirect_uri: redirect, response_type: type, code_challenge: challenge, state } = asked;
		const refuse = (message) => { throw new Refused(new Answer(400, `<!doctype html><title>400</title><p>${escaped(message)}\n`)); };
		if (!client || !this.tokens.knows(client, null)) refuse('client_id is unknown');
		let target;
		try {
			target = new URL(redirect);
		} catch {
			refuse('redirect_uri is not a URL');
		}
		const back = (answer) => {
			for (const [name, value] of Object.entries({ ...answer, state })) if (value !== undefined) target.searchParams.set(name, value);
			return new Answer(302, null, { location: target.href });
		};
		if (type !== 'code') return back({ error: 'unsupported_response_type', error_description: 'response_type must be code' });
		if (!/^[\w-]{43}$/.test(challenge ?? '') || asked.code_challenge_method !== 'S256')
			return back({ error: 'invalid_request', error_description: 'code_challenge with code_challenge_method=S256 is needed' });
		if (asked.approve === 'no') return back({ error: 'access_denied' });
		if (asked.approve === 'yes' || this.settings.auto_approve) return back({ code: this.tokens.code({ client, redirect, challenge }) });
		const hidden = Object.entries(asked).map(([name, value]) =>
			`<input type="hidden" name="${escaped(name)}" value="${escaped(value)}">`).join('');
		return new Answer(200, '<!doctype html><html lang="en"><title>Connect</title><form method="post" action="authorize">' + hidden +
			`<p>${escaped(client)} wants to upload for you.</p><button name="approve" value="yes">Connect</button>` +
			'<button name="approve" value="no">Cancel</button></form></html>\n');
	}

	/* the session behind an access token ends, with all that grew from its approval */
	async signOut(call) {
		const { access_token: text } = await call.json();
		if (!this.tokens.signOut(String(text ?? ''))) call.refuse(401, 'the access token is of no session');
		return new Answer(200, {});
	}

	async token(call) {
		const form = await call.form();
		const seconds = this.settings.expires_in;
		const client = clientOf(call.req.headers, form);
		try {
			if (!client.id || !client.secret || !this.tokens.knows(client.id, client.secret))
				throw new OauthError('invalid_client', 'client_id and client_secret are needed', 401);
			if (form.grant_type === 'authorization_code')
				return new Answer(200, this.tokens.fromCode({ ...form, client_id: client.id }, seconds), { 'cache-control': 'no-store' });
			if (form.grant_type === 'refresh_token') return new Answer(200, this.tokens.fromRefresh(form, seconds),
					{ 'cache-control': 'no-store' });
			if (form.grant_type === 'client_credentials') return new Answer(200, this.tokens.fromClient(seconds),
					{ 'cache-control': 'no-store' });
			throw new OauthError('unsupported_grant_type', `grant_type "${form.grant_type}" is unknown`);
		} catch (error) {
			if (!(error instanceof OauthError)) throw error;
			return new Answer(error.status, { code: error.status, message: error.error, error: error.error,
				error_description: error.message,
				link: 'https://developers.soundcloud.com/docs/api/guide#authentication' });
		}
	}

	/* ---- documents ---- */

	userDocument() {
		return { kind: 'user', urn: `soundcloud:users:${USER_ID}`, username: 'sandbox', permalink: 'sandbox', full_name: 'Sandbox Artist',
			permalink_url: 'https://soundcloud.com/sandbox', uri: `${this.base()}/users/soundcloud:users:${USER_ID}`,
			track_count: [...this.tracks.values()].filter((track) => track.sharing === 'public').length };
	}

	meDocument() {
		return { ...this.userDocument(), plan: 'Pro', quota: { unlimited_upload_quota: true, upload_seconds_used: 0 },
			private_tracks_count: [...this.tracks.values()].filter((track) => track.sharing === 'private').length };
	}

	counts(track) {
		const hours = track.publicSince === null ? 0 : (clock.now() - track.publicSince) / 3600000;
		const grown = Math.floor(hours * this.settings.plays_per_hour);
		const counts = { playback_count: grown, favoritings_count: Math.floor(grown / 10),
			download_count: track.downloadable ? Math.floor(grown / 50) : 0,
			comment_count: 0, reposts_count: Math.floor(grown / 100) };
		for (const name of COUNTERS) counts[name] += track.added[name] ?? 0;
		if (this.settings.lie === 'backwards') for (const name of COUNTERS) counts[name] = Math.floor(counts[name] / 2);
		return counts;
	}

	trackDocument(track, why) {
		if (why === 'read' && this.settings.lie === 'other-id') track = { ...track, id: track.id + 1 };
		const urn = `soundcloud:tracks:${track.id}`;
		const done = clock.now() >= track.doneAt && !track.broken;
		const access = done ? 'playable' : 'blocked';
		const streamable = (done && track.streamable) !== (this.settings.lie === 'contradictory');
		const document = { kind: 'track', urn, uri: `${this.base()}/tracks/${urn}`,
			permalink_url: `https://soundcloud.com/sandbox/${track.permalink ?? track.id}`,
			created_at: stamp(track.createdAt), duration: Math.round(track.seconds * 1000), ...this.counts(track), streamable, access,
			user: this.userDocument(), user_favorite: false };
		for (const name of TEXTS) if (track[name] !== undefined && name !== 'permalink') document[name] = track[name];
		for (const name of FLAGS) if (name !== 'streamable') document[name] = track[name];
		if (track.artwork) document.artwork_url = `https://i1.sndcdn.com/artworks-${track.id}-large.jpg`;
		if (track.released) [document.release_year, document.release_month, document.release_day] = track.released;
		if (track.sharing === 'private') document.secret_uri = `${document.uri}?secret_token=s-${track.id}`;
		return document;
	}

	playlistDocument(playlist) {
		const urn = `soundcloud:playlists:${playlist.id}`;
		const tracks = playlist.tracks.map((id) => this.tracks.get(id)).filter(Boolean).map((track) => this.trackDocument(track));
		const { id, tracks: ids, createdAt, set_type: type = '', release_date: date, ...rest } = playlist;
		return { kind: 'playlist', urn, uri: `${this.base()}/playlists/${urn}`, permalink_url: `https://soundcloud.com/sandbox/sets/${id}`,
			created_at: stamp(createdAt), ...rest, playlist_type: type, type, tracks, track_count: tracks.length, user: this.userDocument(),
			duration: tracks.reduce((sum, track) => sum + track.duration, 0), likes_count: 0, user_urn: `soundcloud:users:${USER_ID}`,
			...(this.dateOf(date) ? Object.fromEntries(['release_year', 'release_month', 'release_day'].map((name, at) =>
				[name, this.dateOf(date)[at]])) : {}) };
	}

	/* ---- tracks ---- */

	track(call, id) {
		return this.tracks.get(Number(id)) ?? call.refuse(404, `no track soundcloud:tracks:${id}`);
	}

	/* [year, month, day]; the documents say yyyy-mm-dd, their example goes on with a time */
	dateOf(text) {
		const found = /^(\d{4})-(\d{2})-(\d{2})(?:[ T].*)?$/.exec(text ?? '');
		return found && !Number.isNaN(Date.parse(`${found[1]}-${found[2]}-${found[3]}`)) ? found.slice(1).map(Number) : null;
	}

	/* Puts what a request says into a track, or refuses all of it */
	apply(call, track, fields) {
		const next = { ...track };
		/* documented are 422 for POST and 400 for PUT */
		const status = call.req.method === 'POST' ? 422 : 400;
		for (const [name, value] of Object.entries(fields)) {
			if (TEXTS.includes(name)) next[name] = String(value);
			else if (FLAGS.includes(name)) next[name] = value === true || ['true', '1'].includes(value);
			else if (name === 'release_date') next.released = this.dateOf(value) ?? call.refuse(status,
				`release_date "${value}" is not yyyy-mm-dd`);
		}
		if (!next.title?.trim()) call.refuse(status, 'title must say something');
		if (!SHARING.includes(next.sharing)) call.refuse(status, `sharing "${next.sharing}" is neither public nor private`);
		if (next.license !== undefined && !LICENSES.includes(next.license)) call.refuse(status, `license "${next.license}" is unknown`);
		if (next.isrc && !/^[A-Z]{2}-?[A-Z0-9]{3}-?\d{2}-?\d{5}$/.test(next.isrc)) call.refuse(status, `isrc "${next.isrc}" is none`);
		next.publicSince = next.sharing !== 'public' ? null : track.publicSince ?? clock.now();
		return Object.assign(track, next);
	}

	artworkOf(call, parts) {
		const file = parts.find((part) => part.name === 'track[artwork_data]');
		if (!file) return false;
		const picture = file.head ? pictureOf(file.head) : { problem: 'no file' };
		if (picture.problem) call.refuse(422, `track[artwork_data]: ${picture.problem}`);
		return true;
	}

	async upload(call) {
		if (call.type !== 'multipart/form-data') call.refuse(400, 'send multipart/form-data');
		const parts = await call.multipart();
		const asset = parts.find((part) => part.name === 'track[asset_data]');
		if (asset) {
			this.counters.uploads++;
			this.counters.bytes += asset.size;
		}
		this.judgeRequest(call, Object.fromEntries(parts.map((part) => [part.name, part.value ?? ''])));
		if (!asset?.head) call.refuse(422, 'track[asset_data] must be a file');
		const sound = this.settings.reject_assets ? { problem: 'told to reject it' } : soundOf(asset.head, asset.size);
		if (sound.problem) {
			this.counters.bad_assets++;
			call.refuse(422, `track[asset_data]: ${sound.problem}`);
		}
		const artwork = this.artworkOf(call, parts);
		const track = this.apply(call, { sharing: 'public', streamable: true, downloadable: true, commentable: true, reveal_stats: true,
			reveal_comments: true,
			publicSince: null, added: {} }, fieldsOf(parts, 'track'));
		Object.assign(track, { id: ++this.lastId, createdAt: clock.now(), doneAt: clock.now() + this.settings.processing_ms,
			broken: this.settings.processing === 'fail', artwork, seconds: sound.seconds, asset: { bytes: asset.size, sha256: asset.sha256,
				...sound,
				filename: asset.filename } });
		remember(this.tracks, track.id, track);
		this.counters.tracks++;
		return new Answer(201, this.trackDocument(track));
	}

	async update(call, id) {
		let fields;
		let artwork = false;
		if (call.type === 'application/json') {
			const document = await call.json();
			this.judgeRequest(call, document);
			fields = document.track ?? call.refuse(400, 'the document has no "track"');
		} else {
			const parts = await call.multipart();
			this.judgeRequest(call, Object.fromEntries(parts.map((part) => [part.name, part.value ?? ''])));
			artwork = this.artworkOf(call, parts);
			fields = fieldsOf(parts, 'track');
		}
		const track = this.apply(call, this.track(call, id), fields);
		track.artwork ||= artwork;
		return new Answer(200, this.trackDocument(track));
	}

	remove(call, map, id) {
		if (!map.delete(Number(id))) call.refuse(404, `no ${map === this.tracks ? 'track' : 'playlist'} ${id}`);
		this.counters.deleted++;
		return new Answer(200, { status: 'Status(200) - OK' });
	}

	/* the newest first; pages when linked_partitioning is asked for, as it should be */
	page(call, name, all, show) {
		const limit = Math.min(200, Math.max(1, Number(call.query.get('limit') ?? 50) || 50));
		const from = Number(call.query.get('cursor') ?? 0) || 0;
		const page = all.slice(from, from + limit).map(show);
		const shown = this.settings.lie === 'duplicates' ? page.flatMap((thing) => [thing, thing]) : page;
		if (call.query.get('linked_partitioning') !== 'true') return new Answer(200, shown);
		const next = `${this.base()}/me/${name}?linked_partitioning=true&limit=${limit}&cursor=${from + limit}`;
		return new Answer(200, { collection: shown, ...(from + limit < all.length ? { next_href: next } : {}) });
	}

	listTracks(call) {
		const all = [...this.tracks.values()].reverse();
		if (call.query.get('sort') === 'asc') all.reverse();
		return this.page(call, 'tracks', all, (track) => this.trackDocument(track));
	}

	/* ---- playlists ---- */

	playlist(call, id) {
		return this.playlists.get(Number(id)) ?? call.refuse(404, `no playlist soundcloud:playlists:${id}`);
	}

	listPlaylists(call) {
		return this.page(call, 'playlists', [...this.playlists.values()].reverse(), (playlist) => this.playlistDocument(playlist));
	}

	async playlistFields(call) {
		let fields;
		if (call.type === 'application/json') {
			const document = await call.json();
			this.judgeRequest(call, document);
			fields = { ...document.playlist };
		} else {
			const parts = await call.multipart();
			this.judgeRequest(call, Object.fromEntries(parts.map((part) => [part.name, part.value ?? ''])));
			fields = fieldsOf(parts, 'playlist');
			const { 'tracks[][urn]': urns, ...others } = fields;
			fields = urns === undefined ? others : { ...others, tracks: urns.split(',').map((urn) => ({ urn: urn.trim() })) };
		}
		delete fields.artwork_data;
		if (fields.tracks) {
			fields.tracks = fields.tracks.map(({ urn }) => Number(/^soundcloud:tracks:(\d+)$/.exec(urn)?.[1]));
			const missing = fields.tracks.find((id) => !this.tracks.has(id));
			if (missing !== undefined) call.refuse(404, `no track soundcloud:tracks:${missing}`);
		}
		return fields;
	}

	async createPlaylist(call) {
		const fields = await this.playlistFields(call);
		if (!fields.title?.trim()) call.refuse(400, 'playlist title must say something');
		const playlist = { sharing: 'public', tracks: [], ...fields, id: ++this.lastId, createdAt: clock.now() };
		remember(this.playlists, playlist.id, playlist);
		this.counters.playlists++;
		return new Answer(201, this.playlistDocument(playlist));
	}

	async updatePlaylist(call, id) {
		const fields = await this.playlistFields(call);
		return new Answer(200, this.playlistDocument(Object.assign(this.playlist(call, id), fields)));
	}

	/* ---- control ---- */

	/* { urn: "soundcloud:tracks:1001" (all without), playback_count: 10, ... } */
	check(field, value) {
		if (field !== 'add_stats') return super.check(field, value);
		const { urn, ...added } = value;
		const unknown = Object.keys(added).find((name) => !COUNTERS.includes(name));
		if (unknown !== undefined) throw new Error(`unknown counter "${unknown}": one of ${COUNTERS.join(', ')}`);
		for (const track of this.tracks.values()) {
			if (urn !== undefined && urn !== `soundcloud:tracks:${track.id}`) continue;
			for (const [name, number] of Object.entries(added)) track.added[name] = (track.added[name] ?? 0) + number;
		}
		return null;
	}

	summary() {
		const distinct = new Set([...this.tracks.values()].map((track) => `${track.isrc ?? ''} ${track.title} ${track.asset.sha256}`));
		return { ...super.summary(), ...this.counters, distinct_tracks: distinct.size, ...this.tokens.counters,
			validated: { by: this.judge ? this.judge.name : null, ...this.judged } };
	}

	records() {
		const tracks = [...this.tracks.values()].map((track) => ({ ...this.trackDocument(track), asset: track.asset }));
		return { tracks, playlists: [...this.playlists.values()].map((playlist) => this.playlistDocument(playlist)) };
	}
}
SoundCloud.SETTINGS = { expires_in: 3600, auto_approve: false, processing_ms: 300, processing: 'ok', reject_assets: false,
	plays_per_hour: 3600,
	add_stats: null, lie: null };
SoundCloud.LIES = ['contradictory', 'backwards', 'other-id', 'duplicates', 'nulls'];

module.exports = { SoundCloud };
