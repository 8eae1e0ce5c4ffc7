/*
 * Integrated loudness after ITU-R BS.1770 (K-weighting, 400 ms blocks, both
 * gates), and a limiter whose gain is settled for the whole piece before any
 * of it is written: it looks ahead as far as it likes, and nothing passes it.
 */
'use strict';

const { SR } = require('./wavetable.js');

/* The two filters at 48 kHz, re-derived for our rate */
function biquads() {
	const shelf = (() => {
		const f = 1681.974450955533;
		const gain = 3.999843853973347;
		const q = 0.7071752369554196;
		const k = Math.tan((Math.PI * f) / SR);
		const vh = 10 ** (gain / 20);
		const vb = vh ** 0.4996667741545416;
		const a0 = 1 + k / q + k * k;
		return [(vh + (vb * k) / q + k * k) / a0, (2 * (k * k - vh)) / a0, (vh - (vb * k) / q + k * k) / a0, (2 * (k * k - 1)) / a0,
			(1 - k / q + k * k) / a0];
	})();
	const high = (() => {
		const f = 38.13547087602444;
		const q = 0.5003270373238773;
		const k = Math.tan((Math.PI * f) / SR);
		const a0 = 1 + k / q + k * k;
		return [1, -2, 1, (2 * (k * k - 1)) / a0, (1 - k / q + k * k) / a0];
	})();
	return [shelf, high];
}

const FILTERS = biquads();
const HOP = SR / 10;

class Loudness {
	constructor() {
		this.state = [new Float64Array(8), new Float64Array(8)];
		this.hops = [];
		this.sum = 0;
		this.inHop = 0;
	}

	add(L, R, length) {
		const [[b0, b1, b2, a1, a2], [d0, d1, d2, c1, c2]] = FILTERS;
		let from = 0;
		while (from < length) {
			const to = Math.min(length, from + HOP - this.inHop);
			[L, R].forEach((side, n) => {
				let [x1, x2, y1, y2, z1, z2] = this.state[n];
				let sum = 0;
				for (let i = from; i < to; i++) {
					const x = side[i];
					const y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
					const z = d0 * y + d1 * y1 + d2 * y2 - c1 * z1 - c2 * z2;
					x2 = x1;
					x1 = x;
					y2 = y1;
					y1 = y;
					z2 = z1;
					z1 = z;
					sum += z * z;
				}
				this.state[n].set([x1, x2, y1, y2, z1, z2]);
				this.sum += sum;
			});
			this.inHop += to - from;
			from = to;
			if (this.inHop === HOP) {
				this.hops.push(this.sum / HOP);
				this.sum = this.inHop = 0;
			}
		}
	}

	/* LUFS; -70 for silence */
	integrated() {
		const hops = this.hops.length >= 4 ? this.hops : [...this.hops, this.inHop ? this.sum / this.inHop : 0];
		const size = Math.min(4, hops.length);
		const blocks = [];
		for (let i = 0; i + size <= hops.length; i++) blocks.push(hops.slice(i, i + size).reduce((a, b) => a + b, 0) / size);
		const level = (power) => -0.691 + 10 * Math.log10(power + 1e-12);
		const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
		const loud = blocks.filter((power) => level(power) > -70);
		if (loud.length === 0) return -70;
		const gate = level(mean(loud)) - 10;
		return level(mean(loud.filter((power) => level(power) > gate)));
	}
}

const STEP = 64;
const RELEASE = 10 ** (0.9 / 20 * (STEP / SR) * 20);	/* 18 dB a second */
const ATTACK = 10 ** (1.5 / 20);					/* dB a step, before the peak */

/*
 * peaks: the highest sample of every STEP samples. Returns the gain at every
 * border of steps; drawn straight between, nothing gets louder than ceiling.
 */
function limiterCurve(peaks, gain, ceiling) {
	const need = (i) => (i < 0 || i >= peaks.length ? gain : Math.min(gain, ceiling / Math.max(1e-9, peaks[i])));
	const curve = new Float32Array(peaks.length + 1);
	let level = gain;
	for (let i = 0; i <= peaks.length; i++) curve[i] = level = Math.min(level * RELEASE, need(i - 1), need(i));
	for (let i = peaks.length - 1; i >= 0; i--) curve[i] = Math.min(curve[i], curve[i + 1] * ATTACK);
	return curve;
}

module.exports = { Loudness, limiterCurve, STEP };
