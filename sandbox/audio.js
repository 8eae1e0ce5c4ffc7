/*
 * Sends a file of audio as HTTP has it: length, ETag, one range, conditions.
 */
'use strict';

const fs = require('node:fs');

/* [first, last] of what is asked for; null for all of it, 'none' when there is nothing */
function rangeOf(text, size) {
	const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(text ?? '') ?? [];
	if (from === undefined || (from === '' && to === '')) return null;
	if (from === '') return Number(to) === 0 ? 'none' : [Math.max(0, size - Number(to)), size - 1];
	const first = Number(from);
	const last = to === '' ? size - 1 : Math.min(Number(to), size - 1);
	if (to !== '' && Number(to) < first) return null;
	return first >= size ? 'none' : [first, last];
}

/* The first and last byte to send, the status and headers being written; null when everything has been said */
function beginAudio(req, res, size, tag, type = 'audio/wav') {
	const etag = `"${tag}"`;
	const headers = { 'content-type': type, 'accept-ranges': 'bytes', etag, 'cache-control': 'private, max-age=3600' };
	const known = (req.headers['if-none-match'] ?? '').split(/\s*,\s*/);
	if (known.includes(etag) || known.includes('*')) {
		res.writeHead(304, headers);
		res.end();
		return null;
	}
	const condition = req.headers['if-range'];
	const range = condition && condition !== etag ? null : rangeOf(req.headers.range, size);
	if (range === 'none') {
		res.writeHead(416, { ...headers, 'content-range': `bytes */${size}`, 'content-length': 0 });
		res.end();
		return null;
	}
	const [first, last] = range ?? [0, size - 1];
	headers['content-length'] = last - first + 1;
	if (range) headers['content-range'] = `bytes ${first}-${last}/${size}`;
	res.writeHead(range ? 206 : 200, headers);
	if (req.method !== 'HEAD' && last >= first) return [first, last];
	res.end();
	return null;
}

function sendAudio(req, res, path, tag, type) {
	const range = beginAudio(req, res, fs.statSync(path).size, tag, type);
	if (!range) return res;
	const stream = fs.createReadStream(path, { start: range[0], end: range[1] });
	stream.on('error', () => res.destroy());
	res.on('close', () => stream.destroy());
	return stream.pipe(res);
}

module.exports = { beginAudio, sendAudio };
