/*
 * The numbers behind LabelGrid's GET /analytics/summary: invented, but the same
 * for the same release, outlet and day, so that a test can ask twice. Days of
 * the future, and outlets that don't show a release, have none.
 */
'use strict';

const crypto = require('node:crypto');

const DAY_MS = 24 * 3600 * 1000;
const WINDOW_MAX = 400;
const METRICS_MAX = 12;
const PLATFORM = { spotify: 'SPOTIFY', apple: 'ITUNES', deezer: 'DEEZER', amazon: 'AMAZON' };
/* the sections that are numbers by day; how much of the streams they are */
const SECTIONS = { streams: 1, listeners: 0.6, saves: 0.05, shares: 0.01 };

function number(...of) {
	return 10 + crypto.createHash('sha256').update(of.join('|')).digest().readUInt16BE(0) % 90;
}

const day = (ms) => new Date(ms).toISOString().slice(0, 10);

function summaryOf(query, shown, now) {
	const filter = (name) => query.get(`filter[${name}]`) ?? query.get(name);
	const [from, to] = ['start_date', 'end_date'].map((name) => Date.parse(`${filter(name)}T00:00:00Z`));
	const metrics = [...query.getAll('metrics[]'), ...query.getAll('metrics')].flatMap((text) => text.split(','));
	const problems = [];
	if (Number.isNaN(from) || Number.isNaN(to)) problems.push({ field: 'filter.start_date', code: 'date',
			message: 'start_date and end_date are needed, as YYYY-MM-DD.' });
	else if (to < from || (to - from) / DAY_MS > WINDOW_MAX)
		problems.push({ field: 'filter.end_date', code: 'window', message: `The window has at most ${WINDOW_MAX} days.` });
	if (metrics.length === 0 || metrics.length > METRICS_MAX) problems.push({ field: 'metrics', code: 'size',
			message: `Ask for 1 to ${METRICS_MAX} metrics.` });
	if (problems.length > 0) return { problems };

	const platform = filter('platform')?.replace('APPLE_MUSIC', 'ITUNES');
	const wanted = (release) => (filter('release_id') === null || String(release.id) === filter('release_id')) &&
		(filter('upc') === null || release.upc === filter('upc')) &&
		(filter('isrc') === null || release.tracks.some((track) => track.isrc === filter('isrc')));
	const data = {};
	for (const metric of metrics.filter((name) => name in SECTIONS)) {
		const rows = data[metric] = [];
		for (const { outlet, releases } of shown) {
			if (!(outlet in PLATFORM) || (platform && platform !== PLATFORM[outlet])) continue;
			const found = releases.filter(wanted);
			if (found.length === 0) continue;
			for (let at = from; at <= Math.min(to, now); at += DAY_MS) {
				const value = found.reduce((sum, release) => sum + Math.floor(number(release.upc, outlet, day(at)) * SECTIONS[metric]), 0);
				rows.push({ date: day(at), platform: PLATFORM[outlet], value });
			}
		}
	}
	return { data, meta: { start_date: day(from), end_date: day(to), sections_as_of: day(now), platform_cadence: {} } };
}

module.exports = { summaryOf };
