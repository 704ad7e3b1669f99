#!/usr/bin/env python3
"""Writes templates.json: what jinja2 3.1.6, set up by transformers 5.23 for chat templates, makes of small templates.

A case is a template with the variables below and what it renders to, or the kind of its error. Addresses that Python
prints for objects are no part of a case.
"""
import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template

CONTEXT = {
    "a": 3, "b": 2.5, "n": None, "t": True, "f": False, "e": [], "s": "  Hello World ", "w": "one two  three",
    "l": [3, 1, 2], "d": {"x": 1, "y": [1, 2], "z": None, "items": "shadow"}, "u": "Straße ΑΣ ǆ é",
    "names": ["bob", "Alice", "carol", "alice"], "mixed": [1, 2.5, "x", None, True, [1], {"k": "v"}],
    "rows": [{"n": "b", "v": 2, "k": {"q": 1}}, {"n": "a", "v": 2, "k": {"q": 0}}, {"n": "C", "v": 1}],
    "msgs": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"},
             {"role": "assistant", "content": "yo"}, {"role": "user", "content": "é😀"}],
    "big": 123456789012345678901234567890, "small": 1e-7, "tool": {"type": "object", "properties": {
        "city": {"type": "string", "description": "a \"place\" <b>"}, "days": {"type": "integer", "default": 3}},
        "required": ["city"]},
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
-a ** 2
2 ** 3 ** 2
7 // 2, -7 // 2, 7 // -2, 7.5 // 2
7 % 3, -7 % 3, 7 % -3, -7.5 % 2
1 / 3
10 / 5
1e16, 1e15, 123456789.123, 1e-4, 1e-5, 1.5e300, 0.1 + 0.2, 1e22, -0.0, 5e-324, 1.7976931348623157e308
2 ** -1
2.0 ** 0.5
0x1F, 0o17, 0b101, 1_000_000, 1_0.5
"a" "b" 'c'
'\n\t\\\'\"\x41\u00e9\U0001F600\101\q'
"tab\there", ["tab\there", 'it\'s', "q\"", 'both\'"']
big
big == big, small
[big, small]
1 < 2 < 3, 1 < 3 < 2
1 == 1.0 == true, 'a' == 1, none == false, [] == [], {} == {}, (1,) == [1]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
'a' < 'b', 'B' < 'a', 'é' > 'z', [1, 2] < [1, 3], (1, 2) < (1, 2, 3)
not a, not e, not n, not '', not 0.0, not 'x'
a and b, n and b, e or 'x', f or n or 0, t and e
a if t else b, b if f, (b if f) is undefined
a in l, 5 not in l
'ell' in s, '' in s, 'x' in d, 1 in d
none in mixed, 2.5 in mixed
not a in l
a is defined and b is defined
l[0], l[-1], l[5] is undefined, l[-9] is undefined, l['x'] is undefined, l[true]
l[1:], l[:-1], l[::-1], l[::2], l[5:]
'abcdef'[1:4], 'abcdef'[::-1], 'abcdef'[-2:], 'abcdef'[10:], 'abc'[1], 'é😀x'[1], 'abcdef'[4:1:-1]
(1, 2, 3)[1:]
range(10)[2:5], range(5)[1], range(3), range(1, 10, 3)
d.x, d['x'], d.y[1], d.q is undefined, d['items']
d.keys(), d.values()
d.get('x'), d.get('q'), d.get('q', 5)
'a' ~ 1 ~ none ~ 2.0 ~ true ~ [1] ~ n
'x' * 3, [1] * 2, 2 * 'ab', 'x' * -1, (1,) * 2
[1] + [2], (1,) + (2,), 'a' + 'b'
true + true, true * 2.5, -true
(1,), (), (1, 2), [(), []], {}, {'a': (1,)}
{1: 'a', 1.0: 'b', true: 'c'}
{'a': 1, 'a': 2}
[1, [2, [3]]]
mixed
{'k': none, 'v': [true, false], 'f': 1.0}
s.strip(), s.lstrip() + '|', s.rstrip() + '|'
'xxaxx'.strip('x')
'a,b,,c'.split(','), 'a b  c'.split(), 'a b  c'.split(' '), ''.split(), ''.split(','), ' a b '.split(none, 1)
'a,b,c'.split(',', 1), 'a,b,c'.rsplit(',', 1), 'a b c'.rsplit(none, 1), 'a b c '.rsplit(none, 1)
'abcabc'.replace('b', 'X'), 'abcabc'.replace('b', 'X', 1), 'abc'.replace('', '-'), 'aaa'.replace('aa', 'b')
'abc'.startswith('ab'), 'abc'.endswith('bc'), 'abc'.startswith(('x', 'a')), 'abc'.startswith('b', 1)
'abcab'.find('b'), 'abcab'.rfind('b'), 'abcab'.find('z'), 'abcab'.find('b', 2), 'aaaa'.rfind('aa'), 'éab'.find('a')
'abcab'.count('ab'), 'aaa'.count('a'), 'abc'.count(''), 'abc'.index('c')
','.join(['a', 'b']), ''.join('abc')
'Hello World'.upper(), 'Hello'.lower(), 'hello wORLD'.title(), 'hELLO'.capitalize(), 'Ab'.swapcase()
u.upper(), u.lower(), u.title(), u.capitalize(), u|title, u|upper, u|lower, u|capitalize
'abc'.isalpha(), 'a1'.isalnum(), '12'.isdigit(), ''.isdigit(), ' '.isspace(), 'ab'.islower(), 'AB'.isupper()
'A Bc'.istitle(), '½'.isnumeric(), '²'.isdigit(), '²'.isdecimal(), 'a_1'.isidentifier()
'abc'.partition('b'), 'abcbd'.rpartition('b'), 'abc'.partition('x')
'a\nb\r\nc'.splitlines(), 'a\n'.splitlines(true)
'abc'.center(7, '*'), 'abc'.center(8, '*'), 'ab'.center(5, '-'), 'abc'.ljust(5) + '|', 'abc'.rjust(5), '-5'.zfill(4)
'prefix-x'.removeprefix('prefix-'), 'x.txt'.removesuffix('.txt')
'{} {}'.format(1, 'a'), '{1} {0}'.format('a', 'b')
'{x} {y[0]} {z.k}'.format(x=1, y=[2], z={'k': 3})
'{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd')
'{:.2f} {:5d} {:05d} {:,} {:x} {:#x} {:b} {:e} {:+d} {:%}'.format(3.14159, 42, 42, 1234567, 255, 255, 5, 12345.678, 5, 0.25)
'{!r} {!s}'.format('a', 'a'), '{{}}'.format(), '{:{}}'.format('a', 4) + '|', '{:.3}'.format('abcdef')
'{:g} {:g} {:.3g} {:n}'.format(1e10, 0.0001, 3.14159, 5) is string
'{} {} {}'.format(none, true, [1, 'a'])
'%s %d %5.2f %x %r %%' % ('a', 5, 3.14159, 255, 'q')
'%s' % 'x', '%s' % 5, '%s' % [1, 2], '%(k)s' % {'k': 'v'}
'%-5s|%5s|%05d|%+d' % ('a', 'b', 42, 5)
'%s-%s'|format('a', 1), '%.3f'|format(2.0), '%e %g' % (12345.678, 0.00001)
'%d' % 3.99, '%i' % -3.99, '%c%c' % ('a', 98), '%o %X' % (8, 255)
1.0.is_integer(), 2.5.is_integer()
[3, 1, 3].count(3), [3, 1].index(1), (1, 2).index(2)
'x' in 'xyz' and 'q' not in 'xyz'
loop is defined
a is number, b is number, t is number, 's' is number
a is integer, t is integer, b is integer, b is float, a is float
t is boolean, a is boolean, t is true, f is false, a is true, none is none, n is none
's' is string, a is string
l is sequence, d is sequence, s is sequence, a is sequence, l is iterable, a is iterable, none is iterable
l|map('string') is sequence, l|map('string') is iterable, range(3) is sequence, d.items() is sequence
d is mapping, l is mapping, namespace() is mapping
missing is defined, missing is undefined, missing is none
3 is odd, 4 is even, 4 is odd, 9 is divisibleby 3, 9 is divisibleby(4), a is eq 3, a is equalto(4), a is ne 3
a is gt 2, a is ge 3, a is lt 3, a is le 3, a is greaterthan 2, a is lessthan 4, a is in [3], a is not in [3]
'ab' is lower, 'AB' is upper, 'aB' is lower, '1' is lower
a is sameas 3, t is sameas true
'upper' is filter, 'x' is filter
a is not number, a is not none and t is not none
range is callable, a is callable
e is not defined or not e is none
l|length, s|length, d|length, missing|length, 'é😀'|length, l|count
l|first, l|last, e|first is undefined, 'abc'|first
l|sort, l|sort(reverse=true), names|sort, names|sort(case_sensitive=true), 'bac'|sort, (3, 1)|sort
rows|sort(attribute='n')|map(attribute='n')|list, rows|sort(attribute='v,n')|map(attribute='n')|list
rows|map(attribute='n')|join(','), rows|map(attribute='k.q', default='-')|join(',')
rows|join(',', attribute='v')
names|map('upper')|list, names|map('replace', 'a', 'A')|join(' '), [[1, 2], [3]]|map('first')|list
rows|selectattr('v', 'eq', 2)|map(attribute='n')|list, rows|rejectattr('v', 'gt', 1)|map(attribute='n')|list
rows|selectattr('k')|list|length, rows|selectattr('k', 'defined')|list|length, rows|selectattr('k', 'undefined')|list|length
l|select('odd')|list, l|reject('odd')|list, l|select('gt', 1)|list, mixed|select|list|length, mixed|select('string')|list
l|reverse|list, 'abc'|reverse, l|sum, rows|sum(attribute='v'), [1.5, 2]|sum, []|sum(start=5)
l|min, l|max, names|max
rows|min(attribute='v'), []|max is undefined, names|min(case_sensitive=true)
names|unique|list, [1, 1.0, true, 2]|unique|list
d|dictsort, {'b': 1, 'A': 2}|dictsort, {'b': 1, 'A': 2}|dictsort(true), {'b': 1, 'a': 2}|dictsort(false, 'value')
d|items|list|length, missing|items|list, d|list
'abc'|list, {'a': 1}|list, range(3)|list
l|batch(2)|list
l|batch(2, 'x')|list, range(7)|slice(3)|list, range(7)|slice(3, 'x')|list
n|default('x'), missing|default('x')
''|default('x', true), ''|default('x'), missing|default, missing|d('y'), d.q|default('z'), 0|default(5, boolean=true)
s|trim, 'xax'|trim('x'), none|trim, 5|trim, none|upper, true|lower
'a b'|replace(' ', '_'), 'aaa'|replace('a', 'b', 2), 5|replace(5, 6)
'hello world-foo (bar) [baz] <q>'|title, 'a\tb'|title, "it's"|title
'x\ny\n\nz'|indent, 'x\ny'|indent(2, true), 'x\n\ny'|indent(2, blank=true)
'x\ny'|indent('> '), 'x\ny\n'|indent(2), 'x'|indent(first=true)
'abc'|center(9) + '|'
'hello world foo'|truncate(11), 'hello world foo bar'|truncate(11), 'hello world foo bar'|truncate(9, true), 'foo bar baz qux'|truncate(11, false, '...', 0)
3.7|int, '3.7'|int, '7'|int, 'x'|int, 'x'|int(5), ' 12 '|int, '1_000'|int, '0x1A'|int(0, 16), '11'|int(0, 2), none|int, true|int, '-5'|int, 1e30|int
'3.5'|float, 'x'|float, 'x'|float(1.5), 5|float, '1e3'|float, none|float, 'inf'|float, 'nan'|float, '-infinity'|float
2.5|round, 3.5|round, 2.567|round(2), 2.567|round(1, 'floor'), 2.1|round(0, 'ceil'), 5|round, 1234.5|round(-2), 0.125|round(2), 15|round(-1), 25|round(-1), 1.005|round(2)
-5|abs, -2.5|abs, (-3)|abs
5|string + '!', [1]|string, none|string, 2.0|string
('<a href="x">&\'</a>'|e) ~ '', ('<b>'|safe) ~ '', (5|e) ~ ''
range(10)[::-1], range(1, 20, 3)[1:4], range(0), range(3) == range(3), range(3) == [0, 1, 2]
'{:n} {:n} {:10.3n}'.format(5, 2.5, 3.14159), '{:,.2f} {:_d}'.format(1234567.891, 1234567)
'a b&c/d é'|urlencode, 'the quick fox_2'|wordcount
d|attr('x') is undefined, 'abc'|attr('upper') is callable
tool|tojson
tool|tojson(indent=2)
tool|tojson(indent=0)
tool|tojson(ensure_ascii=true), 'é😀\x7f'|tojson(ensure_ascii=true)
tool|tojson(separators=(',', ':'))
tool|tojson(sort_keys=true, indent=4)
mixed|tojson, [1.0, 1e20, 1e-7, big]|tojson
{1: 'a', none: 'b', true: 'c', 2.5: 'd'}|tojson
'\x00\x1f\b\f\n\r\t\"\\/</script>é'|tojson
[]|tojson(indent=2), {}|tojson(indent=2), [[]]|tojson(indent=1), ()|tojson
tool|tojson(indent='--')
(1, 2)|tojson, 'x'|tojson, none|tojson, true|tojson, 1.5|tojson
msgs|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|last
msgs|map(attribute='role')|unique|join(' ')
(msgs|last).content, msgs[-1].content|length, (msgs|first)['role']
msgs[1:]|length, msgs[1:][0].role
dict(a=1, b=2), dict([('x', 1)]), dict({'a': 1}, b=2), dict()
namespace(a=1).a, namespace(a=1)['a'], namespace().x is undefined
namespace({'q': 5}).q
'a' if l else 'b', 'x' if e else 'y' if t else 'z'
{'a': {'b': [1, {'c': 2}]}}.a.b[1].c
d.y.0, l.1
[1, 2, 3,], (1, 2,), {'a': 1,}
l|join, l|join(', '), [none, true, 1.5]|join('/')
"%s" % missing, 'x' ~ missing ~ 'y', missing|upper
missing == missing, missing == none, [missing]|length, [missing]|join('x')
missing|list, missing|first is undefined, missing|join, missing|sum, missing|sort
l|map('float')|map('string')|join('-')
a|string|length, (a + 1)|string ~ 'x', a + 1|int
-a|abs, -2|abs, (not t)|string
"\u4f60\u597d"|length, '你好'[0], '你好'|list
'a'.upper().lower().upper(), ' x '.strip().upper() + '!'
"abc".upper
1.5e3, 1E3
"""

STATEMENTS = [
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for x in l if x > 10 %}{{ x }}{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}|{% for c in 'aé😀' %}[{{ c }}]{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3), ((4, 5), 6)] %}{{ a }}{{ b }}{{ c }} {% endfor %}{{ a }}",
    "{% for a in l %}{% for b in l %}{{ loop.index }}{% if b == 1 %}{% break %}{% endif %}{% endfor %}|{% endfor %}",
    "{% for a in l %}{% if loop.first %}{% continue %}{% endif %}{{ a }}{% endfor %}",
    "{% for a in l %}{% set outer = loop %}{% for b in [1, 2] %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for item in [{'c': [{'c': []}, {'c': []}]}] recursive %}<{{ loop.depth }}{{ loop(item.c) }}>{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }} {% endfor %}{{ x }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (a, b) = (b, a) %}{{ a }}{{ b }}",
    "{% set x %}  one {{ a }} {% endset %}[{{ x }}]{% set y | upper | trim %} {{ x }} {% endset %}[{{ y }}]",
    "{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ y }}",
    "{% set ns = namespace(n=0, s='') %}{% for x in l %}{% set ns.n = ns.n + x %}{% set ns.s = ns.s ~ x %}{% endfor %}{{ ns.n }} {{ ns.s }}",
    "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}",
    "{% macro f(x, y='d', z=x) %}[{{ x }},{{ y }},{{ z }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(1, z=3) }}{{ f(x=5) }}{{ f() }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, k=3) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}g{{ q }}{% endmacro %}{% set q = 7 %}{{ f() }}",
    "{% set q = 1 %}{% macro f() %}{{ q }}{% set q = 2 %}{{ q }}{% endmacro %}{{ f() }}{{ q }}",
    "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro %}{{ f(1) }}{{ f('a')|upper }}{{ f(2)|length }}{{ f.name }}",
    "{% macro wrap(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call wrap('b') %}in {{ a }}{% endcall %}",
    "{% macro each(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) each(l) %}{{ i }}={{ x }};{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}",
    "{% filter upper %}abc {{ a }} {% filter replace('A', 'x') %}a{% endfilter %}{% endfilter %}",
    "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}",
    "{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}{{ b }}",
    "{% generation %}{{ a }}{% set hidden = 1 %}{% endgeneration %}{{ hidden is defined }}",
    "{% if f %}1{% elif n %}2{% elif t %}3{% else %}4{% endif %}{% if f %}{% else %}5{% endif %}",
    "{%- if t -%}  x  {%- endif -%}  y  {{- ' z ' -}}  w",
    "a\n  {% if t %}\n    b\n  {% endif %}\nc\n",
    "a\n  {%+ if t %}b{% endif %}\n c", "a {% if t +%}\nb{% endif %}", "  {{ a }}\n  {{ b }}\n",
    "  {# comment #}\nx {# c #} y\n{#- c -#}\n z", "{# a {{ b }} {% c %} #}x", "x{#- c #}\ny",
    "{% raw %}{{ a }}{% if %}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  y", "  {% raw %}\n x\n  {% endraw %}\ny",
    "line1\r\nline2\rline3\n{{ 'a\r\nb' }}\n\n", "\n\n{{ a }}\n\n", "{{ a }}\n{% if t %}\n{% endif %}\n",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1}}}", "{{ '}}' }}{{ \"{%\" }}{% set x = '%}' %}{{ x }}",
    "{%- for m in msgs %}\n{{ '<|' ~ m.role ~ '|>' }}\n{{ m.content | trim }}\n{% endfor %}\nend",
    "{% for m in msgs %}{% if m['role'] == 'user' and not loop.last %}{{ m['content'] }}{% elif loop.last %}LAST{% endif %}{% endfor %}",
    "{% for m in msgs[1:] if m.role != 'assistant' %}{{ loop.index0 }}{{ m.content }}{% endfor %}",
    "{% for a, b in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(5, 0, -2) %}{{ x }}{% endfor %}",
    "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}{% if l|select('gt', 9) %}true{% endif %}",
    "{% set it = d.items() %}{{ it|length }}{% for k, v in it %}{{ k }}{% endfor %}{% for k, v in it %}{{ k }}{% endfor %}",
    "{% set g = l|select('odd') %}{{ g|first }}{{ g|list }}",
    "{% set x = (1 if t else 2) %}{{ x }}{% set y = 1 if f %}{{ y is defined }}",
    "{% macro render(s, d=0) -%}\n{%- if s.type == 'object' -%}\n{ {% for k, v in s.properties.items() %}\n{{ '  ' * d }}{{ k }}{{ '?' if k not in s.required }}: {{ render(v, d + 1) }},\n{% endfor %}}\n{%- else -%}{{ s.type }}{%- endif -%}\n{%- endmacro %}{{ render(tool) }}",
    "{%- set ns = namespace(last=-1) -%}{%- for m in msgs[::-1] -%}{%- set i = (msgs|length - 1) - loop.index0 -%}{%- if ns.last < 0 and m.role == 'user' -%}{%- set ns.last = i -%}{%- endif -%}{%- endfor -%}{{ ns.last }}",
    "{% if tools is defined and tools %}T{% endif %}{% if not (x is defined and x is not none) %}X{% endif %}",
    "{{ 'a'\n   ~ 'b' }}{%\n set\n q\n =\n 1\n %}{{ q }}", "{{ a -}}\n x {{- b }}", "{% if t %}a{% endif %}\n\nb",
    "{{ [1, 2]|first|string ~ [3]|last }}{{ (1, 2)|join }}{{ {'a': 1}|length }}",
    "{% for x in missing %}x{% else %}e{% endfor %}{{ missing }}|{{ d.missing }}|{{ missing|default('z') }}",
    "{{ range(3)|list }}{{ range(0) |list }}{{ range(2, 5)|join(',') }}{{ range(3)|sum }}",
    "{{ loop }}{% for x in [1] %}{{ loop.length }}{% endfor %}{{ loop is defined }}",
    "{{ '%s' % 'a' if t else 'b' }}{{ a if a > 2 else b if b else n }}",
    "{% set content = 'a</think>b' %}{{ content.split('</think>')[-1].lstrip('\\n') }}{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] }}",
    "é{% if t %}ü{% endif %}😀{{ 'ñ' }}\u2028 {%- if t %} x{% endif %}", "\u00a0 {%- if t %}x{% endif %}\u3000{{- a }}",
    "{% set x = [] %}{% set x = x + [1] %}{% set x = x + [2] %}{{ x }}", 
    "{%if t%}a{%endif%}{{a}}{{-a-}}{%-if t-%}b{%-endif-%}", "{{ 'a' 'b' ~ 'c' }}", "{{- '' -}}", "", "\n", "x\n\n",
    "{% macro a1(x) %}{{ x }}{% endmacro %}{% set f = a1 %}{{ f(3) }}{% for i in [1] %}{{ a1(i) }}{% endfor %}",
    "{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% set m = {'role': 'x'} %}{{ m.role }}{{ m['role'] }}{{ m.get('content', 'none') }}{{ 'role' in m }}",
    "{{ l.append(1) if f else 'ok' }}{{ l.append is defined }}", "{{ d.x|default(0) + 1 }}{{ (d.q|default(0)) + 1 }}",
    "{{ 1 if true else 2 }}{{ True }}{{ None }}{{ False }}{{ none }}{{ true and none }}",
    "{% for x in l|sort %}{{ x }}{% endfor %}{% for x in l|reverse %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for x in l | map('string') %}{{ loop.length }}{{ loop.revindex }} {% endfor %}",
    "{% set a = {} %}{{ a.b is defined }}{{ a.get('x') is none }}", "{{ '' is string }}{{ '' is iterable }}{{ [] is iterable }}",
    "{{ msgs | tojson }}{{ msgs[0] | tojson(indent=2) }}", "{{ msgs[0] }}{{ [msgs[3].content] }}{{ ['\\n', '\\u200b', '\\x7f', 'é'] }}",
]

ERRORS = [
    "{{ missing.x }}", "{{ missing['x'] }}", "{{ missing + 1 }}", "{{ missing() }}", "{{ d.q.r }}", "{{ 'a' + 1 }}",
    "{{ 1 + 'a' }}", "{{ [1] + (1,) }}", "{{ none + 1 }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1.0 / 0 }}",
    "{{ 'a' < 1 }}", "{{ none < 1 }}", "{{ [1]|sort|first < 'a' }}", "{{ ['a', 1]|sort }}", "{{ 5|length }}",
    "{{ none|length }}", "{{ 5|list }}", "{{ none|join }}", "{{ l|map('string')|length }}", "{{ l|map('nofilter')|list }}",
    "{{ l|nofilter }}", "{{ a is notest }}", "{{ missing|tojson }}", "{{ 'abc'.nothing() }}", "{{ a() }}", "{{ 'x'() }}",
    "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% set a, b = 1 %}", "{% set x.y = 1 %}", "{% set d.x = 1 %}",
    "{{ l.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('x') }}", "{{ range(1000000) }}", "{{ range(1, 2, 0) }}",
    "{% macro f(x) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(x) %}{% endmacro %}{{ f(y=1) }}", "{{ {[1]: 2} }}",
    "{{ [1] in d }}", "{{ 1 in 'abc' }}", "{{ 1 in 5 }}", "{{ -'a' }}", "{{ +none }}",
    "{{ 'a' * 'b' }}", "{{ '%d' % 'x' }}", "{{ '%s %s' % 'x' }}", "{{ '%s' % (1, 2) }}", "{{ '{}'.format() }}",
    "{{ '{x}'.format() }}", "{{ '{'.format() }}", "{{ ','.join([1]) }}", "{{ ''.split('') }}", "{{ 'a'.index('b') }}",
    "{{ {(1, 2): 3}|tojson }}", "{{ [[1], [1]]|unique|list }}", "{{ d|items|last }}", "{{ l|items|list }}",
    "{{ raise_exception('no') }}", "{% for x in l %}{{ loop(x) }}{% endfor %}", "{{ namespace(_x=1) }}",
    "{{", "{{ a", "{% if a %}", "{% if a %}{% endfor %}", "{% endif %}", "{% for %}", "{% for x l %}", "{% set %}",
    "{% unknown %}", "{{ a b }}", "{{ (a }}", "{{ [1, }}", "{{ a) }}", "{{ (a] }}", "{{ 'a }}", "{# x", "{% raw %}x",
    "{{ 1 + }}", "{{ a. }}", "{{ | upper }}", "{{ a | }}", "{{ a is }}", "{{ a is b is c }}",
    "{% break %}", "{% for x in l %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", "{{ @ }}", "{{ a ! b }}",
    "{{ f(a=1, 2) }}", "{{ f(**a, **b) }}", "{% macro f(a=1, b) %}{% endmacro %}", "{% set true = 1 %}",
    "{% macro 5() %}{% endmacro %}", "{% call a %}{% endcall %}", "{{ }}", "{% %}", "{{ {1} }}", "{% if a %}{% else %}{% else %}{% endif %}",
    "{% for loop in l %}{% endfor %}", "{{ 2 ** 'a' }}", "{{ '1'|int + 'a' }}", "{{ missing|int }}", "{{ l[::0] }}",
    "{{ l['a':] }}", "{{ msgs[0].content.nope.x }}", "{{ none.x.y }}", "{{ a.b.c }}", "{{ 'a'|round }}", "{{ none|abs }}",
    "{{ l|batch(0)|list|first|first + 'x' }}", "{{ 'a'|replace('b') }}", "{{ 'a'|upper(1) }}", "{{ l|join(1, 2, 3) }}",
    "{{ strftime_now() }}", "{{ dict(1) }}", "{% for x in l if %}{% endfor %}", "{{ 'a' if }}", "{{ not }}", "{{ a == }}",
    "{% filter nofilter %}x{% endfilter %}", "{{ '\\xZZ' }}", "{{ 1.5[0].x }}",
]


def render(template):
    try:
        return {"expected": _compile_jinja_template(template).render(**CONTEXT)}
    except Exception as error:  # every kind counts
        return {"error": type(error).__name__}


def main():
    expressions = EXPRESSIONS.strip().split("\n")
    cases = []
    for template in ["{{ [%s] }}" % text for text in expressions] + STATEMENTS + ERRORS:
        case = {"template": template} | render(template)
        if " at 0x" not in case.get("expected", ""):
            cases.append(case)
    for template in ERRORS:
        assert "error" in render(template), template
    failed = [c["template"] for c in cases if "error" in c and c["template"] not in ERRORS]
    assert not failed, failed
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates.json")
    with open(path, "w") as file:
        json.dump({"reference": "jinja2 3.1.6 as transformers 5.23.0 sets it up", "context": CONTEXT, "cases": cases},
                  file, ensure_ascii=True, indent=0)
        file.write("\n")
    print(len(cases), "cases")


main()
