// Units, thresholds, mappings, overrides and transformations: all by @grafana/data, only wired up here.
import { applyFieldOverrides, cacheFieldDisplayNames, Registry, standardTransformers, standardTransformersRegistry, transformDataFrame } from '@grafana/data';
import { lastValueFrom } from 'rxjs';

// Each property is taken as it stands in the dashboard; Grafana's editors for them are not needed.
const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'thresholds', 'mappings', 'links', 'color', 'description'];
const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'fillOpacity', 'gradientMode', 'showPoints', 'pointSize', 'stacking', 'axisPlacement',
  'axisLabel', 'axisColorMode', 'axisBorderShow', 'axisCenteredZero', 'axisSoftMin', 'axisSoftMax', 'axisGridShow', 'scaleDistribution',
  'thresholdsStyle', 'spanNulls', 'barAlignment', 'barWidthFactor', 'hideFrom', 'lineStyle', 'fillBelowTo', 'transform', 'align',
  'cellOptions', 'width', 'minWidth', 'filterable', 'inspect', 'hidden',
];
const same = (value) => value;
const item = (id, path, isCustom) => ({ id, path, isCustom, name: id, process: same, shouldApply: () => true, settings: {}, editor: null, override: null });
const registry = new Registry(() => [...STANDARD.map((id) => item(id, id, false)), ...CUSTOM.map((id) => item(`custom.${id}`, id, true))]);

const SERIES = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', showPoints: 'auto', pointSize: 5,
  stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto', axisColorMode: 'text', axisBorderShow: false,
  scaleDistribution: { type: 'linear' }, thresholdsStyle: { mode: 'off' }, hideFrom: { legend: false, tooltip: false, viz: false },
};

export function configured(panel) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const thresholds = defaults.thresholds ?? { mode: 'absolute', steps: [{ value: null, color: 'green' }] };
  const steps = thresholds.steps.map((step, i) => ({ ...step, value: i === 0 ? -Infinity : step.value }));
  const color = defaults.color ?? { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  const custom = panel.type === 'timeseries' ? { ...SERIES, ...defaults.custom } : defaults.custom;
  return { defaults: { ...defaults, color, custom, thresholds: { ...thresholds, steps } }, overrides };
}

// Some stand there twice, under an old name too.
const known = [...new Map(Object.values(standardTransformers).map((transformation) => [transformation.id, transformation])).values()];
standardTransformersRegistry.setInit(() => known.map((transformation) => ({
  id: transformation.id, name: transformation.name, transformation: () => Promise.resolve(transformation), editor: null,
})));

export async function transformed(panel, frames, replaceVariables) {
  const wanted = (panel.transformations ?? []).filter((t) => !t.disabled);
  if (!wanted.length) return frames;
  const unknown = wanted.filter((t) => !standardTransformersRegistry.getIfExists(t.id));
  if (unknown.length) throw new Error(`transformation not known: ${unknown.map((t) => t.id).join(', ')}`);
  return lastValueFrom(transformDataFrame(wanted, frames, { interpolate: replaceVariables }));
}

export function overridden(panel, frames, theme, replaceVariables) {
  const data = applyFieldOverrides({ data: frames, fieldConfig: configured(panel), fieldConfigRegistry: registry, replaceVariables, theme, timeZone: 'utc' });
  if (panel.type === 'table') cacheFieldDisplayNames(data); // a table's headings are taken from there
  return data;
}
