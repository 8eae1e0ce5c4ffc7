/*
 * The form of a piece: how many bars, which tempo lets them fill the time, and
 * which sections they are: intro, verse, build, chorus, bridge, outro, and a
 * last chord that rings out in what is left.
 */
'use strict';

const UNIT = 4;			/* bars; sections are made of these */

/* Bars and tempo for the time; a tempo that was asked for stays as it is, another may bend by 4 % to fit */
function pace(duration, bpm, metre, fixed) {
	const bar = (60 / bpm) * metre;
	const tail = Math.min(Math.max(2.5, Math.min(bar * 1.3, 5)), duration * 0.3);
	let bars = Math.max(1, Math.round((duration - tail) / bar));
	if (fixed) {
		bars = Math.max(1, Math.floor((duration - tail) / bar));
		return { bpm, bars, tail: duration - bars * bar };
	}
	/* a whole number of units, if that is near */
	const whole = Math.round(bars / UNIT) * UNIT;
	if (whole > 0 && Math.abs((duration - tail) / whole / bar - 1) <= 0.04) bars = whole;
	const wanted = (60 * metre * bars) / (duration - tail);
	const bent = Math.round(Math.max(bpm * 0.96, Math.min(bpm * 1.04, wanted)) * 100) / 100;
	let left = duration - (bars * 60 * metre) / bent;
	while (left < tail * 0.6 && bars > 1) left = duration - (--bars * 60 * metre) / bent;
	return { bpm: bent, bars, tail: left };
}

const INTENSITY = { intro: 0.3, theme: 0.65, verse: 0.48, build: 0.62, chorus: 0.86, bridge: 0.38, outro: 0.32 };

/* Units between intro and outro: cycles of verse and chorus, a build before the chorus where it fits, a bridge before the last one */
function middle(units) {
	if (units <= 0) return [];
	if (units === 1) return [['chorus', 1]];
	if (units === 2) return [['verse', 1], ['chorus', 1]];
	if (units === 3) return [['verse', 1], ['chorus', 2]];
	for (const final of units >= 7 ? [4, 3] : [0]) {
		const cycles = Math.floor((units - final) / 4);
		const left = units - final - 4 * cycles;
		if (left > cycles && final === 4) continue;
		const list = [];
		for (let i = 0; i < cycles; i++) {
			list.push(['verse', 2]);
			if (i < left) list.push(['build', 1]);
			list.push(['chorus', 2 + (final === 0 && i === cycles - 1 ? Math.max(0, left - cycles) : 0)]);
		}
		if (final > 0) list.push(['bridge', final - 2], ['chorus', 2 + Math.max(0, left - cycles)]);
		return list;
	}
	return [];
}

/* [{ kind, from, bars, intensity, turn }]: turn counts the sections of a kind */
function form(bars, mood, span) {
	let list;
	const units = Math.floor(bars / UNIT);
	const rest = bars - units * UNIT;
	if (units === 0) list = [['theme', bars, true]];
	else if (units === 1) list = rest >= 2 ? [['intro', rest, true], ['theme', UNIT, true]] : [['theme', UNIT + rest, true]];
	else if (units === 2) list = [['verse', 1], ['chorus', 1]];
	else if (units <= 4) list = [['intro', 1], ...middle(units - 1)];
	else list = [['intro', 1], ...middle(units - 2), ['outro', 1]];
	if (units > 1 && rest > 0) {
		const last = list[list.length - 1];
		if (last[0] === 'outro') list[list.length - 1] = ['outro', UNIT + rest, true];
		else list.push(['outro', rest, true]);
	}
	const turns = {};
	let from = 0;
	const choruses = list.filter(([kind]) => kind === 'chorus').length;
	return list.map(([kind, size, counted]) => {
		const length = counted ? size : size * UNIT;
		const turn = turns[kind] = (turns[kind] ?? 0) + 1;
		let intensity = INTENSITY[kind] + (kind === 'verse' ? 0.07 * (turn - 1) : 0);
		if (kind === 'chorus' && turn === choruses) intensity = 1;
		/* a calm piece moves in a narrower span */
		intensity = 0.5 + (intensity - 0.5) * span + mood.energy * 0.2;
		const section = { kind, from, bars: length, turn, intensity: Math.max(0.12, Math.min(1, intensity)) };
		from += length;
		return section;
	});
}

module.exports = { pace, form };
