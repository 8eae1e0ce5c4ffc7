#!/usr/bin/env node
/*
 * Composes a piece into a WAV file, without any server:
 *
 *   node sandbox/composer/cli.js --prompt 'calm rain' --style lo-fi --duration 30 --out rain.wav
 *
 * Prints title, tempo, key and form as JSON.
 */
'use strict';

const { parseArgs } = require('node:util');
const { compose } = require('./score.js');
const { render } = require('./render.js');

const USAGE = 'usage: cli.js --prompt TEXT [--style NAME] [--duration SECONDS] [--seed N] [--bpm N] [--key "D minor"] --out FILE\n';

function main() {
	const { values } = parseArgs({
		options: {
			prompt: { type: 'string' }, style: { type: 'string' }, duration: { type: 'string', default: '30' }, seed: { type: 'string' },
			bpm: { type: 'string' }, key: { type: 'string' }, out: { type: 'string' },
		},
	});
	const duration = Number(values.duration);
	if (!values.prompt || !values.out || !(duration >= 1 && duration <= 600))
		throw new Error(`${!values.prompt ? '--prompt' : !values.out ? '--out' : '--duration (1 to 600)'} is needed`);
	const params = {};
	if (values.seed !== undefined) params.seed = values.seed;
	if (values.key !== undefined) params.key = values.key;
	if (values.bpm !== undefined) params.bpm = Number(values.bpm);
	const started = process.hrtime.bigint();
	const piece = compose({ prompt: values.prompt, style: values.style, duration, params });
	const { loudness } = render(piece, values.out);
	const seconds = Number(process.hrtime.bigint() - started) / 1e9;
	const told = { title: piece.title, ...piece.metadata, loudness, seconds: Math.round(seconds * 100) / 100 };
	process.stdout.write(`${JSON.stringify(told, null, '\t')}\n`);
}

try {
	main();
} catch (error) {
	process.stderr.write(`cli: ${error.message}\n${USAGE}`);
	process.exit(2);
}
