/*
 * Writes RIFF/WAVE: 44.1 kHz, 16 bits, two channels, to a file as it comes.
 * The length is known before, so the header is right from the first byte.
 */
'use strict';

const fs = require('node:fs');
const { SR } = require('./wavetable.js');

const HEADER = 44;
const FRAME = 4;

function header(frames) {
	const bytes = frames * FRAME;
	const head = Buffer.alloc(HEADER);
	head.write('RIFF', 0, 'latin1');
	head.writeUInt32LE(36 + bytes, 4);
	head.write('WAVEfmt ', 8, 'latin1');
	head.writeUInt32LE(16, 16);
	head.writeUInt16LE(1, 20);				/* PCM */
	head.writeUInt16LE(2, 22);
	head.writeUInt32LE(SR, 24);
	head.writeUInt32LE(SR * FRAME, 28);
	head.writeUInt16LE(FRAME, 32);
	head.writeUInt16LE(16, 34);
	head.write('data', 36, 'latin1');
	head.writeUInt32LE(bytes, 40);
	return head;
}

class WavWriter {
	constructor(path, frames) {
		this.fd = fs.openSync(path, 'w');
		fs.writeSync(this.fd, header(frames));
	}

	/* samples: Int16Array, left and right in turn */
	write(samples) {
		const bytes = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
		for (let at = 0; at < bytes.length;) at += fs.writeSync(this.fd, bytes, at);
	}

	close() {
		fs.closeSync(this.fd);
	}
}

module.exports = { WavWriter, header, HEADER, FRAME };
