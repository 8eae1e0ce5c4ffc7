/*
 * Oscillators through a filter: pads, strings, brass, choir, leads, basses,
 * organ, flute and the voices of old consoles are settings of one voice.
 *
 * Sound is made in slices of SLICE samples; pitch, filter and envelope are
 * settled once a slice and the envelope is drawn straight between, which the
 * ear can't tell from every sample, and the processor can.
 */
'use strict';

const { Rng } = require('./prng.js');
const { SR, SIZE, tableFor, hertz } = require('./wavetable.js');

const SLICE = 32;
const LONGEST = 28;			/* seconds of a note with its release */
const sliceL = new Float32Array(SLICE);
const sliceR = new Float32Array(SLICE);

/* Breath and bow: noise is read from somewhere in here, as drawing it for each sample costs more than the tone */
const NOISE = new Float32Array(1 << 16);
{
	const rng = new Rng('noise');
	for (let i = 0; i < NOISE.length; i++) NOISE[i] = rng.float() - 0.5;
}

/* A filter with two poles that stays stable while its frequency moves */
class Svf {
	constructor() {
		this.a1 = this.a2 = this.a3 = this.k = this.s1 = this.s2 = 0;
	}

	tune(frequency, q) {
		const g = Math.tan((Math.PI * Math.min(frequency, 18000)) / SR);
		this.k = 1 / q;
		this.a1 = 1 / (1 + g * (g + this.k));
		this.a2 = g * this.a1;
		this.a3 = g * this.a2;
	}

	low(buffer, from, to) {
		const { a1, a2, a3 } = this;
		let { s1, s2 } = this;
		for (let i = from; i < to; i++) {
			const v3 = buffer[i] - s2;
			const v1 = a1 * s1 + a2 * v3;
			const v2 = s2 + a2 * s1 + a3 * v3;
			s1 = 2 * v1 - s1;
			s2 = 2 * v2 - s2;
			buffer[i] = v2;
		}
		this.s1 = s1;
		this.s2 = s2;
	}

	high(buffer, from, to) {
		const { a1, a2, a3, k } = this;
		let { s1, s2 } = this;
		for (let i = from; i < to; i++) {
			const x = buffer[i];
			const v3 = x - s2;
			const v1 = a1 * s1 + a2 * v3;
			const v2 = s2 + a2 * s1 + a3 * v3;
			s1 = 2 * v1 - s1;
			s2 = 2 * v2 - s2;
			buffer[i] = x - k * v1 - v2;
		}
		this.s1 = s1;
		this.s2 = s2;
	}

	/* adds gain times the band of source to target */
	band(source, target, from, to, gain) {
		const { a1, a2, a3 } = this;
		const level = gain * this.k;
		let { s1, s2 } = this;
		for (let i = from; i < to; i++) {
			const v3 = source[i] - s2;
			const v1 = a1 * s1 + a2 * v3;
			const v2 = s2 + a2 * s1 + a3 * v3;
			s1 = 2 * v1 - s1;
			s2 = 2 * v2 - s2;
			target[i] += level * v1;
		}
		this.s1 = s1;
		this.s2 = s2;
	}
}

/* 0..1 at time t of a note held for hold seconds */
function envelope(p, t, hold) {
	const held = Math.min(t, hold);
	let level;
	if (held < p.attack) level = held / p.attack;
	else level = p.sustain + (1 - p.sustain) * Math.exp(-(held - p.attack) / p.decay);
	if (p.attack > 0.05 && held < p.attack) level = level * level * (3 - 2 * level);
	if (t <= hold) return level;
	const gone = (t - hold) / p.release;
	return gone >= 1 ? 0 : level * (1 - gone) * (1 - gone);
}

/*
 * oscillators: [wave, octave, cents, pan, gain]; filter: { base, env, q, attack, decay, sustain, track };
 * amp: { attack, decay, sustain, release }. Writes both channels, returns the samples written.
 */
function subtractive(p, L, R, note) {
	const { amp, filter, oscillators } = p;
	const count = oscillators.length;
	const frequency = hertz(note.pitch);
	const total = Math.min(L.length, Math.ceil((note.dur + amp.release) * SR));
	const tables = [];
	const phase = new Float64Array(count);
	const ratio = new Float64Array(count);
	const gainL = new Float64Array(count);
	const gainR = new Float64Array(count);
	const wobble = new Float64Array(count);
	const steps = new Float64Array(count);
	oscillators.forEach(([wave, octave, cents, pan, gain], i) => {
		ratio[i] = 2 ** (octave + (cents * (0.8 + 0.4 * note.rng.float())) / 1200);
		tables.push(tableFor(wave, frequency * ratio[i] * 1.02));
		phase[i] = p.hardSync ? 0 : note.rng.float() * SIZE;
		wobble[i] = note.rng.float() * 6.28;
		gainL[i] = gain * Math.min(1, 1 - pan);
		gainR[i] = gain * Math.min(1, 1 + pan);
	});
	const left = new Svf();
	const right = new Svf();
	const formants = (p.formants ?? []).map(([f, gain, q]) => {
		const pair = { gain, l: new Svf(), r: new Svf() };
		pair.l.tune(f, q);
		pair.r.tune(f * 1.03, q);
		return pair;
	});
	const loud = 0.35 + 0.65 * note.vel;
	const tracking = (frequency / 261.6) ** (filter?.track ?? 0.4);
	const glide = p.scoop ?? 0;
	const air = note.rng.int(NOISE.length);
	let before = 0;

	for (let start = 0; start < total; start += SLICE) {
		const length = Math.min(SLICE, total - start);
		const t = start / SR;
		const fade = p.vibrato ? Math.min(1, Math.max(0, (t - p.vibrato.delay) / 0.4)) : 0;
		const bend = glide * Math.exp(-t / 0.05);
		for (let o = 0; o < count; o++) {
			const vibrato = fade > 0 ? fade * p.vibrato.depth * Math.sin(6.2832 * p.vibrato.rate * t + wobble[o]) : 0;
			const drift = p.drift ? p.drift * Math.sin(1.7 * t * (1 + 0.13 * o) + wobble[o]) : 0;
			steps[o] = frequency * ratio[o] * (1 + (vibrato + drift + bend) * 0.0005776) * (SIZE / SR);
		}
		/* two at a time: half the walks through the slice; an odd one goes with a silent twin */
		for (let o = 0; o < count; o += 2) {
			const twin = o + 1 < count ? o + 1 : o;
			const share = twin === o ? 0 : 1;
			const table = tables[o];
			const other = tables[twin];
			const step = steps[o];
			const otherStep = steps[twin];
			const l = gainL[o];
			const r = gainR[o];
			const otherL = gainL[twin] * share;
			const otherR = gainR[twin] * share;
			let at = phase[o];
			let otherAt = phase[twin];
			for (let i = 0; i < length; i++) {
				const index = at | 0;
				const otherIndex = otherAt | 0;
				const y = table[index] + (table[index + 1] - table[index]) * (at - index);
				const z = other[otherIndex] + (other[otherIndex + 1] - other[otherIndex]) * (otherAt - otherIndex);
				if (o === 0) {
					sliceL[i] = y * l + z * otherL;
					sliceR[i] = y * r + z * otherR;
				} else {
					sliceL[i] += y * l + z * otherL;
					sliceR[i] += y * r + z * otherR;
				}
				at += step;
				if (at >= SIZE) at -= SIZE;
				otherAt += otherStep;
				if (otherAt >= SIZE) otherAt -= SIZE;
			}
			phase[twin] = otherAt;
			phase[o] = at;
		}
		if (p.breath) {
			for (let i = 0; i < length; i++) {
				const noise = NOISE[(air + start + i) & (NOISE.length - 1)] * p.breath;
				sliceL[i] += noise;
				sliceR[i] += noise;
			}
		}
		if (filter) {
			const sweep = envelope(filter.shape ?? amp, t + 0.001, note.dur);
			const cutoff = filter.base * tracking * (0.55 + 0.9 * note.bright) + filter.env * sweep * loud * (0.4 + note.bright);
			left.tune(Math.max(40, cutoff), filter.q);
			left.low(sliceL, 0, length);
			right.a1 = left.a1;
			right.a2 = left.a2;
			right.a3 = left.a3;
			right.k = left.k;
			right.low(sliceR, 0, length);
		}
		let after = envelope(amp, (start + length) / SR, note.dur);
		if (p.tremolo) after *= 1 - p.tremolo.depth * (0.5 + 0.5 * Math.sin(6.2832 * p.tremolo.rate * t));
		const slope = (after - before) / length;
		for (let i = 0; i < length; i++) {
			const level = (before + slope * i) * loud;
			L[start + i] = sliceL[i] * level;
			R[start + i] = sliceR[i] * level;
		}
		before = after;
	}
	for (const { gain, l, r } of formants) {
		/* in place would feed one formant to the next: the bands are gathered beside */
		l.band(L, formantL, 0, total, gain);
		r.band(R, formantR, 0, total, gain);
	}
	if (formants.length > 0) {
		const dry = p.formantDry ?? 0.2;
		for (let i = 0; i < total; i++) {
			L[i] = L[i] * dry + formantL[i];
			R[i] = R[i] * dry + formantR[i];
		}
		formantL.fill(0, 0, total);
		formantR.fill(0, 0, total);
	}
	if (p.drive) {
		for (let i = 0; i < total; i++) {
			L[i] = saturate(L[i] * p.drive) / p.drive ** 0.6;
			R[i] = saturate(R[i] * p.drive) / p.drive ** 0.6;
		}
	}
	return total;
}

const formantL = new Float32Array(LONGEST * SR);
const formantR = new Float32Array(LONGEST * SR);

/* tanh, near enough and fast */
function saturate(x) {
	if (x > 3) return 1;
	if (x < -3) return -1;
	return (x * (27 + x * x)) / (27 + 9 * x * x);
}

const VOICES = {
	pad: {
		oscillators: [['saw', 0, -9, -0.7, 0.17], ['saw', 0, 8, 0.7, 0.17], ['saw', 0, 2, 0.2, 0.15], ['saw', 0, -3, -0.3, 0.15],
			['triangle', -1, 0, 0, 0.2]],
		filter: { base: 700, env: 1500, q: 0.8, track: 0.3 }, amp: { attack: 0.7, decay: 3, sustain: 0.8, release: 1.6 }, drift: 5,
	},
	warm: {
		oscillators: [['triangle', 0, -6, -0.6, 0.3], ['triangle', 0, 6, 0.6, 0.3], ['saw', 0, 3, 0, 0.1], ['sine', -1, 0, 0, 0.2]],
		filter: { base: 520, env: 700, q: 0.7 }, amp: { attack: 1.4, decay: 4, sustain: 0.85, release: 3 }, drift: 7,
	},
	shimmer: {
		oscillators: [['sine', 1, -5, -0.9, 0.22], ['sine', 1, 5, 0.9, 0.22], ['triangle', 2, 3, 0.4, 0.07], ['triangle', 2, -4, -0.4,
			0.07]],
		filter: { base: 2600, env: 2400, q: 0.7 }, amp: { attack: 2.2, decay: 4, sustain: 0.8, release: 3.5 },
		drift: 6, tremolo: { rate: 0.27, depth: 0.5 }, breath: 0.02,
	},
	supersaw: {
		oscillators: [['saw', 0, -19, -0.9, 0.13], ['saw', 0, -11, -0.5, 0.13], ['saw', 0, -4, 0.3, 0.13], ['saw', 0, 5, -0.3, 0.13],
			['saw', 0, 12, 0.5, 0.13], ['saw', 0, 18, 0.9, 0.13], ['saw', 1, 4, 0, 0.05]],
		filter: { base: 1300, env: 4200, q: 0.8 }, amp: { attack: 0.01, decay: 0.6, sustain: 0.7, release: 0.25 },
	},
	stab: {
		oscillators: [['saw', 0, -12, -0.7, 0.18], ['saw', 0, 11, 0.7, 0.18], ['square', 0, 0, 0, 0.12], ['saw', -1, 3, 0, 0.1]],
		filter: { base: 420, env: 4600, q: 1.6, shape: { attack: 0.002, decay: 0.11, sustain: 0.04, release: 0.2 } },
		amp: { attack: 0.003, decay: 0.22, sustain: 0.12, release: 0.22 },
	},
	strings: {
		oscillators: [['saw', 0, -8, -0.8, 0.16], ['saw', 0, 7, 0.8, 0.16], ['saw', 0, -3, 0.35, 0.15], ['saw', 0, 3, -0.35, 0.15],
			['saw', 0, 12, 0.1, 0.08]],
		filter: { base: 1500, env: 2300, q: 0.6, track: 0.35 }, amp: { attack: 0.22, decay: 1.5, sustain: 0.85, release: 0.55 },
		vibrato: { rate: 5.1, depth: 9, delay: 0.25 }, drift: 4, breath: 0.025,
	},
	violins: {
		oscillators: [['saw', 0, -6, -0.6, 0.2], ['saw', 0, 6, 0.5, 0.2], ['saw', 0, 1, 0, 0.2], ['saw', 0, -11, 0.8, 0.1]],
		filter: { base: 2300, env: 2600, q: 0.7, track: 0.3 }, amp: { attack: 0.09, decay: 1, sustain: 0.88, release: 0.35 },
		vibrato: { rate: 5.6, depth: 14, delay: 0.18 }, drift: 3, breath: 0.03, scoop: -14,
	},
	spiccato: {
		oscillators: [['saw', 0, -7, -0.6, 0.22], ['saw', 0, 7, 0.6, 0.22], ['saw', 0, 0, 0, 0.18]],
		filter: { base: 1300, env: 3200, q: 0.7, shape: { attack: 0.006, decay: 0.09, sustain: 0.2, release: 0.1 } },
		amp: { attack: 0.009, decay: 0.14, sustain: 0.12, release: 0.16 }, breath: 0.06,
	},
	lowstrings: {
		oscillators: [['saw', 0, -6, -0.4, 0.26], ['saw', 0, 6, 0.4, 0.26], ['saw', 1, 2, 0, 0.1], ['sine', 0, 0, 0, 0.2]],
		filter: { base: 620, env: 900, q: 0.6, track: 0.3 }, amp: { attack: 0.14, decay: 1.4, sustain: 0.85, release: 0.4 },
		vibrato: { rate: 4.6, depth: 5, delay: 0.4 }, breath: 0.02,
	},
	brass: {
		oscillators: [['saw', 0, -5, -0.5, 0.24], ['saw', 0, 5, 0.5, 0.24], ['saw', 0, 1, 0, 0.24], ['saw', -1, 2, 0, 0.1]],
		filter: { base: 330, env: 2900, q: 0.8, track: 0.5, shape: { attack: 0.09, decay: 0.7, sustain: 0.55, release: 0.3 } },
		amp: { attack: 0.055, decay: 0.8, sustain: 0.8, release: 0.3 }, vibrato: { rate: 4.8, depth: 5, delay: 0.5 }, scoop: -25,
	},
	horn: {
		oscillators: [['saw', 0, -3, -0.3, 0.3], ['saw', 0, 3, 0.3, 0.3], ['triangle', 0, 0, 0, 0.2]],
		filter: { base: 300, env: 1100, q: 0.7, track: 0.5, shape: { attack: 0.14, decay: 0.9, sustain: 0.7, release: 0.4 } },
		amp: { attack: 0.11, decay: 1, sustain: 0.85, release: 0.45 }, vibrato: { rate: 4.5, depth: 5, delay: 0.5 }, scoop: -18,
	},
	choir: {
		oscillators: [['saw', 0, -8, -0.8, 0.3], ['saw', 0, 8, 0.8, 0.3], ['saw', 0, 0, 0, 0.26], ['saw', 0, 14, 0.3, 0.16]],
		amp: { attack: 0.4, decay: 2, sustain: 0.9, release: 0.9 }, vibrato: { rate: 4.9, depth: 12, delay: 0.2 }, drift: 6, breath: 0.05,
		formants: [[620, 1, 5], [1050, 0.6, 6], [2700, 0.22, 8]], formantDry: 0.03,
	},
	flute: {
		oscillators: [['flute', 0, 0, 0, 0.55], ['flute', 0, 4, 0.2, 0.12]],
		amp: { attack: 0.06, decay: 0.8, sustain: 0.85, release: 0.18 }, filter: { base: 2400, env: 1600, q: 0.7, track: 0.5 },
		vibrato: { rate: 5.2, depth: 13, delay: 0.25 }, breath: 0.1, scoop: -16,
	},
	clarinet: {
		oscillators: [['reed', 0, 0, 0, 0.6], ['reed', 0, 3, 0, 0.12]],
		filter: { base: 1500, env: 1300, q: 0.7, track: 0.4 }, amp: { attack: 0.04, decay: 0.7, sustain: 0.82, release: 0.12 },
		vibrato: { rate: 5, depth: 9, delay: 0.3 }, breath: 0.04, scoop: -22,
	},
	muted: {
		oscillators: [['saw', 0, 0, 0, 0.4], ['pulse25', 0, 3, 0, 0.18]],
		amp: { attack: 0.035, decay: 0.7, sustain: 0.8, release: 0.12 }, vibrato: { rate: 5.3, depth: 14, delay: 0.3 }, breath: 0.03,
			scoop: -45,
		formants: [[1150, 1.1, 2.6], [2300, 0.5, 3.5]], formantDry: 0.12,
	},
	lead: {
		oscillators: [['saw', 0, -6, -0.2, 0.3], ['saw', 0, 6, 0.2, 0.3], ['square', -1, 0, 0, 0.14]],
		filter: { base: 1200, env: 3000, q: 1.2, track: 0.5 }, amp: { attack: 0.012, decay: 0.5, sustain: 0.75, release: 0.22 },
		vibrato: { rate: 5.5, depth: 14, delay: 0.3 }, scoop: -35,
	},
	arp: {
		oscillators: [['saw', 0, -5, -0.4, 0.24], ['square', 0, 5, 0.4, 0.2]],
		filter: { base: 500, env: 3600, q: 2, shape: { attack: 0.002, decay: 0.13, sustain: 0.05, release: 0.1 } },
		amp: { attack: 0.002, decay: 0.2, sustain: 0.25, release: 0.14 },
	},
	organ: {
		oscillators: [['organ', 0, 0, -0.3, 0.3], ['organ', 0, 3, 0.3, 0.3]],
		filter: { base: 2200, env: 600, q: 0.7 }, amp: { attack: 0.012, decay: 1, sustain: 1, release: 0.09 },
		vibrato: { rate: 6.4, depth: 7, delay: 0 }, tremolo: { rate: 6.4, depth: 0.12 },
	},
	subbass: {
		oscillators: [['sine', 0, 0, 0, 0.75], ['triangle', 0, 0, 0, 0.16]], hardSync: true,
		amp: { attack: 0.008, decay: 1.2, sustain: 0.75, release: 0.09 },
	},
	synthbass: {
		oscillators: [['saw', 0, -4, 0, 0.32], ['square', 0, 4, 0, 0.24], ['sine', 0, 0, 0, 0.35]], hardSync: true,
		filter: { base: 240, env: 1400, q: 1.3, track: 0.3, shape: { attack: 0.003, decay: 0.16, sustain: 0.15, release: 0.08 } },
		amp: { attack: 0.003, decay: 0.4, sustain: 0.7, release: 0.06 },
	},
	acid: {
		oscillators: [['saw', 0, 0, 0, 0.55]], hardSync: true,
		filter: { base: 170, env: 2300, q: 4.5, track: 0.2, shape: { attack: 0.002, decay: 0.12, sustain: 0.03, release: 0.06 } },
		amp: { attack: 0.003, decay: 0.3, sustain: 0.5, release: 0.05 }, drive: 1.7,
	},
	eightohm: {
		oscillators: [['sine', 0, 0, 0, 0.95]], hardSync: true, scoop: 240,
		amp: { attack: 0.004, decay: 0.9, sustain: 0.3, release: 0.15 }, drive: 1.6,
	},
	chiplead: {
		oscillators: [['pulse25', 0, 0, 0, 0.5]], hardSync: true, amp: { attack: 0.002, decay: 0.25, sustain: 0.6, release: 0.03 },
		vibrato: { rate: 6, depth: 16, delay: 0.18 },
	},
	chiparp: {
		oscillators: [['square', 0, 0, 0, 0.38]], hardSync: true, amp: { attack: 0.002, decay: 0.09, sustain: 0.35, release: 0.02 },
	},
	chipharm: {
		oscillators: [['pulse12', 0, 0, 0, 0.5]], hardSync: true, amp: { attack: 0.002, decay: 0.3, sustain: 0.5, release: 0.03 },
	},
	chipbass: {
		oscillators: [['triangle', 0, 0, 0, 0.85]], hardSync: true, amp: { attack: 0.002, decay: 1, sustain: 0.9, release: 0.02 },
	},
	wind: {
		oscillators: [['sine', -2, 0, 0, 0.0001]], breath: 1.1,
		filter: { base: 420, env: 500, q: 2.2, track: 0 }, amp: { attack: 2.5, decay: 4, sustain: 0.8, release: 3 },
	},
};

const voices = {};
for (const [name, settings] of Object.entries(VOICES)) voices[name] = (L, R, note) => subtractive(settings, L, R, note);

module.exports = { voices, Svf, saturate, LONGEST };
