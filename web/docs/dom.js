/* Elements out of names, attributes and children; text is always text. */

export function el(name, attributes = {}, ...children) {
	const node = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (value === undefined || value === null || value === false) continue;
		if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
		else if (key === 'value') node.value = value;
		else if (key === 'style') node.style.cssText = value;
		else node.setAttribute(key, value === true ? '' : value);
	}
	node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

/* `code` and **strong** of a description; paragraphs at empty lines. */
export function prose(text) {
	return (text ?? '').split(/\n\s*\n/).filter(Boolean).map((paragraph) => el('p', {}, inline(paragraph)));
}

function inline(text) {
	return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
		if (/^`.+`$/.test(part)) return el('code', {}, part.slice(1, -1));
		if (/^\*\*.+\*\*$/.test(part)) return el('strong', {}, part.slice(2, -2));
		return part;
	});
}

/* JSON with its parts in colours; the text stays what it is. */
export function json(text) {
	const node = el('code');
	const parts = text.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b)/);
	parts.forEach((part, i) => {
		if (i % 2 === 0) node.append(part);
		else {
			const kind = part.startsWith('"') ? (part.endsWith(':') ? 'key' : 'string') : /^[tfn]/.test(part) ? 'word' : 'number';
			node.append(el('span', { class: `j-${kind}` }, part));
		}
	});
	return node;
}

/* A block of code that scrolls, with a button that copies it. */
export function block(content, label, t) {
	const code = typeof content === 'string' ? el('code', {}, content) : content;
	const button = el('button', { class: 'copy', type: 'button', onclick: async () => {
		await navigator.clipboard?.writeText(code.textContent);
		button.textContent = t('copied');
		setTimeout(() => { button.textContent = t('copy'); }, 1500);
	} }, t('copy'));
	return el('div', { class: 'box' }, el('pre', { tabindex: '0', role: 'group', 'aria-label': label }, code), button);
}

let serial = 0;
export const unique = (stem) => `${stem}-${++serial}`;

/* Tabs as ARIA has them: arrows move, one of them is in the order of the keyboard. */
export function tabs(label, entries, chosen, onchoose) {
	const id = unique('tabs');
	const panel = el('div', { role: 'tabpanel', id: `${id}-panel` });
	const buttons = entries.map(([name], i) => el('button', { type: 'button', role: 'tab', id: `${id}-${i}`, 'aria-controls': `${id}-panel`,
		onclick: () => choose(i), onkeydown: (event) => move(event, i) }, name));
	function choose(i, focus) {
		buttons.forEach((button, k) => {
			button.setAttribute('aria-selected', String(k === i));
			button.tabIndex = k === i ? 0 : -1;
		});
		panel.setAttribute('aria-labelledby', `${id}-${i}`);
		panel.replaceChildren(entries[i][1]());
		if (focus) buttons[i].focus();
		onchoose?.(i);
	}
	function move(event, i) {
		const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: entries.length - 1 }[event.key];
		if (to === undefined) return;
		event.preventDefault();
		choose((to + entries.length) % entries.length, true);
	}
	choose(Math.min(chosen ?? 0, entries.length - 1));
	return el('div', {}, el('div', { class: 'tabs', role: 'tablist', 'aria-label': label }, buttons), panel);
}
