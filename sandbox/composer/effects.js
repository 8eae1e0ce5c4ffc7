/*
 * What the mix passes through: reverb (Schroeder's combs and allpasses, as in
 * Freeverb), an echo that goes from side to side, the flutter of a tape. Each
 * keeps its state, so that blocks of any length join without a seam.
 */
'use strict';

const { SR, SIZE, SINE } = require('./wavetable.js');
const { Svf } = require('./subtractive.js');

const COMBS = [1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617];
const ALLPASSES = [556, 441, 341, 225];
const SPREAD = 23;
const PREDELAY = Math.round(0.018 * SR);

class Side {
	constructor(offset, { size, damp }) {
		this.feedback = size;
		this.damp = damp;
		this.combs = COMBS.map((n) => ({ line: new Float32Array(n + offset), at: 0, held: 0 }));
		this.allpasses = ALLPASSES.map((n) => ({ line: new Float32Array(n + offset), at: 0 }));
	}

	process(input, out, length) {
		out.fill(0, 0, length);
		const { feedback, damp } = this;
		for (const comb of this.combs) {
			const { line } = comb;
			const size = line.length;
			let { at, held } = comb;
			for (let i = 0; i < length; i++) {
				const y = line[at];
				held = y * (1 - damp) + held * damp;
				line[at] = input[i] + held * feedback;
				if (++at === size) at = 0;
				out[i] += y;
			}
			comb.at = at;
			comb.held = Math.abs(held) < 1e-20 ? 0 : held;
		}
		for (const allpass of this.allpasses) {
			const { line } = allpass;
			const size = line.length;
			let { at } = allpass;
			for (let i = 0; i < length; i++) {
				const y = line[at];
				const x = out[i];
				line[at] = x + y * 0.5;
				out[i] = y - x;
				if (++at === size) at = 0;
			}
			allpass.at = at;
		}
	}
}

class Reverb {
	constructor(settings, block) {
		this.sides = [new Side(0, settings), new Side(SPREAD, settings)];
		/* a long reverb isn't a loud one */
		this.wet = settings.wet * Math.sqrt((1 - settings.size ** 2) / 0.36) * 1.25;
		this.high = new Svf();
		this.high.tune(170, 0.7);
		this.line = new Float32Array(PREDELAY);
		this.at = 0;
		this.input = new Float32Array(block);
		this.out = new Float32Array(block);
	}

	/* adds the reverb of send to L and R */
	process(send, L, R, length) {
		const { input, line, out } = this;
		for (let i = 0; i < length; i++) {
			input[i] = line[this.at] * 0.03;
			line[this.at] = send[i];
			if (++this.at === PREDELAY) this.at = 0;
		}
		this.high.high(input, 0, length);
		[L, R].forEach((side, n) => {
			this.sides[n].process(input, out, length);
			for (let i = 0; i < length; i++) side[i] += out[i] * 3 * this.wet;
		});
	}
}

class Echo {
	constructor({ feedback, tone }, seconds) {
		this.size = Math.max(64, Math.round(seconds * SR));
		this.left = new Float32Array(this.size);
		this.right = new Float32Array(this.size);
		this.at = 0;
		this.feedback = feedback;
		this.smooth = 1 - Math.exp((-2 * Math.PI * tone) / SR);
		this.l = this.r = 0;
	}

	/* adds the echoes of send to L and R, and a part of them to what the reverb gets */
	process(send, L, R, reverb, length) {
		const { left, right, size, smooth, feedback } = this;
		let { at, l, r } = this;
		for (let i = 0; i < length; i++) {
			l += (left[at] - l) * smooth;
			r += (right[at] - r) * smooth;
			L[i] += l * 0.8 + r * 0.12;
			R[i] += r * 0.8 + l * 0.12;
			reverb[i] += (l + r) * 0.15;
			left[at] = send[i] + r * feedback;
			right[at] = l * 0.9;
			if (++at === size) at = 0;
		}
		this.at = at;
		this.l = Math.abs(l) < 1e-20 ? 0 : l;
		this.r = Math.abs(r) < 1e-20 ? 0 : r;
	}
}

/* A tape that runs a little unevenly */
class Wow {
	constructor() {
		this.lines = [new Float32Array(1024), new Float32Array(1024)];
		this.at = 0;
		this.time = 0;
	}

	process(L, R, length) {
		const [left, right] = this.lines;
		for (let i = 0; i < length; i++) {
			left[this.at] = L[i];
			right[this.at] = R[i];
			const t = this.time++ / SR;
			const delay = 300 + 150 * SINE[Math.floor(t * 0.55 * SIZE) & (SIZE - 1)] + 6 * SINE[Math.floor(t * 6.1 * SIZE) & (SIZE - 1)];
			const whole = Math.floor(delay);
			const part = delay - whole;
			const a = (this.at - whole) & 1023;
			const b = (a - 1) & 1023;
			L[i] = left[a] + (left[b] - left[a]) * part;
			R[i] = right[a] + (right[b] - right[a]) * part;
			this.at = (this.at + 1) & 1023;
		}
	}
}

module.exports = { Reverb, Echo, Wow };
