/*
 * Drums, cymbals and noises. Each is synthesised once for a piece (a few takes
 * of what would sound like a machine otherwise) and mixed from there.
 */
'use strict';

const { SR } = require('./wavetable.js');
const { Svf, saturate } = require('./subtractive.js');

const seconds = (time) => new Float32Array(Math.ceil(time * SR));

function noise(rng, time, decay, gain = 1, attack = 0.0005) {
	const out = seconds(time);
	for (let i = 0; i < out.length; i++) {
		const t = i / SR;
		out[i] = (rng.float() * 2 - 1) * gain * Math.exp(-t / decay) * Math.min(1, t / attack);
	}
	return out;
}

function filtered(buffer, kind, frequency, q = 0.7) {
	const svf = new Svf();
	svf.tune(frequency, q);
	if (kind === 'band') {
		const out = new Float32Array(buffer.length);
		svf.band(buffer, out, 0, buffer.length, 1.6);
		return out;
	}
	svf[kind](buffer, 0, buffer.length);
	return buffer;
}

function add(target, source, gain = 1, at = 0) {
	for (let i = 0; i < source.length && at + i < target.length; i++) target[at + i] += source[i] * gain;
	return target;
}

/* A tone that falls from one frequency to another */
function drop(time, high, low, fall, decay, drive = 1) {
	const out = seconds(time);
	let phase = 0;
	for (let i = 0; i < out.length; i++) {
		const t = i / SR;
		phase += (low + (high - low) * Math.exp(-t / fall)) / SR;
		const y = Math.sin(2 * Math.PI * phase) * Math.exp(-t / decay) * Math.min(1, t / 0.0008);
		out[i] = drive > 1 ? saturate(y * drive) / saturate(drive) : y;
	}
	return out;
}

/* Six squares that agree on nothing, as in the old machines */
function metal(time, decay, base, attack = 0.0005) {
	const out = seconds(time);
	const ratios = [1, 1.342, 1.2312, 1.6532, 1.9523, 2.1523];
	const phases = ratios.map((_, i) => i * 0.17);
	for (let i = 0; i < out.length; i++) {
		let y = 0;
		for (let k = 0; k < 6; k++) {
			phases[k] += (base * ratios[k]) / SR;
			phases[k] -= Math.floor(phases[k]);
			y += phases[k] < 0.5 ? 0.16 : -0.16;
		}
		const t = i / SR;
		out[i] = y * Math.exp(-t / decay) * Math.min(1, t / attack);
	}
	return out;
}

function fadeOut(buffer) {
	const n = Math.min(buffer.length, 400);
	for (let i = 0; i < n; i++) buffer[buffer.length - 1 - i] *= i / n;
	return buffer;
}

function hat(rng, decay, level) {
	const out = add(noise(rng, decay * 6, decay, 0.5), metal(decay * 6, decay, 540 + rng.between(-6, 6)), 0.8);
	return add(seconds(decay * 6), filtered(filtered(filtered(out, 'high', 7200), 'high', 5000), 'low', 13000), level);
}

const RECIPES = {
	kick: (rng) => add(drop(0.42, 190, 54, 0.024, 0.13, 1.5), filtered(noise(rng, 0.02, 0.004, 0.5), 'low', 4500)),
	kick909: (rng) => add(drop(0.45, 260, 48, 0.028, 0.16, 2.2), filtered(noise(rng, 0.02, 0.003, 0.45), 'high', 2500)),
	kicksoft: (rng) => filtered(add(drop(0.4, 130, 52, 0.03, 0.13, 1.3), noise(rng, 0.02, 0.006, 0.25)), 'low', 1400),
	kick808: () => drop(1.1, 150, 44, 0.04, 0.4, 1.5),
	stomp: (rng) => add(drop(0.4, 110, 60, 0.03, 0.1), filtered(noise(rng, 0.12, 0.03, 0.7), 'low', 700)),
	snare: (rng) => add(add(add(seconds(0.35), drop(0.35, 260, 188, 0.02, 0.07), 0.6), drop(0.3, 420, 332, 0.015, 0.04), 0.3),
		filtered(filtered(noise(rng, 0.35, 0.085, 0.75), 'high', 1400), 'low', 8500)),
	snarebig: (rng) => add(add(seconds(0.7), drop(0.5, 230, 172, 0.03, 0.11, 1.4), 0.7), filtered(filtered(noise(rng, 0.7, 0.17, 0.75),
		'high', 1100), 'low', 8000)),
	snaresoft: (rng) => filtered(add(add(seconds(0.3), drop(0.3, 220, 178, 0.02, 0.06), 0.5), filtered(noise(rng, 0.3, 0.07, 0.7), 'high',
		900)), 'low', 5200),
	brush: (rng) => filtered(filtered(noise(rng, 0.3, 0.07, 0.55, 0.018), 'high', 1500), 'low', 7000),
	rim: (rng) => add(filtered(noise(rng, 0.08, 0.01, 0.7), 'band', 1700, 2), drop(0.08, 900, 820, 0.01, 0.018), 0.6),
	clap: (rng) => {
		const out = seconds(0.4);
		for (const at of [0, 0.011, 0.023]) add(out, noise(rng, 0.03, 0.006, 0.8), 1, Math.round(at * SR));
		add(out, noise(rng, 0.36, 0.08, 0.6), 1, Math.round(0.032 * SR));
		return filtered(filtered(filtered(out, 'band', 1500, 0.9), 'high', 700), 'low', 7500);
	},
	hat: (rng) => hat(rng, 0.028, 0.75),
	openhat: (rng) => hat(rng, 0.16, 0.6),
	hatsoft: (rng) => filtered(hat(rng, 0.022, 0.7), 'low', 9000),
	shaker: (rng) => filtered(filtered(noise(rng, 0.14, 0.035, 0.6, 0.02), 'high', 4800), 'low', 9500),
	tambourine: (rng) => filtered(add(filtered(noise(rng, 0.25, 0.05, 0.35), 'high', 6000), filtered(metal(0.25, 0.06, 1100), 'high',
		5500), 0.5), 'low', 9500),
	ride: (rng) => add(add(seconds(1.1), filtered(metal(1.1, 0.3, 410 + rng.between(-3, 3)), 'high', 5200), 0.5),
		add(filtered(noise(rng, 1.1, 0.18, 0.16), 'high', 6000), drop(0.4, 3150, 3150, 1, 0.05), 0.1)),
	crash: (rng) => add(filtered(noise(rng, 2.6, 0.55, 0.45, 0.002), 'high', 3600), filtered(metal(2.6, 0.7, 330), 'high', 4200), 0.45),
	swell: (rng) => {
		const out = filtered(filtered(noise(rng, 2.2, 100, 0.5), 'high', 3000), 'low', 9000);
		for (let i = 0; i < out.length; i++) out[i] *= (i / out.length) ** 3;
		return out;
	},
	tomlow: (rng) => add(drop(0.6, 140, 82, 0.05, 0.17, 1.3), filtered(noise(rng, 0.05, 0.015, 0.3), 'low', 2500)),
	tommid: (rng) => add(drop(0.5, 190, 116, 0.045, 0.14, 1.3), filtered(noise(rng, 0.05, 0.013, 0.3), 'low', 3000)),
	tomhigh: (rng) => add(drop(0.4, 260, 165, 0.04, 0.11, 1.3), filtered(noise(rng, 0.05, 0.012, 0.3), 'low', 3500)),
	taiko: (rng) => add(add(drop(1.1, 130, 62, 0.05, 0.26, 1.8), filtered(noise(rng, 0.25, 0.05, 0.9), 'low', 900)), drop(0.5, 300, 170,
		0.03, 0.06), 0.25),
	taikohigh: (rng) => add(drop(0.6, 220, 118, 0.035, 0.13, 1.6), filtered(noise(rng, 0.15, 0.03, 0.8), 'low', 2200)),
	impact: (rng) => add(drop(3, 90, 32, 0.25, 0.9, 2), filtered(noise(rng, 2.4, 0.5, 0.9), 'low', 420)),
	chipkick: () => drop(0.18, 420, 55, 0.022, 0.07, 6),
	chipsnare: (rng) => chipNoise(rng, 0.16, 0.05, 3),
	chiphat: (rng) => chipNoise(rng, 0.05, 0.014, 1),
};

/* The noise of a console: a coin thrown every few samples */
function chipNoise(rng, time, decay, every) {
	const out = seconds(time);
	let held = 0;
	for (let i = 0; i < out.length; i++) {
		if (i % every === 0) held = rng.chance(0.5) ? 0.5 : -0.5;
		out[i] = held * Math.exp(-i / SR / decay);
	}
	return filtered(out, 'high', 400);
}

/* Noise that rises for the time given: before a chorus */
function riser(rng, time) {
	const out = seconds(time);
	const svf = new Svf();
	for (let i = 0; i < out.length; i++) out[i] = (rng.float() - 0.5) * 0.6;
	for (let from = 0; from < out.length; from += 64) {
		const done = from / out.length;
		const to = Math.min(out.length, from + 64);
		svf.tune(350 * 22 ** done, 1.6);
		svf.low(out, from, to);
		for (let i = from; i < to; i++) out[i] *= (i / out.length) ** 2;
	}
	return fadeOut(out);
}

/* Dust on a record, for the time given */
function crackle(rng, time) {
	const out = seconds(time);
	for (let i = 0; i < out.length; i++) out[i] = (rng.float() - 0.5) * 0.012;
	filtered(out, 'low', 3000);
	const pops = Math.round(time * 9);
	for (let n = 0; n < pops; n++) {
		const at = rng.int(out.length - 60);
		const loud = 0.02 + 0.16 * rng.float() ** 5;
		for (let i = 0; i < 50; i++) out[at + i] += (rng.float() * 2 - 1) * loud * Math.exp(-i / 7);
	}
	const edge = Math.min(2000, out.length >> 1);
	for (let i = 0; i < edge; i++) {
		out[i] *= i / edge;
		out[out.length - 1 - i] *= i / edge;
	}
	return out;
}

const TAKES = 3;

/* The drums of one piece: hit(name) gives a take of it */
class Kit {
	constructor(rng) {
		this.rng = rng;
		this.takes = new Map();
	}

	hit(name, rng) {
		let takes = this.takes.get(name);
		if (!takes) {
			takes = Array.from({ length: TAKES }, (_, i) => fadeOut(RECIPES[name](this.rng.fork(`${name} ${i}`))));
			this.takes.set(name, takes);
		}
		return takes[rng.int(TAKES)];
	}
}

module.exports = { Kit, riser, crackle, DRUMS: Object.keys(RECIPES) };
