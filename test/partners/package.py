# Judges a package for test/t/126_packages.pl: what Python's zipfile and csv find in it, as JSON.
import csv, hashlib, io, json, re, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
names = z.namelist()
folder = names[0].split('/')[0]
bad = [n for n in names if n.startswith(('/', '\\')) or '..' in n.split('/') or n.count('/') != 1 or n.split('/')[0] != folder
       or any(re.search(r'[<>:"|?*\\\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]', p) or p[-1:] in '. ' or len(p) > 130
              or re.match(r'(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\.|$)', p, re.I) for p in n.split('/'))]
contents = {n.split('/')[1]: z.read(n) for n in names}
sums = dict(reversed(line.split('  ', 1)) for line in contents['checksums.sha256'].decode().splitlines()) if 'checksums.sha256' in contents else {}
table = list(csv.reader(io.StringIO(contents['metadata.csv'].decode('utf-8-sig'), newline=''), strict=True)) if 'metadata.csv' in contents else [[]]
print(json.dumps({
    'test': z.testzip(), 'names': names, 'bad': bad, 'same': len(set(n.lower() for n in names)) != len(names),
    'utf8': all(i.flag_bits & 0x800 or i.filename.isascii() for i in z.infolist()), 'stored': [i.filename.split('/')[1] for i in z.infolist() if i.compress_type == 0],
    'times': len(set(i.date_time for i in z.infolist())),
    'sums': all(hashlib.sha256(contents[n]).hexdigest() == s for n, s in sums.items()) and sorted(sums) == sorted(n for n in contents if n != 'checksums.sha256'),
    'bom': contents.get('metadata.csv', b'')[:3] == b'\xef\xbb\xbf', 'rows': [dict(zip(table[0], r)) for r in table[1:]], 'widths': sorted(set(map(len, table))),
    'formulas': [c for r in table for c in r if c[:1] in ('=', '+', '-', '@', '\t', '\r')],
    'sheet': contents.get('sheet.html', b'').decode()}))
