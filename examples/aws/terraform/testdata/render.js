// Renders one mapping template as API Gateway does: node render.js TEMPLATE
// CASE, the case as JSON {body, headers, query, context}. It prints what was
// rendered and the status that the template has set.
const { readFileSync } = require('fs')
const { render } = require('velocityjs')

// Java's replaceAll takes a pattern.
String.prototype.replaceAll = function (pattern, by) { return this.replace(new RegExp(pattern, 'g'), by) }

// Apache Commons' escapeJavaScript, which API Gateway has.
const escapeJavaScript = (text) => String(text)
  .replace(/[\\'"/]/g, (c) => '\\' + c)
  .replace(/[\b\n\t\f\r]/g, (c) => ({ '\b': '\\b', '\n': '\\n', '\t': '\\t', '\f': '\\f', '\r': '\\r' })[c])
  .replace(/[\u0000-\u001f\u007f-\uffff]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0'))

const c = JSON.parse(process.argv[3])
const context = { ...c.context, responseOverride: {} }
const map = (of) => ({ get: (name) => of[name], keySet: () => Object.keys(of) }) // as Java has it
const input = {
  path: (path) => path === '$' ? c.body : c.body[path.slice(2)],
  params: () => ({ header: map(c.headers ?? {}), querystring: map(c.query ?? {}) }),
}
const text = render(readFileSync(process.argv[2], 'utf8'), { input, context, util: { escapeJavaScript } })
console.log(JSON.stringify({ text, status: context.responseOverride.status ?? 0 }))
