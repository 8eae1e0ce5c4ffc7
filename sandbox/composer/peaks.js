/*
 * The outline of a piece for a player: BUCKETS numbers from 0 to 1, each the
 * highest sample of its share of the time, of both channels.
 */
'use strict';

const BUCKETS = 512;

class Peaks {
	constructor(frames) {
		this.frames = Math.max(1, frames);
		this.values = new Float64Array(BUCKETS);
		this.at = 0;
	}

	/* samples: Int16Array, left and right in turn */
	add(samples) {
		for (let i = 0; i < samples.length; i += 2, this.at++) {
			const bucket = Math.min(BUCKETS - 1, Math.floor((this.at * BUCKETS) / this.frames));
			const level = Math.max(Math.abs(samples[i]), Math.abs(samples[i + 1]));
			if (level > this.values[bucket]) this.values[bucket] = level;
		}
	}

	result() {
		return Array.from(this.values, (value) => Math.round((value / 32768) * 10000) / 10000);
	}
}

module.exports = { Peaks, BUCKETS };
