"""The text of the console page.

What it lists comes from introspection with the headers the user gives, so it shows no more than that role may see.
"""

from __future__ import annotations

HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>GraphQL console</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/graphiql.min.css">
<link rel="stylesheet" href="/console/page.css">
</head>
<body>
<aside>
<h1>Published</h1>
<form id="session">
<label>Role <input name="x-hasura-role" placeholder="admin" autocomplete="off"></label>
<label>Admin secret <input name="x-hasura-admin-secret" type="password" autocomplete="off"></label>
<button>Use</button>
</form>
<p id="problem" role="status"></p>
<ul id="fields"></ul>
</aside>
<main id="graphiql">Loading ...</main>
<script src="/console/react.production.min.js"></script>
<script src="/console/react-dom.production.min.js"></script>
<script src="/console/graphiql.min.js"></script>
<script src="/console/page.js"></script>
</body>
</html>
"""

CSS = """html, body { margin: 0; height: 100%; font-family: system-ui, sans-serif; }
body { display: flex; }
aside { width: 18rem; padding: 0.75rem; overflow: auto; border-right: 1px solid #ccc; box-sizing: border-box; }
aside h1 { font-size: 1rem; }
aside label { display: block; font-size: 0.8rem; margin-bottom: 0.4rem; }
aside input { width: 100%; box-sizing: border-box; }
#problem { color: #b00020; font-size: 0.85rem; }
#fields { list-style: none; padding: 0; }
#fields button { border: 0; background: none; padding: 0.3rem 0; cursor: pointer; text-align: left; color: #1558b0;
  overflow-wrap: anywhere; }
main { flex: 1; height: 100vh; min-width: 0; }
"""

JAVASCRIPT = r"""'use strict';
const headers = {};
const root = ReactDOM.createRoot(document.getElementById('graphiql'));
let run = 0;

async function fetcher(params, options) {
  const sent = Object.assign({'Content-Type': 'application/json'}, headers, (options && options.headers) || {});
  const response = await fetch('/v1/graphql', {method: 'POST', headers: sent, body: JSON.stringify(params)});
  return response.json();
}

function show(query) {
  run += 1;
  root.render(React.createElement(GraphiQL, {
    key: run, fetcher: fetcher, defaultQuery: query, query: query, shouldPersistHeaders: false,
    defaultEditorToolsVisibility: true,
  }));
}

function named(type) {
  while (type.ofType) type = type.ofType;
  return type;
}

function leaf(field) {
  const kind = named(field.type).kind;
  return kind === 'SCALAR' || kind === 'ENUM';
}

function columns(types, typeName, most) {
  return types[typeName].fields.filter(leaf).slice(0, most).map((field) => field.name);
}

// An example that answers at once: some columns, and one column or two of each object relationship.
function example(types, field) {
  const type = named(field.type).name;
  const aggregate = types[type].fields.find((each) => each.name === 'aggregate' && !leaf(each));
  if (aggregate) return 'query {\n  ' + field.name + ' {\n    aggregate {\n      count\n    }\n  }\n}\n';
  const lines = columns(types, type, 8).map((name) => '    ' + name);
  for (const each of types[type].fields) {
    if (named(each.type).kind === 'OBJECT' && each.args.length === 0) {
      const inner = columns(types, named(each.type).name, 2);
      if (inner.length) lines.push('    ' + each.name + ' {\n      ' + inner.join('\n      ') + '\n    }');
    }
  }
  return 'query {\n  ' + field.name + '(limit: 10) {\n' + lines.join('\n') + '\n  }\n}\n';
}

const INTROSPECTION = `{ __schema { queryType { name } types { name kind fields { name description args { name }
  type { name kind ofType { name kind ofType { name kind ofType { name kind } } } } } } } }`;

async function list() {
  const problem = document.getElementById('problem');
  const fields = document.getElementById('fields');
  problem.textContent = '';
  fields.replaceChildren();
  let answer;
  try {
    answer = await fetcher({query: INTROSPECTION});
  } catch (error) {
    problem.textContent = 'The engine does not answer.';
    return '';
  }
  if (answer.errors) {
    problem.textContent = answer.errors[0].message;
    return '';
  }
  const schema = answer.data.__schema;
  const types = Object.fromEntries(schema.types.map((type) => [type.name, type]));
  let first = '';
  for (const field of types[schema.queryType.name].fields) {
    if (named(field.type).kind !== 'OBJECT') continue;
    if (!types[named(field.type).name].fields.some(leaf) && !field.name.endsWith('_aggregate')) continue;
    const query = example(types, field);
    first = first || query;
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = field.name;
    button.title = field.description || '';
    button.addEventListener('click', () => show(query));
    const item = document.createElement('li');
    item.append(button);
    fields.append(item);
  }
  if (!first) problem.textContent = 'Nothing is published for this role.';
  return first;
}

document.getElementById('session').addEventListener('submit', async (event) => {
  event.preventDefault();
  for (const input of event.target.querySelectorAll('input')) {
    if (input.value) headers[input.name] = input.value; else delete headers[input.name];
  }
  show(await list());
});

list().then(show);
"""
