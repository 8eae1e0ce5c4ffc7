/*
 * Plays a composition into a WAV file.
 *
 * Memory doesn't grow with the piece: notes are mixed into buses that hold one
 * block and the longest note, finished blocks go to a temporary file as floats
 * while loudness and peaks are measured, and a second pass brings the file to
 * its loudness through the limiter. What a second costs is its notes.
 */
'use strict';

const fs = require('node:fs');
const { SR } = require('./wavetable.js');
const { voices, Svf, saturate, LONGEST } = require('./subtractive.js');
const { struck } = require('./struck.js');
const { Kit, riser, crackle } = require('./percussion.js');
const { Reverb, Echo, Wow } = require('./effects.js');
const { Loudness, limiterCurve, STEP } = require('./loudness.js');
const { WavWriter } = require('./wav.js');
const { Peaks } = require('./peaks.js');

const BLOCK = 2 * SR;				/* a multiple of STEP is not needed: peaks carry over */
const RING = 6;					/* seconds that a note may sound beyond its own length */
const TARGET = -14;					/* LUFS */
const CEILING = 10 ** (-1 / 20);	/* dBFS */
const MOST_LIMITING = 10 ** (9 / 20);

const decibels = (db) => 10 ** (db / 20);
const scratchL = new Float32Array(LONGEST * SR);
const scratchR = new Float32Array(LONGEST * SR);

const DRUM_PANS = { hat: 0.25, hatsoft: 0.25, openhat: 0.25, ride: -0.3, crash: 0.2, shaker: -0.35, tambourine: 0.35, tomhigh: -0.3,
	tommid: 0, tomlow: 0.35,
	taiko: -0.1, taikohigh: 0.25, rim: -0.25, snare: 0.05, chiphat: 0.2 };
const KICKS = /^(kick|kick909|kicksoft|kick808|chipkick|stomp)$/;
const DRUMS_BELOW_TRACKS = -9.5;
const QUIETER = { hat: 0.55, hatsoft: 0.75, openhat: 0.5, shaker: 0.5, tambourine: 0.5, ride: 0.6, crash: 0.42, swell: 0.24, impact: 0.7,
	clap: 0.8 };

const instrument = (name) => voices[name] ?? struck[name];

/* What brings a track to the loudness that all tracks share, before its own gain */
function calibrate(track, rng) {
	const pitch = track.low ? (track.low + track.high) / 2 : track.centre ?? (track.base ?? 48) + 12 * (track.octave ?? 0);
	const note = { pitch: Math.round(pitch), dur: 1.2, vel: 0.7, bright: 0.55, rng: rng.fork('calibrate') };
	if (track.part === 'power') note.pitches = [43, 50];
	const total = instrument(track.instrument)(scratchL, scratchR, note);
	let loudest = 0;
	for (let from = 0; from + 4410 <= total; from += 2205) {
		let sum = 0;
		for (let i = from; i < from + 4410; i++) sum += scratchL[i] * scratchL[i] + scratchR[i] * scratchR[i];
		loudest = Math.max(loudest, sum);
	}
	const rms = Math.sqrt(loudest / 8820);
	const together = ['hold', 'block', 'strum'].includes(track.part) ? Math.sqrt(track.voices) : 1;
	return ((0.075 / Math.max(rms, 1e-4)) * decibels(track.gain)) / together;
}

class Mixer {
	constructor(piece) {
		const { style } = piece;
		this.piece = piece;
		this.rng = piece.rng.fork('sound');
		/* one block, and the longest sound that may begin in it */
		const longest = piece.events.reduce((most, event) => Math.max(most, event.dur ?? 0), 0);
		const window = this.window = BLOCK + Math.ceil(Math.min(LONGEST, longest + RING) * SR);
		this.dry = [new Float32Array(window), new Float32Array(window)];
		this.ducked = [new Float32Array(window), new Float32Array(window)];
		this.reverbSend = new Float32Array(window);
		this.echoSend = new Float32Array(window);
		this.tracks = new Map(piece.tracks.map((track) => [track.name, { ...track, level: calibrate(track, this.rng) }]));
		this.kit = new Kit(this.rng.fork('kit'));
		this.drumLevel = decibels((style.drums?.gain ?? 0) + DRUMS_BELOW_TRACKS);
		this.kicks = piece.events.filter((event) => KICKS.test(event.drum ?? '')).map((event) => event.time);
		this.kick = 0;
		this.pump = 1;
		this.recovery = Math.min(0.42, (60 / piece.bpm) * 0.75);
		this.reverb = new Reverb(style.reverb, BLOCK);
		this.echo = style.delay ? new Echo(style.delay, (style.delay.beats * 60) / piece.bpm) : null;
		this.wow = style.wow ? new Wow() : null;
		this.dust = style.crackle ? crackle(this.rng.fork('dust'), 7.3) : null;
		this.filters = [0, 1].map(() => {
			const pair = { high: new Svf(), low: style.lowpass ? new Svf() : null, air: new Svf() };
			pair.high.tune(27, 0.7);
			pair.air.tune(3800, 0.6);
			pair.low?.tune(style.lowpass, 0.6);
			return pair;
		});
		this.L = new Float32Array(BLOCK);
		this.R = new Float32Array(BLOCK);
		this.spare = new Float32Array(BLOCK);
		this.next = 0;
		this.position = 0;
	}

	/* Adds what is in a pair of buffers to the buses, at a sample of the window */
	put(left, right, total, at, { level, pan, rev, del, duck }) {
		const l = level * Math.min(1, 1 - pan);
		const r = level * Math.min(1, 1 + pan);
		const [dryL, dryR] = this.dry;
		const [duckL, duckR] = this.ducked;
		const end = Math.min(total, this.window - at);
		const straight = 1 - duck;
		const { reverbSend, echoSend } = this;
		if (duck > 0) {
			for (let i = 0; i < end; i++) {
				duckL[at + i] += left[i] * l * duck;
				duckR[at + i] += right[i] * r * duck;
			}
		}
		/* one walk for what most tracks need, and another for the echo that few do */
		for (let i = 0, to = at; i < end; i++, to++) {
			const x = left[i] * l;
			const y = right[i] * r;
			dryL[to] += x * straight;
			dryR[to] += y * straight;
			reverbSend[to] += (x + y) * rev;
		}
		if (del > 0) for (let i = 0; i < end; i++) echoSend[at + i] += (left[i] * l + right[i] * r) * del * 0.5;
	}

	play(event, at) {
		const { style } = this.piece;
		if (event.effect === 'riser') {
			const sound = riser(this.rng, event.dur);
			this.put(sound, sound, sound.length, at, { level: event.vel * 0.1, pan: 0, rev: 0.4, del: 0, duck: 0 });
		} else if (event.drum) {
			const sound = this.kit.hit(event.drum, this.rng);
			const low = KICKS.test(event.drum) || event.drum === 'impact';
			this.put(sound, sound, sound.length, at, {
				level: this.drumLevel * event.vel ** 1.4 * (QUIETER[event.drum] ?? 1),
				pan: DRUM_PANS[event.drum] ?? 0, rev: (style.drums.rev ?? 0) * (low ? 0.3 : 1), del: 0, duck: 0,
			});
		} else {
			const track = this.tracks.get(event.track);
			const total = instrument(track.instrument)(scratchL, scratchR, { ...event, dur: Math.min(event.dur, LONGEST - 5),
				rng: this.rng });
			this.put(scratchL, scratchR, total, at, track);
		}
	}

	/* Mixes the next block into this.L and this.R */
	block(length) {
		const { events, style } = this.piece;
		const { L, R } = this;
		const end = this.position + BLOCK;
		while (this.next < events.length && events[this.next].time * SR < end) {
			const event = events[this.next++];
			this.play(event, Math.max(0, Math.round(event.time * SR) - this.position));
		}

		const [dryL, dryR] = this.dry;
		const [duckL, duckR] = this.ducked;
		const slow = 1 - Math.exp(-1 / (0.0025 * SR));
		for (let i = 0; i < length; i++) {
			const t = (this.position + i) / SR;
			while (this.kick < this.kicks.length && this.kicks[this.kick] <= t) this.kick++;
			let open = 1;
			if (this.kick > 0) {
				const since = (t - this.kicks[this.kick - 1]) / this.recovery;
				if (since < 1) open = since * since * (3 - 2 * since);
			}
			this.pump += (open - this.pump) * slow;
			L[i] = dryL[i] + duckL[i] * this.pump;
			R[i] = dryR[i] + duckR[i] * this.pump;
		}
		this.echo?.process(this.echoSend, L, R, this.reverbSend, length);
		this.reverb.process(this.reverbSend, L, R, length);
		if (style.wow) this.wow.process(L, R, length);
		[L, R].forEach((side, n) => {
			const { high, low, air } = this.filters[n];
			if (style.air) {
				/* a shelf: what is high is added once more */
				this.spare.set(side);
				air.high(this.spare, 0, length);
				for (let i = 0; i < length; i++) side[i] += this.spare[i] * style.air;
			}
			low?.low(side, 0, length);
			high.high(side, 0, length);
			for (let i = 0; i < length; i++) side[i] = saturate(side[i] * 0.9);
		});
		if (this.dust) {
			const offset = [0, 4001];
			[L, R].forEach((side, n) => {
				for (let i = 0; i < length; i++) side[i] += this.dust[(this.position + i + offset[n]) % this.dust.length] * 0.35;
			});
		}

		for (const bus of [...this.dry, ...this.ducked, this.reverbSend, this.echoSend]) {
			bus.copyWithin(0, BLOCK);
			bus.fill(0, this.window - BLOCK);
		}
		this.position += BLOCK;
	}
}

/* 0..1 of the piece at a frame: it starts at once and ends in silence */
function fader(frames, tail) {
	const out = Math.round(Math.min(frames * 0.3, Math.max(0.4, tail * 0.55) * SR));
	const start = Math.min(220, frames >> 2);
	return (frame) => {
		const left = frames - 1 - frame;
		const rise = frame < start ? frame / start : 1;
		return left < out ? rise * (left / out) ** 1.6 : rise;
	};
}

/*
 * Writes the piece to path; progress(0..100) is called now and then, and may
 * throw to end it. Returns { frames, peaks, loudness }. The temporary file
 * beside path is gone in any case.
 */
function render(piece, path, progress = () => {}) {
	const frames = Math.round(piece.duration * SR);
	const mixer = new Mixer(piece);
	const loudness = new Loudness();
	const fade = fader(frames, piece.tail);
	const steps = new Float32Array(Math.ceil(frames / STEP));
	const rawPath = `${path}.raw`;
	const raw = fs.openSync(rawPath, 'w+');
	try {
		const both = new Float32Array(2 * BLOCK);
		const bytes = Buffer.from(both.buffer);
		for (let from = 0; from < frames; from += BLOCK) {
			const length = Math.min(BLOCK, frames - from);
			mixer.block(length);
			const { L, R } = mixer;
			for (let i = 0; i < length; i++) {
				const level = fade(from + i);
				both[2 * i] = L[i] *= level;
				both[2 * i + 1] = R[i] *= level;
				const step = Math.floor((from + i) / STEP);
				steps[step] = Math.max(steps[step], Math.abs(L[i]), Math.abs(R[i]));
			}
			loudness.add(L, R, length);
			fs.writeSync(raw, bytes, 0, length * 8, from * 8);
			progress(Math.round((90 * (from + length)) / frames));
		}

		const loud = loudness.integrated();
		const highest = steps.reduce((a, b) => Math.max(a, b), 1e-9);
		const gain = Math.min(decibels(TARGET - loud), (MOST_LIMITING * CEILING) / highest);
		const curve = limiterCurve(steps, gain, CEILING);
		const writer = new WavWriter(path, frames);
		const peaks = new Peaks(frames);
		const samples = new Int16Array(2 * BLOCK);
		const after = new Loudness();
		try {
			for (let from = 0; from < frames; from += BLOCK) {
				const length = Math.min(BLOCK, frames - from);
				fs.readSync(raw, bytes, 0, length * 8, from * 8);
				for (let i = 0; i < length; i++) {
					const step = Math.floor((from + i) / STEP);
					const part = ((from + i) % STEP) / STEP;
					const level = curve[step] + (curve[step + 1] - curve[step]) * part;
					mixer.L[i] = both[2 * i] * level;
					mixer.R[i] = both[2 * i + 1] * level;
					samples[2 * i] = Math.round(mixer.L[i] * 32767);
					samples[2 * i + 1] = Math.round(mixer.R[i] * 32767);
				}
				const done = samples.subarray(0, 2 * length);
				writer.write(done);
				peaks.add(done);
				after.add(mixer.L, mixer.R, length);
			}
		} finally {
			writer.close();
		}
		progress(100);
		return { frames, peaks: peaks.result(), loudness: Math.round(after.integrated() * 10) / 10, gain: 20 * Math.log10(gain) };
	} finally {
		fs.closeSync(raw);
		fs.unlinkSync(rawPath);
	}
}

module.exports = { render };
