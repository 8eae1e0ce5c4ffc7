/*
 * The thread that composes and renders, so that HTTP goes on being answered.
 * Takes { id, request, path }, tells { id, progress } and at last { id, result }
 * or { id, error }. To cancel it is to terminate the thread.
 */
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const { parentPort } = require('node:worker_threads');
const { compose } = require('./score.js');
const { render } = require('./render.js');

function work({ id, request, path }) {
	let told = 0;
	const piece = compose(request);
	const { frames, peaks, loudness } = render(piece, path, (progress) => {
		if (progress > told && progress < 100) parentPort.postMessage({ id, progress: told = progress });
	});
	const etag = crypto.createHash('sha256').update(fs.readFileSync(path)).digest('hex').slice(0, 32);
	return {
		title: piece.title, duration: frames / 44100, peaks, etag,
		metadata: { ...piece.metadata, loudness, sample_rate: 44100, channels: 2, bits: 16 },
	};
}

parentPort.on('message', (job) => {
	try {
		parentPort.postMessage({ id: job.id, result: work(job) });
	} catch (error) {
		parentPort.postMessage({ id: job.id, error: error.message });
	}
});
