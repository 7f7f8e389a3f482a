// Targets of a panel -> PromQL over Prometheus' HTTP API -> Grafana's data frames.
import { FieldType, rangeUtil, toDataFrame } from '@grafana/data';
import { filled } from './variables.js';

export async function get(base, path, parameters) {
  const answer = await fetch(`${base}${path}?${new URLSearchParams(parameters)}`);
  const content = await answer.json();
  if (content.status !== 'success') throw new Error(`${content.errorType}: ${content.error}`);
  return content.data;
}

// Grafana's own rules: a step for each pixel column, not below the scrape interval; rates over four scrapes at least.
export function steps(panel, range, width, scrape) {
  const seconds = range.to - range.from;
  const lowest = panel.interval ? rangeUtil.intervalToSeconds(panel.interval) : scrape;
  const step = Math.max(lowest, Math.ceil(seconds / Math.max(50, panel.maxDataPoints ?? width)));
  const words = {
    __interval: `${step}s`, __interval_ms: String(step * 1000),
    __rate_interval: `${Math.max(step + scrape, 4 * scrape)}s`,
    __range: `${seconds}s`, __range_s: String(seconds), __range_ms: String(seconds * 1000),
  };
  return { step, words };
}

const labelled = (metric) => {
  const { __name__, ...labels } = metric;
  const inside = Object.entries(labels).map(([name, value]) => `${name}="${value}"`).join(', ');
  return `${__name__ ?? ''}{${inside}}`;
};
export const legend = (format, metric) =>
  format && format !== '__auto' ? format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '') : labelled(metric);

function asTable(target, series, time, several) {
  const labels = [...new Set(series.flatMap((s) => Object.keys(s.metric)))].sort();
  const column = (name) => ({ name, type: FieldType.string, values: series.map((s) => s.metric[name] ?? '') });
  const value = several ? `Value #${target.refId}` : 'Value';
  return toDataFrame({ refId: target.refId, fields: [
    { name: 'Time', type: FieldType.time, values: series.map(() => time * 1000) },
    ...labels.map(column),
    { name: value, type: FieldType.number, values: series.map((s) => +s.value[1]) },
  ] });
}

function asSeries(target, one, step) {
  const points = one.values ?? [one.value], name = legend(target.legendFormat, one.metric);
  return toDataFrame({ refId: target.refId, name, fields: [
    { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: points.map((p) => p[0] * 1000) },
    { name: 'Value', type: FieldType.number, labels: one.metric, config: { displayNameFromDS: name }, values: points.map((p) => +p[1]) },
  ] });
}

// Runs a panel's targets. Returns the frames, and what was asked: the check asks the same again by itself.
export async function asked(panel, base, values, range, width, scrape) {
  const { step, words } = steps(panel, range, width, scrape);
  const start = Math.floor(range.from / step) * step, end = Math.floor(range.to / step) * step;
  const targets = (panel.targets ?? []).filter((t) => !t.hide);
  const several = targets.filter((t) => t.format === 'table').length > 1;
  const answers = await Promise.all(targets.map(async (target) => {
    const expr = filled(target.expr ?? '', values, words), instant = Boolean(target.instant && !target.range);
    const told = { refId: target.refId, expr, instant, format: target.format ?? 'time_series', legendFormat: target.legendFormat ?? '', start, end, step, series: 0, error: null };
    try {
      const data = instant
        ? await get(base, '/api/v1/query', { query: expr, time: end })
        : await get(base, '/api/v1/query_range', { query: expr, start, end, step });
      const series = data.resultType === 'scalar' ? [{ metric: {}, value: data.result }] : data.result;
      told.series = series.length;
      if (!series.length) return { told, frames: [] };
      return { told, frames: told.format === 'table' ? [asTable(target, series, end, several)] : series.map((s) => asSeries(target, s, step)) };
    } catch (error) {
      return { told: { ...told, error: String(error?.message ?? error) }, frames: [] };
    }
  }));
  return { frames: answers.flatMap((a) => a.frames), targets: answers.map((a) => a.told) };
}

// Annotations are queries too: an empty one marks nothing, a broken one breaks the dashboard.
export async function annotated(dashboard, base, values, range, scrape) {
  const { step, words } = steps({}, range, 1000, scrape);
  const list = (dashboard.annotations?.list ?? []).filter((a) => a.expr);
  return Promise.all(list.map(async ({ name, expr: text }) => {
    const expr = filled(text, values, words);
    try {
      const data = await get(base, '/api/v1/query_range', { query: expr, start: range.from, end: range.to, step });
      return { name, expr, series: data.result.length, error: null };
    } catch (error) {
      return { name, expr, series: 0, error: String(error?.message ?? error) };
    }
  }));
}
