// The body of each kind of panel. What Grafana publishes as a component is that component; gauge and heatmap live in
// Grafana's core and are drawn here over Grafana's own display values.
import React, { useEffect, useMemo, useRef } from 'react';
import { BarGauge, BigValue, TimeSeries, TooltipDisplayMode, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { formattedValueToString, getDisplayValueAlignmentFactors, getFieldDisplayValues, getValueFormat, VizOrientation } from '@grafana/data';
import { configured } from './fields.js';

const orientation = (panel, usual) => ({ horizontal: VizOrientation.Horizontal, vertical: VizOrientation.Vertical })[panel.options?.orientation] ?? usual;

function values({ panel, frames, theme, replaceVariables }) {
  const reduceOptions = { values: false, fields: '', ...panel.options?.reduceOptions };
  if (!reduceOptions.calcs?.length) reduceOptions.calcs = ['lastNotNull'];
  return getFieldDisplayValues({ data: frames, reduceOptions, fieldConfig: configured(panel), replaceVariables, theme, sparkline: panel.type === 'stat' && panel.options?.graphMode !== 'none' });
}

// One value of several, marked so that the check finds it.
const Item = ({ width, height, children }) => <div data-item style={{ width, height, overflow: 'hidden' }}>{children}</div>;

function Repeated({ look, usual, render }) {
  const { panel, width, height } = look, found = useMemo(() => values(look), [look]);
  return <VizRepeater
    getValues={() => found} source={found} renderCounter={1} width={width} height={height} itemSpacing={8}
    orientation={orientation(panel, usual)} getAlignmentFactors={(all) => getDisplayValueAlignmentFactors(all)}
    renderValue={(p) => <Item width={p.width} height={p.height}>{render(p, found)}</Item>}
  />;
}

const Stat = ({ look }) => <Repeated look={look} usual={VizOrientation.Auto} render={({ value, width, height, count }, found) => {
  const { colorMode = 'value', graphMode = 'area', textMode = 'auto', justifyMode = 'auto', text } = look.panel.options ?? {};
  return <BigValue value={value.display} count={found.length} sparkline={value.sparkline} width={width} height={height} theme={look.theme}
    colorMode={colorMode} graphMode={graphMode} textMode={textMode} justifyMode={justifyMode} text={text} />;
}} />;

const Bars = ({ look }) => <Repeated look={look} usual={VizOrientation.Horizontal} render={({ value, width, height, alignmentFactors, orientation: way }) => (
  <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor?.(value.colIndex)} theme={look.theme}
    width={width} height={height} orientation={way} itemSpacing={8} lcdCellWidth={12} alignmentFactors={alignmentFactors}
    displayMode={look.panel.options?.displayMode ?? 'gradient'} valueDisplayMode={look.panel.options?.valueMode} text={look.panel.options?.text} />
)} />;

function Arc({ value, width, height, theme, titled }) {
  const radius = Math.min(width / 2.2, (height - (titled ? 20 : 0)) * 0.75), x = width / 2, y = radius + 12;
  const at = (part) => `${x - radius * 0.85 * Math.cos(Math.PI * part)},${y - radius * 0.85 * Math.sin(Math.PI * part)}`;
  const arc = (part) => `M${at(0)}A${radius * 0.85},${radius * 0.85} 0 0 1 ${at(part)}`;
  const { percent, color, title } = value.display, shown = Math.max(0.001, Math.min(1, percent ?? 0));
  return <svg width={width} height={height}>
    <path d={arc(1)} stroke={theme.colors.background.secondary} strokeWidth={radius / 4} fill="none" />
    <path d={arc(shown)} stroke={color} strokeWidth={radius / 4} fill="none" />
    {titled && <text x={x} y={y + 20} textAnchor="middle" fontSize={14} fill={theme.colors.text.primary}>{title}</text>}
    <text x={x} y={y} textAnchor="middle" fontSize={Math.min(radius / 2.6, 32)} fill={color}>{formattedValueToString(value.display)}</text>
  </svg>;
}
const Gauge = ({ look }) => <Repeated look={look} usual={VizOrientation.Auto} render={({ value, width, height }, found) => (
  <Arc value={value} width={width} height={height} theme={look.theme} titled={found.length > 1} />
)} />;

const edge = (frame) => Number(String(frame.fields[1].labels?.le ?? NaN).replace('+Inf', 'Infinity'));

// Buckets of a Prometheus histogram count what is at or below their edge: a cell is the difference to the one below.
export function cells(frames) {
  const sorted = frames.filter((f) => !Number.isNaN(edge(f))).sort((a, b) => edge(a) - edge(b));
  const times = [...new Set(sorted.flatMap((f) => [...f.fields[0].values]))].sort((a, b) => a - b);
  const tables = sorted.map((f) => new Map([...f.fields[0].values].map((t, i) => [t, f.fields[1].values[i]])));
  const rows = sorted.map((f, i) => ({ edge: edge(f), counts: times.map((t) => Math.max(0, (tables[i].get(t) ?? 0) - (i ? tables[i - 1].get(t) ?? 0 : 0))) }));
  return { times, rows };
}

function Heat({ look }) {
  const { panel, frames, width, height, theme } = look, canvas = useRef(null);
  const found = useMemo(() => cells(frames), [frames]);
  useEffect(() => {
    const unit = panel.options?.yAxis?.unit ?? panel.fieldConfig?.defaults?.unit ?? 'none', left = 64, below = 22;
    const { rows, times } = found, pen = canvas.current.getContext('2d');
    const w = (width - left) / times.length, h = (height - below) / rows.length, most = Math.max(1e-12, ...rows.flatMap((r) => r.counts));
    const every = Math.ceil(14 / h);
    pen.clearRect(0, 0, width, height);
    pen.font = '11px "DejaVu Sans", sans-serif';
    rows.forEach((row, i) => {
      const y = height - below - (i + 1) * h;
      row.counts.forEach((count, k) => {
        if (count <= 0) return;
        pen.fillStyle = `hsl(${35 - 20 * (count / most)},90%,${18 + 50 * Math.sqrt(count / most)}%)`;
        pen.fillRect(left + k * w, y, Math.max(1, w - 0.5), Math.max(1, h - 0.5));
      });
      pen.fillStyle = theme.colors.text.secondary;
      if (i % every === 0) pen.fillText(row.edge === Infinity ? '+Inf' : formattedValueToString(getValueFormat(unit)(row.edge)), 2, y + h / 2 + 4);
    });
    pen.fillStyle = theme.colors.text.secondary;
    const marks = [0.1, 0.5, 0.9].map((part) => Math.floor(part * times.length));
    for (const k of marks) pen.fillText(new Date(times[k]).toISOString().slice(11, 19), left + k * w - 24, height - 6);
  }, [found, width, height]);
  return <canvas ref={canvas} width={width} height={height} />;
}

function Series({ look }) {
  const { panel, frames, width, height, range } = look;
  const legend = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [], ...panel.options?.legend };
  const tooltip = { mode: TooltipDisplayMode.None, sort: 'none' };
  return <TimeSeries frames={frames} structureRev={1} width={width} height={height} timeRange={range} timeZone="utc" legend={legend} options={{ tooltip, legend }} />;
}

const Table = ({ look }) => (
  <TableNG data={look.frames[0]} width={look.width} height={look.height} structureRev={1} noHeader={false} enableVirtualization={false}
    cellHeight={look.panel.options?.cellHeight} getActions={() => []} replaceVariables={look.replaceVariables} />
);
const Text = ({ look }) => <div style={{ padding: 8, whiteSpace: 'pre-wrap' }}>{look.replaceVariables(look.panel.options?.content ?? '')}</div>;

const KINDS = { timeseries: Series, stat: Stat, gauge: Gauge, bargauge: Bars, table: Table, heatmap: Heat, text: Text };

export function Body({ look }) {
  const { panel, frames, theme } = look, Kind = KINDS[panel.type];
  if (!Kind) throw new Error(`panel type ${panel.type} is not drawn by the proof`);
  if (panel.type !== 'text' && !frames.some((f) => f.length)) {
    return <div data-empty style={{ padding: 20, color: theme.colors.text.secondary }}>{panel.fieldConfig?.defaults?.noValue ?? 'No data'}</div>;
  }
  return <Kind look={look} />;
}
