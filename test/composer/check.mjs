/*
 * Composes pieces and judges them by ear, as far as a program has one: tempo
 * by the repetition of onsets, key by the pitch classes heard, loudness,
 * clipping, clicks, length, outline; and that the same is the same, and
 * another another.
 *
 *   node test/composer/check.mjs DIR
 *
 * Writes TAP-like lines of JSON, { ok, name, detail }, for 085_composer.pl.
 */
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { centroid, chroma, keys, mean, octaves, readWav, rms, tempo } from './analysis.mjs';

const require = createRequire(import.meta.url);
const composer = path.join(path.dirname(new URL(import.meta.url).pathname), '../../sandbox/composer');
const { compose } = require(path.join(composer, 'score.js'));
const { render } = require(path.join(composer, 'render.js'));
const { readPrompt } = require(path.join(composer, 'prompt.js'));
const { chordOf, pitchOf, voicing, MODES } = require(path.join(composer, 'theory.js'));

const directory = process.argv[2];
if (!directory) throw new Error('name a directory for the audio');

function check(ok, name, detail) {
	process.stdout.write(`${JSON.stringify({ ok: Boolean(ok), name, detail })}\n`);
}

const digest = (file) => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');

function make(name, request) {
	const file = path.join(directory, `${name}.wav`);
	const piece = compose({ params: {}, style: null, ...request });
	return { file, piece, outcome: render(piece, file) };
}

/* ---- what a prompt says ---- */

const read = (prompt, more) => readPrompt({ prompt, style: null, duration: 30, ...more });
for (const [prompt, style, more] of [
	['эпичная битва с драконом', 'cinematic'], ['спокойная музыка для медитации', 'ambient'], ['calm rain for studying', 'lo-fi'],
	['грустное пианино', 'ballad'], ['battle of the heroes', 'cinematic'], ['8-bit dungeon', 'chiptune'], ['a warm evening', 'folk'],
	['anything', 'techno', { style: 'Deep House' }], ['anything', 'jazz', { style: 'джаз' }],
]) check(read(prompt, more).style === style, `"${prompt}" is ${style}`, read(prompt, more).style);
check(read('fast march, 120 bpm').bpm === 120 && read('темп 90').bpm === 90 && read('140 уд/мин').bpm === 140, 'a tempo is read');
check(read('in D minor').tonic === 2 && read('in D minor').mode === 'minor' && read('in F# major').tonic === 6 &&
	read('ля-бемоль мажор').tonic === 8 &&
	read('в ре миноре').mode === 'minor' && read('in a minor key').tonic === null, 'a key is read, also in Russian');
check(read('x', { params: { bpm: 77, key: 'Eb major', seed: 5 } }).tonic === 3 && read('60 bpm', { params: { bpm: 77 } }).bpm === 77,
	'params win over the prompt');
{
	const tempo = (prompt) => compose({ prompt, style: 'rock', duration: 60, params: { seed: 1 } }).bpm;
	check(tempo('fast') > tempo('slow') * 1.15, 'fast is faster than slow', `${tempo('fast')} and ${tempo('slow')}`);
	const dark = Array.from({ length: 20 }, (_, seed) => compose({ prompt: 'dark', style: 'orchestral', duration: 10,
		params: { seed } }).metadata.key);
	const happy = Array.from({ length: 20 }, (_, seed) => compose({ prompt: 'весёлая', style: 'orchestral', duration: 10,
		params: { seed } }).metadata.key);
	check(dark.filter((key) => /minor/.test(key)).length >= 16 && happy.filter((key) => /major|lydian/.test(key)).length >= 16,
		'dark is minor, happy is major');
}

/* ---- theory ---- */

check(chordOf('V7', 9, 'minor').pcs.join() === '4,8,11,2' && chordOf('VI', 9, 'minor').pcs.join() === '5,9,0',
	'numerals are the chords they name');
check(pitchOf(7, 2, MODES.minor) - pitchOf(0, 2, MODES.minor) === 12 && pitchOf(-1, 0, MODES.major) === 59, 'steps of the ladder');
{
	let before = null;
	let worst = 0;
	let outside = 0;
	for (const numeral of 'i VI III VII i iv VI V'.split(' ')) {
		const chord = chordOf(numeral, 2, 'minor');
		const voices = voicing(chord, 4, 50, 74, before);
		outside += voices.filter((v) => v < 50 || v > 74 || !chord.pcs.includes(v % 12)).length;
		if (before) worst = Math.max(worst, ...voices.map((v, i) => Math.abs(v - before[i])));
		before = voices;
	}
	check(outside === 0 && worst <= 5, 'voices stay in range and in the chord, and move little', `at most ${worst} semitones`);
}

/* ---- pieces ---- */

const SECONDS = 10;
const NAMES = ['C', 'C#', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B'];
const PIECES = [
	['techno', 'night drive, 128 bpm, in A minor', 128], ['rock', 'open road in E minor, 120 bpm', 120], ['lo-fi',
		'rainy window, 80 bpm, in D minor', 80],
	['chiptune', 'castle in C major at 150 bpm', 150], ['cinematic', 'эпичная битва в ре миноре, 100 уд/мин', 100], ['folk',
		'harvest in G major, 110 bpm', 110],
	['orchestral', 'voyage in Bb major, 90 bpm', null], ['ambient', 'fog over the lake in F major, 60 bpm', null],
];
const made = [];
for (const [style, prompt, bpm] of PIECES) {
	const { piece, outcome, file } = make(style, { prompt, style, duration: SECONDS });
	const wav = readWav(file);
	const { metadata } = piece;
	made.push({ style, hash: digest(file), brightness: centroid(wav.mono), low: octaves(wav.mono), title: piece.title });

	check(wav.format === 1 && wav.channels === 2 && wav.rate === 44100 && wav.bits === 16 && wav.align === 4 && wav.byteRate === 176400 &&
		wav.riffSize === wav.fileSize - 8 && wav.dataSize === wav.fileSize - 44, `${style}: the header is right`);
	check(Math.abs(wav.seconds - SECONDS) < 0.05, `${style}: as long as asked`, `${wav.seconds} s`);

	let highest = 0;
	let jump = 0;
	for (let i = 0; i < wav.samples.length; i++) highest = Math.max(highest, Math.abs(wav.samples[i]));
	for (let i = 1; i < wav.mono.length; i++) jump = Math.max(jump, Math.abs(wav.mono[i] - wav.mono[i - 1]));
	check(highest < 32767 * 0.9, `${style}: nothing clips`, `${(20 * Math.log10(highest / 32768)).toFixed(2)} dBFS`);
	check(jump < 0.75, `${style}: no clicks`, jump.toFixed(2));
	check(Math.abs(mean(wav.mono)) < 0.003, `${style}: no DC`);
	check(outcome.loudness > -17.5 && outcome.loudness < -12.5, `${style}: loud as the rest`, `${outcome.loudness} LUFS`);
	const balance = 20 * Math.log10(rms(wav.left) / rms(wav.right));
	check(Math.abs(balance) < 4, `${style}: both sides play`, `${balance.toFixed(1)} dB`);
	check(rms(wav.mono.subarray(-441)) < 0.005, `${style}: it ends in silence`);

	const shares = chroma(wav.mono);
	const [, tonicName, modeName] = /^(\S+) (\S+)$/.exec(metadata.key);
	const tonic = NAMES.indexOf(tonicName);
	const inside = MODES[modeName].reduce((sum, step) => sum + shares[(tonic + step) % 12], 0);
	check(prompt.includes(metadata.key) || style === 'cinematic' && metadata.key === 'D minor', `${style}: the key asked for`,
		metadata.key);
	/* distortion adds tones of its own */
	check(inside > (style === 'rock' ? 0.7 : 0.8), `${style}: what is heard is in the scale`,
		`${(100 * inside).toFixed(0)} % in ${metadata.key}`);
	/* the key, or one that shares all notes but one with it */
	const heard = keys(shares).slice(0, 4).map(([, t, m]) => `${NAMES[t]} ${m}`);
	check(heard.includes(metadata.key), `${style}: the key is heard`, heard.join(', '));

	if (bpm !== null) {
		const measured = tempo(wav.mono);
		const near = [0.5, 1, 2].some((factor) => Math.abs(measured / (bpm * factor) - 1) < 0.025);
		check(metadata.bpm === bpm && near, `${style}: the tempo asked for is heard`, `${measured.toFixed(1)} for ${bpm}`);
	}

	const bucket = wav.mono.length / outcome.peaks.length;
	const off = outcome.peaks.filter((peak, n) => {
		let top = 0;
		for (let i = Math.ceil(n * bucket); i < (n + 1) * bucket && i < wav.left.length; i++) top = Math.max(top, Math.abs(wav.left[i]),
			Math.abs(wav.right[i]));
		return Math.abs(peak - top) > 0.001;
	}).length;
	check(outcome.peaks.length === 512 && off === 0, `${style}: the outline is the audio's`, `${off} of 512 differ`);
}

/* ---- the same, and another ---- */

const again = make('again', { prompt: PIECES[0][1], style: 'techno', duration: SECONDS });
check(digest(again.file) === made[0].hash && again.piece.title === made[0].title, 'the same request gives the same bytes');
const score = (more) => JSON.stringify(compose({ prompt: 'a river', style: 'jazz', duration: 60, params: { seed: 7 }, ...more }).events);
check(score({}) === score({}) && score({}) !== score({ params: { seed: 8 } }) && score({}) !== score({ prompt: 'a road' }) &&
	score({}) !== score({ style: 'folk' }),
	'prompt, style and seed each make another piece');
check(new Set(made.map((one) => one.hash)).size === made.length, 'no two pieces are the same');
const brightness = Object.fromEntries(made.map((one) => [one.style, one.brightness]));
check(brightness.ambient < brightness.rock && brightness['lo-fi'] < brightness.techno && brightness.cinematic < brightness.chiptune,
	'styles sound different', made.map((one) => `${one.style} ${one.brightness.toFixed(0)} Hz`).join(', '));
check(fs.readdirSync(directory).every((name) => name.endsWith('.wav')), 'no temporary file stays');

/* ---- lengths ---- */

{
	const lengths = [1, 2.5, 7, 45, 180, 600].map((duration) => compose({ prompt: 'x', style: 'orchestral', duration, params: {} }));
	check(lengths.every((piece) => piece.events.length > 0 && piece.events.every((e) => e.time >= 0 && e.time < piece.duration)),
		'any length has music to its end');
	const long = lengths[4].metadata.sections.map((section) => section.name);
	check(long[0] === 'intro' && long.includes('verse') && long.includes('chorus') && long.at(-1) === 'outro',
		'three minutes have a form', long.join(' '));
	const { file } = make('short', { prompt: 'x', style: 'jazz', duration: 1.234 });
	check(readWav(file).mono.length === Math.round(1.234 * 44100), 'a length is met to the sample');
}
