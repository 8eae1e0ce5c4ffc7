/*
 * Random numbers that are the same in every run: sfc32, seeded by the SHA-256
 * of a text. fork(name) gives a stream of its own, so a part that draws one
 * number more doesn't change what the other parts play.
 */
'use strict';

const crypto = require('node:crypto');

class Rng {
	constructor(seed) {
		this.seed = String(seed);
		const digest = crypto.createHash('sha256').update(this.seed).digest();
		this.a = digest.readInt32LE(0);
		this.b = digest.readInt32LE(4);
		this.c = digest.readInt32LE(8);
		this.d = 1;
		for (let i = 0; i < 12; i++) this.float();
	}

	fork(name) {
		return new Rng(`${this.seed}/${name}`);
	}

	/* 0 <= x < 1 */
	float() {
		const sum = (((this.a + this.b) | 0) + this.d) | 0;
		this.d = (this.d + 1) | 0;
		this.a = this.b ^ (this.b >>> 9);
		this.b = (this.c + (this.c << 3)) | 0;
		this.c = (this.c << 21) | (this.c >>> 11);
		this.c = (this.c + sum) | 0;
		return (sum >>> 0) / 4294967296;
	}

	between(low, high) {
		return low + (high - low) * this.float();
	}

	int(below) {
		return Math.floor(this.float() * below);
	}

	pick(list) {
		return list[this.int(list.length)];
	}

	chance(probability) {
		return this.float() < probability;
	}

	/* -1 < x < 1, mostly near 0 */
	bell() {
		return (this.float() + this.float() + this.float()) / 1.5 - 1;
	}

	/* pairs of [value, weight] */
	weighted(pairs) {
		let left = this.float() * pairs.reduce((sum, [, weight]) => sum + weight, 0);
		for (const [value, weight] of pairs) if ((left -= weight) < 0) return value;
		return pairs[pairs.length - 1][0];
	}
}

module.exports = { Rng };
