/*
 * Melodies that can be remembered: a motif of two bars is invented for each
 * kind of section, comes back with every section of that kind, is moved,
 * varied and answered, and every phrase ends in a cadence.
 *
 * A motif is rhythm and moves on the scale's ladder; notes that the ear leans
 * on are pulled to a tone of the chord below them.
 */
'use strict';

const { modulo, pitchOf } = require('./theory.js');

/* Lengths in sixteenths; a negative one is a rest */
const RHYTHMS = {
	4: {
		sparse: [[16], [8, 8], [12, 4], [6, 10], [-4, 12], [4, 12], [-8, 8], [10, 6]],
		medium: [[4, 4, 8], [6, 2, 8], [6, 2, 4, 4], [8, 4, 4], [-4, 4, 8], [6, 6, 4], [-2, 2, 4, 8], [4, 8, 4], [3, 3, 10], [8, 2, 2, 4]],
		dense: [[2, 2, 4, 4, 4], [4, 2, 2, 4, 4], [2, 2, 2, 2, 8], [3, 3, 2, 4, 4], [2, 4, 2, 4, 4], [4, 2, 2, 2, 2, 4], [-2, 2, 2, 2, 4,
			4], [3, 3, 4, 2, 4],
			[6, 2, 2, 2, 4]],
		busy: [[2, 2, 2, 2, 2, 2, 4], [2, 1, 1, 2, 2, 4, 4], [3, 3, 2, 3, 3, 2], [2, 2, 1, 1, 2, 4, 4], [4, 2, 2, 3, 3, 2], [1, 1, 2, 2,
			2, 4, 2, 2]],
	},
	3: {
		sparse: [[12], [8, 4], [-4, 8]],
		medium: [[4, 4, 4], [8, 4], [6, 2, 4], [8, 2, 2]],
		dense: [[4, 2, 2, 4], [2, 2, 4, 4], [6, 2, 2, 2], [2, 2, 2, 2, 4]],
		busy: [[2, 2, 2, 2, 2, 2], [3, 1, 2, 2, 4], [2, 2, 2, 2, 4]],
	},
};

function makeMotif(rng, density, metre) {
	const bars = [rng.pick(RHYTHMS[metre][density]), rng.pick(RHYTHMS[metre][rng.chance(0.3) ? 'medium' : density])];
	const notes = [];
	let at = 0;
	let leapt = 0;
	const climb = rng.pick([1, 1, -1]);
	for (const bar of bars) {
		for (const length of bar) {
			if (length > 0) {
				let move;
				if (leapt) move = -Math.sign(leapt);
				else {
					const direction = rng.chance(0.64) ? climb * (at < metre * 4 ? 1 : -1) : rng.pick([1, -1]);
					move = direction * rng.weighted([[0, 14], [1, 56], [2, 18], [3, 7], [4, 5]]);
				}
				leapt = Math.abs(move) >= 3 ? move : 0;
				notes.push({ at, length, move: notes.length ? move : 0 });
			}
			at += Math.abs(length);
		}
	}
	return { notes, length: metre * 8 };
}

/* The same rhythm turned upside down: an answer */
function invert(motif) {
	return { ...motif, notes: motif.notes.map((note) => ({ ...note, move: -note.move })) };
}

/* The step nearest to this one whose pitch belongs to the chord */
function toChord(step, chord, tonic, direction) {
	for (let distance = 0; distance < 7; distance++)
		for (const sign of direction < 0 ? [-1, 1] : [1, -1]) {
			const candidate = step + sign * distance;
			if (chord.pcs.slice(0, 4).includes(modulo(pitchOf(candidate, tonic, chord.scale), 12))) return candidate;
		}
	return step;
}

/*
 * Sings motifs over a section. chords: one a bar. Returns notes
 * { at, length, pitch, weight }, at in sixteenths from the section's start.
 */
function sing(rng, { first, second }, chords, tonic, { anchor, base, metre, turn = 1, span = 6, pentatonic = false }) {
	const bar = metre * 4;
	const out = [];
	const units = Math.ceil(chords.length / 2);
	let step = anchor;
	for (let unit = 0; unit < units; unit++) {
		const last = unit === units - 1;
		const place = unit % 4;
		const half = place === 1 && !last;
		const source = place === 1 || (place === 2 && units < 4) ? second : first;
		const lift = [0, 1, turn > 1 ? 2 : 1, 0][place];
		step = anchor + lift;
		const start = unit * bar * 2;
		const end = Math.min((unit + 1) * 2, chords.length) * bar;
		let notes = source.notes;
		/* the cadence: the motif's beginning, then one long note */
		if (last || place === 3) {
			notes = notes.filter((note) => note.at < bar);
			notes = [...notes, { at: bar, length: Math.min(bar, 12), move: -1, cadence: true }];
			if (chords.length - unit * 2 < 2) notes = [{ at: 0, length: bar, move: 0, cadence: true }];
		}
		for (const [n, note] of notes.entries()) {
			const at = start + note.at;
			if (at >= end) break;
			const chord = chords[Math.floor(at / bar)];
			const length = Math.min(note.length, end - at);
			step += note.move;
			if (step > anchor + span) step = 2 * (anchor + span) - step;
			if (step < anchor - span + 2) step = 2 * (anchor - span + 2) - step;
			const leaned = note.at % 8 === 0 || note.length >= 4 || n === notes.length - 1;
			let sung = step;
			if (note.cadence || leaned) sung = toChord(step, chord, tonic, note.move);
			if (note.cadence && last && chord.pcs.includes(tonic)) sung = Math.round(sung / 7) * 7;
			if (half && n === notes.length - 1 && modulo(sung, 7) === 0) sung = toChord(sung + 2, chord, tonic, 1);
			/* in pentatonic styles passing notes skip the fourth and the seventh */
			if (pentatonic && !leaned && (modulo(sung, 7) === 3 || modulo(sung, 7) === 6)) sung += note.move < 0 ? -1 : 1;
			step = sung;
			const pitch = pitchOf(sung, tonic, chord.scale, base);
			const weight = (note.at % 8 === 0 ? 0.85 : note.at % 4 === 0 ? 0.75 : 0.64) + 0.06 * rng.bell();
			/* the second time round, a long note is approached by a turn */
			if (turn > 1 && length >= 6 && !note.cadence && rng.chance(0.35)) {
				const neighbour = pitchOf(sung + 1, tonic, chord.scale, base);
				out.push({ at, length: 2, pitch, weight }, { at: at + 2, length: 2, pitch: neighbour, weight: weight * 0.8 },
					{ at: at + 4, length: length - 4, pitch, weight: weight * 0.92 });
			} else {
				out.push({ at, length, pitch, weight });
			}
		}
	}
	return out;
}

/* Long notes below or above the melody: thirds and sevenths of the chords, moving as little as they can */
function counter(chords, low, high, metre) {
	const bar = metre * 4;
	const out = [];
	let before = (low + high) / 2;
	chords.forEach((chord, i) => {
		const wanted = chord.pcs.slice(1, 4);
		let pitch = null;
		for (let p = low; p <= high; p++)
			if (wanted.includes(modulo(p, 12)) && (pitch === null || Math.abs(p - before) < Math.abs(pitch - before))) pitch = p;
		before = pitch ?? before;
		const previous = out[out.length - 1];
		if (previous && previous.pitch === before && i % 2) previous.length += bar;
		else out.push({ at: i * bar, length: bar, pitch: before, weight: 0.62 });
	});
	return out;
}

module.exports = { makeMotif, invert, sing, counter };
