/*
 * What is struck or plucked: piano, electric piano, bars and bells by their
 * partials or by frequency modulation; guitars, harp and double bass by
 * Karplus and Strong's string; an amplifier for the electric one.
 */
'use strict';

const { SR, SIZE, SINE, hertz } = require('./wavetable.js');
const { Svf, saturate } = require('./subtractive.js');

/* Adds one damped sine to both channels, until it can't be heard */
function partial(L, R, total, frequency, decay, gain, l, r, phase) {
	if (frequency > 16000 || gain < 1e-4) return;
	const n = Math.min(total, Math.ceil(decay * Math.log(gain / 1e-4) * SR));
	const w = (2 * Math.PI * frequency) / SR;
	const damp = Math.exp(-1 / (decay * SR));
	const c = 2 * damp * Math.cos(w);
	const d = damp * damp;
	let y1 = gain * Math.sin(phase - w) / damp;
	let y2 = gain * Math.sin(phase - 2 * w) / d;
	for (let i = 0; i < n; i++) {
		const y = c * y1 - d * y2;
		y2 = y1;
		y1 = y;
		L[i] += y * l;
		R[i] += y * r;
	}
}

/* The damper falls at the end of the note */
function damper(L, R, total, hold, time) {
	const from = Math.min(total, Math.floor(hold * SR));
	const fall = Math.exp(-1 / (time * SR));
	let level = 1;
	for (let i = from; i < total; i++) {
		level *= fall;
		L[i] *= level;
		R[i] *= level;
	}
	/* whatever is left ends without a step */
	const last = Math.min(total, 256);
	for (let i = 0; i < last; i++) {
		L[total - 1 - i] *= i / last;
		R[total - 1 - i] *= i / last;
	}
}

function knock(L, R, rng, length, gain, smooth) {
	let held = 0;
	for (let i = 0; i < length; i++) {
		held += ((rng.float() - 0.5) - held) * smooth;
		const y = held * gain * (1 - i / length) * Math.min(1, i / 20);
		L[i] += y;
		R[i] += y;
	}
}

function room(L, R, seconds) {
	const total = Math.min(L.length, Math.ceil(seconds * SR));
	L.fill(0, 0, total);
	R.fill(0, 0, total);
	return total;
}

/* Two strings a partial, a little apart, one of them ringing on: the beating and the after-sound of a piano */
function piano(L, R, note, soft = 0) {
	const total = room(L, R, note.dur + 0.7);
	const f = hertz(note.pitch);
	const inharmonic = 0.00006 * 2 ** ((note.pitch - 40) / 14);
	const hard = (0.3 + 0.7 * note.vel) * (1 - soft);
	const ring = 5.5 * 2 ** (-(note.pitch - 40) / 16);
	const side = Math.max(-0.14, Math.min(0.14, (note.pitch - 64) / 170));
	for (let h = 1; h <= 18; h++) {
		const frequency = f * h * Math.sqrt(1 + inharmonic * h * h);
		if (frequency > 9000) break;
		const strike = Math.abs(Math.sin(Math.PI * h * 0.121)) + 0.06;
		const gain = 0.42 * note.vel ** 0.8 * strike * Math.exp(-(h - 1) * (0.55 - 0.36 * hard)) * (h === 1 ? 0.9 : 1) * (1 + 0.6 / h);
		const decay = ring / (1 + 0.32 * (h - 1));
		const spread = 0.00022 * (1 + note.rng.float());
		partial(L, R, total, frequency * (1 - spread), decay * 0.35, gain * 0.62, 0.62 - side, 0.38 + side, 0);
		partial(L, R, total, frequency * (1 + spread), decay, gain * 0.38, 0.38 - side, 0.62 + side, 0.3);
	}
	knock(L, R, note.rng, 900, 0.1 * note.vel, 0.12 + 0.2 * hard);
	damper(L, R, total, note.dur, 0.11);
	return total;
}

function modal(ratios, { decay, bright = 0.5, click = 0.05, damp = 0.4, width = 0.3, gain = 0.5, tremolo = 0 }) {
	return (L, R, note) => {
		const total = room(L, R, Math.min(6, Math.max(note.dur, decay * 1.2) + damp));
		const f = hertz(note.pitch);
		const high = 2 ** ((note.pitch - 60) / 12);
		ratios.forEach(([ratio, level], i) => {
			const loud = gain * level * note.vel * (i === 0 ? 1 : bright * (0.4 + 0.8 * note.vel));
			const side = 0.5 + width * (i % 2 ? -1 : 1) * 0.5;
			partial(L, R, total, f * ratio, decay / (1 + i * 0.8) / Math.sqrt(high), loud, side, 1 - side, 0);
		});
		knock(L, R, note.rng, 300, click * note.vel, 0.4);
		if (tremolo) {
			for (let i = 0; i < total; i++) {
				const sway = 1 - 0.3 * (0.5 + 0.5 * SINE[Math.floor((i * tremolo * SIZE) / SR) & (SIZE - 1)]);
				L[i] *= sway;
				R[i] *= sway;
			}
		}
		damper(L, R, total, Math.max(note.dur, decay * 0.6), damp);
		return total;
	};
}

/* Frequency modulation: a tone that loses its overtones, and a tine above it */
function electricPiano(L, R, note) {
	const total = room(L, R, note.dur + 0.35);
	const f = hertz(note.pitch);
	const step = (f * SIZE) / SR;
	const body = Math.exp(-1 / (SR * 1.6 * 2 ** (-(note.pitch - 60) / 24)));
	const fall = Math.exp(-1 / (SR * 0.5));
	const tineFall = Math.exp(-1 / (SR * 0.09));
	let level = 0.5 * note.vel ** 0.9;
	let index = (0.5 + 1.5 * note.vel) * (0.35 + 0.8 * note.bright) * SIZE / 6.28;
	let tine = 0.1 * note.vel;
	let phase = 0;
	let tinePhase = 0;
	const offset = note.rng.float();
	for (let i = 0; i < total; i++) {
		const modulator = SINE[phase & (SIZE - 1)] * index;
		const y = SINE[(phase + modulator) & (SIZE - 1)] * level + SINE[tinePhase & (SIZE - 1)] * tine * level * 2;
		phase += step;
		if (phase >= SIZE) phase -= SIZE;
		tinePhase += step * 14.02;
		if (tinePhase >= SIZE) tinePhase -= SIZE;
		level *= body;
		index *= fall;
		tine *= tineFall;
		const sway = 0.22 * SINE[Math.floor(((i * 4.3) / SR + offset) * SIZE) & (SIZE - 1)];
		const start = i < 60 ? i / 60 : 1;
		L[i] = y * (0.75 + sway) * start;
		R[i] = y * (0.75 - sway) * start;
	}
	damper(L, R, total, note.dur, 0.07);
	return total;
}

function bell(L, R, note) {
	const total = room(L, R, Math.min(5, note.dur + 2.6));
	const f = hertz(note.pitch);
	const step = (f * SIZE) / SR;
	const fall = Math.exp(-1 / (SR * 0.9));
	const indexFall = Math.exp(-1 / (SR * 0.55));
	let level = 0.4 * note.vel;
	let index = (0.6 + 1.2 * note.vel) * (0.4 + 0.6 * note.bright) * SIZE / 6.28;
	let carrier = 0;
	let modulator = 0;
	for (let i = 0; i < total; i++) {
		const m = SINE[modulator & (SIZE - 1)] * index;
		const y = SINE[(carrier + m) & (SIZE - 1)] * level * (i < 40 ? i / 40 : 1);
		carrier += step;
		if (carrier >= SIZE) carrier -= SIZE;
		modulator += step * 3.501;
		if (modulator >= SIZE) modulator -= SIZE;
		level *= fall;
		index *= indexFall;
		L[i] = y;
		R[i] = y;
	}
	damper(L, R, total, note.dur + 1.8, 0.25);
	return total;
}

/* ---- strings that are plucked ---- */

const line = new Float64Array(4096);

/* Adds a string to out. t60: seconds until it is 60 dB down; dull: 0..1 damping of the overtones; pick: where it is plucked */
function string(out, total, f, rng, { t60, dull, pick, hard, gain }) {
	const period = SR / f;
	const size = Math.max(2, Math.floor(period - dull * 0.5 - 0.35));
	const fraction = period - dull * 0.5 - size;
	const tune = (1 - fraction) / (1 + fraction);
	const loss = 10 ** (-3 / (f * t60));
	const s = dull * 0.5;
	let held = 0;
	let mean = 0;
	for (let i = 0; i < size; i++) {
		held += (rng.float() * 2 - 1 - held) * hard;
		line[i] = held;
		mean += held;
	}
	mean /= size;
	let power = 0;
	for (let i = 0; i < size; i++) {
		line[i] -= mean;
		power += line[i] * line[i];
	}
	const scale = (gain * 0.5) / Math.sqrt(power / size + 1e-9);
	/* plucked at a point: the comb takes out the overtones with a node there */
	const comb = Math.max(1, Math.floor(size * pick));
	for (let i = size - 1; i >= 0; i--) line[i] = scale * (line[i] - 0.9 * line[(i - comb + size) % size]) * 0.6;
	let at = 0;
	let before = 0;
	let x1 = 0;
	let y1 = 0;
	for (let i = 0; i < total; i++) {
		const x = line[at];
		const smooth = loss * ((1 - s) * x + s * before);
		before = x;
		const y = tune * smooth + x1 - tune * y1;
		x1 = smooth;
		y1 = y;
		line[at] = y;
		if (++at === size) at = 0;
		out[i] += i < 24 ? (y * i) / 24 : y;
	}
}

function plucked({ t60, dull, pick, hard, body = [], width = 0.12, release = 0.12, gain = 0.8 }) {
	return (L, R, note) => {
		const total = room(L, R, Math.min(7, Math.max(note.dur, 0.12) + release * 3));
		string(L, total, hertz(note.pitch), note.rng,
			{ t60, dull, pick, hard: Math.min(0.95, hard * (0.45 + 0.6 * note.vel) * (0.7 + 0.5 * note.bright)), gain: gain * note.vel });
		for (const [frequency, q, level] of body) {
			const resonance = new Svf();
			resonance.tune(frequency, q);
			resonance.band(L, R, 0, total, level);
		}
		for (let i = 0; i < total; i++) {
			const y = L[i];
			const b = R[i];
			L[i] = y * (1 + width) * 0.7 + b;
			R[i] = y * (1 - width) * 0.7 + b;
		}
		damper(L, R, total, Math.max(note.dur, 0.12), release);
		return total;
	};
}

/* Strings of a chord through one amplifier, played twice: once for each side */
function amplified({ drive, t60, dull, tone, level }) {
	return (L, R, note) => {
		const total = room(L, R, Math.min(7, note.dur + 0.12));
		const pitches = note.pitches ?? [note.pitch];
		for (const out of [L, R]) {
			for (const pitch of pitches)
				string(out, total, hertz(pitch + 0.03 * note.rng.bell()), note.rng, { t60, dull, pick: 0.13, hard: 0.5 + 0.4 * note.vel,
					gain: 0.5 });
			const high = new Svf();
			high.tune(95, 0.8);
			high.high(out, 0, total);
			for (let i = 0; i < total; i++) out[i] = saturate(out[i] * drive + 0.12) - 0.1194;
			const low = new Svf();
			low.tune(tone, 0.9);
			low.low(out, 0, total);
			const lower = new Svf();
			lower.tune(tone * 1.25, 0.7);
			lower.low(out, 0, total);
			const coupling = new Svf();
			coupling.tune(80, 0.7);
			coupling.high(out, 0, total);
			const loud = level * (0.5 + 0.5 * note.vel);
			for (let i = 0; i < total; i++) out[i] *= loud;
		}
		damper(L, R, total, note.dur, 0.03);
		return total;
	};
}

const ACOUSTIC = [[105, 3, 0.5], [215, 4, 0.35], [430, 5, 0.12]];

const struck = {
	piano,
	softpiano: (L, R, note) => piano(L, R, note, 0.45),
	epiano: electricPiano,
	bell,
	vibes: modal([[1, 1], [4, 0.25], [10.1, 0.06]], { decay: 1.9, tremolo: 4.6, gain: 0.55 }),
	marimba: modal([[1, 1], [3.93, 0.3], [9.6, 0.1]], { decay: 0.5, click: 0.1, gain: 0.65 }),
	glock: modal([[1, 1], [2.76, 0.35], [5.4, 0.2]], { decay: 1.7, gain: 0.35, click: 0.03 }),
	celesta: modal([[1, 1], [2, 0.25], [4.1, 0.18], [6.8, 0.05]], { decay: 1.2, gain: 0.45 }),
	kalimba: modal([[1, 1], [2.01, 0.15], [5.9, 0.22]], { decay: 0.9, click: 0.14, gain: 0.6 }),
	timpani: modal([[1, 1], [1.5, 0.6], [1.99, 0.45], [2.44, 0.3], [2.9, 0.2]], { decay: 1.5, click: 0.5, bright: 0.8, gain: 0.75,
		width: 0.15 }),
	nylon: plucked({ t60: 2.6, dull: 0.55, pick: 0.22, hard: 0.5, body: ACOUSTIC }),
	steel: plucked({ t60: 3.8, dull: 0.42, pick: 0.18, hard: 0.6, body: ACOUSTIC, gain: 0.75 }),
	harp: plucked({ t60: 3.2, dull: 0.4, pick: 0.4, hard: 0.55, body: [[180, 3, 0.2]], release: 0.6 }),
	clean: plucked({ t60: 3.5, dull: 0.4, pick: 0.1, hard: 0.6, body: [[600, 1.2, 0.25]] }),
	upright: plucked({ t60: 1.9, dull: 0.75, pick: 0.3, hard: 0.25, body: [[90, 2, 0.7], [180, 3, 0.3]], release: 0.06, gain: 1.1,
		width: 0 }),
	fingerbass: plucked({ t60: 3.4, dull: 0.7, pick: 0.2, hard: 0.35, body: [[70, 1.5, 0.6]], release: 0.04, gain: 1, width: 0 }),
	power: amplified({ drive: 5, t60: 7, dull: 0.3, tone: 3600, level: 0.34 }),
	chug: amplified({ drive: 5, t60: 1.1, dull: 0.62, tone: 2600, level: 0.42 }),
	solo: amplified({ drive: 8, t60: 14, dull: 0.4, tone: 3200, level: 0.3 }),
};

module.exports = { struck };
