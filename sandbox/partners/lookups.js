/*
 * Stand-ins for the catalogues of Spotify, Apple Music and Deezer, asked by UPC
 * and ISRC. They find what LabelGrid has brought live to them and not yet taken
 * down, and what the control document's "catalogue" says:
 *   { "upc:4006381333931": { "title": …, "artist": …, "tracks": [{ "isrc", "title", "seconds" }] }, "isrc:…": false }
 * false hides, whatever was distributed.
 */
'use strict';

const crypto = require('node:crypto');
const { Answer, Partner, clock, sameText } = require('./partner.js');
const { Tokens, OauthError, clientOf } = require('./oauth.js');

const numberOf = (text) => crypto.createHash('sha256').update(String(text)).digest().readUInt32BE(0);
/* 22 characters of base 62, as Spotify's ids have */
const idOf = (text) => crypto.createHash('sha256').update(text).digest('base64').replace(/[^A-Za-z0-9]/g, '0').slice(0, 22);
const sameIsrc = (a, b) => String(a ?? '').replaceAll('-', '').toUpperCase() === String(b).replaceAll('-', '').toUpperCase();
const sameUpc = (a, b) => String(a ?? '').replace(/^0+/, '') === String(b).replace(/^0+/, '');

class Catalogue extends Partner {
	/* shown() lists the releases that are live at this outlet */
	constructor(name, steps, shown) {
		super(name, steps);
		this.shown = shown;
	}

	forget() {
		super.forget();
		this.counters = { found: 0, not_found: 0 };
	}

	all() {
		const told = [];
		for (const [key, it] of Object.entries(this.settings.catalogue)) {
			const [, kind, value] = /^(upc|isrc):(.*)$/.exec(key) ?? [];
			if (!kind || !it) continue;
			const known = kind === 'upc' ? { upc: value, tracks: [] } : { tracks: [{ isrc: value, title: it.title ?? 'Untitled' }] };
			told.push({ title: 'Untitled', artist: 'Sandbox Artist', date: '2026-01-01', ...known, ...it });
		}
		return [...told, ...this.shown()];
	}

	hidden(kind, value) {
		const same = kind === 'upc' ? sameUpc : sameIsrc;
		return Object.entries(this.settings.catalogue).some(([key, it]) => it === false && key.startsWith(`${kind}:`) &&
			same(key.slice(kind.length + 1), value));
	}

	tally(found) {
		this.counters[found ? 'found' : 'not_found']++;
		/* a catalogue that answers with somebody else's release */
		if (found && this.settings.lie === 'other') return { ...found, upc: '0000000000000', isrc: 'XX0000000000',
				title: 'Something else' };
		return found;
	}

	albumOf(upc) {
		return this.tally(this.hidden('upc', upc) ? null : this.all().find((album) => sameUpc(album.upc, upc)) ?? null);
	}

	/* the track with its album */
	trackOf(isrc) {
		for (const album of this.hidden('isrc', isrc) ? [] : this.all()) {
			const track = album.tracks.find((it) => sameIsrc(it.isrc, isrc));
			if (track) return this.tally({ ...track, album });
		}
		return this.tally(null);
	}

	summary() {
		return { ...super.summary(), ...this.counters };
	}
}
Catalogue.SETTINGS = { catalogue: {}, lie: null };
Catalogue.LIES = ['other', 'duplicates'];

class Spotify extends Catalogue {
	constructor({ client, base, shown }) {
		super('spotify', ['token', 'search', 'album'], shown);
		Object.assign(this, { base, tokens: new Tokens(client) });
	}

	forget() {
		super.forget();
		this.tokens?.forget();
	}

	problem(status, message) {
		return new Answer(status, { error: { status, message } });
	}

	limited({ retry_after: seconds = 1 }) {
		return new Answer(429, { error: { status: 429, message: 'API rate limit exceeded' } }, { 'retry-after': String(seconds) });
	}

	find(method, path) {
		if (path === '/api/token' && method === 'POST') return { step: 'token', run: (call) => this.token(call) };
		if (path === '/v1/search' && method === 'GET') return { step: 'search', run: (call) => this.search(call) };
		const [, id] = /^\/v1\/albums\/(\w+)$/.exec(path) ?? [];
		return id && method === 'GET' ? { step: 'album', run: (call) => this.album(call, id) } : null;
	}

	async token(call) {
		const form = await call.form();
		const client = clientOf(call.req.headers, form);
		try {
			if (!client.id || !client.secret || !this.tokens.knows(client.id, client.secret)) throw new OauthError('invalid_client',
					'Invalid client');
			if (form.grant_type !== 'client_credentials') throw new OauthError('unsupported_grant_type',
					'grant_type must be client_credentials');
			const { access_token: text, expires_in: seconds } = this.tokens.fromClient(this.settings.expires_in);
			return new Answer(200, { access_token: text, token_type: 'Bearer', expires_in: seconds });
		} catch (error) {
			if (!(error instanceof OauthError)) throw error;
			return new Answer(400, { error: error.error, error_description: error.message });
		}
	}

	authorized(call) {
		const [, text] = /^Bearer (\S+)$/.exec(call.req.headers.authorization ?? '') ?? [];
		if (text === undefined) call.refuse(401, 'No token provided');
		const problem = this.tokens.problemOf(text);
		if (problem) call.refuse(401, problem === 'expired' ? 'The access token expired' : 'Invalid access token');
	}

	albumDocument(album) {
		const id = idOf(album.upc ?? album.title);
		return { album_type: album.tracks.length > 3 ? 'album' : 'single', type: 'album', id, uri: `spotify:album:${id}`, name: album.title,
			total_tracks: album.tracks.length,
			href: `${this.base()}/v1/albums/${id}`, external_urls: { spotify: `https://open.spotify.com/album/${id}` },
				release_date: album.date,
			release_date_precision: 'day', available_markets: ['DE', 'GB', 'US'], images: [],
			artists: [{ type: 'artist', name: album.artist, id: idOf(`artist ${album.artist}`) }] };
	}

	trackDocument(track) {
		const id = idOf(`track ${track.isrc}`);
		const album = this.albumDocument(track.album);
		return { type: 'track', id, uri: `spotify:track:${id}`, name: track.title, external_ids: { isrc: track.isrc },
			duration_ms: Math.round((track.seconds ?? 0) * 1000),
			external_urls: { spotify: `https://open.spotify.com/track/${id}` }, artists: album.artists, album, is_local: false };
	}

	/* an album in a search has no external_ids, a track has; GET /v1/albums/{id} has them */
	search(call) {
		this.authorized(call);
		const query = call.query.get('q') ?? '';
		const types = (call.query.get('type') ?? '').split(',').filter(Boolean);
		if (query === '') call.refuse(400, 'No search query');
		if (types.length === 0) call.refuse(400, 'Missing parameter type');
		const [, upc] = /\bupc:"?(\d+)/i.exec(query) ?? [];
		const [, isrc] = /\bisrc:"?([A-Z0-9-]+)/i.exec(query) ?? [];
		const answer = {};
		for (const type of types) {
			if (type !== 'album' && type !== 'track') call.refuse(400, `Bad search type field ${type}`);
			const found = type === 'album' ? (upc ? this.albumOf(upc) : null) : isrc ? this.trackOf(isrc) : null;
			const document = found && (type === 'album' ? this.albumDocument(found) : this.trackDocument(found));
			const items = document ? Array(this.settings.lie === 'duplicates' ? 2 : 1).fill(document) : [];
			answer[`${type}s`] = { href: `${this.base()}/v1/search?${call.query}`, items, limit: 20, next: null, offset: 0, previous: null,
				total: items.length };
		}
		return new Answer(200, answer);
	}

	album(call, id) {
		this.authorized(call);
		const found = this.all().find((album) => this.albumDocument(album).id === id) ?? call.refuse(404, 'Resource not found');
		return new Answer(200, { ...this.albumDocument(found), external_ids: { upc: found.upc } });
	}

	summary() {
		return { ...super.summary(), tokens_issued: this.tokens.counters.tokens_issued };
	}
}
Spotify.SETTINGS = { ...Catalogue.SETTINGS, expires_in: 3600 };

class Apple extends Catalogue {
	constructor({ token, shown }) {
		super('apple', ['albums', 'songs'], shown);
		this.developerToken = token;
	}

	problem(status, message, { code } = {}) {
		return new Answer(status, { errors: [{ id: idOf(String(clock.now())).toUpperCase(), title: message, detail: message,
			status: String(status), code: String(code ?? status * 100) }] });
	}

	limited() {
		return this.problem(429, 'Too Many Requests');
	}

	find(method, path) {
		const [, storefront, kind] = /^\/v1\/catalog\/([a-z]{2})\/(albums|songs)$/.exec(path) ?? [];
		return storefront && method === 'GET' ? { step: kind, run: (call) => this.look(call, storefront, kind) } : null;
	}

	look(call, storefront, kind) {
		const [, text] = /^Bearer (\S+)$/.exec(call.req.headers.authorization ?? '') ?? [];
		/* without a developer token Apple answers with no document at all */
		if (text === undefined || (this.developerToken !== undefined && !sameText(text, this.developerToken))) return new Answer(401);
		const filter = kind === 'albums' ? 'upc' : 'isrc';
		const wanted = call.query.get(`filter[${filter}]`);
		if (!wanted) call.refuse(400, 'No ids or filters supplied', { code: 40005 });
		const data = wanted.split(',').flatMap((value) => {
			const found = kind === 'albums' ? this.albumOf(value) : this.trackOf(value);
			const document = found && this.document(storefront, kind, found);
			return document ? Array(this.settings.lie === 'duplicates' ? 2 : 1).fill(document) : [];
		});
		const groups = Object.fromEntries(data.map(({ id, type, href, attributes }) => [attributes[filter], [{ id, type, href }]]));
		return new Answer(200, { data, ...(data.length > 0 ? { meta: { filters: { [filter]: groups } } } : {}) });
	}

	document(storefront, kind, found) {
		const id = String(numberOf(found.upc ?? found.isrc));
		const album = found.album ?? found;
		const attributes = { name: found.title, artistName: album.artist, releaseDate: album.date,
			url: `https://music.apple.com/${storefront}/${kind === 'albums' ? 'album' : 'song'}/${id}`,
			...(kind === 'albums' ? { upc: found.upc, trackCount: found.tracks.length, isSingle: found.tracks.length === 1 } :
				{ isrc: found.isrc, albumName: album.title, durationInMillis: Math.round((found.seconds ?? 0) * 1000) }) };
		return { id, type: kind, href: `/v1/catalog/${storefront}/${kind}/${id}`, attributes };
	}
}

class Deezer extends Catalogue {
	constructor({ shown }) {
		super('deezer', ['album', 'track'], shown);
	}

	/* errors come with 200 */
	problem(status, message, { code } = {}) {
		return new Answer(status === 404 ? 200 : status, { error: { type: 'DataException', message, code: code ?? 800 } });
	}

	limited() {
		return new Answer(200, { error: { type: 'Exception', message: 'Quota limit exceeded', code: 4 } });
	}

	find(method, path) {
		const [, kind, value] = /^\/(album\/upc|track\/isrc):([\w-]+)$/.exec(path) ?? [];
		if (!kind || method !== 'GET') return null;
		return kind === 'album/upc' ? { step: 'album', run: (call) => this.album(call, value) } : { step: 'track', run: (call) =>
			this.track(call, value) };
	}

	albumDocument(album) {
		const id = numberOf(album.upc ?? album.title);
		return { id, title: album.title, upc: album.upc, link: `https://www.deezer.com/album/${id}`, nb_tracks: album.tracks.length,
			release_date: album.date, available: true,
			record_type: album.tracks.length > 3 ? 'album' : 'single', artist: { id: numberOf(album.artist), name: album.artist,
				type: 'artist' }, type: 'album' };
	}

	album(call, upc) {
		return new Answer(200, this.albumDocument(this.albumOf(upc) ?? call.refuse(404, 'no data')));
	}

	track(call, isrc) {
		const found = this.trackOf(isrc) ?? call.refuse(404, 'no data');
		const { artist, ...album } = this.albumDocument(found.album);
		return new Answer(200, { id: numberOf(found.isrc), readable: true, title: found.title, isrc: found.isrc,
			duration: Math.round(found.seconds ?? 0), artist, album, type: 'track' });
	}
}

module.exports = { Spotify, Apple, Deezer };
