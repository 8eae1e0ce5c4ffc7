/*
 * What the partners look at in a file of sound or a picture: the header, from
 * the first bytes, and whether the length it promises has come. Also a WAV file
 * of silence of any size, without a file.
 */
'use strict';

const RATE = 44100;
const FRAME = 4;
const WAV_MAX = 0xffffffff + 8;

/* { format, seconds } or { problem } */
function wav(head, size) {
	let at = 12;
	let format = null;
	if (head.readUInt32LE(4) + 8 > size) return { problem: `RIFF announces ${head.readUInt32LE(4) + 8} bytes, ${size} came` };
	while (at + 8 <= head.length) {
		const id = head.toString('latin1', at, at + 4);
		const length = head.readUInt32LE(at + 4);
		if (id === 'fmt ' && at + 24 <= head.length)
			format = { tag: head.readUInt16LE(at + 8), channels: head.readUInt16LE(at + 10), rate: head.readUInt32LE(at + 12),
				bytesPerSecond: head.readUInt32LE(at + 16), bits: head.readUInt16LE(at + 22) };
		if (id === 'data') {
			if (!format) return { problem: 'the sound comes before its format' };
			if (![1, 3, 0xfffe].includes(format.tag)) return { problem: `format tag ${format.tag} is not PCM` };
			if (format.bytesPerSecond === 0) return { problem: 'the format is of 0 bytes a second' };
			if (at + 8 + length > size) return { problem: `data announces ${length} bytes, ${size - at - 8} came` };
			if (length === 0) return { problem: 'there is no sound in it' };
			return { format: 'wav', channels: format.channels, rate: format.rate, bits: format.bits,
				seconds: length / format.bytesPerSecond };
		}
		at += 8 + length + (length & 1);
	}
	return { problem: 'no data chunk in the first 64 KiB' };
}

function flac(head) {
	if (head.length < 42 || (head[4] & 0x7f) !== 0) return { problem: 'no STREAMINFO' };
	const rate = (head[18] << 12) | (head[19] << 4) | (head[20] >> 4);
	if (rate === 0) return { problem: 'a sampling rate of 0' };
	const samples = (head[21] & 0x0f) * 2 ** 32 + head.readUInt32BE(22);
	return { format: 'flac', channels: ((head[20] >> 1) & 7) + 1, rate, bits: (((head[20] & 1) << 4) | (head[21] >> 4)) + 1,
		seconds: samples / rate };
}

function soundOf(head, size) {
	const magic = head.toString('latin1', 0, 4);
	if (magic === 'RIFF' && head.toString('latin1', 8, 12) === 'WAVE') return wav(head, size);
	if (magic === 'fLaC') return flac(head);
	return { problem: 'neither a WAV nor a FLAC file' };
}

/* { format, width, height } or { problem } */
function pictureOf(head) {
	if (head.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n' && head.length >= 24)
		return { format: 'png', width: head.readUInt32BE(16), height: head.readUInt32BE(20) };
	if (head.length < 4 || head.readUInt16BE(0) !== 0xffd8) return { problem: 'neither a JPEG nor a PNG file' };
	for (let at = 2; at + 9 < head.length && head[at] === 0xff;) {
		const marker = head[at + 1];
		if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))
			return { format: 'jpeg', width: head.readUInt16BE(at + 7), height: head.readUInt16BE(at + 5) };
		at += 2 + head.readUInt16BE(at + 2);
	}
	return { problem: 'no size in the first 64 KiB' };
}

/*
 * The header of a WAV file that is `size` bytes long altogether, or null when
 * there can't be one. A chunk of junk makes up for what isn't whole frames.
 */
function silenceHeader(size) {
	if (!Number.isSafeInteger(size) || size < 44 || size > WAV_MAX || size % 2 !== 0 || size === 46 || size === 50) return null;
	const junk = size % FRAME === 0 ? 0 : 10;
	const head = Buffer.alloc(44 + junk);
	head.write('RIFF', 0, 'latin1');
	head.writeUInt32LE(size - 8, 4);
	head.write('WAVEfmt ', 8, 'latin1');
	head.writeUInt32LE(16, 16);
	head.writeUInt16LE(1, 20);
	head.writeUInt16LE(2, 22);
	head.writeUInt32LE(RATE, 24);
	head.writeUInt32LE(RATE * FRAME, 28);
	head.writeUInt16LE(FRAME, 32);
	head.writeUInt16LE(16, 34);
	if (junk) {
		head.write('JUNK', 36, 'latin1');
		head.writeUInt32LE(2, 40);
	}
	head.write('data', 36 + junk, 'latin1');
	head.writeUInt32LE(size - 44 - junk, 40 + junk);
	return head;
}

module.exports = { soundOf, pictureOf, silenceHeader, WAV_MAX };
