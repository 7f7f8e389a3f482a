// Where each panel stands: rows opened, repeated rows and panels multiplied as Grafana does it.
const ROW_HEIGHT = 38, COLUMNS = 24, GAP = 8, HEAD = 46;

const chosen = (name, found) => {
  const value = found.values[name];
  const known = found.options[name] ?? [];
  return Array.isArray(value) ? value : known.length ? known : [value];
};

// Rows with their panels; panels before the first row stand in a row without a title.
function sections(dashboard) {
  const found = [];
  for (const panel of dashboard.panels) {
    if (panel.type === 'row') found.push({ row: panel, panels: [...(panel.panels ?? [])] });
    else {
      if (!found.length) found.push({ row: null, panels: [] });
      found.at(-1).panels.push(panel);
    }
  }
  return found;
}

const instance = (panel, scoped, suffix) => ({ panel, scoped, key: `${panel.id}${suffix}` });

// A panel repeated to the right, or below itself.
function multiplied(panel, scoped, suffix, found) {
  if (!panel.repeat) return [{ ...instance(panel, scoped, suffix), grid: panel.gridPos }];
  const values = chosen(panel.repeat, found), across = panel.repeatDirection !== 'v';
  const most = Math.min(values.length, panel.maxPerRow ?? 4), w = across ? Math.floor(COLUMNS / most) : panel.gridPos.w;
  return values.map((value, i) => ({
    ...instance(panel, { ...scoped, [panel.repeat]: [value] }, `${suffix}-${value}`),
    grid: { ...panel.gridPos, w, x: across ? (i % most) * w : panel.gridPos.x, y: panel.gridPos.y + panel.gridPos.h * (across ? Math.floor(i / most) : i) },
  }));
}

// [{key, panel, scoped, grid, row}] in the order of the dashboard, with y counted anew.
export function placed(dashboard, found) {
  const items = [];
  let y = 0;
  for (const { row, panels } of sections(dashboard)) {
    const values = row?.repeat ? chosen(row.repeat, found) : [null];
    for (const value of values) {
      const scoped = value === null ? {} : { [row.repeat]: [value] }, suffix = value === null ? '' : `-${value}`;
      if (row) items.push({ ...instance(row, scoped, suffix), grid: { x: 0, y, w: COLUMNS, h: 1 }, row: true });
      const top = y + (row ? 1 : 0), first = Math.min(...panels.map((p) => p.gridPos.y));
      const here = panels.flatMap((p) => multiplied(p, scoped, suffix, found));
      for (const item of here) items.push({ ...item, grid: { ...item.grid, y: top + item.grid.y - first } });
      y = Math.max(top, ...here.map((i) => top + i.grid.y - first + i.grid.h));
    }
  }
  return items;
}

export const box = (grid, width) => ({
  left: (grid.x * width) / COLUMNS + GAP / 2,
  top: grid.y * ROW_HEIGHT + HEAD,
  width: (grid.w * width) / COLUMNS - GAP,
  height: grid.h * ROW_HEIGHT - GAP,
});
