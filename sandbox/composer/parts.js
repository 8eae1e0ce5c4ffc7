/*
 * What accompanies: chords held, struck, strummed, broken and picked; basses
 * that mark roots or walk; ostinati. A part is called once a bar with
 *
 *   { chord, next, voices, bar, section, rng, steps, track, tonic, level, play }
 *
 * and plays by play(at, length, pitch, weight, extra), in sixteenths of the bar.
 *
 * Rhythms are texts of sixteenths: a hit, "-" that holds it on, "." for silence.
 */
'use strict';

const { modulo, nearest, pitchOf } = require('./theory.js');

/* [[at, length, sign]] */
function hits(rhythm, steps) {
	const out = [];
	for (let at = 0; at < Math.min(steps, rhythm.length); at++) {
		const sign = rhythm[at];
		if (sign === '.' || sign === '-') continue;
		let length = 1;
		while (at + length < steps && rhythm[at + length] === '-') length++;
		out.push([at, length, sign]);
	}
	return out;
}

const accent = (at) => (at % 8 === 0 ? 0.8 : at % 4 === 0 ? 0.72 : at % 2 === 0 ? 0.66 : 0.58);

/* A list of rhythms in rising liveliness, or one */
const choose = (list, level) => (Array.isArray(list) ? list[Math.min(list.length - 1, Math.floor(level * list.length))] : list);

const parts = {
	/* one chord a bar, tied when the next bar has the same */
	hold({ voices, steps, play, track, bar, chord, before }) {
		if (before === chord.numeral && bar % 2 && !track.renew) return;
		const length = before !== chord.numeral || bar % 2 ? steps : steps;
		for (const pitch of voices) play(0, length + 0.3, pitch, 0.66);
	},

	block({ voices, steps, play, track, level }) {
		for (const [at, length, sign] of hits(choose(track.rhythm, level), steps))
			for (const pitch of voices) play(at, length, pitch, accent(at) * (sign === 'X' ? 1.15 : 0.95));
	},

	/* root and fifth, and the octave: an electric guitar */
	power({ chord, steps, play, track, level }) {
		const root = nearest(chord.root, 43);
		for (const [at, length, sign] of hits(choose(track.rhythm, level), steps))
			play(at, length, root, accent(at), { pitches: sign === 'X' ? [root, root + 7, root + 12] : [root, root + 7] });
	},

	/* downstrokes from the low string, upstrokes from the high one */
	strum({ voices, chord, steps, play, track, level }) {
		const strings = [nearest(chord.root, 45), ...voices];
		for (const [at, length, sign] of hits(choose(track.rhythm, level), steps)) {
			const up = sign === 'u';
			const order = up ? strings.slice(2).reverse() : strings;
			order.forEach((pitch, i) => play(at + i * (up ? 0.07 : 0.11), length + 1.5, pitch,
				accent(at) * (up ? 0.7 : 0.92) * (1 - 0.03 * i)));
		}
	},

	/* thumb on root and fifth, fingers above it */
	pick({ voices, chord, steps, play, track, level, section, bar }) {
		const root = nearest(chord.root, 46);
		const fifth = chord.pcs.includes(modulo(chord.root + 7, 12)) ? root + (root > 47 ? -5 : 7) : root;
		const pattern = track.pattern[(section.turn + bar) % 2 % track.pattern.length];
		for (const [at, , sign] of hits(pattern, steps)) {
			const pitch = sign === 'r' ? root : sign === 'f' ? fifth : voices[Number(sign) % voices.length];
			play(at, sign === 'r' || sign === 'f' ? 7 : 5, pitch, accent(at) * (sign === 'r' ? 1 : 0.82) + level * 0.05);
		}
	},

	/* broken chords over one octave or more */
	arp({ voices, steps, play, track, level, bar, rng }) {
		const size = Array.isArray(track.every) ? choose(track.every, level) : track.every;
		const notes = track.octaves > 1 ? [...voices, ...voices.map((v) => v + 12)] : voices;
		const shape = track.shape ?? 'updown';
		const cycle = shape === 'updown' ? [...notes.keys(), ...[...notes.keys()].slice(1, -1).reverse()] : [...notes.keys()];
		for (let at = 0, n = bar * (steps / size); at < steps; at += size, n++) {
			if (track.holes && rng.chance(track.holes)) continue;
			const index = shape === 'fixed' ? [0, 2, 1, 3, 0, 3, 2, 1][n % 8] % notes.length : cycle[n % cycle.length];
			play(at, size * (track.legato ?? 1), notes[index], accent(at) * 0.92 + (at === 0 ? 0.06 : 0));
		}
	},

	/* a pianist's left hand: root, fifth, octave, tenth and down again */
	lefthand({ chord, steps, play, level }) {
		const root = nearest(chord.root, 42);
		const tenth = root + 12 + (chord.pcs[1] - chord.root + 12) % 12;
		const fifth = root + (chord.pcs[2] - chord.root + 12) % 12;
		const wave = [root, fifth, root + 12, tenth, root + 12, fifth, root + 12, fifth];
		const every = level < 0.35 ? 4 : 2;
		for (let at = 0, n = 0; at < steps; at += every, n++)
			play(at, n === 0 ? steps : 4, wave[(every === 4 ? [0, 1, 3, 2][n % 4] : n) % 8], n === 0 ? 0.74 : 0.5 + 0.05 * (n % 2));
	},

	bass({ chord, next, steps, play, track, level, tonic, rng, section, bar }) {
		const root = nearest(chord.root, track.centre ?? 38);
		const rhythm = choose(track.rhythm, level);
		const fifth = chord.pcs[2] !== undefined ? root + (chord.pcs[2] - chord.root + 12) % 12 : root + 7;
		const third = root + (chord.pcs[1] - chord.root + 12) % 12;
		for (const [at, length, sign] of hits(rhythm, steps)) {
			let pitch = { 1: root, 3: third, 5: fifth > root + 7 - 5 && root > 40 ? fifth - 12 : fifth, 8: root + 12 }[sign] ?? root;
			/* the last note may lead into the next chord */
			if (track.leads && at >= steps - 2 && next.root !== chord.root && rng.chance(0.6)) {
				const target = nearest(next.root, root);
				pitch = stepTowards(target, root, tonic, chord.scale);
			}
			play(at, length * (track.legato ?? 0.95), pitch, accent(at) + (at === 0 ? 0.08 : 0));
		}
		if (section.last && bar === section.bars - 1) return;
	},

	/* four to the bar: root, chord tones and scale, then a half step into the next root */
	walk({ chord, next, steps, play, rng, track, tonic, state }) {
		const beats = steps / 4;
		let pitch = nearest(chord.root, state.walked ?? track.centre ?? 40);
		if (pitch < 31) pitch += 12;
		if (pitch > 50) pitch -= 12;
		const target = nearest(next.root, pitch);
		const direction = target === pitch ? rng.pick([1, -1]) : Math.sign(target - pitch);
		const line = [pitch];
		const pool = [];
		for (let p = pitch - 12; p <= pitch + 12; p++)
			if (chord.scale.includes(modulo(p - tonic, 12)) || chord.pcs.includes(modulo(p, 12))) pool.push(p);
		let at = pool.indexOf(pitch);
		for (let beat = 1; beat < beats - 1; beat++) {
			const strong = beat % 2 === 0;
			at = Math.max(0, Math.min(pool.length - 1, at + direction * (rng.chance(0.7) ? 1 : 2)));
			for (let tries = 0; strong && tries < 4 && !chord.pcs.includes(modulo(pool[at], 12)); tries++)
				at = Math.max(0, Math.min(pool.length - 1, at + direction));
			line.push(pool[at]);
		}
		const lead = nearest(next.root, line[line.length - 1]);
		line.push(lead + (line[line.length - 1] > lead ? 1 : -1));
		line.slice(0, beats).forEach((p, i) => play(i * 4, 3.7, p < 28 ? p + 12 : p, i % 2 ? 0.76 : 0.7));
		if (rng.chance(0.2)) play(steps - 1.4, 1, line[line.length - 1], 0.45);
		state.walked = line[line.length - 1];
	},

	/* repeated notes with the accents of the style: what drives a soundtrack */
	ostinato({ voices, chord, steps, play, track, level }) {
		const low = nearest(chord.root, track.centre ?? 50);
		const pattern = choose(track.rhythm, level);
		for (const [at, , sign] of hits(pattern, steps)) {
			const pitch = sign === 'r' ? low : sign === 'o' ? low + 12 : voices[Number(sign) % voices.length];
			play(at, 0.9, pitch, sign === 'r' && at % 4 === 0 ? 0.85 : 0.62);
		}
	},

	/* root and fifth below everything, as long as the section is */
	drone({ chord, section, bar, steps, play, track }) {
		if (bar % 4) return;
		const root = nearest(chord.root, track.centre ?? 36);
		for (const pitch of [root, root + 7]) play(0, steps * Math.min(4, section.bars - bar), pitch, 0.6);
	},

	/* now and then a note of the chord, high up */
	drops({ voices, steps, play, rng, track, level }) {
		for (let at = 0; at < steps; at += track.every ?? 2)
			if (rng.chance((track.density ?? 0.2) * (0.5 + level)))
				play(at, 6, rng.pick(voices) + (rng.chance(0.3) ? 12 : 0), 0.4 + 0.3 * rng.float());
	},

	/* root on the first beat, and a roll into the next section */
	timpani({ chord, steps, play, section, bar, level }) {
		const root = nearest(chord.root, 43);
		if (bar % 2 === 0 || level > 0.7) play(0, 6, root, 0.75);
		if (level > 0.75) play(steps - 4, 3, root, 0.5);
		if (bar === section.bars - 1 && section.rises)
			for (let at = steps - 8; at < steps; at++) play(at, 1, root, 0.25 + 0.06 * (at - steps + 8));
	},
};

function stepTowards(target, from, tonic, scale) {
	const direction = Math.sign(target - from) || 1;
	for (let pitch = target - direction, tries = 0; tries < 3; pitch -= direction, tries++)
		if (scale.includes(modulo(pitch - tonic, 12))) return pitch;
	return target - direction;
}

module.exports = { parts, hits, accent, pitchOf };
