/*
 * Drum patterns, and how a drummer treats them: lively by the section's level,
 * a fill where a section ends, a cymbal where one begins.
 *
 * A pattern names a line for each drum: "X" accented, "x" played, "o" soft,
 * "g" a ghost, "?" played half of the time.
 */
'use strict';

const WEIGHTS = { X: 1, x: 0.82, o: 0.58, g: 0.32, '?': 0.4 };

/* From quiet to lively */
const PATTERNS = {
	rock: [
		{ kick: 'X.......x.......', snare: '....X.......X...', hat: 'x...o...x...o...' },
		{ kick: 'X.....x.x.......', snare: '....X.......X..g', hat: 'x.o.x.o.x.o.x.o.' },
		{ kick: 'X.....x.X.x.....', snare: '....X..g....X...', hat: 'X.x.X.x.X.x.X.x.' },
		{ kick: 'X..x..x.X.x...x.', snare: '....X.......X.gx', crash8: 'X...x...X...x...' },
	],
	pop: [
		{ kick: 'x.......x.......', rim: '....x.......x...', hat: 'o...o...o...o...' },
		{ kick: 'x.....o.x.......', snare: '....x.......x...', hat: 'o.g.o.g.o.g.o.g.' },
		{ kick: 'X.....x.x..o....', snare: '....X.......X...', hat: 'x.o.x.o.x.o.x.o.', tambourine: '....o.......o...' },
	],
	techno: [
		{ hat: '..o...o...o...o.', shaker: 'ogggogggogggoggg' },
		{ kick: 'X...X...X...X...', hat: '..x...x...x...x.', shaker: 'oggg.ggg.ggg.ggg' },
		{ kick: 'X...X...X...X...', clap: '....X.......X...', openhat: '..x...x...x...x.', hat: 'ggogggogggogggog' },
		{ kick: 'X...X...X...X...', clap: '....X.......X..?', openhat: '..X...X...X...X.', hat: 'xgogxgogxgogxgog',
			rim: '...o..o....o..?.' },
	],
	boombap: [
		{ kick: 'x.........x.....', hat: 'o...o...o...o...' },
		{ kick: 'X......?..x.....', snare: '....x.......x...', hat: 'x.o.x.o.x.o.x.o.' },
		{ kick: 'X..?...x..x.....', snare: '....X.......X..g', hat: 'x.o.x.ogx.o.x.o.', shaker: '..g...g...g...g.' },
	],
	swing: [
		{ ride: 'x...x...x...x...', hat: '....o.......o...' },
		{ ride: 'x...x.o.x...x.o.', hat: '....x.......x...', brush: 'g..gg...g..gg...' },
		{ ride: 'X...x.o.X...x.o.', hat: '....x.......x...', kick: 'o.......o.....?.', snare: '..?g..?...?g...?' },
	],
	synthwave: [
		{ hat: 'o.g.o.g.o.g.o.g.' },
		{ kick: 'X.......X.......', snare: '....X.......X...', hat: 'x.o.x.o.x.o.x.o.' },
		{ kick: 'X...X...X...X...', snare: '....X.......X...', hat: 'xgogxgogxgogxgog', tomlow: '..............?.' },
	],
	folk: [
		{ shaker: 'o...o...o...o...' },
		{ kick: 'x.......x.......', shaker: 'o.g.o.g.o.g.o.g.' },
		{ kick: 'X.......x.......', tambourine: '....x.......x...', shaker: 'xgogxgogxgogxgog' },
		{ kick: 'X.....o.x.......', clap: '....x.......x...', tambourine: '....x..g....x..g', shaker: 'xgogxgogxgogxgog' },
	],
	taiko: [
		{ taiko: 'o...............' },
		{ taiko: 'X.....x.........', taikohigh: '..........o.o...' },
		{ taiko: 'X.....x...x.....', taikohigh: '...o.o..o...o.oo', stomp: 'x...............' },
		{ taiko: 'X..x..X...X.x...', taikohigh: '.oo.oo.oxoo.xoox', stomp: 'X.......X.......' },
	],
	march: [
		{},
		{},
		{ snare: 'o..go.g.o..gogog', kick: 'o.......o.......' },
		{ snare: 'x..gx.gox..gxgxg', kick: 'X.......x.......' },
	],
	chip: [
		{ kick: 'x.......x.......', hat: 'o...o...o...o...' },
		{ kick: 'X.......X.......', snare: '....x.......x...', hat: 'x.o.x.o.x.o.x.o.' },
		{ kick: 'X..x....X..x....', snare: '....X.......X..x', hat: 'xooxxooxxooxxoox' },
	],
	pulse: [{}, {}, { kick: 'o...............' }, { kick: 'x.......g.......', shaker: 'g...g...g...g...' }],
	none: [{}],
};

/* In three: the first beat, and the two that lift it */
const WALTZ = [
	{},
	{ kick: 'x...........', hat: '....o...o...' },
	{ kick: 'X...........', snare: '....o...o...', hat: 'x.o.x.o.x.o.' },
];

const FILLS = [
	{ snare: '........x.o.xoxx', tommid: '................' },
	{ tomhigh: '........xx......', tommid: '..........xx....', tomlow: '............xxxX' },
	{ snare: '............xxxx' },
	{ snare: '........x..x..x.', tomlow: '..............xX' },
];

/*
 * Plays a bar: hit(at, drum, weight). kit says which sound stands for a drum,
 * null for none.
 */
function drumBar(track, { level, steps, bar, section, rng, hit }) {
	const table = steps === 12 ? WALTZ : PATTERNS[track.pattern];
	const pattern = table[Math.min(table.length - 1, Math.floor(level * table.length))];
	const sound = (drum) => (drum in track.kit ? track.kit[drum] : drum);
	const lastBar = bar === section.bars - 1;
	const fills = track.fills && lastBar && steps === 16 && level > 0.3 && !section.last;
	const small = track.fills && !lastBar && bar % 4 === 3 && steps === 16 && level > 0.4;
	const fillFrom = fills ? 8 : small ? 12 : steps;

	for (const [drum, line] of Object.entries(pattern)) {
		const name = drum === 'crash8' ? 'crash8' : sound(drum);
		if (!name) continue;
		for (let at = 0; at < Math.min(steps, line.length); at++) {
			const sign = line[at];
			if (sign === '.' || (sign === '?' && !rng.chance(0.5))) continue;
			if (at >= fillFrom && drum !== 'kick' && drum !== 'hat' && drum !== 'shaker') continue;
			hit(at, name === 'crash8' ? sound('openhat') ?? 'openhat' : name,
				WEIGHTS[sign] * (0.72 + 0.28 * level) * (1 + 0.08 * rng.bell()));
		}
	}
	if (fills || small) {
		const fill = small ? FILLS[2] : rng.pick(FILLS);
		for (const [drum, line] of Object.entries(fill))
			for (let at = fillFrom; at < 16; at++)
				if (WEIGHTS[line[at]] && sound(drum)) hit(at, sound(drum), WEIGHTS[line[at]] * (0.6 + 0.03 * at) * (small ? 0.6 : 0.85));
	}
	/* a roll that quickens through a build */
	if (section.kind === 'build' && track.roll) {
		const every = bar < section.bars / 2 ? 4 : lastBar ? 1 : 2;
		for (let at = 0; at < steps; at += every)
			hit(at, sound(track.roll), 0.25 + (0.5 * (bar * steps + at)) / (section.bars * steps));
	}
	if (bar === 0 && track.cymbal && level > 0.5) hit(0, track.cymbal, 0.5 + 0.4 * level);
}

module.exports = { drumBar };
