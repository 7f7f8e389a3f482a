// What stands in the DOM of each panel, by the panel's key: texts only, nothing that the harness knows otherwise.
() => {
  const text = (node) => node.textContent.replace(/\s+/g, ' ').trim();
  const texts = (root, selector) => [...root.querySelectorAll(selector)].map(text);
  const found = {};
  for (const box of document.querySelectorAll('[data-panel]')) {
    const table = box.querySelector('table'), grid = box.querySelector('[role="grid"], [role="treegrid"]');
    found[box.dataset.panel] = {
      empty: box.querySelector('[data-empty]') !== null,
      text: box.innerText,
      items: texts(box, '[data-item]'),
      legend: table && { head: texts(table, 'thead th'), rows: [...table.querySelectorAll('tbody tr')].map((row) => texts(row, 'td')) },
      grid: grid && {
        head: texts(grid, '[role="columnheader"]'),
        rows: [...grid.querySelectorAll('[role="row"]')].map((row) => texts(row, '[role="gridcell"]')).filter((cells) => cells.length),
      },
      canvases: [...box.querySelectorAll('canvas')].filter((canvas) => canvas.width > 0 && canvas.height > 0).length,
    };
  }
  return found;
}
