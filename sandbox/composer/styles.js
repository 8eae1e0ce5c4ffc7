/*
 * The styles: tempo, modes, harmony, who plays what and when, and how it is
 * mixed. A track joins when a section's intensity reaches from, and leaves
 * above to; gain is in decibels against tracks of equal loudness, pan -1..1,
 * rev and del are what it sends to reverb and echo, duck how much the kick
 * drum pushes it down.
 */
'use strict';

const lead = (instrument, more) => ({ instrument, part: 'lead', base: 60, gain: -1, rev: 0.25, ...more });

const STYLES = {
	orchestral: {
		bpm: [76, 104], modes: [['minor', 4], ['major', 4], ['lydian', 1]], loose: 9, span: 1, density: ['medium', 'dense'],
		reverb: { size: 0.87, damp: 0.32, wet: 0.5 }, air: 0.5, final: 'hold',
		tracks: {
			strings: { instrument: 'strings', part: 'hold', voices: 4, low: 50, high: 74, gain: -4, rev: 0.45, from: 0 },
			cellos: { instrument: 'lowstrings', part: 'bass', rhythm: ['1---------------', '1-------1-------', '1-------5---1---'], centre: 40, gain: -6, rev: 0.3, pan: 0.3, from: 0.2 },
			basses: { instrument: 'lowstrings', part: 'bass', rhythm: '1---------------', centre: 30, gain: -8, rev: 0.2, pan: 0.35, from: 0.45 },
			violins: lead('violins', { from: 0.42, octave: 1, gain: -3, pan: -0.35, rev: 0.4, kinds: ['verse', 'build', 'chorus', 'bridge', 'theme'] }),
			flute: lead('flute', { to: 0.58, octave: 1, gain: -6, pan: -0.15, rev: 0.45 }),
			horns: { instrument: 'horn', part: 'counter', low: 52, high: 69, gain: -8, rev: 0.45, pan: 0.25, from: 0.5 },
			brass: { instrument: 'brass', part: 'block', rhythm: ['X-----------....', 'X-----X-X---....'], voices: 3, low: 48, high: 68, gain: -8, rev: 0.4, pan: 0.3, from: 0.8 },
			harp: { instrument: 'harp', part: 'arp', every: 2, voices: 4, octaves: 2, low: 52, high: 70, legato: 3, gain: -6, rev: 0.4, pan: -0.4, from: 0, to: 0.8 },
			spiccato: { instrument: 'spiccato', part: 'ostinato', rhythm: ['r.0.1.0.r.0.1.0.', 'r.0.1.0.r.0.1.0.', 'r001r001r001r011'], voices: 3, low: 55, high: 72, gain: -9, rev: 0.3, pan: 0.1, from: 0.6 },
			glock: { instrument: 'glock', part: 'lead', base: 60, octave: 2, gain: -12, rev: 0.45, pan: -0.25, from: 0.82, thin: 4 },
			timpani: { instrument: 'timpani', part: 'timpani', gain: -6, rev: 0.4, pan: 0.1, from: 0.58 },
		},
		drums: { pattern: 'march', kit: { kick: 'stomp', snare: 'snaresoft' }, cymbal: 'crash', swell: true, gain: -10, rev: 0.4 },
	},
	cinematic: {
		bpm: [84, 132], modes: [['minor', 6], ['dorian', 1], ['phrygian', 1]], loose: 5, span: 1.1, density: ['sparse', 'medium'],
		reverb: { size: 0.9, damp: 0.35, wet: 0.5 }, air: 0.9, final: 'hold', impact: true,
		tracks: {
			drone: { instrument: 'lowstrings', part: 'drone', centre: 33, gain: -12, rev: 0.3, from: 0 },
			pad: { instrument: 'pad', part: 'hold', voices: 4, low: 48, high: 70, gain: -8, rev: 0.5, from: 0 },
			piano: { instrument: 'piano', part: 'arp', every: [4, 2], voices: 4, low: 57, high: 77, legato: 3, gain: -4, rev: 0.5, del: 0.25, pan: -0.1, from: 0, to: 0.66 },
			spiccato: { instrument: 'spiccato', part: 'ostinato', rhythm: ['r...r...r...r...', 'r.0.r.0.r.0.r.0.', 'r00r00r0r00r00r0', 'r00o00r0r00o0r01'], centre: 50, voices: 3, low: 57, high: 72, gain: -6, rev: 0.3, pan: 0.2, from: 0.36 },
			celli: { instrument: 'spiccato', part: 'ostinato', rhythm: ['r.......r.......', 'r..r..r.r..r..r.'], centre: 38, voices: 3, low: 45, high: 60, gain: -6, rev: 0.25, pan: -0.2, from: 0.6 },
			strings: { instrument: 'strings', part: 'hold', voices: 4, low: 55, high: 79, gain: -8, rev: 0.4, from: 0.55 },
			melody: lead('violins', { from: 0.44, to: 0.78, octave: 0, gain: -4, rev: 0.45, pan: -0.25 }),
			horns: lead('horn', { from: 0.7, octave: 0, gain: -2, rev: 0.45, pan: 0.15 }),
			high: lead('violins', { from: 0.85, octave: 1, gain: -6, rev: 0.45, pan: -0.3 }),
			brass: { instrument: 'brass', part: 'block', rhythm: ['X-------........', 'X-------X---X---'], voices: 3, low: 43, high: 64, gain: -6, rev: 0.4, from: 0.76 },
			choir: { instrument: 'choir', part: 'hold', voices: 4, low: 52, high: 74, gain: -8, rev: 0.55, from: 0.8 },
			sub: { instrument: 'subbass', part: 'bass', rhythm: '1---------------', centre: 33, gain: -11, from: 0.5 },
		},
		drums: { pattern: 'taiko', kit: {}, cymbal: 'crash', swell: true, riser: true, roll: 'taikohigh', gain: -3, rev: 0.35 },
	},
	ambient: {
		bpm: [58, 74], modes: [['major', 4], ['minor', 4], ['lydian', 3], ['dorian', 1]], flavour: 'ambient', chordBars: 2, loose: 22, span: 0.55,
		density: ['sparse', 'sparse'], reverb: { size: 0.94, damp: 0.25, wet: 0.75 }, delay: { beats: 1.5, feedback: 0.55, tone: 2200 }, air: 0.6, final: 'hold', slow: true,
		tracks: {
			warm: { instrument: 'warm', part: 'hold', voices: 4, low: 48, high: 70, gain: -4, rev: 0.55, from: 0 },
			shimmer: { instrument: 'shimmer', part: 'hold', voices: 3, low: 60, high: 78, gain: -17, rev: 0.6, from: 0.3 },
			sub: { instrument: 'subbass', part: 'drone', centre: 34, gain: -10, from: 0.2 },
			bells: { instrument: 'bell', part: 'drops', voices: 4, low: 64, high: 84, every: 2, density: 0.14, gain: -11, rev: 0.5, del: 0.5, pan: -0.3, from: 0.2 },
			piano: lead('softpiano', { from: 0.3, octave: 1, gain: -5, rev: 0.5, del: 0.4, pan: 0, pedal: true, kinds: null }),
			choir: { instrument: 'choir', part: 'hold', voices: 3, low: 55, high: 74, gain: -14, rev: 0.7, from: 0.58 },
			harp: { instrument: 'harp', part: 'arp', every: 4, voices: 4, octaves: 2, low: 55, high: 72, legato: 4, gain: -8, rev: 0.5, del: 0.4, pan: 0.4, from: 0.5 },
			wind: { instrument: 'wind', part: 'drone', centre: 60, gain: -26, rev: 0.4, from: 0 },
		},
		drums: { pattern: 'pulse', kit: { kick: 'kicksoft' }, gain: -10, rev: 0.4 },
	},
	'lo-fi': {
		bpm: [70, 86], modes: [['major', 4], ['minor', 5], ['dorian', 1]], flavour: 'lofi', swing: 0.59, swingUnit: 2, loose: 11, span: 0.75, density: ['medium', 'medium'],
		reverb: { size: 0.72, damp: 0.55, wet: 0.22 }, delay: { beats: 0.75, feedback: 0.35, tone: 1800 }, lowpass: 7200, wow: true, crackle: true, final: 'hold', pentatonic: true,
		tracks: {
			keys: { instrument: 'epiano', part: 'block', rhythm: ['X---------------', 'X-----x---------', 'X-----x-..x-----'], voices: 4, low: 52, high: 72, gain: -3, rev: 0.25, duck: 0.25, from: 0, spread: 0.12 },
			bass: { instrument: 'upright', part: 'bass', rhythm: ['1---------......', '1-----1---5-....', '1-----1-..1-5-8-'], centre: 38, gain: -2, leads: true, from: 0.36 },
			sub: { instrument: 'subbass', part: 'bass', rhythm: '1---------......', centre: 34, gain: -11, from: 0.36 },
			melody: lead('vibes', { from: 0.42, octave: 0, gain: -2, rev: 0.35, del: 0.35, pan: 0.1, kinds: ['verse', 'theme', 'bridge'] }),
			guitar: lead('nylon', { from: 0.6, octave: 0, gain: -1, rev: 0.3, del: 0.3, pan: -0.15, kinds: ['chorus', 'build'] }),
			pad: { instrument: 'warm', part: 'hold', voices: 3, low: 52, high: 68, gain: -14, rev: 0.4, duck: 0.4, from: 0.6 },
			drops: { instrument: 'kalimba', part: 'drops', voices: 4, low: 67, high: 84, every: 2, density: 0.1, gain: -10, rev: 0.4, del: 0.5, pan: 0.4, from: 0.5 },
		},
		drums: { pattern: 'boombap', kit: { kick: 'kicksoft', snare: 'snaresoft', hat: 'hatsoft' }, gain: -4, rev: 0.08 },
	},
	techno: {
		bpm: [122, 132], modes: [['minor', 6], ['phrygian', 1], ['dorian', 2]], flavour: 'club', loose: 1, span: 1.15, density: ['medium', 'dense'],
		reverb: { size: 0.8, damp: 0.4, wet: 0.25 }, delay: { beats: 0.75, feedback: 0.45, tone: 3500 }, final: 'hit', impact: true, pumping: true,
		tracks: {
			pad: { instrument: 'pad', part: 'hold', voices: 4, low: 50, high: 72, gain: -5, rev: 0.4, duck: 0.75, from: 0 },
			arp: { instrument: 'arp', part: 'arp', every: 1, shape: 'fixed', voices: 4, low: 57, high: 76, gain: -6, rev: 0.25, del: 0.4, duck: 0.4, from: 0.25, legato: 0.8, pan: 0.15 },
			bass: { instrument: 'synthbass', part: 'bass', rhythm: ['..1...1...1...1.', '..11..11..11..11', '.111.111.111.118'], centre: 34, legato: 0.7, gain: -4, duck: 0.5, from: 0.42 },
			acid: { instrument: 'acid', part: 'bass', rhythm: ['1..1..8.1..1.8..', '1.81.1811.81.158'], centre: 46, legato: 0.8, gain: -9, del: 0.2, duck: 0.3, pan: -0.1, from: 0.66 },
			stab: { instrument: 'stab', part: 'block', rhythm: ['X..x....', '...X..x...X.....', 'X..X..X...X..X..'], voices: 4, low: 52, high: 74, gain: -7, rev: 0.3, del: 0.4, duck: 0.35, from: 0.55 },
			saws: { instrument: 'supersaw', part: 'block', rhythm: ['X-----X-----X---', 'X--X--X-X--X--X-'], voices: 4, low: 55, high: 78, gain: -4, rev: 0.35, duck: 0.8, from: 0.8 },
			lead: lead('lead', { from: 0.7, octave: 1, gain: -6, rev: 0.3, del: 0.35, duck: 0.3, kinds: ['chorus', 'theme'] }),
			pluck: lead('celesta', { to: 0.5, octave: 1, gain: -4, rev: 0.5, del: 0.5, kinds: ['bridge', 'intro', 'outro'] }),
		},
		drums: { pattern: 'techno', kit: { kick: 'kick909' }, cymbal: 'crash', swell: true, riser: true, roll: 'snare', fills: true, gain: -1, rev: 0.08 },
	},
	synthwave: {
		bpm: [88, 112], modes: [['minor', 6], ['major', 2], ['dorian', 2]], loose: 2, span: 1, density: ['medium', 'medium'],
		reverb: { size: 0.85, damp: 0.35, wet: 0.35 }, delay: { beats: 0.75, feedback: 0.4, tone: 3500 }, final: 'hold', impact: true, pumping: true,
		tracks: {
			pad: { instrument: 'pad', part: 'hold', voices: 4, low: 52, high: 74, gain: -3, rev: 0.4, duck: 0.4, from: 0 },
			bass: { instrument: 'synthbass', part: 'bass', rhythm: ['1-1-1-1-1-1-1-1-', '1.1.1.1.1.1.1.1.', '1181118111811181'], centre: 34, legato: 0.85, gain: -3, duck: 0.35, from: 0.34 },
			arp: { instrument: 'arp', part: 'arp', every: 1, shape: 'updown', voices: 4, octaves: 2, low: 60, high: 76, gain: -8, rev: 0.3, del: 0.4, pan: 0.25, duck: 0.2, from: 0.4 },
			saws: { instrument: 'supersaw', part: 'hold', voices: 4, low: 55, high: 76, gain: -6, rev: 0.4, duck: 0.5, from: 0.75 },
			lead: lead('lead', { from: 0.44, octave: 0, gain: -3, rev: 0.35, del: 0.4 }),
			bells: { instrument: 'bell', part: 'lead', base: 60, octave: 2, gain: -11, rev: 0.5, del: 0.5, pan: -0.3, from: 0.82, thin: 4 },
		},
		drums: { pattern: 'synthwave', kit: { kick: 'kick909', snare: 'snarebig' }, cymbal: 'crash', swell: true, riser: true, roll: 'tommid', fills: true, gain: -1, rev: 0.16 },
	},
	rock: {
		bpm: [104, 148], modes: [['minor', 4], ['major', 3], ['mixolydian', 2], ['dorian', 1]], loose: 5, span: 1, density: ['medium', 'dense'],
		reverb: { size: 0.7, damp: 0.45, wet: 0.2 }, delay: { beats: 0.5, feedback: 0.3, tone: 2800 }, final: 'hold', pentatonic: true,
		tracks: {
			clean: { instrument: 'clean', part: 'arp', every: 2, voices: 4, low: 52, high: 72, legato: 2.5, gain: -6, rev: 0.3, del: 0.3, pan: -0.2, from: 0, to: 0.6 },
			chug: { instrument: 'chug', part: 'power', rhythm: ['x.x.x.x.x.x.x.x.', 'x.x.x.xxx.x.x.xx'], gain: -5, rev: 0.1, from: 0.42, to: 0.74, octave: 0 },
			power: { instrument: 'power', part: 'power', rhythm: ['X---------------', 'X-------X-----X-', 'X-----X-X---X-X-'], gain: -3, rev: 0.15, from: 0.6 },
			bass: { instrument: 'fingerbass', part: 'bass', rhythm: ['1-------1-------', '1-1-1-1-1-1-1-1-', '1-1-1-1-1-1-1-5-'], centre: 34, gain: -2, leads: true, from: 0.3 },
			organ: { instrument: 'organ', part: 'hold', voices: 4, low: 55, high: 74, gain: -13, rev: 0.25, pan: 0.3, from: 0.7 },
			solo: lead('solo', { from: 0.44, octave: 0, gain: -4, rev: 0.3, del: 0.3, pan: 0.1 }),
		},
		drums: { pattern: 'rock', kit: { kick: 'kick', openhat: 'openhat' }, cymbal: 'crash', fills: true, roll: 'snare', gain: 0, rev: 0.14 },
	},
	jazz: {
		bpm: [96, 148], modes: [['major', 5], ['minor', 4]], flavour: 'jazz', swing: 0.64, swingUnit: 4, loose: 12, span: 0.8, density: ['medium', 'dense'],
		reverb: { size: 0.76, damp: 0.5, wet: 0.24 }, final: 'hold',
		tracks: {
			piano: { instrument: 'piano', part: 'block', rhythm: ['X---....x-......', 'x--...X-....x-..', '..X-..x-....X-..'], voices: 4, low: 52, high: 72, gain: -4, rev: 0.25, pan: -0.25, from: 0, varied: true },
			bass: { instrument: 'upright', part: 'walk', centre: 38, gain: 2, rev: 0.08, from: 0 },
			horn: lead('muted', { from: 0.42, octave: 0, gain: -5, rev: 0.3, pan: 0.15, kinds: ['verse', 'chorus', 'theme', 'build'] }),
			vibes: lead('vibes', { from: 0, to: 0.6, octave: 0, gain: -6, rev: 0.35, pan: 0.3, kinds: ['intro', 'bridge', 'outro'] }),
			clarinet: { instrument: 'clarinet', part: 'counter', low: 55, high: 72, gain: -11, rev: 0.35, pan: -0.4, from: 0.7 },
		},
		drums: { pattern: 'swing', kit: { kick: 'kicksoft', snare: 'brush', hat: 'hatsoft' }, fills: true, cymbal: 'ride', gain: -5, rev: 0.14 },
	},
	ballad: {
		bpm: [62, 80], modes: [['major', 5], ['minor', 5]], loose: 14, span: 0.9, density: ['medium', 'medium'],
		reverb: { size: 0.86, damp: 0.35, wet: 0.35 }, final: 'hold',
		tracks: {
			left: { instrument: 'piano', part: 'lefthand', gain: -5, rev: 0.3, pan: -0.12, from: 0 },
			right: lead('piano', { from: 0, octave: 1, gain: -1, rev: 0.35, pan: 0.1, pedal: true, kinds: null }),
			chords: { instrument: 'softpiano', part: 'block', rhythm: ['X---------------', 'X-------x-------', 'X---x---x---x---'], voices: 3, low: 57, high: 74, gain: -9, rev: 0.3, from: 0.45 },
			strings: { instrument: 'strings', part: 'hold', voices: 4, low: 52, high: 74, gain: -10, rev: 0.5, from: 0.52 },
			cello: { instrument: 'lowstrings', part: 'counter', low: 45, high: 62, gain: -8, rev: 0.45, pan: 0.25, from: 0.45 },
			violins: lead('violins', { from: 0.84, octave: 1, gain: -9, rev: 0.5, pan: -0.25 }),
			bass: { instrument: 'fingerbass', part: 'bass', rhythm: ['1---------------', '1---------5-----'], centre: 34, gain: -6, rev: 0.05, from: 0.55 },
		},
		drums: { pattern: 'pop', kit: { kick: 'kicksoft', snare: 'snaresoft', hat: 'hatsoft' }, cymbal: 'swell0', swell: true, gain: -9, rev: 0.2, from: 0.6 },
	},
	folk: {
		bpm: [92, 124], modes: [['major', 5], ['dorian', 3], ['mixolydian', 2], ['minor', 2]], loose: 9, span: 0.9, density: ['medium', 'dense'],
		reverb: { size: 0.72, damp: 0.5, wet: 0.2 }, final: 'hold',
		tracks: {
			picked: { instrument: 'steel', part: 'pick', pattern: ['r.0.f.2.r.1.f.2.', 'r..2f.1.r.02f.1.'], voices: 3, low: 55, high: 70, gain: -3, rev: 0.2, pan: -0.2, from: 0 },
			strummed: { instrument: 'steel', part: 'strum', rhythm: ['d---d---d---d---', 'd---d-u---u-d-u-', 'd-d-d-u-..u-d-u-'], voices: 4, low: 52, high: 70, gain: -7, rev: 0.2, pan: 0.35, from: 0.6 },
			bass: { instrument: 'upright', part: 'bass', rhythm: ['1---------------', '1-------5-------', '1-------5---1-5-'], centre: 36, gain: 0, leads: true, from: 0.38 },
			flute: lead('flute', { from: 0.3, octave: 1, gain: -4, rev: 0.35, pan: 0.15, kinds: ['verse', 'intro', 'theme'] }),
			fiddle: lead('violins', { from: 0.6, octave: 1, gain: -4, rev: 0.3, pan: 0.2, kinds: ['chorus', 'build'] }),
			nylon: lead('nylon', { from: 0, to: 0.6, octave: 0, gain: -3, rev: 0.3, pan: 0.2, kinds: ['bridge', 'outro'] }),
			strings: { instrument: 'strings', part: 'hold', voices: 3, low: 55, high: 72, gain: -14, rev: 0.4, from: 0.72 },
		},
		drums: { pattern: 'folk', kit: { kick: 'stomp' }, gain: -6, rev: 0.14 },
	},
	chiptune: {
		bpm: [132, 164], modes: [['major', 4], ['minor', 5]], loose: 0, span: 0.9, density: ['dense', 'busy'],
		reverb: { size: 0.6, damp: 0.5, wet: 0.05 }, delay: { beats: 0.75, feedback: 0.3, tone: 6000 }, final: 'hit', tight: true,
		tracks: {
			arp: { instrument: 'chiparp', part: 'arp', every: 1, shape: 'updown', voices: 3, low: 60, high: 76, gain: -8, pan: -0.45, from: 0 },
			bass: { instrument: 'chipbass', part: 'bass', rhythm: ['1---1---1---1---', '1-1-8-1-1-1-8-1-', '1181118111815181'], centre: 40, legato: 0.85, gain: -3, from: 0.3 },
			lead: lead('chiplead', { from: 0.3, octave: 1, gain: -3, rev: 0.02, del: 0.28, pan: 0.1, kinds: null }),
			harmony: { instrument: 'chipharm', part: 'counter', low: 64, high: 79, gain: -8, pan: 0.5, from: 0.6 },
		},
		drums: { pattern: 'chip', kit: { kick: 'chipkick', snare: 'chipsnare', hat: 'chiphat', tomlow: 'chipkick', tommid: 'chipsnare', tomhigh: 'chipsnare' }, fills: true, roll: 'snare', gain: -7 },
	},
};

module.exports = { STYLES };
