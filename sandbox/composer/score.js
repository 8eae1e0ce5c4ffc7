/*
 * Composes: from what the prompt asks to a list of events in seconds, with
 * their tracks. Nothing here makes a sound; nothing here draws a random number
 * that isn't the seed's.
 */
'use strict';

const { Rng } = require('./prng.js');
const { readPrompt } = require('./prompt.js');
const { STYLES } = require('./styles.js');
const { pace, form } = require('./form.js');
const { chordOf, isDark, keyName, nearest, progression, voicing } = require('./theory.js');
const { makeMotif, invert, sing, counter } = require('./melody.js');
const { parts } = require('./parts.js');
const { drumBar } = require('./drums.js');
const { inventTitle } = require('./title.js');

function chooseMode(rng, wanted, style) {
	if (wanted.mode) return wanted.mode;
	const { mood } = wanted;
	const pairs = style.modes.map(([mode, weight]) => {
		let factor = isDark(mode) ? 1 - 0.9 * mood.valence : 1 + 0.9 * mood.valence;
		if (mood.mode === mode) factor *= 5;
		else if (mood.mode && isDark(mood.mode) !== isDark(mode)) factor *= 0.15;
		return [mode, Math.max(0.02, weight * factor)];
	});
	return rng.weighted(pairs);
}

function chooseTempo(rng, wanted, style) {
	if (wanted.bpm) return wanted.bpm;
	const [low, high] = style.bpm;
	const middle = rng.between(low, high) * wanted.mood.pace;
	return Math.round(Math.max(low * 0.84, Math.min(high * 1.18, middle)));
}

/* Chords of a section, one a bar; a section of a kind has the same each time it comes */
function harmonise(rng, piece, section) {
	const kind = { intro: 'verse', outro: 'verse', theme: 'chorus', build: 'bridge', verse: 'verse', chorus: 'chorus',
		bridge: 'bridge' }[section.kind];
	piece.progressions[kind] ??= progression(rng.fork(kind), piece.style.flavour ?? '', piece.mode, kind);
	const numerals = piece.progressions[kind];
	const hold = piece.style.chordBars ?? 1;
	const chords = [];
	for (let bar = 0; bar < section.bars; bar++) chords.push(chordOf(numerals[Math.floor(bar / hold) % numerals.length], piece.tonic,
		piece.mode));
	return chords;
}

/* The last chord: the tonic, coloured as the style likes it */
function finalChord(piece) {
	const root = isDark(piece.mode) ? 'i' : 'I';
	const colour = { lofi: isDark(piece.mode) ? '9' : 'maj9', jazz: isDark(piece.mode) ? '6' : 'maj9',
		ambient: 'add9' }[piece.style.flavour] ?? '';
	return chordOf(root + colour, piece.tonic, piece.mode);
}

/* Delays the second half of each unit: u sixteenths are split at share s */
function swung(step, unit, share) {
	const whole = Math.floor(step / unit);
	const part = step / unit - whole;
	return (whole + (part < 0.5 ? part * 2 * share : share + (part - 0.5) * 2 * (1 - share))) * unit;
}

class Score {
	constructor(piece) {
		this.piece = piece;
		this.events = [];
		this.step = 60 / piece.bpm / 4;
		this.steps = piece.metre * 4;
		this.loose = (piece.style.loose ?? 0) / 1000;
	}

	timeOf(step) {
		const { style } = this.piece;
		return (style.swing ? swung(step, style.swingUnit, style.swing) : step) * this.step;
	}

	note(track, step, length, pitch, weight, level, rng, extra) {
		const start = this.timeOf(step) + this.loose * rng.bell() * (step % 16 === 0 ? 0.4 : 1);
		const end = this.timeOf(step + length);
		this.events.push({
			time: Math.max(0, start), dur: Math.max(0.04, end - this.timeOf(step) - (track.pedal ? -0.8 : 0.012)), pitch,
			pitches: extra?.pitches, track: track.name, bright: 0.2 + 0.75 * level,
			vel: Math.max(0.08, Math.min(1, weight * (0.62 + 0.42 * level) * (1 + 0.07 * rng.bell()))),
		});
	}

	hit(step, drum, weight, rng) {
		const start = this.timeOf(step) + this.loose * 0.4 * rng.bell();
		this.events.push({ time: Math.max(0, start), drum, vel: Math.min(1, weight) });
	}
}

const LEAD_KINDS = ['verse', 'build', 'chorus', 'bridge', 'theme'];

function playSection(score, section, chords, next, rng, states) {
	const { piece, steps } = score;
	const { style } = piece;
	const origin = section.from * steps;
	const level = section.intensity;
	const density = { chorus: 1, theme: 1 }[section.kind] ?? 0;

	for (const track of piece.tracks) {
		if (level < track.from || level > (track.to ?? 1)) continue;
		const own = rng.fork(`${track.name} ${section.kind}`);
		if (track.part === 'lead') {
			if (!(track.kinds ?? [...LEAD_KINDS, ...(track.kinds === null ? ['intro', 'outro'] : [])]).includes(section.kind)) continue;
			const family = { intro: 'verse', outro: 'verse', build: 'verse', theme: 'chorus' }[section.kind] ?? section.kind;
			const motifs = piece.motifs[family] ??= (() => {
				const stream = piece.rng.fork(`motif ${family}`);
				const first = makeMotif(stream, style.density[density], piece.metre);
				return { first, second: stream.chance(0.5) ? invert(first) : makeMotif(stream, style.density[density], piece.metre),
					anchor: stream.int(3) };
			})();
			const line = sing(piece.rng.fork(`line ${family} ${section.turn}`), motifs, chords, piece.tonic, {
				anchor: motifs.anchor + (family === 'chorus' ? 3 : family === 'bridge' ? 1 : 0),
				base: track.base - 5 + 12 * track.octave, metre: piece.metre, turn: section.turn, pentatonic: style.pentatonic,
			});
			for (const note of line)
				if (!track.thin || note.length >= track.thin)
					score.note(track, origin + note.at, note.length, note.pitch, note.weight, level, own);
			continue;
		}
		if (track.part === 'counter') {
			for (const note of counter(chords, track.low, track.high, piece.metre))
				score.note(track, origin + note.at, note.length + 0.2, note.pitch, note.weight, level, own);
			continue;
		}
		const state = states[track.name] ??= {};
		chords.forEach((chord, bar) => {
			const voices = track.voices ? voicing(chord, track.voices, track.low, track.high, state.voices) : null;
			if (voices) state.voices = voices;
			/* a section grows towards its end when the next is louder */
			const swell = section.rises ? 0.12 * (bar / section.bars) : 0;
			parts[track.part]({
				chord, voices, bar, section, rng: own, steps, tonic: piece.tonic, state, before: bar > 0 ? chords[bar - 1].numeral : null,
				next: chords[bar + 1] ?? next, level: level + swell,
				track: track.varied ? { ...track, rhythm: [own.pick(track.rhythm), own.pick(track.rhythm)] } : track,
				play(at, length, pitch, weight, extra) {
					const spread = track.spread && voices ? track.spread * voices.indexOf(pitch) : 0;
					/* a chord that stays is held by parts that hold */
					let held = length;
					if (track.part === 'hold') for (let b = bar + 1; b < chords.length && chords[b].numeral === chord.numeral &&
						b % 2; b++) held += steps;
					score.note(track, origin + bar * steps + at + Math.max(0, spread), held, pitch, weight, level + swell, own, extra);
				},
			});
		});
	}

	const { drums } = style;
	if (drums && level >= (drums.from ?? 0)) {
		const own = rng.fork(`drums ${section.kind}`);
		for (let bar = 0; bar < section.bars; bar++) {
			const quiet = section.kind === 'bridge' || section.kind === 'outro' || (section.kind === 'intro' && bar < 2) ? 0.15 : 0;
			drumBar(drums, {
				level: Math.max(0, Math.min(0.99, (level - quiet - 0.2) / 0.72)), steps, bar, section, rng: own,
				hit: (at, drum, weight) => drum !== 'swell0' && score.hit(origin + bar * steps + at, drum, weight, own),
			});
		}
	}
	if (section.rises) {
		const end = score.timeOf(origin + section.bars * steps);
		if (drums?.swell) score.events.push({ time: Math.max(0, end - 2.2), drum: 'swell', vel: 0.5 + 0.3 * section.rises });
		if (drums?.riser && section.bars >= 4) {
			const length = Math.min(end, score.step * steps * 2);
			score.events.push({ time: end - length, effect: 'riser', dur: length, vel: 0.5 });
		}
	}
	if (style.impact && level > 0.72 && section.from > 0)
		score.events.push({ time: score.timeOf(origin), drum: 'impact', vel: 0.7 });
}

/* The last chord, in whoever still plays */
function playEnding(score, section, bars, tail, states, rng) {
	const { piece, steps } = score;
	const chord = finalChord(piece);
	const at = bars * steps;
	const sustain = piece.style.final === 'hold';
	const hold = Math.max(0.3, tail * (sustain ? 0.55 : 0.25)) / score.step;
	const level = Math.max(0.4, section.intensity);
	for (const track of piece.tracks) {
		if (level < track.from || level > (track.to ?? 1) || ['drops', 'timpani'].includes(track.part)) continue;
		if (track.instrument === 'spiccato' || track.instrument === 'chug' || track.instrument === 'wind') continue;
		const root = nearest(chord.root, track.centre ?? 40);
		let pitches;
		if (track.part === 'lead') pitches = [nearest(piece.tonic, track.base + 12 * track.octave + 2)];
		else if (track.part === 'counter') pitches = [nearest(chord.pcs[2], (track.low + track.high) / 2)];
		else if (track.voices) pitches = voicing(chord, track.voices, track.low, track.high, states[track.name]?.voices);
		else if (track.part === 'power') {
			const low = nearest(chord.root, 43);
			score.note(track, at, hold, low, 0.85, level, rng, { pitches: [low, low + 7, low + 12] });
			continue;
		} else if (track.part === 'lefthand') pitches = [nearest(chord.root, 42), nearest(chord.root, 42) + 12];
		else pitches = [root];
		if (track.part === 'lead' && track.kinds && !track.kinds.includes(section.kind)) continue;
		const broken = track.part === 'arp' || track.part === 'pick' || track.part === 'strum' || piece.styleName === 'ballad';
		pitches.forEach((pitch, i) => score.note(track, at + (broken ? i * 0.5 : 0), hold, pitch, 0.72, level, rng));
	}
	const { drums } = piece.style;
	if (drums?.cymbal && drums.cymbal !== 'swell0') score.hit(at, drums.cymbal, 0.5 * level, rng);
	if (drums && level > 0.3 && piece.style.final === 'hit') score.hit(at, drums.kit.kick ?? 'kick', 0.8, rng);
	if (piece.style.tracks.timpani) score.note(piece.tracks.find((t) => t.name === 'timpani'), at, 8, nearest(piece.tonic, 43), 0.7,
		level, rng);
}

/*
 * compose({ prompt, style, duration, params }) -> { events, tracks, style, duration, … } and metadata
 */
function compose(request) {
	const wanted = readPrompt(request);
	const style = STYLES[wanted.style];
	const rng = new Rng(`${wanted.seed}|${wanted.prompt}|${wanted.style}`);
	const mode = chooseMode(rng.fork('mode'), wanted, style);
	const tonic = wanted.tonic ?? rng.fork('tonic').pick([0, 2, 3, 4, 5, 7, 9, 10, 11]);
	const { bpm, bars, tail } = pace(wanted.duration, chooseTempo(rng.fork('tempo'), wanted, style), wanted.metre, Boolean(wanted.bpm));
	const tracks = Object.entries(style.tracks).map(([name, track]) => ({ name, pan: 0, rev: 0, del: 0, duck: 0, from: 0, ...track }));
	const piece = { rng, style, styleName: wanted.style, tracks, mode, tonic, bpm, metre: wanted.metre, progressions: {}, motifs: {} };
	const score = new Score(piece);
	const sections = form(bars, wanted.mood, style.span ?? 1);
	const harmony = sections.map((section) => harmonise(rng.fork('harmony'), piece, section));
	const states = {};

	sections.forEach((section, i) => {
		const following = sections[i + 1];
		section.last = !following;
		section.rises = following ? Math.max(0, following.intensity - section.intensity) : 0;
		playSection(score, section, harmony[i], harmony[i + 1]?.[0] ?? finalChord(piece), rng.fork('play'), states);
	});
	playEnding(score, sections[sections.length - 1], bars, tail, states, rng.fork('ending'));
	score.events.sort((a, b) => a.time - b.time);

	return {
		events: score.events.filter((event) => event.time < wanted.duration - 0.05), tracks, style, rng, duration: wanted.duration, bpm,
			tail,
		title: inventTitle(wanted, rng.fork('title'), mode),
		metadata: {
			bpm, key: keyName(tonic, mode), style: wanted.style, seed: wanted.seed, metre: `${wanted.metre}/4`, bars,
			sections: sections.map((section) => ({
				name: section.kind, start: Math.round(section.from * score.steps * score.step * 1000) / 1000, bars: section.bars,
			})),
			instruments: [...new Set(score.events.filter((e) => e.track).map((e) => tracks.find((t) => t.name === e.track).instrument))],
		},
	};
}

module.exports = { compose };
