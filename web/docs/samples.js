/* The same request in three languages. A request: method, url, headers, body (a value, or undefined). */

const quote = (text) => `'${text.replace(/'/g, `'\\''`)}'`;

export function curl({ method, url, headers, body }) {
	const lines = [`curl ${method === 'GET' ? '' : `-X ${method} `}${quote(url)}`];
	for (const [name, value] of Object.entries(headers)) lines.push(`  -H ${value.includes('$') ? JSON.stringify(`${name}: ${value}`) : quote(`${name}: ${value}`)}`);
	if (body !== undefined) lines.push(`  -d ${quote(JSON.stringify(body, null, 2).replace(/\n/g, '\n  '))}`);
	return lines.join(' \\\n');
}

const indented = (value, by) => JSON.stringify(value, null, 2).replace(/\n/g, `\n${by}`);

export function javascript({ method, url, headers, body }) {
	const shown = Object.entries(headers).map(([name, value]) =>
		`    ${JSON.stringify(name)}: ${value.includes('$MUSICVERSE_API_KEY') ? '`' + value.replace('$MUSICVERSE_API_KEY', '${process.env.MUSICVERSE_API_KEY}') + '`' : JSON.stringify(value)},`);
	return [
		`const response = await fetch(${JSON.stringify(url)}, {`,
		...(method === 'GET' ? [] : [`  method: ${JSON.stringify(method)},`]),
		...(shown.length ? ['  headers: {', ...shown, '  },'] : []),
		...(body === undefined ? [] : [`  body: JSON.stringify(${indented(body, '  ')}),`]),
		'});',
		'if (!response.ok) throw new Error((await response.json()).detail);',
		...(method === 'DELETE' ? [] : ['console.log(await response.json());']),
	].join('\n');
}

const python_value = (value, by) => indented(value, by)
	.split(/("(?:[^"\\]|\\.)*")/).map((part, i) => i % 2 ? part : part.replace(/\btrue\b/g, 'True').replace(/\bfalse\b/g, 'False').replace(/\bnull\b/g, 'None')).join('');

export function python({ method, url, headers, body }) {
	const shown = Object.entries(headers).filter(([name]) => name !== 'Content-Type').map(([name, value]) =>
		`        ${JSON.stringify(name)}: ${value.includes('$MUSICVERSE_API_KEY') ? 'f' + JSON.stringify(value.replace('$MUSICVERSE_API_KEY', "{os.environ['MUSICVERSE_API_KEY']}")) : JSON.stringify(value)},`);
	return [
		...(shown.some((line) => line.includes('os.environ')) ? ['import os'] : []),
		'import requests',
		'',
		`response = requests.${method.toLowerCase()}(`,
		`    ${JSON.stringify(url)},`,
		...(shown.length ? ['    headers={', ...shown, '    },'] : []),
		...(body === undefined ? [] : [`    json=${python_value(body, '    ')},`]),
		')',
		'response.raise_for_status()',
		...(method === 'DELETE' ? [] : ['print(response.json())']),
	].join('\n');
}

export const languages = [['curl', curl], ['JavaScript', javascript], ['Python', python]];
