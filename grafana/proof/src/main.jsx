// Draws one dashboard: ?dashboard=URL&prometheus=URL&now=SECONDS&span=SECONDS&scrape=SECONDS&width=PIXELS.
// window.proof has what was asked of Prometheus and what failed; window.drawn is true at the end.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, dateTime, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { overridden, transformed } from './fields.js';
import { box, placed } from './layout.js';
import { Body, cells } from './panels.jsx';
import { annotated, asked } from './prometheus.js';
import { filled, resolved } from './variables.js';

window.proof = { variables: {}, panels: [], annotations: [], errors: [] };
const told = (where, error) => window.proof.errors.push(`${where}: ${String(error?.stack ?? error).slice(0, 600)}`);

class Guard extends React.Component {
  state = { error: null };
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error) { told(this.props.title, error); }
  render() { return this.state.error ? <pre style={{ color: 'red' }}>{String(this.state.error)}</pre> : this.props.children; }
}

function Panel({ item, theme, range }) {
  const { panel, title, place, frames, replaceVariables } = item;
  return <Guard title={title}>
    <PanelChrome width={place.width} height={place.height} title={title} description={panel.description}>
      {(width, height) => <Guard title={title}><Body look={{ panel, frames, width, height, theme, range, replaceVariables }} /></Guard>}
    </PanelChrome>
  </Guard>;
}

const shownName = (value) => (value === '.+' || value === '.*' ? 'All' : Array.isArray(value) ? value.join(' + ') : value);

// Asks what an item needs and puts it into the report; a panel that cannot be prepared is an error, not a gap.
async function prepared(item, { base, found, range, scrape, width, theme }) {
  const values = { ...found.values, ...item.scoped }, place = box(item.grid, width), { panel, key } = item;
  const title = filled(panel.title ?? '', Object.fromEntries(Object.entries(values).map(([k, v]) => [k, shownName(v)])));
  if (item.row) return { ...item, place, title };
  const replaceVariables = (text) => (typeof text === 'string' ? filled(text, values) : text);
  const { frames, targets } = await asked(panel, base, values, range, place.width, scrape);
  const report = { key, id: panel.id, title, type: panel.type, targets };
  window.proof.panels.push(report);
  try {
    const changed = await transformed(panel, frames, replaceVariables);
    if (panel.type === 'heatmap') report.cells = cells(changed);
    const ready = panel.type === 'heatmap' ? changed : overridden(panel, changed, theme, replaceVariables);
    return { ...item, place, title, frames: ready, replaceVariables };
  } catch (error) {
    told(title, error);
    return { ...item, place, title, frames: [], replaceVariables };
  }
}

async function draw() {
  const given = new URLSearchParams(location.search), number = (name, usual) => Number(given.get(name) ?? usual);
  const now = number('now', Date.now() / 1000), width = number('width', 1600), range = { from: now - number('span', 300), to: now };
  const base = given.get('prometheus'), scrape = number('scrape', 15), theme = createTheme({ colors: { mode: given.get('theme') ?? 'dark' } });
  const dashboard = await (await fetch(given.get('dashboard'))).json(), found = await resolved(dashboard, base, range);
  const context = { base, found, range, scrape, width, theme };
  const items = await Promise.all(placed(dashboard, found).map((item) => prepared(item, context)));
  window.proof.variables = found;
  window.proof.annotations = await annotated(dashboard, base, found.values, range, scrape);
  const [from, to] = [dateTime(range.from * 1000), dateTime(range.to * 1000)], shown = { from, to, raw: { from, to } };
  const height = Math.max(...items.map((i) => i.place.top + i.place.height)) + 16;
  const colors = { background: theme.colors.background.canvas, color: theme.colors.text.primary };
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}><GlobalStyles hackNoBackdropBlur isExtensionSidebarOpen={false} />
      <div id="dashboard" style={{ position: 'relative', width, height, fontFamily: theme.typography.fontFamily, ...colors }}>
        <div style={{ position: 'absolute', left: 12, top: 10, fontSize: 18 }}>{dashboard.title}</div>
        <div id="note" style={{ position: 'absolute', right: 12, top: 14, fontSize: 13, color: theme.colors.text.secondary }}>{given.get('note')}</div>
        {items.map((item) => (
          <div key={item.key} data-panel={item.row ? undefined : item.key} style={{ position: 'absolute', ...item.place }}>
            {item.row ? <div style={{ fontSize: 15, padding: '4px 8px' }}>▾ {item.title}</div> : <Panel item={item} theme={theme} range={shown} />}
          </div>))}
      </div>
    </ThemeContext.Provider>);
  await document.fonts.ready;
  await new Promise((done) => { setTimeout(done, 1000); }); // uPlot and the tables draw after their first layout
}

draw().catch((error) => told('dashboard', error)).finally(() => { window.drawn = true; });
