// Variables of a dashboard: what they may be, what they are, and their place in an expression.
import { get } from './prometheus.js';

// As Grafana's data source for Prometheus escapes a value that stands in a regular expression.
const escaped = (value) => value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/\\/g, '\\\\');
const regex = (values) => (values.length === 1 ? escaped(values[0]) : `(${values.map(escaped).join('|')})`);

// Replaces $name, ${name}, ${name:format} and [[name]] by values; what is not known stays as it is, so that it shows.
export function filled(text, values, more = {}) {
  return text.replace(/\$\{(\w+)(?::(\w+))?\}|\$(\w+)|\[\[(\w+)\]\]/g, (all, braced, format, plain, old) => {
    const name = braced ?? plain ?? old;
    if (name in more) return more[name];
    const value = values[name];
    if (value === undefined) return all;
    if (!Array.isArray(value)) return value;
    return format === 'csv' || format === 'raw' ? value.join(',') : regex(value);
  });
}

async function optionsOf(query, base, range) {
  const call = /^label_values\((?:([\s\S]+),\s*)?(\w+)\)$/.exec(query.trim());
  if (!call) throw new Error(`variable query not known to the proof: ${query}`);
  const match = call[1] ? { 'match[]': call[1] } : {};
  return get(base, `/api/v1/label/${call[2]}/values`, { ...match, start: range.from, end: range.to });
}

// All variables as they are when the dashboard is opened: every value where that is allowed, else the first.
export async function resolved(dashboard, base, range) {
  const values = {}, options = {};
  for (const variable of dashboard.templating?.list ?? []) {
    const { name, type } = variable;
    if (type === 'datasource') values[name] = 'prometheus';
    else if (type !== 'query') values[name] = String(variable.current?.value ?? variable.query ?? '');
    else {
      const query = typeof variable.query === 'string' ? variable.query : variable.query.query;
      options[name] = await optionsOf(filled(query, values), base, range);
      values[name] = variable.includeAll ? variable.allValue || options[name] : options[name][0] ?? '';
    }
  }
  return { values, options };
}
